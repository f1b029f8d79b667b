"""A variant against the full system, question by question: by how much it is worse, and how sure that is.

Paired bootstrap in two levels: seeds are drawn again with replacement, and, for all of them alike, held-out questions.
With one seed only questions are drawn, and the interval says nothing of how seeds differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from studies.ablations.results import Line, value_of

RESAMPLES = 2000
LESS_IS_BETTER = ("wer", "refusals")
Row = dict[str, object]


@dataclass(frozen=True)
class Cost:
    """What a change costs, in percentage points: positive where the full system is better.

    Attributes:
        value: mean over the rows asked for, over all seeds that both have.
        low, high: 95 % interval; None where there is one question only.
        seeds: that both have.
        items: questions, of all rows, of one seed.
    """

    value: float
    low: float | None
    high: float | None
    seeds: tuple[int, ...]
    items: int

    @property
    def verdict(self) -> str:
        """``holds`` where the full system is surely better, ``does not hold`` where it is surely worse."""
        if self.low is None or self.high is None:
            return "not decided"
        return "holds" if self.low > 0 else "does not hold" if self.high < 0 else "not decided"

    @property
    def questions_needed(self) -> int | None:
        """About how many questions would decide a difference as large as the measured one, if only they were more.

        None where it is decided, or where the measured difference is of the other sign than the claim's.
        """
        if self.verdict != "not decided" or self.low is None or self.high is None or self.value <= 0:
            return None
        return round(self.items * ((self.high - self.low) / 2 / self.value) ** 2)


def columns(metric: str, marks: Sequence[Sequence[int]]) -> np.ndarray:
    """Marks as numbers whose sums make the figure (:func:`figure`): ``(items, k)`` float64."""
    table = np.asarray(marks, dtype=np.float64)
    if metric == "wer":
        return table
    if metric == "balanced accuracy":
        right, yes = table[:, 0], table[:, 1]
        return np.stack([right * yes, yes, right * (1 - yes), 1 - yes], axis=1)
    return np.concatenate([table, np.ones_like(table)], axis=1)


def figure(metric: str, sums: np.ndarray) -> np.ndarray:
    """Sums ``(…, k)`` -> figures ``(…)``, NaN where undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: np.ndarray = sums[..., 0] / sums[..., 1]
        if metric == "balanced accuracy":
            shares = (shares + sums[..., 2] / sums[..., 3]) / 2
    return shares


def cost(
    full: Sequence[Line],
    variant: Sequence[Line],
    rows: Sequence[str],
    *,
    zeroed: str | None = None,
    resamples: int = RESAMPLES,
) -> Cost | None:
    """What a variant costs in some rows, their mean; None where there is nothing to compare.

    Args:
        full, variant: lines of one comparison; seeds that both have are paired.
        rows: of held-out questions; those that a line lacks are left out.
        zeroed: compare the full system with itself, this level being zero, in place of a variant.
        resamples: of the bootstrap.
    """
    own = {line["seed"]: line for line in full}
    other = own if zeroed else {line["seed"]: line for line in variant}
    seeds = tuple(sorted(own.keys() & other.keys()))
    pairs: list[tuple[str, np.ndarray, np.ndarray]] = []
    for name in rows:
        whole = [own[seed]["rows"].get(name) for seed in seeds]
        part = [
            other[seed]["zeroed"].get(zeroed, {}).get(name) if zeroed else other[seed]["rows"].get(name)
            for seed in seeds
        ]
        if not seeds or None in whole or None in part:
            continue
        if len({row["ids"] for row in whole} | ({row["ids"] for row in part} if not zeroed else set())) > 1:
            continue  # other questions cannot be paired
        metric = str(whole[0]["metric"])
        stacks = [np.stack([columns(metric, row["marks"]) for row in given]) for given in (whole, part)]
        pairs.append((metric, stacks[0], stacks[1]))
    if not pairs:
        return None
    random = np.random.default_rng(0)
    ones = np.ones((1, len(seeds)))
    drawn_seeds = random.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=resamples).astype(float)
    measured, resampled = [], []
    for metric, whole_marks, part_marks in pairs:
        count = whole_marks.shape[1]
        questions = random.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
        measured.append(_difference(metric, whole_marks, part_marks, ones, np.ones((1, count)))[0])
        resampled.append(_difference(metric, whole_marks, part_marks, drawn_seeds, questions))
    value = 100 * float(np.mean(measured))
    drawn = 100 * np.mean(resampled, axis=0)
    drawn = drawn[np.isfinite(drawn)]
    items = sum(marks.shape[1] for _, marks, _ in pairs)
    if not np.isfinite(value) or items < 2 or len(drawn) < 0.9 * resamples:
        return None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Cost(value, float(low), float(high), seeds, items)


def _difference(
    metric: str, whole: np.ndarray, part: np.ndarray, seeds: np.ndarray, questions: np.ndarray
) -> np.ndarray:
    """How much worse ``part`` is, ``(r,)``, for weights of seeds ``(r, s)`` and of questions ``(r, n)``."""
    of: Callable[[np.ndarray], np.ndarray] = lambda marks: figure(  # noqa: E731
        metric, np.einsum("rs,rn,snk->rk", seeds, questions, marks, optimize=True)
    )
    worse = of(part) - of(whole)
    return worse if metric in LESS_IS_BETTER else -worse


def spread(lines: Sequence[Line], row: str) -> tuple[float, float, float, int] | None:
    """Mean, least, largest value of a row over seeds, and how many there are; None where it was not measured."""
    values = [
        value
        for line in lines
        if row in line["rows"]
        and (value := value_of(line["rows"][row]["metric"], line["rows"][row]["marks"])) is not None
    ]
    return (sum(values) / len(values), min(values), max(values), len(values)) if values else None
