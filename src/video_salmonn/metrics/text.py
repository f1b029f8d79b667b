"""Text normalisation shared by the metrics that compare answers as strings."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from video_salmonn.metrics.scored import require

_ARTICLES = frozenset({"a", "an", "the"})
_NOT_WORD = re.compile(r"[^\w\s']|_")
APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'"})
"""Other characters used as an apostrophe."""


@cache
def _whisper_normaliser() -> object:
    return require("whisper_normalizer.english", "whisper-normalizer").EnglishTextNormalizer()


def normalise_speech(text: str) -> str:
    """The English normaliser of the Whisper release (Radford et al. 2022, appendix C): case, punctuation,
    contractions, numbers, British spellings, fillers and bracketed remarks.

    Raises:
        MissingPartError: without the package ``whisper-normalizer``.
    """
    return str(_whisper_normaliser()(text))  # type: ignore[operator]


def normalise_answer(text: str) -> str:
    """Lower case, compatibility-folded, no punctuation, no articles, single spaces: "The Red Car." -> "red car".

    A text that holds nothing but articles keeps them ("A" stays "a"): an answer must not vanish.
    """
    folded = unicodedata.normalize("NFKC", text).translate(APOSTROPHES).casefold()
    words = [word.strip("'") for word in _NOT_WORD.sub(" ", folded).split()]
    words = [word for word in words if word]
    kept = [word for word in words if word not in _ARTICLES]
    return " ".join(kept or words)


def contains_words(text: str, phrase: str) -> bool:
    """Whether the words of ``phrase`` are adjacent in ``text``; both already normalised, whole words only.

    An empty phrase is contained in nothing.
    """
    return bool(phrase) and f" {phrase} " in f" {text} "
