"""Word error rate: (substitutions + deletions + insertions) / reference words, over the whole set, by jiwer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.intervals import RESAMPLES, ratio_interval
from video_salmonn.metrics.scored import Scored, require, same_length
from video_salmonn.metrics.text import normalise_speech


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Edits that turn the reference of one utterance into the hypothesis, counted in words."""

    substitutions: int
    deletions: int
    insertions: int
    words: int

    @property
    def errors(self) -> int:
        """All edits."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference word; per one word where the reference has none, so that insertions still show."""
        return self.errors / max(self.words, 1)


def word_errors(reference: str, hypothesis: str, *, normalise: bool = True) -> WordErrors:
    """Align one utterance.

    Args:
        reference: what was said.
        hypothesis: what was written down.
        normalise: pass both through Whisper's English normaliser first (the paper's WERs are comparable only so).
    """
    jiwer = require("jiwer", "jiwer")
    if normalise:
        reference, hypothesis = normalise_speech(reference), normalise_speech(hypothesis)
    done = jiwer.process_words([reference], [hypothesis])
    return WordErrors(
        done.substitutions, done.deletions, done.insertions, done.hits + done.substitutions + done.deletions
    )


def wer(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    normalise: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scored:
    """WER of a set, as a fraction (0.026 is the paper's 2.6 %); above 1 where more is inserted than was said.

    The interval resamples utterances. A reference that only the normaliser empties ("Uh.") keeps its insertions and
    adds no words; the note counts such utterances.

    Raises:
        EvaluationError: on sequences of unequal length, an empty reference (naming the item), or no words at all.
        MissingPartError: without the ``eval`` extra.
    """
    same_length(references=references, hypotheses=hypotheses)
    for index, reference in enumerate(references):
        if not reference.strip():
            raise EvaluationError(
                f"item {index} (counted from 0) has an empty reference",
                remedy="a word error rate needs to know what was said; remove the item or correct its transcript",
            )
    edits = [word_errors(r, h, normalise=normalise) for r, h in zip(references, hypotheses)]
    words = sum(e.words for e in edits)
    if words == 0:
        raise EvaluationError("no reference has a word left after normalisation, so there is no word error rate")
    low, high = ratio_interval([e.errors for e in edits], [e.words for e in edits], resamples=resamples, seed=seed)
    wordless = sum(e.words == 0 for e in edits)
    note = f"{wordless} reference(s) hold only fillers or remarks: their insertions count, they add no words"
    return Scored(
        math.fsum(e.errors for e in edits) / words, low, high, tuple(e.rate for e in edits), note if wordless else ""
    )
