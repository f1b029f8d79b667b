"""The embedded model out of installed parts and shipped weights, written once as an ordinary model directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from video_salmonn.checkpoints.assemble import Loaded, read_tensors, trained_state
from video_salmonn.checkpoints.directory import has_decoder
from video_salmonn.checkpoints.shipped import ASSETS, CHAT_TEMPLATE, RECORD, shipped_place
from video_salmonn.checkpoints.speech_decoder import write_decoder
from video_salmonn.embedded.parts import check
from video_salmonn.embedded.pretrained import PARTS, load_whisper, part_directory
from video_salmonn.errors import CheckpointError, MissingPartError
from video_salmonn.files import write_folder, write_json
from video_salmonn.model.adapters import rank_of
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.media_token import add_media_token
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import embedded
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.wording import counted


def embedded_state(config: VideoSalmonnConfig, home: Path | None = None) -> dict[str, torch.Tensor]:
    """The pretrained parts under this package's names: everything but connector and adapter.

    Raises:
        MissingPartError: a part is not installed; the remedy is ``video-salmonn setup``.
    """
    state: dict[str, torch.Tensor] = {}
    targets = tuple(f".{target}.weight" for target in (config.lora.targets if config.lora else ()))
    for name, tensor in read_tensors(part_directory("smollm2-135m", home) / "model.safetensors").items():
        if targets and name.endswith(targets):
            name = name.removesuffix(".weight") + ".base_layer.weight"
        state[f"language_model.{name}"] = tensor
    prefix = "model.encoder."
    for name, tensor in read_tensors(part_directory("whisper-base", home) / "model.safetensors").items():
        if name.startswith(prefix):
            state[f"tower.speech.model.{name.removeprefix(prefix)}"] = tensor
    for part, place in (("yamnet", "tower.audio"), ("efficientnet-lite0", "tower.vision")):
        for name, tensor in read_tensors(part_directory(part, home) / "model.safetensors").items():
            state[f"{place}.{name}"] = tensor
    return state


def build_embedded(
    weights: Path | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    home: Path | None = None,
    seed: int = 0,
) -> Loaded:
    """The embedded model out of installed parts and trained weights.

    Args:
        weights: folder with ``connector.safetensors`` and ``lora.safetensors``; None for the shipped ones. Where they
            are missing the connector is random (seeded) and the adapter does nothing.
        dtype: of all weights.
        home: cache of converted parts.
        seed: of what is random.

    Raises:
        MissingPartError: a part is not installed.
        CheckpointError: a tensor is missing or has no place.
    """
    config = embedded()
    tokenizer = AutoTokenizer.from_pretrained(part_directory("smollm2-135m", home))
    tokenizer.chat_template = CHAT_TEMPLATE
    config.media_token_id = add_media_token(tokenizer)
    trained = trained_state(weights or ASSETS)
    if config.lora is not None and (rank := rank_of(trained)) > config.lora.r:
        config.lora = config.lora.with_rank(rank)  # training may have widened it
    config.words = len(trained.get("words.columns", ()))
    state = embedded_state(config, home) | trained
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, report = VideoSalmonnForConditionalGeneration.from_pretrained(
            None, config=config, state_dict=state, dtype=dtype, output_loading_info=True
        )
    _check_loaded(report, trained)
    return model.eval(), VideoSalmonnProcessor.from_config(config, tokenizer)


def _check_loaded(report: dict[str, Any], trained: dict[str, torch.Tensor]) -> None:
    """Nothing may stay random but what was never trained."""
    known = {name.split(".")[0] for name in trained}
    allowed = [] if "connector" in known else ["connector."]
    allowed += [] if any(".lora_" in name for name in trained) else [".lora_"]
    missing = [n for n in report["missing_keys"] if not any(part in n for part in allowed)]
    unexpected = list(report["unexpected_keys"])
    if missing or unexpected:
        raise CheckpointError(
            f"embedded model: {counted(len(missing), 'tensor')} missing {sorted(missing)[:3]}, "
            f"{len(unexpected)} without a place "
            f"{sorted(unexpected)[:3]}",
            remedy="the trained weights are of another version of this package: train or export them again",
        )


def _parts() -> dict[str, str]:
    return {name: part.key for name, part in PARTS.items()}


def _alignment_heads() -> list[list[int]] | None:
    """(layer, head) pairs that follow the sound, as the package with Whisper's weights states them; None without it."""
    settings = PARTS["whisper-base"].files[-1]
    try:
        heads = json.loads(check(settings).read_text(encoding="utf-8")).get("alignment_heads")
    except MissingPartError:  # removed once its weights were converted
        return None
    return heads or None


def _write_decoder(folder: Path, home: Path | None) -> None:
    whisper, tokenizer, _ = load_whisper(home=home)
    write_decoder(folder, whisper, tokenizer, _alignment_heads())


def written_model(home: Path | None = None, assets: Path = ASSETS) -> Path | None:
    """The embedded model's directory if it is there and made of the parts this version knows, else None."""
    folder = shipped_place(home, assets)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return folder if isinstance(record, dict) and record.get("parts") == _parts() else None


def write_model(home: Path | None = None, assets: Path = ASSETS) -> Path:
    """Write the embedded model's directory, whole or not at all; what is there and current stays.

    The decoder of its speech encoder lies in a folder of its own beside the weights
    (:mod:`video_salmonn.checkpoints.speech_decoder`), which is added where it is missing.

    Args:
        home: where parts and models are kept.
        assets: folder of the trained weights.

    Raises:
        MissingPartError: a part is not installed.
        CheckpointError: a tensor is missing or has no place, or the folder cannot be written.
    """
    ready = written_model(home, assets)
    if ready is not None:
        if not has_decoder(ready):
            try:
                _write_decoder(ready, home)
            except OSError as error:
                raise _unwritten(ready, error) from error
        return ready
    model, processor = build_embedded(assets, home=home)
    target = shipped_place(home, assets)

    def write(work: Path) -> None:
        model.save_pretrained(work)
        processor.save_pretrained(work)
        _write_decoder(work, home)
        write_json(work / RECORD, {"parts": _parts()})

    try:
        write_folder(target, write)
    except OSError as error:
        if written_model(home, assets) is None:  # else another process was first
            raise _unwritten(target, error) from error
    return target


def _unwritten(target: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{target}: cannot be written ({error})", remedy="free some space, or set VIDEO_SALMONN_HOME to another folder"
    )
