"""Literal tables from the released state-dict names to this package's, and the strict placement of tensors by them.

The released names are those of the official checkpoint (branch ``videosalmonn``, commit c305d54). ``low_*`` in them is
the paper's *high* (fine) resolution, ``video_*`` the base level, ``high_*`` a level coarser than the base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from video_salmonn.connector import ConnectorConfig, Level
from video_salmonn.errors import CheckpointError
from video_salmonn.wording import counted

CONNECTOR_MODULES = {
    "speech_pre_qformer_proj": "speech_projection",
    "beats_pre_qformer_proj": "audio_projection",
    "ln_video": "input_norm",
    "llama_proj": "llm_projection",
}
"""Released module -> ours; each has ``.weight`` and ``.bias``."""

POSITIONS = ("video_frame_position_embedding.weight", "positions")
QUERY_TOKENS = {"low": "low_query_tokens", "base": "video_query_tokens", "high": "high_query_tokens"}
QFORMERS = {"low": "low_Qformer", "base": "video_Qformer", "high": "high_Qformer"}

QFORMER_EMBEDDINGS = {"bert.embeddings.LayerNorm": "query_norm"}
QFORMER_LAYER = {
    "encoder_causal_attention.self.query": "block_attention.query",
    "encoder_causal_attention.self.key": "block_attention.key",
    "encoder_causal_attention.self.value": "block_attention.value",
    "encoder_causal_attention.output.dense": "block_attention.output.dense",
    "encoder_causal_attention.output.LayerNorm": "block_attention.output.norm",
    "attention.self.query": "self_attention.query",
    "attention.self.key": "self_attention.key",
    "attention.self.value": "self_attention.value",
    "attention.output.dense": "self_attention.output.dense",
    "attention.output.LayerNorm": "self_attention.output.norm",
    "crossattention.self.query": "cross_attention.query",
    "crossattention.self.key": "cross_attention.key",
    "crossattention.self.value": "cross_attention.value",
    "crossattention.output.dense": "cross_attention.output.dense",
    "crossattention.output.LayerNorm": "cross_attention.output.norm",
    "intermediate_query.dense": "feed_forward.expand",
    "output_query.dense": "feed_forward.output.dense",
    "output_query.LayerNorm": "feed_forward.output.norm",
}
"""Below ``bert.encoder.layer.{i}.`` -> below ``layers.{i}.``; each has ``.weight`` and ``.bias``."""

VISION = {
    "visual_encoder.cls_token": "embeddings.class_embedding",
    "visual_encoder.pos_embed": "embeddings.position_embedding",
    "visual_encoder.patch_embed.proj.weight": "embeddings.patch_embedding.weight",
    "visual_encoder.patch_embed.proj.bias": "embeddings.patch_embedding.bias",
    "ln_vision.weight": "post_layernorm.weight",
    "ln_vision.bias": "post_layernorm.bias",
}
VISION_BLOCK = {
    "norm1.weight": "layer_norm1.weight",
    "norm1.bias": "layer_norm1.bias",
    "norm2.weight": "layer_norm2.weight",
    "norm2.bias": "layer_norm2.bias",
    "attn.qkv.weight": "self_attn.qkv.weight",
    "attn.proj.weight": "self_attn.projection.weight",
    "attn.proj.bias": "self_attn.projection.bias",
    "mlp.fc1.weight": "mlp.fc1.weight",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.weight": "mlp.fc2.weight",
    "mlp.fc2.bias": "mlp.fc2.bias",
}
"""Below ``visual_encoder.blocks.{i}.`` -> below ``encoder.layers.{i}.``; the qkv bias is joined from q, 0 and v."""

INSTRUCT_EMBEDDINGS = {
    "Qformer.bert.embeddings.word_embeddings.weight": "embeddings.word_embeddings.weight",
    "Qformer.bert.embeddings.position_embeddings.weight": "embeddings.position_embeddings.weight",
    "Qformer.bert.embeddings.LayerNorm.weight": "embeddings.layernorm.weight",
    "Qformer.bert.embeddings.LayerNorm.bias": "embeddings.layernorm.bias",
}
INSTRUCT_LAYER = {
    "attention.self.query": "attention.attention.query",
    "attention.self.key": "attention.attention.key",
    "attention.self.value": "attention.attention.value",
    "attention.output.dense": "attention.output.dense",
    "attention.output.LayerNorm": "attention.output.LayerNorm",
    "crossattention.self.query": "crossattention.attention.query",
    "crossattention.self.key": "crossattention.attention.key",
    "crossattention.self.value": "crossattention.attention.value",
    "crossattention.output.dense": "crossattention.output.dense",
    "crossattention.output.LayerNorm": "crossattention.output.LayerNorm",
    "intermediate.dense": "intermediate.dense",
    "intermediate_query.dense": "intermediate_query.dense",
    "output.dense": "output.dense",
    "output.LayerNorm": "output.LayerNorm",
    "output_query.dense": "output_query.dense",
    "output_query.LayerNorm": "output_query.LayerNorm",
}
"""Below ``Qformer.bert.encoder.layer.{i}.`` -> below ``encoder.layer.{i}.``; each has ``.weight`` and ``.bias``."""

DELTA_ALIASES = {
    "joint_Qformer.": "video_Qformer.",
    "joint_query_tokens": "video_query_tokens",
    "ln_joint.": "ln_video.",
    "joint_frame_position_embedding.": "video_frame_position_embedding.",
    "llama_proj_joint.": "llama_proj.",
    "speech_Qformer.": "video_Qformer.",
    "speech_query_tokens": "video_query_tokens",
    "ln_speech.": "ln_video.",
    "llama_proj_speech.": "llama_proj.",
}
"""Second names of shared modules in the delta checkpoint -> the first, under which they are placed."""

LORA_PREFIX = "llama_model.base_model.model."
"""Before the adapter's names in the delta checkpoint."""

