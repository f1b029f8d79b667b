"""Unpaired audio-visual mixed training (paper §3.3; released ``sft_dataset.py``) as one small module.

Most data have one modality. Mixing lays an unrelated sound under a picture or a video and asks about one of the two,
or about both at once, so that the model must look *and* listen to know which answer is wanted. Paired items become
matching questions now and then, half of them with a swapped sound.

Everything is a pure function of the item, the pools and a random generator: the same seed gives the same epoch on any
number of processes. Questions that are an alias (``<asr>``) are written out here, in a wording that is drawn.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.errors import ConfigError, MediaError
from video_salmonn.model.aliases import expand
from video_salmonn.wording import agree, counted

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
        sights: items with a picture or video alone.
        sounds: items with a sound alone, and one question (a later one would be asked without what it refers to).
        pairs: items that bring both, by domain, for matching questions.
    """

    sights: Sequence[Item] = field(default_factory=list)
    sounds: Sequence[Item] = field(default_factory=list)
    pairs: Mapping[str, Sequence[Item]] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Sequence[Item]) -> Pools:
        """Sort items; pictures and sounds are borrowed from those of one modality only."""
        sights = [item for item in items if has_sight(item) and not has_sound(item)]
        sounds = [item for item in items if has_sound(item) and not has_sight(item) and len(item.conversation) == 2]
        pairs: defaultdict[str, list[Item]] = defaultdict(list)
        for item in items:
            if has_sight(item) and has_sound(item):
                for domain in _domains(item):
                    pairs[domain].append(item)
        return cls(sights, sounds, dict(pairs))

    def another(self, item: Item, rng: random.Random) -> Item | None:
        """An item of the same domain with another picture and another sound, for the answer "No"; None without one.

        A spoken caption is swapped with a spoken caption of another picture, any other pair with a pair of the same
        source, or else of the same task: the origin of the sound must not give the answer away.
        """
        for domain in _domains(item):
            group = self.pairs.get(domain, ())
            for _ in range(20 if group else 0):
                other = rng.choice(group)
                if _differ(item, other):
                    return other
            rest = [other for other in group if _differ(item, other)]
            if rest:
                return rng.choice(rest)
        return None

    def check(self, items: Sequence[Item], config: MixingConfig) -> list[str]:
        """What mixing cannot do with these items, in sentences.

        Raises:
            ConfigError: spoken captions are to be matched, and there is no other to swap them with: the answer would
                always be "Yes".
        """
        rng, lonely, pairs, captions = random.Random(0), 0, 0, 0
        for item in items:
            if not (has_sight(item) and has_sound(item)):
                continue
            pairs += 1
            captions += item.answer == SPOKEN_CAPTION
            alone = self.another(item, rng) is None
            lonely += alone
            if alone and item.answer == SPOKEN_CAPTION:
                raise ConfigError(
                    f"{item.id}: a matching question about a spoken caption, and no caption of another picture to swap "
                    "it with: the answer would always be Yes",
                    remedy="add items with other pictures and captions to the manifest, or leave these out",
                )
        notes = []
        if config.enabled and config.matching and lonely:
            notes.append(
                f"mixing.matching: {lonely} of {counted(pairs, 'item')} with picture and sound {agree(lonely, 'have')} "
                "no other of their source or task to be swapped with; they are never asked whether the two belong "
                "together"
            )
        if config.swap in (0.0, 1.0) and (captions or (pairs and config.enabled and config.matching)):
            always = "No" if config.swap else "Yes"
            notes.append(f"mixing.swap is {config.swap:g}: every matching question is answered {always}")
        if config.enabled and self.sights and not self.sounds:
            notes.append("mixing: no item of sound alone with one question: nothing is laid under pictures and videos")
        return notes


def _domains(item: Item) -> list[str]:
    if item.answer == SPOKEN_CAPTION:
        return ["spoken caption"]
    return [*([f"source {item.source}"] if item.source else []), f"task {item.task}"]


def _sources(item: Item) -> tuple[Any, Any]:
    root, media = item.root, item.media
    return (root, media.get("video", media.get("image"))), (root, media.get("audio"))


def _differ(item: Item, other: Item) -> bool:
    return all(own != others for own, others in zip(_sources(item), _sources(other)))


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


def _written_out(item: Item, rng: random.Random | None) -> list[dict[str, str]]:
    """The item's turns, with aliases such as ``<asr>`` written out; without ``rng`` in their first wording."""
    return [
        {**turn, "content": expand(turn["content"], rng)} if turn["role"] == "user" else turn
        for turn in item.conversation
    ]


def _mixed_pair(sight: Item, sound: Item, place: str, single: float, rng: random.Random, joint: str) -> Mixed:
    """A picture and an unrelated sound: one of the questions, or both in random order."""
    seen, heard = expand(sight.question, rng), expand(sound.question, rng)
    pairs = [(f"In the {place}, {lower_first(seen)}", sight.answer), (heard, sound.answer)]
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

    Raises:
        MediaError: a spoken-caption item cannot be made a question.
    """
    sight, sound = (item if has_sight(item) else None), (item if has_sound(item) else None)
    if item.answer == SPOKEN_CAPTION:
        return _caption(item, pools, config, rng)
    plain = Mixed(sight, sound, _written_out(item, rng), PLAIN)
    if not config.enabled:
        return plain
    if sight and sound:
        if rng.random() < config.matching:
            other = pools.another(item, rng)
            if other is not None:
                question = rng.choice(MATCHING_QUESTIONS)
                return _matched(item, other if rng.random() < config.swap else None, question, "matching")
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


def unmixed(item: Item, pools: Pools, config: MixingConfig, seed: int) -> Mixed:
    """The item as it is, for validation: aliases in their first wording, a spoken caption swapped or not by its id.

    Raises:
        MediaError: a spoken-caption item cannot be made a question.
    """
    if item.answer == SPOKEN_CAPTION:
        return _caption(item, pools, config, random.Random(f"{seed}/validation/{item.id}"))
    sight, sound = (item if has_sight(item) else None), (item if has_sound(item) else None)
    return Mixed(sight, sound, _written_out(item, None), PLAIN)


def _caption(item: Item, pools: Pools, config: MixingConfig, rng: random.Random) -> Mixed:
    """Whether a spoken caption fits: asked whatever the probabilities, since its answer is not a text to learn."""
    if not (has_sight(item) and has_sound(item)):
        raise MediaError(item.id, f"its answer is {SPOKEN_CAPTION}, which needs a picture and a sound")
    other = pools.another(item, rng)
    if other is None:
        raise MediaError(item.id, "no spoken caption of another picture to swap its own with")
    swapped = other if rng.random() < config.swap else None
    return _matched(item, swapped, expand(item.question, rng), "spoken caption")


def _matched(item: Item, other: Item | None, question: str, rule: str) -> Mixed:
    if other is not None:
        return Mixed(item, other, _turns(question, "No."), f"{rule}, other sound")
    return Mixed(item, item, _turns(question, "Yes."), rule)
