"""The manifest: JSON lines, one training or evaluation item a line.

.. code-block:: json

    {"id": "…", "media": {"video": "a.mp4", "start": 0, "end": 10},
     "conversation": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}],
     "task": "transcribe", "weight": 1.0, "licence": "CC BY 4.0", "source": "…", "split": "train"}

``media`` holds any of ``video``, ``audio`` and ``image``. Each is a path relative to the manifest's folder, or, where
an item is composed of several files, a recipe (an object) that a renderer turns into sound or pictures, so that
composed data costs no disk. A video brings its own sound; with ``"audio": null`` it is shown without. With ``"media":
{}`` the item is a conversation of text alone. ``weight`` (default 1) multiplies the item's loss. ``words`` and
``spans``, which the loss of words reads, must have its form wherever they are given.

The checks are written out. A pydantic model of the types alone takes as long (0.26 s for 19,200 lines, as these do).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_salmonn.errors import ConfigError, ManifestError
from video_salmonn.files import json_value, numbered_lines, written

SPLITS = ["train", "dev", "test"]
"""Names of the manifests that ``data build-embedded`` writes."""
ROLES = ("system", "user", "assistant")
STREAMS = ("video", "audio", "image")
_NUMBERS = ("length", "at", "from", "to", "gain", "level", "speed", "rate")
"""Entries of recipes that are numbers."""
_REQUIRED = ("id", "media", "conversation", "task")


@dataclass(frozen=True)
class Item:
    """One line of a manifest.

    Attributes:
        id: unique in the manifest.
        media: what is seen and heard; see the module. Empty for text alone.
        conversation: turns ``{"role", "content"}``; the last one is the assistant's.
        task: short task name.
        weight: multiplies the item's loss.
        licence: of the media.
        source: the collection the media come from.
        split: ``train``, ``dev`` or ``test``.
        extra: other fields of the line, kept as they are.
        root: the manifest's folder, which relative paths of ``media`` start from; not a part of the line.
    """

    id: str
    media: dict[str, Any]
    conversation: list[dict[str, str]]
    task: str
    weight: float = 1.0
    licence: str = ""
    source: str = ""
    split: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    root: Path = field(default=Path(), compare=False)

    @property
    def question(self) -> str:
        """The last user turn."""
        return next(turn["content"] for turn in reversed(self.conversation) if turn["role"] == "user")

    @property
    def answer(self) -> str:
        """The last assistant turn."""
        return self.conversation[-1]["content"]

    def to_dict(self) -> dict[str, Any]:
        """The line's JSON value."""
        fields: dict[str, Any] = {
            "id": self.id,
            "media": self.media,
            "conversation": self.conversation,
            "task": self.task,
        }
        if self.weight != 1.0:
            fields["weight"] = self.weight
        named = {"licence": self.licence, "source": self.source, "split": self.split}
        return fields | {key: value for key, value in named.items() if value} | self.extra