BUFFERS = ("position_ids", "relative_position_index", "inv_freq")
"""Last name parts of buffers that hold no learned numbers."""


@dataclass
class PlacedTensors:
    """Where the tensors of a file went.

    Attributes:
        state: this package's name -> tensor.
        origin: this package's name -> released name(s) it came from, as text.
        inputs: this package's name -> the released names it is made of: placing these alone makes the tensor.
        dropped: released name -> why it has no place.
    """

    state: dict[str, torch.Tensor] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, tensor: torch.Tensor, origin: str, inputs: tuple[str, ...] = ()) -> None:
        """Place one tensor; ``inputs`` where it is made of several."""
        self.state[name] = tensor
        self.origin[name] = origin
        self.inputs[name] = inputs or (origin,)


def released_levels(config: Mapping[str, Any]) -> tuple[tuple[str, Level], ...]:
    """Levels under the released configuration names, by ascending window: ((role, Level), …).

    ``groupsize`` is the base; ``low_groupsize``, ``high_groupsize`` and the list ``ext_groupsize`` add levels; a level
    has ``int(num_video_query * g / groupsize)`` queries (released ``openllama.py``).
    """
    base = int(config["groupsize"])
    windows = {base: "base"}
    extra = [config.get("low_groupsize"), config.get("high_groupsize"), *(config.get("ext_groupsize") or [])]
    for window in extra:
        if window:
            windows[int(window)] = "low" if int(window) < base else "high"
    queries = int(config["num_video_query"])
    return tuple((role, Level(w, int(queries * w / base))) for w, role in sorted(windows.items()))


def released_connector_config(config: Mapping[str, Any], mask_direction: str, position_rows: int) -> ConnectorConfig:
    """A connector that behaves as the released code does, from configuration under the released names."""
    return ConnectorConfig(
        hidden_size=config["hidden_size"],
        num_attention_heads=config["num_attention_heads"],
        intermediate_size=config["intermediate_size"],
        num_hidden_layers=config["num_hidden_layers"],
        visual_dim=config["hidden_size"],
        speech_dim=config["speech_dim"],
        audio_dim=config["audio_dim"],
        llm_dim=config["llm_dim"],
        levels=tuple(level for _, level in released_levels(config)),
        share_qformer=bool(config["ext_same_qformer"]),
        mask_direction=mask_direction if config["causal_attention"] else "none",  # type: ignore[arg-type]
        attend_padding=True,
        trim_padding=False,
        position_rows=position_rows,
    )


