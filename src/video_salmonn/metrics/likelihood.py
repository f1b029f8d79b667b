"""Choices by likelihood: which of the candidate answers does the model hold to be most likely?

Nothing is generated, so nothing can be unparsed. Two readings, both kept: by the sum of the log-probabilities of an
answer's tokens (the probability of exactly this answer, which favours short ones), and by their mean (which does not).
Of equally likely candidates the first counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.intervals import RESAMPLES, mean, mean_interval
from video_salmonn.metrics.scored import Scored, same_length
from video_salmonn.metrics.text import normalise_answer
from video_salmonn.types import Likelihood

METRICS = ("likelihood_accuracy", "likelihood_mean_accuracy")
"""By sum, and by mean."""


def likelihood_accuracy(
    likelihoods: Sequence[Sequence[Likelihood]],
    references: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Scored]:
    """Share of items whose most likely candidate is the right one, under both readings (:data:`METRICS`).

    Args:
        likelihoods: of every candidate of every item; none for an item that could not be asked, which is wrong.
        references: the right candidate's text.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        EvaluationError: on sequences of unequal length, or a reference that is not among an item's candidates.
    """
    same_length(likelihoods=likelihoods, references=references)
    scores: tuple[list[float], list[float]] = ([], [])
    for index, (offered, right) in enumerate(zip(likelihoods, references)):
        wanted = normalise_answer(right)
        if offered and wanted not in {normalise_answer(one.text) for one in offered}:
            raise EvaluationError(
                f"item {index} (counted from 0): the reference {right!r} is none of the answers whose likelihood is "
                f"known: {[one.text for one in offered]}"
            )
        for items, key in zip(scores, (lambda one: one.log, lambda one: one.mean)):
            items.append(float(bool(offered) and normalise_answer(max(offered, key=key).text) == wanted))
    return {
        name: Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), tuple(items))
        for name, items in zip(METRICS, scores)
    }
