"""What the encoders' own heads say of a picture or sound, kept beside the further media, and joined to the sources."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from video_salmonn.embedded.data.asking.labels import group_of
from video_salmonn.embedded.data.sources import Source, lines_of
from video_salmonn.embedded.data.wordings import SOUND_PHRASES
from video_salmonn.files import write_text

NAMES = "names.jsonl"
KEPT_EVERY = 500
"""Names after which those found so far are written."""
COLOURED = ("clothes", "produce")
"""Groups of photographs whose middle is the thing itself, so that its colour is the thing's."""
_CLASSES = {phrase: label for label, phrase in SOUND_PHRASES.items()}


@dataclass(frozen=True)
class Names:
    """Of one source.

    Attributes:
        id: of the source.
        sure: names that are there, the surest first.
        absent: names that are not there.
        colour: of the thing in the middle of a picture, where it is one; or "".
    """

    id: str
    sure: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    colour: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Its line."""
        return {"id": self.id, "sure": list(self.sure), "absent": list(self.absent), "colour": self.colour}


def read_names(folder: Path) -> Iterator[Names]:
    """Of a further folder; nothing where it has none."""
    path = folder / NAMES
    if path.is_file():
        for row in lines_of(path):
            yield Names(row["id"], tuple(row["sure"]), tuple(row["absent"]), row["colour"])


def write_names(folder: Path, names: Iterable[Names]) -> int:
    """Write a folder's names, the first ones while others are still being found; returns how many sources have some.

    Names that the folder has from an earlier run are not written over until there are more of them.
    """
    known = sum(1 for _ in read_names(folder))
    rows: list[str] = []

    def write() -> None:
        write_text(folder / NAMES, "".join(row + "\n" for row in rows))

    for entry in names:
        rows.append(json.dumps(entry.to_dict(), ensure_ascii=False))
        if len(rows) > known and len(rows) % KEPT_EVERY == 0:
            write()
    write()
    return len(rows)


def with_names(sources: list[Source], names: Iterable[Names]) -> list[Source]:
    """Sources with their names in ``extra``. A training sound without a name of its own gets the teacher's surest one
    as its label, or is left out where there is none; test sounds keep their collection's label."""
    known = {entry.id: entry for entry in names}
    out: list[Source] = []
    for source in sources:
        found = known.get(source.id)
        if found is not None:
            extra = source.extra | {
                "names": found.sure,
                "absent": found.absent,
                "colour": source.extra.get("colour", ""),
            }
            if found.colour and source.kind == "photo" and group_of(source.label) in COLOURED:
                extra["colour"] = found.colour
            source = replace(source, extra=extra)
        if source.kind == "unnamed-sound" and source.split != "test":
            if found is None or not found.sure:
                continue
            source = replace(source, kind="sound", label=_CLASSES.get(found.sure[0], found.sure[0]))
        out.append(source)
    return out