def connector_table(
    roles: tuple[str, ...], layers: int, *, share_qformer: bool, block_attention: bool
) -> dict[str, str]:
    """Released name -> ours for every connector tensor that is used.

    Args:
        roles: ``low`` | ``base`` | ``high`` of each level, by ascending window.
        layers: layers of a Q-Former.
        share_qformer: all levels use the base level's Q-Former.
        block_attention: the Q-Former has the block self-attention.
    """
    kinds = ("weight", "bias")
    table = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in CONNECTOR_MODULES.items() for kind in kinds}
    table[POSITIONS[0]] = POSITIONS[1]
    for index, role in enumerate(roles):
        table[QUERY_TOKENS[role]] = f"level_queries.{index}"
    for index, role in enumerate(("base",) if share_qformer else roles):
        for theirs, ours in QFORMER_EMBEDDINGS.items():
            for kind in kinds:
                table[f"{QFORMERS[role]}.{theirs}.{kind}"] = f"qformers.{index}.{ours}.{kind}"
        for layer in range(layers):
            for theirs, ours in QFORMER_LAYER.items():
                if not block_attention and ours.startswith("block_attention"):
                    continue
                for kind in kinds:
                    table[f"{QFORMERS[role]}.bert.encoder.layer.{layer}.{theirs}.{kind}"] = (
                        f"qformers.{index}.layers.{layer}.{ours}.{kind}"
                    )
    return table


def place_connector(
    tensors: Mapping[str, torch.Tensor], config: ConnectorConfig, roles: tuple[str, ...]
) -> PlacedTensors:
    """Sort released connector tensors into a :class:`MultiResolutionCausalQFormer` state.

    Q-Formers that the layout stores but never uses are dropped and named. Completeness and shapes are checked by
    :func:`check_complete` against the module itself.

    Raises:
        CheckpointError: a tensor has no place.
    """
    table = connector_table(
        roles,
        config.num_hidden_layers,
        share_qformer=config.share_qformer,
        block_attention=config.mask_direction != "none",
    )
    absent = [name for name, dim in (("speech", config.speech_dim), ("beats", config.audio_dim)) if dim is None]
    placed = PlacedTensors()
    for name, tensor in tensors.items():
        if name in table and not name.startswith(tuple(f"{prefix}_pre_qformer_proj" for prefix in absent)):
            ours = table[name]
            placed.put(ours, tensor.squeeze(0) if ours.startswith("level_queries.") else tensor, name)
        elif name.rsplit(".", 1)[-1] in BUFFERS:
            placed.dropped[name] = "a buffer without learned numbers"
        elif config.share_qformer and name.split(".")[0] in (QFORMERS["low"], QFORMERS["high"]):
            placed.dropped[name] = "stored by the layout, never used: the levels share one Q-Former"
        elif config.mask_direction == "none" and ".encoder_causal_attention." in name:
            placed.dropped[name] = "block attention is switched off"
        else:
            raise CheckpointError(
                f"tensor {name!r} {tuple(tensor.shape)} has no place in this connector",
                remedy="check that the file belongs to this layout (levels, sound branches) and is not renamed",
            )
    return placed


def place_visual_tower(tensors: Mapping[str, torch.Tensor]) -> tuple[PlacedTensors, PlacedTensors]:
    """Sort ``visual_encoder.*``, ``ln_vision.*``, ``Qformer.*`` and ``query_tokens`` into (EVA, InstructBLIP Q-Former).

    Raises:
        CheckpointError: a tensor has no place, or a q or v bias is missing.
    """
    vision, qformer = PlacedTensors(), PlacedTensors()
    for name, tensor in tensors.items():
        parts = name.split(".")
        if name in VISION:
            vision.put(VISION[name], tensor, name)
        elif name.startswith("visual_encoder.blocks."):
            layer, rest = parts[2], ".".join(parts[3:])
            if rest in ("attn.q_bias", "attn.v_bias"):
                other = name[: -len("q_bias")] + ("v_bias" if rest == "attn.q_bias" else "q_bias")
                if other not in tensors:
                    raise CheckpointError(f"tensor {other!r} is missing")
                if rest == "attn.q_bias":
                    joined = torch.cat([tensor, torch.zeros_like(tensor), tensors[other]])
                    ours = f"encoder.layers.{layer}.self_attn.qkv.bias"
                    vision.put(ours, joined, f"{name}, 0, {other}", (name, other))
                continue
            if rest not in VISION_BLOCK:
                raise CheckpointError(f"tensor {name!r} {tuple(tensor.shape)} has no place in EVA-ViT")
            vision.put(f"encoder.layers.{layer}.{VISION_BLOCK[rest]}", tensor, name)
        elif name == "query_tokens":
            qformer.put("query_tokens", tensor, name)
        elif name in INSTRUCT_EMBEDDINGS:
            qformer.put(f"qformer.{INSTRUCT_EMBEDDINGS[name]}", tensor, name)
        elif name.startswith("Qformer.bert.encoder.layer."):
            layer, rest, kind = parts[4], ".".join(parts[5:-1]), parts[-1]
            if rest not in INSTRUCT_LAYER:
                raise CheckpointError(f"tensor {name!r} {tuple(tensor.shape)} has no place in InstructBLIP's Q-Former")
            qformer.put(f"qformer.encoder.layer.{layer}.{INSTRUCT_LAYER[rest]}.{kind}", tensor, name)
        elif parts[-1] in BUFFERS:
            qformer.dropped[name] = "a buffer without learned numbers"
        else:
            raise CheckpointError(f"tensor {name!r} {tuple(tensor.shape)} has no place in the visual tower")
    return vision, qformer


