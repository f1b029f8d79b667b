"""Sound sources by keyword: does the answer name what the reference names?

The references of the sound-source task are sentences around a VGGSound label ("The source of this sound in this scene
is people belly laughing."). The label is taken out; an answer is right if it holds every content word of the label,
compared by stem (Porter's second English stemmer), in any order. A label with commas lists names for the same thing
("female speech, woman speaking"): any one of them is enough.

The paper judged this task with ChatGPT, so a keyword score is **not** its number; :mod:`video_salmonn.metrics.judge`
is the optional way to ask a judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.intervals import RESAMPLES, mean, mean_interval
from video_salmonn.metrics.scored import Scored, require, same_length
from video_salmonn.metrics.text import normalise_answer

_FRAME = re.compile(
    r"^\s*the source of (?:this|the) sound(?: in (?:this|the) (?:scene|video|clip))? (?:is|are)\s+", re.I
)
_FUNCTION_WORDS = "a an the of on in at to and or with by for from is are be being its his her their some"
_FUNCTION = frozenset(_FUNCTION_WORDS.split())


@cache
def _stemmer() -> Any:
    return require("snowballstemmer", "snowballstemmer").stemmer("english")


def source_of(reference: str) -> str:
    """The label inside a reference sentence; a text without the sentence around it is the label itself."""
    return _FRAME.sub("", reference).strip().rstrip(".").strip()


def stems(text: str) -> list[str]:
    """Content words of ``text`` as stems; all its words where nothing but function words is left."""
    words = normalise_answer(text).split()
    return list(_stemmer().stemWords([word for word in words if word not in _FUNCTION] or words))


def names_source(prediction: str, reference: str) -> bool:
    """Whether ``prediction`` names the source of ``reference``."""
    said = set(stems(prediction))
    names = [stems(name) for name in source_of(reference).split(",")]
    return any(name and said.issuperset(name) for name in names)


def keyword_accuracy(
    predictions: Sequence[str], references: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Scored:
    """Share of predictions that name their source.

    Raises:
        EvaluationError: on sequences of unequal length or a reference without a word, naming the item.
        MissingPartError: without the ``eval`` extra.
    """
    same_length(predictions=predictions, references=references)
    for index, reference in enumerate(references):
        if not stems(source_of(reference)):
            raise EvaluationError(f"item {index} (counted from 0): the reference {reference!r} names no source")
    items = tuple(float(names_source(p, r)) for p, r in zip(predictions, references))
    return Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), items)
