"""Whole models by name: ``tiny`` (random), ``embedded`` (the directory that ``setup`` wrote), or any directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.utils import PROCESSOR_NAME

from video_salmonn.checkpoints.compact import expand
from video_salmonn.checkpoints.directory import CONFIG, check_directory
from video_salmonn.checkpoints.hub import hub_folder, is_hub_name
from video_salmonn.checkpoints.shipped import ASSETS, CONNECTOR_FILE, LORA_FILE, SETUP, WORDS_FILE, shipped_model
from video_salmonn.checkpoints.weights import load_weights
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.model.byte_tokenizer import byte_tokenizer
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.media_token import add_media_token
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import PRESETS, apply_profile, tiny
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.model.words import WordOutputs

Loaded = tuple[VideoSalmonnForConditionalGeneration, VideoSalmonnProcessor]
_AGAIN = "copy or export the model again"
_FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_WIDENED = ("connector.", "tower.speech.", "tower.instruction_qformer.")


def with_connector(config: VideoSalmonnConfig, connector: Mapping[str, Any]) -> VideoSalmonnConfig:
    """A configuration with changes to the connector; the encoders of branches that it then lacks go, too."""
    values = config.to_dict()
    values["connector_config"] |= connector
    for part, width in (("vision", "visual_dim"), ("speech", "speech_dim"), ("audio", "audio_dim")):
        if values["connector_config"].get(width) is None:
            values[f"{part}_config"] = None
    return VideoSalmonnConfig.from_dict(values)


def build_tiny(
    seed: int = 0, config: VideoSalmonnConfig | None = None, connector: Mapping[str, Any] | None = None
) -> Loaded:
    """A random model of the ``tiny`` preset, the same for the same seed, with a byte tokenizer.

    Args:
        seed: of its weights.
        config: in place of the preset's.
        connector: changes to the connector's configuration.
    """
    config, tokenizer = config or tiny(), byte_tokenizer()
    if connector:
        config = with_connector(config, connector)
    config.media_token_id = add_media_token(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VideoSalmonnForConditionalGeneration(config).eval()
        for parameter in (p for n, p in model.named_parameters() if n.startswith("tower.vision") and p.ndim > 1):
            torch.nn.init.normal_(parameter, std=0.05)  # the library's own 1e-10 would make every frame alike
        # BERT's 0.02 is for widths of hundreds: at 32 it shrinks the differences between clips to a ten-thousandth
        for name, module in model.named_modules():
            if name.startswith(_WIDENED) and isinstance(module, (torch.nn.Linear, torch.nn.Conv1d)):
                torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    return model, VideoSalmonnProcessor.from_config(config, tokenizer)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file. Raises CheckpointError where it cannot be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not readable as safetensors ({error})", remedy="copy the file again") from error


def trained_state(folder: Path) -> dict[str, torch.Tensor]:
    """Connector, adapter and word outputs of a training run or of the shipped files, under the model's names; empty if
    not there."""
    state: dict[str, torch.Tensor] = {}
    if (folder / CONNECTOR_FILE).is_file():
        state |= {f"connector.{name}": t for name, t in expand(read_tensors(folder / CONNECTOR_FILE)).items()}
    if (folder / LORA_FILE).is_file():
        for name, tensor in expand(read_tensors(folder / LORA_FILE)).items():
            place = name.removeprefix("base_model.model.")
            for half in ("lora_A", "lora_B"):
                place = place.replace(f".{half}.weight", f".{half}.default.weight")
            state[f"language_model.{place}"] = tensor
    if (folder / WORDS_FILE).is_file():
        state |= {f"words.{name}": tensor.long() for name, tensor in read_tensors(folder / WORDS_FILE).items()}
    return state


def words_tensors(words: WordOutputs) -> dict[str, torch.Tensor]:
    """What :data:`WORDS_FILE` holds."""
    return {name: tensor.detach().to("cpu", torch.int32).contiguous() for name, tensor in words.state_dict().items()}


def _profiled(config: VideoSalmonnConfig, profile: str | None) -> VideoSalmonnConfig:
    return config if profile is None else apply_profile(config, profile)


def load_directory(
    folder: Path, dtype: torch.dtype | None = None, profile: str | None = None, *, ours: bool = False
) -> Loaded:
    """A saved model.

    Args:
        folder: that holds it.
        dtype: of all weights; None for the stored one.
        profile: as for :func:`load_model`.
        ours: ``setup`` made it of files with known checksums, so its numbers need not be looked at.

    Raises:
        CheckpointError: the folder holds none, tensors are missing, have no place or hold NaN or infinity.
        ConfigError: an unknown profile, or settings that cannot be; names their file.
    """
    check_directory(folder)
    try:
        with _of_file(folder / CONFIG):
            config = VideoSalmonnConfig.from_pretrained(folder, local_files_only=True)
        config = _profiled(config, profile)
        model, report = load_weights(folder, config, dtype)
        with _of_file(folder / PROCESSOR_NAME):
            processor = VideoSalmonnProcessor.from_pretrained(folder, local_files_only=True)
        if profile is not None:
            model.generation_config.update(**config.generation.to_dict())  # the folder's own came back with the weights
            processor = VideoSalmonnProcessor.from_config(config, processor.tokenizer, processor.qformer_tokenizer)
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: cannot be loaded ({error})", remedy="copy or export the model again"
        ) from error
    missing = list(report["missing_keys"])
    if missing or report["unexpected_keys"]:
        raise CheckpointError(
            f"{folder}: tensors missing {sorted(missing)[:3]}, without a place {sorted(report['unexpected_keys'])[:3]}",
            remedy="export the model again; every tensor must be loaded",
        )
    if not ours:
        _check_numbers(folder, model)
    return model.eval(), processor


@contextmanager
def _of_file(file: Path) -> Iterator[None]:
    """Name the file in errors of the settings that are read from it."""
    try:
        yield
    except ConfigError as error:
        what = str(error) if file.is_file() else "is missing"
        raise ConfigError(f"{file}: {what}", remedy=error.remedy if file.is_file() else _AGAIN) from error


def _check_numbers(folder: Path, model: torch.nn.Module) -> None:
    """Raise CheckpointError where weights are NaN or infinite: such a model answers nothing, without a word."""
    for name, weight in model.named_parameters():
        if weight.dtype not in _FLOATS or weight.is_meta or not weight.numel():
            continue
        if not all(torch.isfinite(end) for end in torch.aminmax(weight.detach())):
            raise CheckpointError(f"{folder}: {name} holds NaN or infinite numbers", remedy=_AGAIN)


def notices(name: str | Path) -> list[str]:
    """What a user of a named model must know before trusting an answer; goes into every report."""
    if name == "tiny":
        return ["the tiny model has random weights: its answers mean nothing"]
    if name == "embedded":
        return [f"the embedded model is small and briefly trained: expect wrong words and names (see {model_card()})"]
    return []


def model_card() -> str:
    """The file that describes the embedded model's weights, from the working directory where it lies below that."""
    card = ASSETS / "MODEL_CARD.md"
    here = Path.cwd()
    return str(card.relative_to(here) if card.is_relative_to(here) else card)