def place_beats(tensors: Mapping[str, torch.Tensor]) -> PlacedTensors:
    """Sort BEATs tensors; names are kept, weight normalisation of the position convolution is folded, the head dropped.

    Folding: ``w = g · v / |v|`` with the norm over all but the kernel axis (weight norm, dim 2).
    """
    placed = PlacedTensors()
    stem = "encoder.pos_conv.0"
    shared_bias = "encoder.layers.0.self_attn.relative_attention_bias.weight"
    for name, tensor in tensors.items():
        if name.startswith("predictor."):
            placed.dropped[name] = "the AudioSet classifier is not used"
        elif name == f"{stem}.weight_v":
            gain = tensors.get(f"{stem}.weight_g")
            if gain is None:
                raise CheckpointError(f"tensor '{stem}.weight_g' is missing")
            if tuple(gain.shape) != (1, 1, tensor.shape[-1]):
                raise CheckpointError(
                    f"tensors '{stem}.weight_g' {tuple(gain.shape)} and {name!r} {tuple(tensor.shape)} do not fit"
                )
            norm = tensor.double().pow(2).sum((0, 1), keepdim=True).sqrt()
            weight = (gain.double() * tensor.double() / norm).to(tensor.dtype)
            inputs = (name, f"{stem}.weight_g")
            placed.put("encoder.pos_conv.weight", weight, f"{stem}.weight_g · {stem}.weight_v", inputs)
        elif name == f"{stem}.bias":
            placed.put("encoder.pos_conv.bias", tensor, name)
        elif name == shared_bias:
            placed.put("encoder.relative_attention_bias.weight", tensor, name)
        elif name.endswith(".self_attn.relative_attention_bias.weight"):
            if shared_bias not in tensors or not torch.equal(tensor, tensors[shared_bias]):
                raise CheckpointError(f"tensor {name!r} should equal {shared_bias!r}, which all layers share")
            placed.dropped[name] = f"equal to {shared_bias}, which all layers share"
        elif name != f"{stem}.weight_g":
            placed.put(name, tensor, name)
    return placed


def place_adapter(tensors: Mapping[str, torch.Tensor]) -> PlacedTensors:
    """Sort ``llama_model.base_model.model.*.lora_{A,B}.default.weight`` into the language model's adapter ``default``.

    Raises:
        CheckpointError: a tensor is not half of an adapter.
    """
    placed = PlacedTensors()
    for name, tensor in tensors.items():
        if name.rsplit(".", 1)[-1] in BUFFERS:
            placed.dropped[name] = "a buffer without learned numbers"
        elif not name.startswith(LORA_PREFIX) or not name.endswith(
            (".lora_A.default.weight", ".lora_B.default.weight")
        ):
            raise CheckpointError(f"tensor {name!r} {tuple(tensor.shape)} has no place in the LoRA adapter")
        else:
            placed.put(name.removeprefix(LORA_PREFIX), tensor, name)
    return placed


def check_complete(module: torch.nn.Module, placed: PlacedTensors, what: str) -> None:
    """Refuse a placement that leaves a parameter of ``module`` at random, has one too many, or another shape.

    Raises:
        CheckpointError: naming the first offender and the released tensor it came from.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    wanted = {name: shape for name, shape in wanted.items() if name.rsplit(".", 1)[-1] not in BUFFERS}
    missing = sorted(set(wanted) - set(placed.state))
    if missing:
        raise CheckpointError(
            f"{what}: {counted(len(missing), 'tensor', 'are')} missing, first {missing[0]!r}",
            remedy="the file is incomplete or of another layout; every tensor must be loaded",
        )
    for name, tensor in placed.state.items():
        if name not in wanted:
            raise CheckpointError(f"{what}: tensor {placed.origin[name]!r} has no place (it would be {name!r})")
        if tuple(tensor.shape) != wanted[name]:
            raise CheckpointError(
                f"{what}: tensor {placed.origin[name]!r} has shape {tuple(tensor.shape)}, {wanted[name]} is needed"
            )
