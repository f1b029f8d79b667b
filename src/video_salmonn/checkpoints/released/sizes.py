"""Sizes of the released model's parts, read off the official files: shapes, BEATs' ``cfg``, folders' ``config.json``.

What files do not contain (heads, window lengths, mask direction, LoRA's alpha) is as released, unless the caller says
otherwise. So is how many layers, blocks and adapted maps there are at least: counted in the file alone, a file without
its last layer would pass for a smaller model. Where several tensors tell the same size the majority counts, so that one
misshapen tensor is found and named as such, and does not drag the whole model to its shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import isqrt
from typing import Any

from video_salmonn.checkpoints.released.names import LORA_PREFIX
from video_salmonn.checkpoints.released.sources import Ref
from video_salmonn.connector import ConnectorConfig, Level
from video_salmonn.encoders.beats import BeatsConfig
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.model.presets import ATTENTION
from video_salmonn.wording import counted

HEAD_WIDTH = 64
"""Width of an attention head in both Q-Formers (BERT-base: 768 / 12)."""
EVA_HEAD_WIDTH = 88
EVA_BLOCKS = 39
"""Blocks of EVA-ViT-g that are used: the fortieth, where a file has it, is not."""
CONNECTOR_LAYERS = ConnectorConfig().num_hidden_layers
"""Layers of the released joint Q-Former."""
INSTRUCT_WIDTH, INSTRUCT_LAYERS = 768, 12
"""InstructBLIP's Q-Former as released (BERT-base)."""
FINE_FRAMES, COARSE_FRAMES = 1, 10
LORA_ALPHA, LORA_DROPOUT = 32, 0.1

Refs = Mapping[str, Ref]


def majority(refs: Refs, axes: Iterable[tuple[Callable[[str], bool], int]], what: str, where: str) -> int:
    """The size most tensors agree on.

    Args:
        refs: tensors by name.
        axes: (which names, which axis of their shapes).
        what: the size's name, for the error.
        where: the file, for the error.

    Raises:
        CheckpointError: no tensor determines it.
    """
    found = Counter(
        ref.shape[axis]
        for chosen, axis in axes
        for name, ref in refs.items()
        if chosen(name) and len(ref.shape) > (axis if axis >= 0 else -axis - 1)
    )
    if not found:
        raise CheckpointError(
            f"{where}: no tensor determines the {what}", remedy="the file is incomplete or of another layout"
        )
    return found.most_common(1)[0][0]


def ends(*endings: str) -> Callable[[str], bool]:
    """Chooses names by their ending."""
    return lambda name: name.endswith(endings)


def indices(refs: Refs, before: str, part: str = "") -> list[int]:
    """Layer numbers that follow ``before`` in names (that contain ``part``), ascending."""
    found = set()
    for name in refs:
        head, mark, rest = name.partition(before)
        number = rest.split(".", 1)[0]
        if mark and not head and number.isdigit() and part in name:
            found.add(int(number))
    return sorted(found)


def _need(refs: Refs, name: str, where: str) -> Ref:
    if name not in refs:
        raise CheckpointError(f"{where}: tensor {name!r} is missing", remedy="the file is incomplete, or renamed")
    return refs[name]


