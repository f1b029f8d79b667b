"""The official files of the released 13B model: their headers, and the configuration they amount to.

Six sources: the delta checkpoint (connector and LoRA), InstructBLIP and EVA (or one Hugging Face folder for both),
BEATs, Whisper, Vicuna. Where each tensor goes is in :mod:`video_salmonn.checkpoints.released.plan`; writing in
:mod:`video_salmonn.checkpoints.released.convert`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from video_salmonn.checkpoints.released import sizes as sizes
from video_salmonn.checkpoints.released.given import ReleasedFiles, check_files
from video_salmonn.checkpoints.released.sources import Ref, TensorFile, all_refs, folder_files, read_json
from video_salmonn.connector import ConnectorConfig
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.presets import LORA_QKVO, RELEASED_GENERATION, RELEASED_MEDIA

SETTINGS = ("connector", "vision", "instruction_qformer", "lora", "media", "generation", "prompt")
STEPS_PER_SECOND = 50
"""Whisper's output steps."""

HF_VISION = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "layer_norm_eps",
)
HF_QFORMER = (
    "num_query_tokens",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "cross_attention_frequency",
    "encoder_hidden_size",
)

Refs = dict[str, Ref]


@dataclass(frozen=True)
class ReleasedTensors:
    """The headers of all official files, and their entries that are not tensors.

    Attributes:
        delta, beats, whisper, llm: tensors by official name; no delta where connector and adapter are new.
        instructblip, eva: of the two files, or empty.
        instructblip_hf: of the folder, or empty.
        beats_cfg: BEATs' own configuration.
        whisper_config, instructblip_config: the folders' ``config.json``.
        text_config: the language model's configuration.
        where: source -> file or folder, for errors.
        files: all weight files.
    """

    delta: Refs
    beats: Refs
    whisper: Refs
    llm: Refs
    instructblip: Refs
    eva: Refs
    instructblip_hf: Refs
    beats_cfg: Any
    whisper_config: dict[str, Any]
    instructblip_config: dict[str, Any]
    text_config: Any
    where: dict[str, str]
    files: list[TensorFile] = field(default_factory=list)


def read_headers(files: ReleasedFiles) -> ReleasedTensors:
    """Open all files and read their headers.

    Raises:
        ConfigError: neither or both sources of the visual tower are given.
        CheckpointError: a file is missing or damaged, or is of another model.
    """
    check_files(files)
    delta = [TensorFile(files.delta)] if files.delta is not None else []
    beats = TensorFile(files.beats)
    if delta:
        refuse_other_models(delta[0].refs, str(files.delta))
    whisper, llm = folder_files(files.whisper), folder_files(files.llm)
    official = [TensorFile(path) for path in (files.instructblip, files.eva) if path is not None]
    folder = folder_files(files.instructblip_hf) if files.instructblip_hf else []
    where = {name: str(path) for name, path in vars(files).items() if path is not None}
    return ReleasedTensors(
        delta=dict(delta[0].refs) if delta else {},
        beats=dict(beats.refs),
        whisper=all_refs(whisper),
        llm=all_refs(llm),
        instructblip=dict(official[0].refs) if official else {},
        eva=dict(official[1].refs) if official else {},
        instructblip_hf=all_refs(folder),
        beats_cfg=beats.extras.get("cfg"),
        whisper_config=read_json(files.whisper / "config.json"),
        instructblip_config=read_json(files.instructblip_hf / "config.json") if files.instructblip_hf else {},
        text_config=_text_config(files.llm),
        where=where,
        files=[*delta, *official, *folder, beats, *whisper, *llm],
    )


