"""Lines that were measured again from a fresh clone, beside those that the page is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studies.ablations.compare import Cost, cost, spread
from studies.ablations.results import Line, comparison, value_of


@dataclass(frozen=True)
class Repeat:
    """One row of one line, twice measured.

    Attributes:
        row: of held-out questions.
        first, again: its figure as it stands in the results, and measured again, both 0 to 1.
        least, most: of all seeds of this variant in the results.
        change: what is worse now, in percentage points, paired by question; None where nothing can be paired.
    """

    row: str
    first: float
    again: float
    least: float
    most: float
    change: Cost | None

    @property
    def within(self) -> bool:
        """Whether it lies within the seeds' range, or cannot be told from the first by these questions."""
        unlike = self.change is not None and self.change.verdict != "not decided"
        return self.least <= self.again <= self.most or not unlike


def repeats(lines: Sequence[Line], again: Line) -> list[Repeat]:
    """Row by row; empty where the results have no line of this variant, seed, budget and data.

    Args:
        lines: of the results, of one comparison.
        again: the line measured again.
    """
    own = [line for line in lines if line["variant"] == again["variant"] and comparison(line) == comparison(again)]
    same = [line for line in own if line["seed"] == again["seed"]]
    found = []
    for row in again["rows"] if same else ():
        seeds, measured = spread(own, row), value_of(again["rows"][row]["metric"], again["rows"][row]["marks"])
        alone = spread(same, row)
        if seeds and alone and measured is not None:
            found.append(Repeat(row, alone[0], measured, seeds[1], seeds[2], cost(same, [again], (row,))))
    return found
