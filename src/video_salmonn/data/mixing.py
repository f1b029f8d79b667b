"""Unpaired audio-visual mixed training (paper §3.3; released ``sft_dataset.py``, spec §C.3) as one small module.

Most data have one modality. Mixing lays an unrelated sound under a picture or a video and asks about one of the two,
or about both at once, so that the model must look *and* listen to know which answer is wanted. Paired items become
matching questions now and then, half of them with a swapped sound.

Everything is a pure function of the item, the pools and a random generator: the same seed gives the same epoch on any
number of processes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from video_salmonn.data.manifest import Item

SPOKEN_CAPTION = "audio_text_matching"
"""An answer that stands for a spoken-caption matching question (released): Yes, or No with another sound."""

MATCHING_QUESTIONS = (
    "Do the sound and the picture belong together?",
    "Is this the sound of what can be seen?",
    "Does what you hear fit what you see?",
)


PLAIN = "as it is"
"""The rule of an item that was not mixed."""


@dataclass(frozen=True)
class MixingConfig:
    """Probabilities of the rules. Defaults are the released ones.

    Attributes:
        enabled: mix at all.
        image_mix: of an image without sound getting an unrelated sound (released: always, unless audio-only training).
        image_single: then, of asking one of the two questions alone with both present; else both are asked.
        video_mix: of a video without paired sound getting an unrelated sound and both questions (released 0.2);
            else it is shown with its sound masked.
        video_single: of asking one question alone where a video is mixed (the paper asks both: 0).
        matching: of a paired item becoming a matching question (released 0.1).
        swap: of a matching question getting another sound, answered No (released 0.5).
        audio_alone: of a sound-only item staying alone; else a picture is put over it.
    """

    enabled: bool = True
    image_mix: float = 1.0
    image_single: float = 0.5
    video_mix: float = 0.2
    video_single: float = 0.0
    matching: float = 0.1
    swap: float = 0.5
    audio_alone: float = 1.0


@dataclass(frozen=True)
class Mixed:
    """What a training example is made of.

    Attributes:
        sight: the item whose picture is shown, or None.
        sound: the item whose sound is heard, or None.
        conversation: turns ``{"role", "content"}``.
        rule: the rule that made it, for reports.
    """

    sight: Item | None
    sound: Item | None
    conversation: list[dict[str, str]]
    rule: str


@dataclass(frozen=True)
class Pools:
    """Items by the modality they bring.

    Attributes:
        sights: items with a picture or video.
        sounds: items with a sound.
    """

    sights: Sequence[Item] = field(default_factory=list)
    sounds: Sequence[Item] = field(default_factory=list)

    @classmethod
    def of(cls, items: Sequence[Item]) -> Pools:
        """Sort items; only those of one modality are borrowed from."""
        sights = [item for item in items if has_sight(item) and not has_sound(item)]
        return cls(sights, [item for item in items if has_sound(item) and not has_sight(item)])


def has_sight(item: Item) -> bool:
    """Whether the item brings a picture or a video."""
    return "video" in item.media or "image" in item.media


def has_sound(item: Item) -> bool:
    """Whether the item brings a sound of its own."""
    return item.media.get("audio") is not None


def lower_first(text: str) -> str:
    """The text with a small first letter, unless it looks like a name or abbreviation (``I``, ``TV``)."""
    if len(text) > 1 and text[0].isupper() and not text[1].isupper() and not text.startswith(("I ", "I'")):
        return text[0].lower() + text[1:]
    return text


def strip_end(text: str, marks: str = ".?!") -> str:
    """The text without its closing mark."""
    return text.rstrip().rstrip(marks)


def _turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _both(first: tuple[str, str], second: tuple[str, str], joint: str) -> list[dict[str, str]]:
    """Ask both questions in one, and answer both (released: "Q1, and q2" answered "A1, and a2")."""
    question = f"{strip_end(first[0])}{joint}{lower_first(second[0])}"
    return _turns(question, f"{strip_end(first[1])}{joint}{lower_first(second[1])}")


def _mixed_pair(sight: Item, sound: Item, place: str, single: float, rng: random.Random, joint: str) -> Mixed:
    """A picture and an unrelated sound: one of the questions, or both in random order."""
    pairs = [(f"In the {place}, {lower_first(sight.question)}", sight.answer), (sound.question, sound.answer)]
    rng.shuffle(pairs)
    if rng.random() < single:
        return Mixed(sight, sound, _turns(*pairs[0]), f"{place}+sound, one question")
    return Mixed(sight, sound, _both(pairs[0], pairs[1], joint), f"{place}+sound, both questions")


def mix(item: Item, pools: Pools, config: MixingConfig, rng: random.Random) -> Mixed:
    """One training example from an item.

    Args:
        item: the item whose turn it is.
        pools: what unrelated sounds and pictures are borrowed from.
        config: probabilities.
        rng: decides; seed it from (seed, epoch, index).
    """
    sight, sound = (item if has_sight(item) else None), (item if has_sound(item) else None)
    if item.answer == SPOKEN_CAPTION and sight and sound:
        return _matched(item, pools, rng.random() < config.swap, rng, item.question, "spoken caption")
    plain = Mixed(sight, sound, list(item.conversation), PLAIN)
    if not config.enabled:
        return plain
    if sight and sound:
        if rng.random() < config.matching:
            question = rng.choice(MATCHING_QUESTIONS)
            return _matched(item, pools, rng.random() < config.swap, rng, question, "matching")
        return plain
    single_turn = len(item.conversation) == 2
    if sight and pools.sounds and single_turn:
        moving = "video" in item.media
        wanted, single = (config.video_mix, config.video_single) if moving else (config.image_mix, config.image_single)
        if rng.random() < wanted:
            place, joint = ("video", ", and, ") if moving else ("image", ", and ")
            return _mixed_pair(item, rng.choice(pools.sounds), place, single, rng, joint)
        return Mixed(sight, None, plain.conversation, "sound masked")
    if sound and not sight and pools.sights and rng.random() >= config.audio_alone:
        return Mixed(rng.choice(pools.sights), sound, plain.conversation, "picture over sound")
    return plain


def _matched(item: Item, pools: Pools, swap: bool, rng: random.Random, question: str, rule: str) -> Mixed:
    others = [other for other in pools.sounds if other.id != item.id] if swap else []
    if swap and others:
        return Mixed(item, rng.choice(others), _turns(question, "No."), f"{rule}, other sound")
    return Mixed(item, item, _turns(question, "Yes."), rule)