def _text_config(folder: Path) -> Any:
    values = read_json(folder / "config.json")
    try:
        config = AutoConfig.for_model(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{folder / 'config.json'}: describes no language model ({error})") from error
    if not hasattr(config, "hidden_size") or not hasattr(config, "num_hidden_layers"):
        raise CheckpointError(f"{folder / 'config.json'}: describes no language model", remedy="give Vicuna's folder")
    config.name_or_path = ""
    return config


def refuse_other_models(delta: Mapping[str, Ref], where: str) -> None:
    """Recognise what people mistake for the delta checkpoint. Raises CheckpointError with an explanation."""
    tops = {name.split(".")[0] for name in delta}
    if "video_Qformer" in tops:
        return
    if tops & {"speech_Qformer", "speech_query_tokens", "speech_llama_proj", "ln_audio", "second_per_window"}:
        raise CheckpointError(
            f"{where}: is a checkpoint of SALMONN, which hears but does not see (it has {sorted(tops)[:4]} and no "
            "video_Qformer): its window Q-Former and its projection are other networks than video-SALMONN's",
            remedy="give video-SALMONN's delta checkpoint (pytorch_model_4_5001.pt of tsinghua-ee/Video-SALMONN)",
        )
    if any(name.startswith(("model.layers.", "model.embed_tokens.")) for name in delta):
        raise CheckpointError(
            f"{where}: is a language model", remedy="give it as --llm, the delta checkpoint as --delta"
        )
    raise CheckpointError(
        f"{where}: is no video-SALMONN delta checkpoint: there is no video_Qformer among {sorted(tops)[:6]}",
        remedy="give pytorch_model_4_5001.pt of tsinghua-ee/Video-SALMONN",
    )


def released_config(found: ReleasedTensors, settings: Mapping[str, Any] | None = None) -> VideoSalmonnConfig:
    """The model's configuration, from the files' sizes and the release's behaviour.

    Args:
        found: the headers.
        settings: what the files do not contain or what differs from the release: any of ``connector``, ``vision``,
            ``instruction_qformer``, ``lora``, ``media``, ``generation`` (objects), and ``prompt``.

    Raises:
        ConfigError: an unknown setting. CheckpointError: a size cannot be determined.
    """
    given = dict(settings or {})
    unknown = sorted(set(given) - set(SETTINGS))
    if unknown:
        raise ConfigError(f"settings: unknown keys {unknown}", remedy=f"known keys: {', '.join(SETTINGS)}")
    own = {name: dict(given.get(name, {})) for name in SETTINGS if name != "prompt"}
    vision, qformer = _sight_sizes(found, own)
    speech = sizes.whisper_sizes(found.whisper_config, str(Path(found.where["whisper"]) / "config.json"))
    audio = sizes.beats_sizes(found.beats_cfg, found.where["beats"])
    settled = _as_released if "delta" in found.where else _to_be_trained
    values = settled(found, own, qformer, _widths(found, speech, audio))
    media = {
        "image_size": vision.get("image_size", 224),
        "mel_bins": speech["num_mel_bins"],
        "segment_seconds": speech["max_source_positions"] / STEPS_PER_SECOND,
    }
    return VideoSalmonnConfig(
        text_config=found.text_config,
        vision_config=vision,
        qformer_config=qformer,
        speech_config=speech,
        audio_config=audio,
        media_config=values.pop("media") | media | own["media"],
        prompt=given.get("prompt", "vicuna"),
        diversity_form="released",
        **values,
    )


def _sight_sizes(found: ReleasedTensors, own: Mapping[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes of EVA-ViT and of InstructBLIP's Q-Former, from the official files or from transformers' folder."""
    if not found.instructblip_hf:
        vision = sizes.vision_sizes(found.eva, found.where["eva"], own["vision"])
        return vision, sizes.instruction_sizes(
            found.instructblip, found.where["instructblip"], vision["hidden_size"], own["instruction_qformer"]
        )
    values = found.instructblip_config
    vision = {"kind": "eva", **values.get("vision_config", {})}
    qformer = {"num_query_tokens": values.get("num_query_tokens", 32), **values.get("qformer_config", {})}
    vision = {key: vision[key] for key in ("kind", *HF_VISION) if key in vision} | own["vision"]
    return vision, {key: qformer[key] for key in HF_QFORMER if key in qformer} | own["instruction_qformer"]


def _widths(found: ReleasedTensors, speech: Mapping[str, Any], audio: Mapping[str, Any]) -> dict[str, int]:
    """Widths of what lies at the connector's ends."""
    return {
        "speech_dim": speech["d_model"],
        "audio_dim": audio.get("encoder_embed_dim", 768),
        "llm_dim": found.text_config.hidden_size,
    }


def _as_released(
    found: ReleasedTensors, own: Mapping[str, dict[str, Any]], qformer: Mapping[str, Any], widths: Mapping[str, int]
) -> dict[str, Any]:
    """What follows from the delta checkpoint, and everything else as the released code does it."""
    delta, where = found.delta, found.where["delta"]
    return {
        "connector_config": sizes.connector_sizes(delta, where, **widths, settings=own["connector"]),
        "media": RELEASED_MEDIA,
        "lora": sizes.lora_sizes(delta, where, own["lora"]),
        "diversity_weight": 0.01,
        "generation": RELEASED_GENERATION | own["generation"],
    }


def _to_be_trained(
    found: ReleasedTensors, own: Mapping[str, dict[str, Any]], qformer: Mapping[str, Any], widths: Mapping[str, int]
) -> dict[str, Any]:
    """A new connector and adapter, the paper's choices, as in the preset ``paper-7b``."""
    width = qformer.get("hidden_size", 768)
    fresh = {"hidden_size": width, "visual_dim": width, "visual_tokens": qformer["num_query_tokens"]}
    return {
        "connector_config": ConnectorConfig(**{**fresh, **widths, **own["connector"]}),
        "media": {},
        "lora": LORA_QKVO | own["lora"],
        "diversity_weight": 0.1,
        "generation": own["generation"],
    }