def is_number(value: Any, least: float = -math.inf) -> bool:
    """Whether a value is a finite number, and at least ``least``."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # whole numbers may be beyond any float; NaN is below nothing
    return number and least <= value and abs(value) <= sys.float_info.max


def _bad_number(recipe: Any) -> str:
    """The first entry of a recipe that should be a finite number and is not, or nothing."""
    if isinstance(recipe, list):
        return next(filter(None, map(_bad_number, recipe)), "")
    if not isinstance(recipe, dict):
        return ""
    for key, value in recipe.items():
        if key not in _NUMBERS or value is None:
            if bad := _bad_number(value):
                return bad
        elif not is_number(value):
            return f"{key}={value!r}"
    return ""


def _is_span(value: Any) -> bool:
    """Whether a value is ``[from, to, name]``, in seconds."""
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[2], str):
        return False
    begin, end = value[:2]
    return is_number(begin, 0) and is_number(end, 0) and begin < end


def parse_line(text: str, path: Path | str, number: int, root: Path = Path()) -> Item:
    """One line -> :class:`Item`, with ``root`` for the folder that its paths start from.

    Raises:
        ManifestError: naming file, line and what is wrong with it.
    """

    def fail(reason: str) -> None:
        raise ManifestError(f"{path}, line {number}: {reason}", remedy="correct the line; docs: manifests")

    try:
        value = json_value(text)
    except ValueError as error:
        raise ManifestError(f"{path}, line {number}: {error}", remedy="correct the line; docs: manifests") from error
    if not isinstance(value, dict):
        fail("is not a JSON object")
    missing = [key for key in _REQUIRED if key not in value]
    if missing:
        fail(f"lacks {', '.join(missing)}")
    media, turns = value["media"], value["conversation"]
    if not isinstance(media, dict) or (media and not any(media.get(stream) for stream in STREAMS)):
        fail(f"media must name at least one of {', '.join(STREAMS)}, or be {{}} for an item of text alone")
    for stream in STREAMS:
        silenced = stream == "audio" and media.get(stream, "") is None
        if not silenced and not isinstance(media.get(stream, ""), (str, dict)):
            fail(f"media.{stream} must be a path or a recipe object")
        bad = _bad_number(media.get(stream))
        if bad:
            fail(f"media.{stream}: {bad} in the recipe must be a finite number")
    if media.get("video") and media.get("image"):
        fail("media names a video and a picture; an item shows one of them")
    start, end = media.get("start"), media.get("end")
    if not all(time is None or is_number(time, 0) for time in (start, end)) or (
        end is not None and end <= (start or 0)
    ):
        fail(
            f"media times start={start!r}, end={end!r} are not an interval; write numbers of seconds, 0 <= start < end"
        )
    if not isinstance(turns, list) or not turns:
        fail("the conversation is empty")
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
            fail(f"a turn needs a role of {', '.join(ROLES)} and a content string, got {turn!r}")
    if turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
        fail("the last turn must be a non-empty one of the assistant")
    if not any(turn["role"] == "user" for turn in turns):
        fail("the conversation has no user turn")
    weight = value.get("weight", 1.0)
    if not is_number(weight, 0):
        fail(f"weight is {weight!r}, a finite number of at least 0 is needed")
    words, spans = value.get("words", {}), value.get("spans", {})
    if not (isinstance(words, dict) and all(isinstance(text, str) for text in words.values())):
        fail(f'words is {words!r}; write {{"said": text, "seen": name, "heard": name, "voice": name}}, or leave it out')
    if not (
        isinstance(spans, dict)
        and all(
            part in ("said", "seen", "heard") and isinstance(own, list) and own and all(map(_is_span, own))
            for part, own in spans.items()
        )
    ):
        form = '{"seen": [[from, to, name], …], "heard": …, "said": …}'
        fail(f"spans is {spans!r}; write {form}, times in seconds, or leave it out")
    if "said" in spans and [word for *_, word in spans["said"]] != words.get("said", "").split():
        timed = " ".join(word for *_, word in spans["said"])
        fail(f"spans has the times of {timed!r}, and words says {words.get('said')!r}; state those of the same words")
    named = {"id", "media", "conversation", "task", "weight", "licence", "source", "split"}
    return Item(
        id=str(value["id"]),
        media=media,
        conversation=turns,
        task=str(value["task"]),
        weight=float(weight),
        licence=str(value.get("licence", "")),
        source=str(value.get("source", "")),
        split=str(value.get("split", "")),
        extra={key: entry for key, entry in value.items() if key not in named},
        root=root,
    )


def check_splits(folder: Path, splits: Iterable[str]) -> None:
    """Raise ConfigError where a folder lacks one of these manifests of ``data build-embedded``; names those it has."""
    for name in splits:
        if not (folder / f"{name}.jsonl").is_file():
            there = sorted(file.stem for file in folder.glob("*.jsonl"))
            raise ConfigError(
                f"{folder}: no {name}.jsonl",
                remedy=f"there are {', '.join(there)}" if there else "video-salmonn data build-embedded first",
            )


def read_manifest(path: Path | str) -> Iterator[Item]:
    """Items of a manifest, in order; empty lines are skipped.

    Raises:
        ManifestError: unreadable file, a bad line, an id used twice.
    """
    path = Path(path)
    root = path.resolve().parent
    seen: dict[str, int] = {}
    for number, line in numbered_lines(path, ManifestError):
        item = parse_line(line, path, number, root)
        if item.id in seen:
            raise ManifestError(f"{path}, line {number}: id {item.id!r} was used in line {seen[item.id]}")
        seen[item.id] = number
        yield item


def write_manifest(path: Path | str, items: Iterable[Item]) -> int:
    """Write items, whole or not at all; returns their number."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with written(path) as partial, partial.open("w", encoding="utf-8") as stream:
        for item in items:
            stream.write(json.dumps(item.to_dict(), ensure_ascii=False) + "\n")
            count += 1
    return count
