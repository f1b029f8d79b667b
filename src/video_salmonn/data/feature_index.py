"""What a feature store knows about itself: its format, which encoders made it, and which entry each medium has.

Everything is in ``index.json`` beside the shards::

    {"format": 1, "made_by": {"speech": "…"}, "keys": {"clip.mp4": "…"}, "failed": {"sound clip.mp4": {…}}}

``made_by`` holds a fingerprint for each stream. ``keys`` maps what a manifest calls a medium to the key of its entry.
A training run can therefore use the features without the media. ``failed`` says what could not be encoded, and why.

Stores of two earlier layouts exist. The embedded data set had ``keys.json``, a list of keys alone: it is still read,
and the next ``data encode-embedded`` into the folder replaces it. A pack had ``packed.json``: it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from video_salmonn.data.media_recipes import MediaRecipe
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.files import json_value, write_json

FORMAT = 1
"""Of the layout: raise it when a store of the old layout could be misread."""
INDEX = "index.json"
EARLIER_KEYS, EARLIER_PACK = "keys.json", "packed.json"


@dataclass(frozen=True)
class Failure:
    """Why a medium has no features.

    Attributes:
        reason: for people.
        absent: the file has no such stream.
    """

    reason: str
    absent: bool = False


@dataclass
class FeatureIndex:
    """The contents of ``index.json``.

    Attributes:
        made_by: fingerprint of the encoder and of its preparation, by stream; empty where nobody wrote it down.
        keys: of entries, by :func:`recipe_name`.
        failed: what could not be encoded, by its kind and name (:func:`failure_name`).
    """

    made_by: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)

    def check(self, folder: Path, expected: Mapping[str, str]) -> None:
        """Refuse features of other encoders.

        Args:
            folder: for the message.
            expected: fingerprints by stream; those of streams that were never stored do not matter.

        Raises:
            ConfigError: a stream was made by another encoder, or prepared otherwise.
        """
        unlike = sorted(stream for stream, mark in expected.items() if self.made_by.get(stream, mark) != mark)
        if self.made_by and not unlike and expected and not self.made_by.keys() & expected.keys():
            unlike = sorted(expected)
        if unlike:
            raise ConfigError(
                f"{folder}: its {' and '.join(unlike)} features were made by other encoders than this model's, "
                "or with other media settings",
                remedy="encode the media again into another folder, with the model that is used",
            )


def recipe_name(recipe: MediaRecipe) -> str:
    """How the index names a media recipe: a path as it is, anything else as JSON."""
    return recipe if isinstance(recipe, str) else json.dumps(recipe, sort_keys=True, ensure_ascii=False)


def failure_name(kind: str, recipe: MediaRecipe) -> str:
    """How the index names what could not be encoded; ``kind`` is ``sight`` or ``sound``."""
    return f"{kind} {recipe_name(recipe)}"


def read_index(folder: Path) -> FeatureIndex:
    """The index of a store; an empty one where there is none.

    Raises:
        CheckpointError: it is damaged, or of a newer version of this package.
        ConfigError: the folder is a pack of an earlier version.
    """
    index, path = FeatureIndex(), folder / INDEX
    if path.is_file():
        values = _read(path)
        if values.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: format {values.get('format')} of a feature store is unknown; this version reads {FORMAT}",
                remedy="use the version of video-salmonn that wrote it, or encode again into another folder",
            )
        try:
            failed = {name: Failure(**value) for name, value in values["failed"].items()}
            index = FeatureIndex(dict(values["made_by"]), dict(values["keys"]), failed)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise _damaged(path, error) from error
    elif (folder / EARLIER_PACK).is_file():
        raise ConfigError(
            f"{folder}: a pack of an earlier version of this package ({EARLIER_PACK}), which cannot be read any more",
            remedy="video-salmonn data pack RECIPE --out FOLDER, into another folder",
        )
    if (folder / EARLIER_KEYS).is_file():
        index.keys = _read(folder / EARLIER_KEYS) | index.keys
    return index


def add_to_index(folder: Path, index: FeatureIndex) -> None:
    """Add to a store's index, whole or not at all; several processes may do so at once.

    Raises:
        ConfigError: what is there was made by other encoders.
        CheckpointError: as :func:`read_index`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{INDEX}.lock"):
        known = read_index(folder)
        known.check(folder, index.made_by)
        joined = FeatureIndex(known.made_by | index.made_by, known.keys | index.keys, known.failed | index.failed)
        if joined != known or not (folder / INDEX).is_file():
            write_json(folder / INDEX, {"format": FORMAT, **asdict(joined)}, indent=0)
        (folder / EARLIER_KEYS).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json_value(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(value, dict):
        raise _damaged(path, "not an object")
    return value


def _damaged(path: Path, reason: object) -> CheckpointError:
    return CheckpointError(f"{path}: damaged ({reason})", remedy="delete this file and encode again")
