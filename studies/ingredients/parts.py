"""The ingredients that can be left out, and the items that all of these short trainings draw from."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.held_out.groups import GROUPS
from video_salmonn.embedded.held_out.measure import drawn
from video_salmonn.files import digest

FIRST_EDITION = {
    "absent", "background-over", "both-av", "both-sound-av", "both-talk", "count-digits", "digits", "event-first",
    "event-last", "event-order", "first-picture", "grid-slot-talk", "last-picture", "match", "order", "picture",
    "picture-av", "picture-talk", "said-after", "said-before", "sound", "sound-av", "speech-present", "spoken-question",
    "transcribe", "transcribe-av", "transcribe-over", "transcribe-talk",
}  # fmt: skip
"""Tasks that the first edition was trained on; all others are questions of the second."""
ROWS = (
    "speech", "test-other", "sounds", "sounds-taught", "pictures", "match", "yesno-sounds", "yesno-pictures",
    "refusals", "wrong-refusals", "silent-track", "absent-senses",
)  # fmt: skip
"""Groups of held-out items that are asked about."""
CAPS = {
    "transcribe/spoken": 1500, "transcribe/librispeech": 500, "transcribe/librispeech_train": 300,
    "transcribe/paced": 500, "transcribe/kathleen": 250, "transcribe/children": 200, "transcribe/speechocean": 200,
    "picture/photos": 800, "picture/clothing": 700, "picture/stamps": 90, "sound/esc": 400, "taught/": 300,
    "yesno-picture/": 200, "yesno-sound/": 200, "yesno-picture/taught/": 100, "yesno-sound/taught/": 100,
    "unknowable/": 120, "silent/": 60, "no-picture/": 60, "no-sound/": 60, "nothing-said/": 60, "imagined/": 0,
}  # fmt: skip
"""Items of a kind (:func:`kind_of`), at most; of all others :data:`CAP`."""
CAP = 40
SLOW_VOICE = "kokoro"
"""Its speech is left out for all alike: making it takes most of the time."""


def made_speech(item: Item) -> bool:
    """Whether a voice was made for it."""
    return '"say"' in json.dumps(item.media)


def taught(item: Item) -> bool:
    """Whether a name in it comes from an encoder's own head: ESC-50's further clips have no other."""
    return "taught/" in item.id or "sounds/esc50/" in json.dumps(item.media)


def asked(item: Item) -> bool:
    """Whether it is a question of the second edition."""
    return item.task not in FIRST_EDITION


@dataclass(frozen=True)
class Part:
    """One ingredient.

    Attributes:
        title: for readers: what is left out.
        rows: that it is there for.
        left_out: items that training then lacks.
        words: whether the stage of words is trained.
    """

    title: str
    rows: tuple[str, ...]
    left_out: Callable[[Item], bool] = lambda item: False
    words: bool = True


PARTS: dict[str, Part] = {
    "nothing": Part("nothing", ()),
    "made-speech": Part("speech made by voices", ("speech", "test-other"), made_speech),
    "teachers": Part("names that only the encoders' heads give", ("sounds-taught",), taught),
    "questions": Part(
        "the second edition's questions",
        ("yesno-sounds", "yesno-pictures", "refusals", "silent-track", "absent-senses"),
        asked,
    ),
    "words": Part("the stage of words", ("speech", "test-other", "sounds", "pictures"), words=False),
}
"""In the order in which they run."""


def kind_of(item: Item) -> str:
    """The beginning of an id, up to what counts: ``transcribe/librispeech``, ``yesno-sound/taught/``."""
    return re.split(r"[:0-9]", item.id)[0]


def pool(items: Iterable[Item]) -> list[Item]:
    """The training items that are drawn from, chosen by digests of their ids."""
    found: list[Item] = []
    counts: Counter[tuple[str, str]] = Counter()
    for item in sorted(items, key=lambda entry: digest([entry.id, entry.task])):
        if f'"engine": "{SLOW_VOICE}"' in json.dumps(item.media):
            continue
        kind = kind_of(item)
        key = (kind, "" if kind in CAPS else item.task)
        if counts[key] < CAPS.get(kind, CAP):
            counts[key] += 1
            found.append(item)
    return sorted(found, key=lambda entry: entry.id)


def questions(items: Iterable[Item], limit: int) -> list[Item]:
    """The held-out items of :data:`ROWS`, at most so many of each."""
    items = list(items)
    kept: dict[str, Item] = {}
    for group in GROUPS:
        if group.name in ROWS:
            kept |= {item.id: item for item in drawn(group, [i for i in items if group.takes(i)], limit)}
    return list(kept.values())
