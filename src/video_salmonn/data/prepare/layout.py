"""What every preparer needs: files found by name, annotation files read with clear errors, items left out counted."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.errors import ManifestError
from video_salmonn.files import json_file

MEDIA = {".mp4", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"}
MEDIA |= {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif"}


@dataclass
class Layout:
    """A data set as its makers publish it, unpacked in a folder.

    Attributes:
        folder: holds annotations and media.
        split: for example ``train``.
        left_out: what could not become an item, by reason.
    """

    folder: Path
    split: str = "train"
    left_out: Counter[str] = field(default_factory=Counter)

    @cached_property
    def _places(self) -> dict[str, Path]:
        """Media files by stem and by name; the first in order of path where names repeat."""
        places: dict[str, Path] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() in MEDIA:
                for key in (path.name, path.stem):
                    places.setdefault(key, path)
        return places

    def media(self, *names: str) -> str | None:
        """Absolute path of the first of several possible names: a path in the folder, a file name or a stem.

        Returns:
            None where none is there; then it is counted as left out.
        """
        for name in names:
            direct = self.folder / name
            found = direct if direct.is_file() else self._places.get(Path(name).name)
            if found is not None:
                return str(found.resolve())
        self.left_out["its media file is not there"] += 1
        return None

    def find(self, *patterns: str) -> Path:
        """The annotation file that fits one of the patterns, anywhere in the folder.

        Raises:
            ManifestError: there is none; says what was looked for.
        """
        if not self.folder.is_dir():
            raise ManifestError(f"{self.folder}: no such folder", remedy="give the folder of the unpacked data set")
        for pattern in patterns:
            found = sorted(self.folder.rglob(pattern))
            if found:
                return found[0]
        raise ManifestError(
            f"{self.folder}: holds no {' or '.join(patterns)}",
            remedy="give the folder that the data set was unpacked into; --split chooses among its parts",
        )


def read_json(path: Path) -> Any:
    """A JSON file's value. Raises ManifestError naming the file."""
    return json_file(path, ManifestError, remedy="fetch the file again", absent="fetch the file again")


def read_table(path: Path, *columns: str) -> Iterator[dict[str, str]]:
    """Rows of a CSV file with a header. Raises ManifestError where one of ``columns`` is missing."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream)
            missing = [column for column in columns if column not in (rows.fieldnames or [])]
            if missing:
                raise ManifestError(f"{path}: lacks the columns {missing}; it has {rows.fieldnames}")
            yield from rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not readable as a table ({error})", remedy="fetch the file again") from error


def field_of(entry: Any, path: Path, number: int, *names: str) -> list[Any]:
    """Fields of an annotation. Raises ManifestError naming file and entry where one is missing."""
    if not isinstance(entry, dict) or not all(name in entry for name in names):
        raise ManifestError(
            f"{path}, entry {number}: needs {', '.join(names)}", remedy="is this the file as its makers published it?"
        )
    return [entry[name] for name in names]


def item(name: str, media: dict[str, Any], question: str, answer: str, task: str, source: str, split: str) -> Item:
    """An item of one question and one answer."""
    turns = [{"role": "user", "content": question.strip()}, {"role": "assistant", "content": answer.strip()}]
    return Item(name, media, turns, task, source=source, split=split)
