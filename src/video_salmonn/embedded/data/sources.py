"""What the embedded data are made from: real recordings and pictures with labels, each with its split.

Held out for good (``test``), chosen once and never trained on:

- LibriSpeech speakers 777, 1919 and 2086 (their sentences are also kept out of synthetic speech);
- speechocean762: one speaker in sixteen; coffee orders: one in ten; digits: speaker ``theo``;
- ESC-10 fold 4; GRID: one sentence in six of speaker 1, and every other speaker;
- photographs: one in eight of every class, and all of eight classes (``unseen``); COCO pictures: one in five.

``dev`` chooses checkpoints: LibriSpeech speaker 84, another speechocean speaker in sixteen, a part of ESC-10 fold 3 (by
original recording), one sentence in eighteen of GRID speaker 1, one photograph in twenty. Everything else is ``train``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from video_salmonn.errors import ManifestError
from video_salmonn.files import json_lines, numbered_lines

TEST_SPEAKERS = {"777", "1919", "2086"}
DEV_SPEAKERS = {"84"}
TEST_FOLD = 4
UNSEEN_CLASSES = {"scissors", "saxophone", "umbrella", "crab", "panda", "pizza", "wheelchair", "banana"}
OWN_WALL = "blue"
"""The wall's colour in all clips of GRID."""


@dataclass(frozen=True)
class Source:
    """One recording or picture.

    Attributes:
        id: unique over all sources: collection and the collection's own id.
        kind: ``speech``, ``order``, ``digit``, ``sound``, ``photo``, ``stamp``, ``caption`` or ``talk`` (audio-visual).
        path: the file, relative to the built manifest's folder.
        split: ``train``, ``dev`` or ``test``.
        text: what is said, or the caption; plain lower-case words for speech.
        label: what is seen or heard.
        extra: slots of an order, a stamp's sound, further captions, a speaker and their ``gender`` …
        licence, source: as the collection states them.
    """

    id: str
    kind: str
    path: str
    split: str
    licence: str
    source: str
    text: str = ""
    label: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def by_label(sources: Iterable[Source]) -> dict[str, list[Source]]:
    """Sources by what they show or sound like."""
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(source.label, []).append(source)
    return found


_AGAIN = "give the data folder as --source; its README says what it holds"


def bucket(name: str, count: int) -> int:
    """A number in [0, count) that depends on the name only, on every machine."""
    return int(hashlib.sha1(name.encode()).hexdigest()[:8], 16) % count


def plain_words(text: str) -> str:
    """Lower-case words and apostrophes, digits and signs left as they are, as LibriSpeech writes its transcripts."""
    kept = "".join(char if char.isalnum() or char == "'" else " " for char in text.lower().replace("’", "'"))
    return " ".join(word for word in (piece.strip("'") if piece == "'" else piece for piece in kept.split()) if word)