def load_model(name: str | Path, dtype: torch.dtype | None = None, profile: str | None = None) -> Loaded:
    """A model by preset name (``tiny``, ``embedded``), directory or name on a hub, on the CPU, in evaluation mode.

    Args:
        name: of the model.
        dtype: of all weights; None for the stored one.
        profile: ``released``: the same weights with everything the released code does.

    Raises:
        CheckpointError: no such model, or it is damaged.
        MissingPartError: ``embedded`` is asked for and not set up; the remedy is ``video-salmonn setup``.
        ConfigError: an unknown profile, or what is no name.
    """
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        raise ConfigError(f"{name!r} is not a model's name", remedy="give 'embedded', 'tiny' or a folder")
    if name == "tiny":
        model, processor = build_tiny(config=_profiled(tiny(), profile))
        return model.to(dtype or torch.float32), processor
    if name == "embedded":
        folder = shipped_model()
        try:
            return load_directory(folder, dtype, profile, ours=True)
        except CheckpointError as error:
            raise CheckpointError(str(error), remedy=f"delete {folder}, then: {SETUP}") from error
    if name in PRESETS:
        raise CheckpointError(
            f"preset {name!r} has no weights to load",
            remedy="convert the official files (video-salmonn convert) and give the directory",
        )
    return load_directory(hub_folder(str(name)) if is_hub_name(name) else Path(name), dtype, profile)
