"""The further collections as sources of the builder, each with its split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from video_salmonn.embedded.data.further.collections import COLLECTIONS
from video_salmonn.embedded.data.sources import Source, bucket, grid_slots, lines_of, plain_words

TEST_ONLY = {collection.name for collection in COLLECTIONS if collection.test_only}
EFFECTS = {
    "alarm": "an alarm",
    "beep": "a beep",
    "cannon": "a cannon shot",
    "chime": "a chime",
    "click": "a click",
    "laugh": "somebody laughing",
    "punch": "a punch",
    "splash": "a splash",
    "whoosh": "a whoosh",
}
"""Names of the effects that people would call so; the others have the teacher's names only."""


def read_further(folder: Path, out: Path) -> Iterator[Source]:
    """All sources of a folder that :func:`~video_salmonn.embedded.data.further.prepare.prepare` wrote.

    Held out for good: the collections that are for tests only; one child in sixteen; one recording in two of every
    class of ESC-50, and all of classes with one; one photograph in eight; the same sentences of GRID as everywhere.

    Args:
        folder: with ``speech/``, ``sounds/``, ``images/`` and ``clips/``; a manifest that is not there is left out.
        out: the folder for the manifests.
    """
    for path in sorted(folder.glob("*/*.jsonl")):
        base, name = path.parent, path.stem
        rows = list(lines_of(path))
        tested = held_out_recordings(rows) if name == "esc50" else set()
        for row in rows:
            row["tested"] = row.get("recording") in tested
            made = _source(name, base.name, row)
            if made is not None:
                kind, split, fields = made
                place = os.path.relpath(base / row["media"], out)
                yield Source(f"{name}:{row['id']}", kind, place, split, row["licence"], row["source"], **fields)


def held_out_recordings(rows: list[dict[str, Any]]) -> set[str]:
    """Every second recording of each class, the first one always: for the test of names that only the teacher knew."""
    by_label: dict[str, set[str]] = {}
    for row in rows:
        by_label.setdefault(row["label"], set()).add(row["recording"])
    ordered = (sorted(found, key=lambda name: bucket(name, 1 << 30)) for found in by_label.values())
    return {name for found in ordered for name in found[::2]}


def _source(name: str, base: str, row: dict[str, Any]) -> tuple[str, str, dict[str, Any]] | None:
    """(kind, split, fields) of a row; None for manifests of another layout."""
    if base == "speech" and "text" in row:
        speaker = {"speaker": row["speaker"], "gender": row.get("gender", ""), "machine": False}
        return "speech", _speech_split(name, row), {"text": plain_words(row["text"]), "extra": speaker}
    if base == "clips" and "text" in row:
        extra = grid_slots(row["text"]) | {"gender": row["gender"], "speaker": row["speaker"]}
        return "talk", grid_split(row["id"]), {"text": row["text"], "label": f"a {row['gender']}", "extra": extra}
    if base == "sounds":
        if name == "esc50":
            return "unnamed-sound", "test" if row["tested"] else "train", {"label": row["label"]}
        if row["label"] in EFFECTS:
            return "sound", "train", {"label": EFFECTS[row["label"]]}
        return "unnamed-sound", "train", {"label": row["label"]}
    if base == "images":
        return _picture(name, row)
    return None


def _speech_split(name: str, row: dict[str, Any]) -> str:
    if name in TEST_ONLY:
        return "test"
    if name == "children":
        return {0: "test", 1: "dev"}.get(bucket(row["speaker"], 16), "train")
    return "dev" if bucket(row["id"], 40) == 0 else "train"


def grid_split(name: str) -> str:
    """Of a GRID sentence: one in six for the test, one in eighteen for dev."""
    place = bucket(name, 18)
    return "test" if place < 3 else "dev" if place == 3 else "train"


def _picture(name: str, row: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    if "wall" in row:
        return "wall", row["split"], {"label": row["wall"]}
    if "captions" in row:
        split = {0: "test", 1: "dev"}.get(bucket(row["id"], 5), "train")
        extra = {key: row[key] for key in ("captions", "objects", "counts")}
        return "caption", split, {"text": row["captions"][0], "extra": extra}
    place = bucket(row["id"], 40)
    split = "test" if place < 5 else "dev" if place < 7 else "train"
    if "material" in row:
        return "material", split, {"extra": {"material": row["material"]}}
    return "photo", split, {"label": row["label"]}
