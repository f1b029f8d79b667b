"""The decoder that belongs to a model's own speech encoder, as an optional folder beside the model's weights.

A model hears through Whisper's encoder. Where Whisper's decoder lies in the model directory, too (``speech_decoder``),
the two are put together again: the encoder's weights are in memory once. ``video-salmonn setup`` writes the folder for
the embedded model; any other model is given a folder with the whole Whisper that its encoder was taken from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from video_salmonn.checkpoints.assemble import read_tensors
from video_salmonn.checkpoints.directory import DECODER, DECODER_WEIGHTS, check_decoder, has_decoder
from video_salmonn.checkpoints.shipped import SETUP, shipped_place
from video_salmonn.errors import CheckpointError, ConfigError, MissingPartError
from video_salmonn.files import write_folder, write_tensors

_ENCODER = "model.encoder."
_TIED = "proj_out.weight"


def write_decoder(model_folder: Path, whisper: Any, tokenizer: Any, alignment_heads: list[list[int]] | None) -> None:
    """Write a Whisper's decoder beside a model, whole or not at all: weights in 16 bits where nothing is lost by it.

    Args:
        model_folder: of the model whose speech encoder is this Whisper's.
        whisper: ``WhisperForConditionalGeneration``.
        tokenizer: that belongs to it.
        alignment_heads: (layer, head) pairs whose cross-attention follows the sound, for times of words.

    Raises:
        OSError: it cannot be written.
    """
    state = {name: t for name, t in whisper.state_dict().items() if not name.startswith(_ENCODER) and name != _TIED}
    exact = all(torch.equal(tensor.half().to(tensor), tensor) for tensor in state.values())
    settings = GenerationConfig.from_dict(whisper.generation_config.to_dict())
    if alignment_heads:
        settings.alignment_heads = alignment_heads

    def write(work: Path) -> None:
        whisper.config.save_pretrained(work)
        settings.save_pretrained(work)
        tokenizer.save_pretrained(work)
        write_tensors(work / DECODER_WEIGHTS, {name: t.half() if exact else t for name, t in state.items()})

    write_folder(model_folder / DECODER, write)


def load_decoder(model_name: str | Path, encoder: torch.nn.Module, whisper: Path | None = None) -> tuple[Any, Any]:
    """A whole Whisper around a model's own speech encoder: ``(WhisperForConditionalGeneration, tokenizer)``.

    Args:
        model_name: the name or folder that the model was loaded by.
        encoder: the model's speech encoder (transformers' ``WhisperEncoder``), whose weights are used as they are.
        whisper: a folder with the whole Whisper that the encoder was taken from, in the Hugging Face form.

    Raises:
        MissingPartError: the model directory holds no decoder.
        ConfigError: the Whisper given has another encoder.
        CheckpointError: the decoder's files are damaged.
    """
    if whisper is not None:
        return _from_whole(whisper, encoder)
    folder = shipped_place() if model_name == "embedded" else Path(model_name)
    if model_name == "embedded" and not has_decoder(folder):
        raise MissingPartError(f"{model_name}: the decoder of its speech encoder is not set up", remedy=SETUP)
    check_decoder(folder)
    folder = folder / DECODER
    try:
        config = WhisperConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):  # eager: times of words are read off the attention weights
            model = WhisperForConditionalGeneration._from_config(config, attn_implementation="eager")
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        like = next(encoder.parameters())
        state = {name: tensor.to(like) for name, tensor in read_tensors(folder / DECODER_WEIGHTS).items()}
        model.model.encoder = encoder
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: cannot be loaded ({error})", remedy=f"delete it, then: {SETUP}") from error
    lost = [name for name in missing if not name.startswith(_ENCODER) and name != _TIED]
    if lost or unexpected:
        raise CheckpointError(
            f"{folder}: tensors missing {lost[:3]}, without a place {unexpected[:3]}",
            remedy=f"delete it, then: {SETUP}",
        )
    model.tie_weights()
    return model.eval().requires_grad_(False), tokenizer


def load_whole(folder: Path, **options: Any) -> tuple[Any, Any]:
    """``(WhisperForConditionalGeneration, tokenizer)`` of a Hugging Face model folder, in float32.

    Args:
        folder: that holds it.
        **options: of ``from_pretrained``.

    Raises:
        MissingPartError: the folder holds no Whisper.
    """
    try:
        model = WhisperForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, **options
        )
        return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise MissingPartError(
            f"{folder}: no Whisper can be loaded from it: {error}",
            remedy="give a folder with a whole Whisper in the Hugging Face form (openai/whisper-large-v2 …)",
        ) from error


def _from_whole(folder: Path, encoder: torch.nn.Module) -> tuple[Any, Any]:
    model, tokenizer = load_whole(folder, attn_implementation="eager")
    own, other = encoder.state_dict(), model.get_encoder().state_dict()
    same = own.keys() == other.keys() and all(own[name].shape == other[name].shape for name in own)
    if not same or not all(torch.equal(other[name].to(own[name]), own[name]) for name in own):
        raise ConfigError(
            f"{folder}: its encoder is not the speech encoder of this model, so its decoder is not this model's",
            remedy="give the Whisper that the model's speech encoder was taken from",
        )
    model.model.encoder = encoder
    return model.to(next(encoder.parameters())).eval().requires_grad_(False), tokenizer
