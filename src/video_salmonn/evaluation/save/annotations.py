"""Annotation files, read strictly: every complaint names the file and the item."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from video_salmonn.errors import EvaluationError
from video_salmonn.files import json_file, numbered_lines
from video_salmonn.wording import counted

_VIDEO = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".mpg"})
_IMAGE = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"})
_SOUND = frozenset({".wav", ".flac", ".mp3", ".opus", ".ogg", ".m4a"})
MEDIA_SUFFIXES = _VIDEO | _IMAGE | _SOUND


@dataclass(frozen=True, slots=True)
class Record:
    """One object of an annotation list, which knows where it came from."""

    file: Path
    index: int
    fields: dict[str, Any]

    def fail(self, what: str, remedy: str = "") -> NoReturn:
        """Raise an error that names the file and the item."""
        remedy = remedy or "is this the file as published? compare its size with the release"
        raise EvaluationError(f"{self.file}: item {self.index} (counted from 0): {what}", remedy=remedy)

    def text(self, name: str) -> str:
        """A field that must be a non-empty text."""
        value = self._field(name)
        if not isinstance(value, str) or not value.strip():
            self.fail(f"field {name!r} must be a non-empty text, not {value!r}")
        return value

    def texts(self, name: str, *, count: int | None = None) -> tuple[str, ...]:
        """A field that must be a list of texts, at least one of which says something; ``count`` long if given."""
        value = self._field(name)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            self.fail(f"field {name!r} must be a list of texts, not {value!r}")
        if not any(entry.strip() for entry in value):
            self.fail(f"field {name!r} holds no text")
        if count is not None and len(value) != count:
            self.fail(f"field {name!r} must have {counted(count, 'entry')} and has {len(value)}")
        return tuple(value)

    def span(self, name: str) -> tuple[float, float]:
        """A field that must be [start, end] in seconds with 0 <= start < end."""
        value = self._field(name)
        good = isinstance(value, list) and len(value) == 2 and all(isinstance(x, int | float) for x in value)
        if not good or not all(math.isfinite(x) for x in value) or not 0 <= value[0] < value[1]:
            self.fail(f"field {name!r} must be [start, end] in seconds, not {value!r}")
        return float(value[0]), float(value[1])

    def media(self) -> dict[str, str]:
        """The media of ``image`` or ``image_name`` (the release uses both): one name, or a [picture, sound] pair.

        Returns:
            name by kind: ``video``, ``image``, ``sound``.
        """
        field = "image_name" if "image_name" in self.fields else "image"
        value = self._field(field)
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not 1 <= len(names) <= 2 or not all(isinstance(n, str) for n in names):
            self.fail(f"field {field!r} must be a file name or a pair of them, not {value!r}")
        found: dict[str, str] = {}
        for name in names:
            kind = media_kind(name)
            if kind is None or kind in found or not safe_name(name):
                self.fail(f"field {field!r}: {name!r} is not a usable name of a media file")
            found[kind] = name
        if {"video", "image"} <= found.keys():
            self.fail(f"field {field!r} names both a video and a picture: {value!r}")
        return found

    def _field(self, name: str) -> Any:
        if name not in self.fields:
            self.fail(f"field {name!r} is missing; the item has {', '.join(sorted(self.fields)) or 'no fields'}")
        return self.fields[name]


def media_kind(name: str) -> str | None:
    """``video``, ``image`` or ``sound`` by the file name's suffix, else None."""
    suffix = Path(name).suffix.lower()
    kinds = (("video", _VIDEO), ("image", _IMAGE), ("sound", _SOUND))
    return next((kind for kind, suffixes in kinds if suffix in suffixes), None)


def safe_name(name: str) -> bool:
    """Whether a name from an annotation file stays inside the data folder."""
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def read_records(file: Path) -> Iterator[Record]:
    """The objects of a JSON list.

    Raises:
        EvaluationError: if the file cannot be read, is not JSON, not a list, empty, or does not contain objects.
    """
    loaded = json_file(file, EvaluationError, remedy="fetch the file again", absent="fetch the file again")
    if not isinstance(loaded, list) or not loaded:
        raise EvaluationError(f"{file}: must be a non-empty JSON list, not {type(loaded).__name__}")
    for index, fields in enumerate(loaded):
        if not isinstance(fields, dict):
            raise EvaluationError(f"{file}: item {index} (counted from 0) is not a JSON object: {fields!r}")
        yield Record(file, index, fields)


def read_lines(file: Path) -> list[str]:
    """The lines of a UTF-8 text file, without their ends and blank ones empty; errors name the file."""
    lines: list[str] = []
    for number, line in numbered_lines(file, EvaluationError):
        lines += [""] * (number - 1 - len(lines)) + [line]
    return lines
