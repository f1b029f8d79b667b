"""Yes/no answers: the first word decides; failing that, the only one of the two words that occurs."""

from __future__ import annotations

from collections.abc import Sequence

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.choice import Choices
from video_salmonn.metrics.intervals import RESAMPLES, mean, mean_interval
from video_salmonn.metrics.scored import Scored, same_length
from video_salmonn.metrics.text import normalise_answer

_YES = frozenset({"yes", "yeah", "yep", "true"})
_NO = frozenset({"no", "nope", "false"})


def read_yes_no(answer: str) -> bool | None:
    """True for yes, False for no, None where the answer is neither ("I cannot tell", "yes and no" after a preamble)."""
    words = normalise_answer(answer).split()
    if not words:
        return None
    if words[0] in _YES or words[0] in _NO:
        return words[0] in _YES
    yes, no = bool(_YES.intersection(words)), bool(_NO.intersection(words))
    return yes if yes != no else None


def yes_no_accuracy(
    predictions: Sequence[str], references: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Choices:
    """Share of right answers; unreadable ones are wrong and counted.

    Raises:
        EvaluationError: on sequences of unequal length, or a reference that is neither yes nor no, naming the item.
    """
    same_length(predictions=predictions, references=references)
    items: list[float] = []
    unparsed = 0
    for index, (said, right) in enumerate(zip(predictions, references)):
        wanted = read_yes_no(right)
        if wanted is None:
            raise EvaluationError(f"item {index} (counted from 0): the reference {right!r} is neither yes nor no")
        read = read_yes_no(said)
        unparsed += read is None
        items.append(float(read == wanted))
    return Choices(Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), tuple(items)), unparsed)
