"""The sources of one split, and how an item is made of some of them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.data.wordings import ask, pick, plain_name, sentence, sound_phrase

NOTHING_SAID = "Nothing is said."
NO_PICTURE = "There is no picture."
NO_SOUND = "There is no sound."
NOT_SAID = "It is not said."


@dataclass
class Stock:
    """The sources of one split.

    Attributes:
        split: ``train``, ``dev`` or ``test``.
        sources: by kind.
        sentences: texts for synthetic speech (training only).
        rng: decides everything; one for each task group.
        vocabulary: further texts for synthetic speech, chosen for their words (training only).
        text: prompts without media, with the language model's own answers.
    """

    split: str
    sources: dict[str, list[Source]]
    sentences: list[str]
    rng: random.Random
    vocabulary: list[str] = field(default_factory=list)
    text: list[tuple[str, str]] = field(default_factory=list)

    def of(self, kind: str) -> list[Source]:
        """Sources of a kind."""
        return self.sources.get(kind, [])

    def some(self, kind: str, count: int) -> list[Source]:
        """``count`` of them, drawn."""
        return pick(self.rng, self.of(kind), count)

    def item(
        self,
        name: str,
        task: str,
        media: dict[str, Any],
        question: str,
        answer: str,
        *used: Source,
        words: dict[str, str] | bool = False,
        spans: dict[str, list[list[Any]]] | None = None,
    ) -> Item:
        """An item with the licences and collections of what it uses.

        Args:
            name, task, media, question, answer: of the item.
            used: recordings and pictures in it.
            words: all that is ``said``, ``seen`` and ``heard`` in it; True for that of what is used, False where it is
                not known, or has an order.
            spans: what is ``seen`` or ``heard`` for a part of the time: [from, to, name], in seconds.
        """
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        licence = "; ".join(sorted({source.licence for source in used})) or "synthetic speech"
        origin = "; ".join(sorted({source.source for source in used})) or "synthetic speech"
        extra: dict[str, Any] = {"words": words_of(*used) if words is True else words} if words else {}
        extra |= {"spans": spans} if spans else {}
        return Item(name, media, turns, task, 1.0, licence, origin, self.split, extra=extra)

    def asked(
        self,
        kind: str,
        name: str,
        media: dict[str, Any],
        answer: str,
        *used: Source,
        task: str = "",
        words: dict[str, str] | bool = False,
        spans: dict[str, list[list[Any]]] | None = None,
        **slots: str,
    ) -> Item:
        """:meth:`item` with one of the wordings of a ``kind`` of question; its task is the kind unless it is given.

        Args:
            slots: what the wordings have places for.
        """
        question = ask(kind, name, self.split, **slots)
        return self.item(name, task or kind, media, question, answer, *used, words=words, spans=spans)


def spans_of(part: str, times: Iterable[tuple[float, float]], names: Iterable[str]) -> dict[str, list[list[Any]]]:
    """When each of several things is ``heard`` or ``seen``, as an item states it: [from, to, name], in seconds."""
    return {part: [[begin, end, plain_name(sentence(name))] for (begin, end), name in zip(times, names)]}


def words_of(*used: Source) -> dict[str, str]:
    """What is said (and by whose voice, man's or woman's, where that is known), seen (with its colour, where that was
    measured) and heard where these sources are there whole, at most one of a kind."""
    words = {}
    for source in used:
        colour = f"{source.extra['colour']} " if source.kind == "photo" and source.extra.get("colour") else ""
        if source.kind in ("speech", "talk"):
            words["said"] = source.text
            if source.extra.get("gender"):
                words["voice"] = source.extra["gender"]
        if source.kind in ("photo", "talk"):
            words["seen"] = plain_name(sentence(f"{source.label} speaking" if source.kind == "talk" else source.label))
            words["seen"] = colour + words["seen"]
        elif source.kind == "wall":
            words["seen"] = f"{source.label} wall"
        elif source.kind in ("stamp", "caption"):
            words["seen"] = plain_name(source.text)
        elif source.kind == "sound":
            words["heard"] = plain_name(sentence(sound_phrase(source.label)))
    return words
