"""Multiple choice: which candidate did the model mean?

Read in this order, and the first that decides wins:

1. a letter: "B", "(b)", "B.", "B: lay on floor", "The answer is B", "Option C". "A person operates a tablet." is no
   letter: A must be set off by punctuation, or be all there is, or follow the word answer, option or choice;
2. the text: normalised, equal to one candidate; else exactly one candidate contained as whole words (a candidate
   inside another that is contained as well does not count: "floor" in "lay on floor").

A letter followed by the text of *another* candidate contradicts itself and is unparsed, as is everything else. An
unparsed answer is wrong, and counted.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.intervals import RESAMPLES, mean, mean_interval
from video_salmonn.metrics.scored import Scored, same_length
from video_salmonn.metrics.text import contains_words, normalise_answer

LETTERS = string.ascii_uppercase
_ALONE = re.compile(r"^\W*([A-Za-z])\W*$")
_LEADING = re.compile(r"^\s*[\(\[\"'*]*([A-Za-z])(?:\s*[\.\):\],][\"'*]*|\s+[-–—](?=\s))(.*)$", re.DOTALL)
_NAMED = re.compile(
    r"\b(?P<word>answer|option|choice)\b\s*(?:is|:|=)?\s*[\(\[\"'*]*(?P<letter>[A-Z])(?![\w'’])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Choices:
    """Accuracy of a set of choices, and how many answers could not be read."""

    accuracy: Scored
    unparsed: int


def read_choice(answer: str, candidates: Sequence[str]) -> int | None:
    """Index of the candidate that ``answer`` means, or None if it cannot be told.

    Args:
        answer: the generated text.
        candidates: at most 26 texts, shown to the model as A, B, C …

    Raises:
        EvaluationError: without candidates, or with more than there are letters.
    """
    if not 1 <= len(candidates) <= len(LETTERS):
        raise EvaluationError(f"a choice has 1 to {len(LETTERS)} candidates, not {len(candidates)}")
    by_letter, rest = _letter(answer, len(candidates))
    by_text = _text(rest, candidates)
    if by_letter is None:
        return by_text
    if by_text is not None and normalise_answer(candidates[by_text]) != normalise_answer(candidates[by_letter]):
        return None
    return by_letter


def _letter(answer: str, count: int) -> tuple[int | None, str]:
    """(index by letter, the text left to read)."""
    if found := _ALONE.match(answer):
        letter, rest = found[1], ""
    elif found := _LEADING.match(answer):
        letter, rest = found[1], found[2]
    else:
        named = [hit["letter"].upper() for hit in _NAMED.finditer(answer) if _is_letter(hit)]
        if len(set(named)) != 1:
            return None, answer
        letter, rest = named[0], answer
    index = LETTERS.index(letter.upper())
    return (index, rest) if index < count else (None, answer)


def _is_letter(hit: re.Match[str]) -> bool:
    """Whether what follows "answer", "option" or "choice" is a letter and not the article of "the answer is a dog"."""
    following = hit.string[hit.end("letter") :].lstrip()
    set_off = not following or not following[0].isalnum()
    listed = hit["word"].lower() != "answer" and hit["letter"].isupper()
    return set_off or listed or hit["letter"] in LETTERS[1:]


def _text(answer: str, candidates: Sequence[str]) -> int | None:
    said = normalise_answer(answer)
    texts = [normalise_answer(candidate) for candidate in candidates]
    if said in texts and said:
        return texts.index(said)
    inside = {text for text in texts if contains_words(said, text)}
    longest = [text for text in inside if not any(text != other and contains_words(other, text) for other in inside)]
    return texts.index(longest[0]) if len(longest) == 1 else None


def choice_accuracy(
    predictions: Sequence[str],
    references: Sequence[str],
    candidates: Sequence[Sequence[str]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Choices:
    """Share of items whose answer means the right candidate.

    Args:
        predictions: generated texts.
        references: the right candidate's text, literally one of the item's candidates.
        candidates: the texts offered.

    Raises:
        EvaluationError: on sequences of unequal length, or a reference that is not among its candidates.
    """
    same_length(predictions=predictions, references=references, candidates=candidates)
    items: list[float] = []
    unparsed = 0
    for index, (said, right, offered) in enumerate(zip(predictions, references, candidates)):
        wanted = normalise_answer(right)
        if right not in offered:
            raise EvaluationError(
                f"item {index} (counted from 0): the reference {right!r} is none of its candidates {list(offered)}"
            )
        chosen = read_choice(said, offered)
        unparsed += chosen is None
        items.append(float(chosen is not None and normalise_answer(offered[chosen]) == wanted))
    return Choices(Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), tuple(items)), unparsed)


def option_lines(candidates: Sequence[str]) -> str:
    """Candidates as shown to the model: one line each, "A. first"."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, candidates))