class SourceLine(dict[str, Any]):
    """A line of a source's manifest; a field that it lacks is a ManifestError that names file and line."""

    def __init__(self, value: dict[str, Any], where: str) -> None:
        super().__init__(value)
        self.where = where

    def __missing__(self, key: str) -> Any:
        raise ManifestError(f"{self.where}: lacks {key!r}", remedy=_AGAIN)


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON-lines file. Raises ManifestError naming file and line where one is damaged."""
    for number, row in json_lines(path, ManifestError, _AGAIN):
        yield SourceLine(row, f"{path}, line {number}")


def _split_speech(collection: str, row: dict[str, Any]) -> str:
    speaker = row.get("speaker", "")
    if collection == "librispeech":
        return "test" if speaker in TEST_SPEAKERS else "dev" if speaker in DEV_SPEAKERS else "train"
    if collection == "speechocean":
        return {0: "test", 1: "dev"}.get(bucket(speaker, 16), "train")
    if collection == "asterisk":
        return "dev" if bucket(row["id"], 12) == 0 else "train"
    if collection == "digits":
        return "test" if speaker == "theo" else "train"
    if collection == "orders":
        return {0: "test", 1: "dev"}.get(bucket(row["id"], 10), "train")
    return "train"


def _split_sound(row: dict[str, Any]) -> str:
    if row["fold"] == TEST_FOLD:
        return "test"
    recording = row["id"].split("-")[1]
    return "dev" if row["fold"] == 3 and bucket(recording, 4) == 0 else "train"


def _split_picture(row: dict[str, Any]) -> str:
    if row.get("label") in UNSEEN_CLASSES:
        return "test"
    if "captions" in row:
        return {0: "test", 1: "dev"}.get(bucket(row["id"], 5), "train")
    place = bucket(row["id"], 40)
    return "test" if place < 5 else "dev" if place < 7 else "train"


def grid_slots(text: str) -> dict[str, str]:
    """The six slots of a GRID sentence, for example ``place red in i seven soon``."""
    return dict(zip(("verb", "colour", "preposition", "letter", "digit", "adverb"), text.split()))


@lru_cache(maxsize=1)
def speaker_genders() -> dict[tuple[str, str], str]:
    """(``librispeech`` or ``speechocean``, speaker) -> ``man`` or ``woman``."""
    text = resources.files("video_salmonn.embedded.data").joinpath("facts/speakers.json").read_text(encoding="utf-8")
    known = json.loads(text)
    return {
        (collection, speaker): gender
        for collection in ("librispeech", "speechocean")
        for gender, group in (("man", "men"), ("woman", "women"))
        for speaker in known[collection][group]
    }


def gender_of(collection: str, speaker: str) -> str:
    """``man``, ``woman``, or "" where it is not known."""
    if collection in ("ljspeech", "asterisk"):
        return "woman"
    return speaker_genders().get((collection.split("_")[0], speaker), "")


def manifests_of(folder: Path) -> list[Path]:
    """Every manifest that :func:`read_sources` reads."""
    return [folder / f"{name}.jsonl" for name in (*(f"speech/{collection}" for collection in _SPEECH), *_OTHERS)]


def check_folder(folder: Path) -> None:
    """Raise ManifestError unless a folder holds every manifest that :func:`read_sources` reads."""
    for file in manifests_of(folder):
        if not file.is_file():
            raise ManifestError(f"{file}: no such file", remedy=_AGAIN)


_OTHERS = (
    "speech/orders",
    "sounds/esc10",
    "images/photos",
    "images/coco",
    "images/stamps",
    "clips/grid_s1",
    "clips/clips",
)
_SPEECH = ("librispeech", "librispeech_train", "librispeech_first", "speechocean", "asterisk", "ljspeech", "digits")


def read_sources(folder: Path, out: Path) -> list[Source]:
    """All sources under ``folder``, laid out as ``speech/``, ``sounds/``, ``images/`` and ``clips/`` with manifests.

    Args:
        folder: the data folder.
        out: the folder for the manifests; paths are made relative to it.

    Raises:
        ManifestError: a manifest of the layout is missing or damaged.
    """
    found: list[Source] = []

    def add(collection: str, base: str, row: dict[str, Any], kind: str, split: str, **fields: Any) -> None:
        path = os.path.relpath(folder / base / row["media"], out)
        licence, source = row["licence"], row["source"]
        found.append(Source(f"{collection}:{row['id']}", kind, path, split, licence, source, **fields))

    for collection in _SPEECH:
        for row in lines_of(folder / "speech" / f"{collection}.jsonl"):
            text = plain_words(row.get("text") or row["text_machine"])
            extra = {"speaker": row["speaker"], "machine": "text_machine" in row}
            extra["gender"] = gender_of(collection, row["speaker"])
            kind = "digit" if collection == "digits" else "speech"
            add(collection, "speech", row, kind, _split_speech(collection, row), text=text, extra=extra)
    for row in lines_of(folder / "speech" / "orders.jsonl"):
        add("orders", "speech", row, "order", _split_speech("orders", row), extra=row["slots"])
    for row in lines_of(folder / "sounds" / "esc10.jsonl"):
        add("esc10", "sounds", row, "sound", _split_sound(row), label=row["label"])
    for row in lines_of(folder / "images" / "photos.jsonl"):
        captions = row.get("captions", [])
        extra = {"captions": captions, "scene": row.get("scene", "")}
        add(
            "photos",
            "images",
            row,
            "caption" if captions else "photo",
            _split_picture(row),
            label=row.get("label", ""),
            text=captions[0] if captions else "",
            extra=extra,
        )
    for row in lines_of(folder / "images" / "coco.jsonl"):
        extra = {"captions": row["captions"], "objects": row["objects"]}
        add("coco", "images", row, "caption", _split_picture(row), text=row["captions"][0], extra=extra)
    for row in lines_of(folder / "images" / "stamps.jsonl"):
        if not row["category"].startswith("symbols"):
            sound = row.get("sound")
            extra = {"sound": os.path.relpath(folder / "images" / sound, out)} if sound else {}
            add("stamps", "images", row, "stamp", "train", text=row["caption"], extra=extra)
    for row in lines_of(folder / "clips" / "grid_s1.jsonl"):
        place = bucket(row["id"], 18)
        split = "test" if place < 3 else "dev" if place == 3 else "train"
        add("grid", "clips", row, "talk", split, text=row["text"], label="a man",
            extra=grid_slots(row["text"]) | {"gender": "man", "speaker": "s1"})  # fmt: skip
    for row in lines_of(folder / "clips" / "clips.jsonl"):
        if row["source"] == "GRID":
            slots = grid_slots(row["text"])
            add("grid-others", "clips", row, "talk", "test", text=row["text"], label="a person", extra=slots)
    return found


def read_sentences(folder: Path, held_out: set[str]) -> list[str]:
    """Sentences for synthetic speech, those of held-out recordings left out."""
    lines = numbered_lines(folder / "text" / "librispeech-dev-clean.txt", ManifestError)
    sentences = dict.fromkeys(plain_words(line) for _, line in lines)
    return [sentence for sentence in sentences if sentence not in held_out]
