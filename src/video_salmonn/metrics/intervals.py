"""Bootstrap intervals: how far a score moves when the test items are drawn again with replacement.

Decisions:

- Percentile bootstrap (Efron 1979; for WER by utterance: Bisani and Ney, ICASSP 2004), 1000 resamples, 95 %, seeded.
- Resampling is by item (utterance, question, picture), so counts within an item stay together: a WER's interval
  resamples (errors, words) pairs and divides the sums.
- A resample is a vector of multiplicities ``(n,)``, so any statistic that is a function of weighted sums is one
  matrix product; 12 577 items take well under a second.
- Rows are sorted before drawing. The interval is then a function of the *set* of items: permuting the input changes
  nothing, whatever the seed.
- One item has no interval (None): a width of zero would claim certainty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from video_salmonn.errors import EvaluationError

RESAMPLES = 1000
LEVEL = 0.95
_CHUNK = 4_000_000  # multiplicities held at once (32 MB)

Interval = tuple[float | None, float | None]


def bootstrap(
    rows: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic of weighted sums.

    Args:
        rows: float64 ``(n, k)``, ``k`` numbers an item whose sums the statistic needs.
        statistic: takes sums ``(r, k)`` over ``r`` resamples, returns ``(r,)``; NaN where it is undefined.
        resamples: how many sets are drawn.
        level: the interval's coverage, in (0, 1).
        seed: of the generator; the result depends on nothing else.

    Returns:
        (low, high), or (None, None) for fewer than two items or where the statistic is undefined for a resample
        in ten or more.

    Raises:
        EvaluationError: if a number is not finite, naming the row, or the arguments make no sense.
    """
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2:
        raise EvaluationError(f"rows must be two-dimensional (items, numbers), got shape {rows.shape}")
    if not 0 < level < 1 or resamples < 1:
        raise EvaluationError(f"an interval needs 0 < level < 1 and resamples >= 1, got {level} and {resamples}")
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise EvaluationError(f"item {bad[0]} (counted from 0) has the score {rows[bad[0]].tolist()}")
    n = len(rows)
    if n < 2:
        return None, None
    rows = rows[np.lexsort(rows.T[::-1])]
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK // n)
    values: list[np.ndarray] = []
    for start in range(0, resamples, step):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(step, resamples - start))
        values.append(np.asarray(statistic(weights @ rows), dtype=np.float64))
    drawn = np.concatenate(values)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) <= 0.9 * resamples:
        return None, None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(scores: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Interval of a mean over items; ``scores`` has one number an item."""
    n = len(scores)
    return bootstrap(
        np.asarray(scores, dtype=np.float64)[:, None], lambda s: s[:, 0] / n, resamples=resamples, seed=seed
    )


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of ``sum(numerators) / sum(denominators)``, both of one item drawn together (WER by utterance)."""
    rows = np.stack([np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)], axis=1)

    def ratio(sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)

    return bootstrap(rows, ratio, resamples=resamples, seed=seed)


def mean(scores: Sequence[float]) -> float:
    """Exact mean (``math.fsum``), so that the order of items cannot show in the last digit."""
    return math.fsum(scores) / len(scores)