def connector_sizes(
    delta: Refs, where: str, *, speech_dim: int, audio_dim: int, llm_dim: int, settings: Mapping[str, Any]
) -> ConnectorConfig:
    """The connector's configuration.

    Args:
        delta: the delta checkpoint's tensors.
        where: its file, for errors.
        speech_dim, audio_dim, llm_dim: widths of the networks at its ends, from their own files.
        settings: what the caller knows better, under the names of :class:`ConnectorConfig`.
    """
    hidden = majority(
        delta,
        [(ends("_pre_qformer_proj.bias"), 0), (ends("query_tokens"), 2), (ends("bert.embeddings.LayerNorm.weight"), 0)],
        "connector's width",
        where,
    )
    prefix = "video_Qformer.bert.encoder.layer."
    layers = indices(delta, prefix)
    feed_forward = [(ends("intermediate_query.dense.bias"), 0), (ends("output_query.dense.weight"), 1)]
    levels = [Level(*_level(level)) for level in settings.get("levels", ())] or [
        Level(FINE_FRAMES, _queries(delta, "low_query_tokens", where)),
        Level(COARSE_FRAMES, _queries(delta, "video_query_tokens", where)),
    ]
    fine, coarse = levels[0], levels[-1]
    if "levels" not in settings and fine.queries * coarse.frames != coarse.queries * fine.frames:
        raise CheckpointError(
            f"{where}: {delta['low_query_tokens']} and {delta['video_query_tokens']} do not go with windows of "
            f"{fine.frames} and {counted(coarse.frames, 'frame')}, which need {coarse.frames} times as many "
            f"queries in the second",
            remedy="give the trained windows under connector.levels in --settings",
        )
    values: dict[str, Any] = {
        "hidden_size": hidden,
        "num_attention_heads": max(1, hidden // HEAD_WIDTH),
        "intermediate_size": majority(delta, feed_forward, "feed-forward's width", where),
        "num_hidden_layers": max(CONNECTOR_LAYERS, *(number + 1 for number in layers), 1),
        "visual_dim": hidden,
        "speech_dim": speech_dim,
        "audio_dim": audio_dim,
        "llm_dim": llm_dim,
        "levels": tuple(levels),
        "share_qformer": True,
        "mask_direction": "future",
        "attend_padding": True,
        "trim_padding": False,
        "position_rows": _need(delta, "video_frame_position_embedding.weight", where).shape[0],
    }
    return ConnectorConfig.from_dict({**values, **settings, "levels": values["levels"]})


def _queries(delta: Refs, name: str, where: str) -> int:
    shape = _need(delta, name, where).shape
    if len(shape) != 3:
        raise CheckpointError(f"{where}: tensor {name!r} has shape {shape}, (1, queries, width) is needed")
    return shape[1]


def _level(value: Any) -> tuple[int, int]:
    try:
        return (value["frames"], value["queries"]) if isinstance(value, Mapping) else (value[0], value[1])
    except (KeyError, IndexError, TypeError):
        raise ConfigError(f"connector.levels: {value!r} is not a level", remedy="{frames: 10, queries: 30}") from None


def lora_sizes(delta: Refs, where: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Rank of the adapter from its tensors; alpha and dropout as released, and at least the released targets."""
    names = [name for name in delta if name.startswith(LORA_PREFIX) and ".lora_" in name]
    if not names:
        raise CheckpointError(
            f"{where}: holds no LoRA tensors ({LORA_PREFIX}…lora_A.default.weight)",
            remedy="give the whole checkpoint: without its adapter the language model does not know the media tokens",
        )
    targets = sorted({name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names}.union(ATTENTION))
    rank = majority(delta, [(lambda n: ".lora_A." in n, 0), (lambda n: ".lora_B." in n, 1)], "LoRA rank", where)
    order = {target: i for i, target in enumerate(ATTENTION)}
    targets.sort(key=lambda target: (order.get(target, len(order)), target))
    return {"r": rank, "alpha": LORA_ALPHA, "dropout": LORA_DROPOUT, "targets": targets, **settings}


def vision_sizes(eva: Refs, where: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """EVA-ViT's sizes from ``eva_vit_g.pth``'s own names."""
    width = majority(eva, [(ends("cls_token"), 2), (ends("norm1.weight", "norm2.weight"), 0)], "EVA width", where)
    patch = _need(eva, "patch_embed.proj.weight", where).shape
    positions = _need(eva, "pos_embed", where).shape
    grid = isqrt(max(0, positions[1] - 1)) if len(positions) == 3 else 0
    if len(patch) != 4 or grid * grid + 1 != positions[1]:
        raise CheckpointError(
            f"{where}: {eva['patch_embed.proj.weight'] if len(patch) != 4 else eva['pos_embed']} gives no square grid"
        )
    return {
        "kind": "eva",
        "hidden_size": width,
        "intermediate_size": majority(eva, [(ends("mlp.fc1.bias"), 0), (ends("mlp.fc2.weight"), 1)], "EVA MLP", where),
        "num_hidden_layers": EVA_BLOCKS,
        "num_attention_heads": max(1, width // EVA_HEAD_WIDTH),
        "image_size": grid * patch[2],
        "patch_size": patch[2],
        **settings,
    }


def instruction_sizes(instructblip: Refs, where: str, vision_width: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """InstructBLIP's Q-Former, from the official file's names."""
    layer = "Qformer.bert.encoder.layer."
    width = majority(
        instructblip,
        [
            (lambda n: n == "query_tokens", 2),
            (ends("attention.self.query.bias"), 0),
            (ends("embeddings.LayerNorm.bias"), 0),
        ],
        "width of InstructBLIP's Q-Former",
        where,
    )
    feed_forward = [(ends("intermediate_query.dense.bias", ".intermediate.dense.bias"), 0)]
    feed_forward += [(ends("output_query.dense.weight"), 1)]
    found = indices(instructblip, layer)
    layers = max([INSTRUCT_LAYERS if width == INSTRUCT_WIDTH else 0, *(number + 1 for number in found)])
    crossing = indices(instructblip, layer, ".crossattention.")
    steps = [n for n in range(1, layers + 1) if list(range(0, found[-1] + 1 if found else 0, n)) == crossing]
    if not steps:
        raise CheckpointError(f"{where}: cross-attention in layers {crossing} of {layers} follows no rule")
    words = _need(instructblip, "Qformer.bert.embeddings.word_embeddings.weight", where).shape
    places = _need(instructblip, "Qformer.bert.embeddings.position_embeddings.weight", where).shape
    queries = _need(instructblip, "query_tokens", where).shape
    return {
        "num_query_tokens": queries[1] if len(queries) == 3 else 32,
        "vocab_size": words[0],
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "intermediate_size": majority(instructblip, feed_forward, "Q-Former feed-forward's width", where),
        "max_position_embeddings": places[0],
        "cross_attention_frequency": steps[0],
        "encoder_hidden_size": vision_width,
        **settings,
    }


def beats_sizes(cfg: Any, where: str) -> dict[str, Any]:
    """BEATs' sizes from the ``cfg`` in its file.

    Raises:
        CheckpointError: there is none, or it describes a network that this package's is not.
    """
    if not isinstance(cfg, Mapping):
        raise CheckpointError(f"{where}: holds no 'cfg'", remedy="give the official BEATs file, with cfg and model")
    needed = {"layer_norm_first": False, "deep_norm": True, "gru_rel_pos": True, "relative_position_embedding": True}
    for key, value in needed.items():
        if cfg.get(key, value) != value:
            raise CheckpointError(f"{where}: BEATs with {key}={cfg[key]!r} is not supported")
    if cfg.get("activation_fn", "gelu") != "gelu":
        raise CheckpointError(f"{where}: BEATs with activation_fn={cfg['activation_fn']!r} is not supported")
    known = BeatsConfig.own_fields()
    return {"kind": "beats", **{key: value for key, value in cfg.items() if key in known}}


WHISPER_KEYS = (
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
)


def whisper_sizes(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Whisper's encoder from the folder's ``config.json``."""
    missing = [key for key in WHISPER_KEYS if not isinstance(config.get(key), int)]
    if config.get("model_type") != "whisper" or missing:
        raise CheckpointError(
            f"{where}: describes no Whisper model (model_type {config.get('model_type')!r}, missing {missing})",
            remedy="give the folder of openai/whisper-large-v2",
        )
    if config.get("activation_function", "gelu") != "gelu":
        raise CheckpointError(f"{where}: activation_function {config['activation_function']!r} is not supported")
    return {key: config[key] for key in WHISPER_KEYS}
