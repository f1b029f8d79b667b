"""A saved model's directory, judged from the first bytes of its files: nothing here imports PyTorch.

What is missing, cut off or of another model is named before anything is loaded, in a fraction of a second.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from video_salmonn.errors import CheckpointError, MissingPartError
from video_salmonn.files import json_object, json_value
from video_salmonn.wording import counted

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
DECODER, DECODER_WEIGHTS = "speech_decoder", "decoder.safetensors"
"""Folder of the decoder that belongs to a model's speech encoder, and its file."""
MODEL_TYPE = "video_salmonn"
"""``model_type`` of the directories that this package saves."""
_AGAIN = "copy or export the model again"
_MOST_HEADER = 100_000_000
"""Longest header that the safetensors format allows, in bytes."""


def check_directory(folder: Path) -> None:
    """Raise unless a directory holds a model of this package with whole weights.

    Raises:
        CheckpointError: naming the file that is missing, damaged, cut off or of another model.
    """
    read_settings(folder)
    if any(folder.glob("*.bin")) and not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
        return  # transformers reads it and says what is wrong with it
    owners: dict[str, Path] = {}
    for file in weight_files(folder):
        for name in check_tensors(file, _AGAIN):
            if name in owners:  # which of the two is loaded would depend on the order of the files
                raise CheckpointError(f"{file}: holds {name}, which {owners[name].name} holds too", remedy=_AGAIN)
            owners[name] = file


def read_settings(folder: Path) -> dict[str, Any]:
    """A model directory's ``config.json``.

    Raises:
        CheckpointError: it is missing or damaged, or describes another kind of model.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise CheckpointError(f"{folder}: no model here ({CONFIG} is missing)", remedy="give a model directory")
    values = json_object(file, CheckpointError, remedy=_AGAIN)
    kind = values.get("model_type")
    if kind != MODEL_TYPE:
        raise CheckpointError(f"{file}: describes a {kind!r} model", remedy="give a video-salmonn model directory")
    return values


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model directory: one, or those that its index names.

    Raises:
        CheckpointError: there are none, the index is damaged, or a file that it names is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        raise CheckpointError(f"{folder}: no weights here ({WEIGHTS} is missing)", remedy=_AGAIN)
    places = json_object(index, CheckpointError, remedy=_AGAIN).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index}: names no files of weights", remedy=_AGAIN)
    files = [folder / name for name in sorted(set(places.values()))]
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file}: is missing ({INDEX} names it)", remedy=_AGAIN)
    return files


def check_tensors(file: Path, remedy: str = "copy the file again") -> list[str]:
    """Names of a safetensors file's tensors, where it is as long as its header says.

    Raises:
        CheckpointError: it cannot be read, is no such file, or is cut off.
    """
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size, _MOST_HEADER) - 8:
                raise CheckpointError(f"{file}: is cut off or not a safetensors file", remedy=remedy)
            header = json_value(stream.read(length))
        header.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in header.values()]
        whole = 8 + length + max(ends, default=0)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})", remedy=remedy) from error
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise CheckpointError(f"{file}: is not a safetensors file", remedy=remedy) from error
    if size < whole:
        raise CheckpointError(f"{file}: is cut off ({size} of {counted(whole, 'byte')})", remedy=remedy)
    return list(header)


def has_decoder(folder: Path) -> bool:
    """Whether a model directory holds the decoder of its speech encoder."""
    return (folder / DECODER / DECODER_WEIGHTS).is_file()


def check_decoder(folder: Path) -> None:
    """Raise MissingPartError unless a model directory holds the decoder of its speech encoder."""
    if not has_decoder(folder):
        raise MissingPartError(
            f"{folder}: this model comes without the decoder of its speech encoder (no {DECODER} in its directory)",
            remedy="use decoder model, or give the folder of the Whisper that its encoder was taken from (--whisper)",
        )
