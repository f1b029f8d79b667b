"""What every metric returns, and the checks every metric makes of its input."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from video_salmonn.errors import EvaluationError, needed


@dataclass(frozen=True, slots=True)
class Scored:
    """One metric over a set of items.

    Attributes:
        value: the score of the whole set; None where it could not be computed (``note`` says why), printed ``n/a``.
        low: lower end of the 95 % bootstrap interval, None where there is none (one item, or no value).
        high: upper end.
        items: one score an item, in the order given; for WER errors per reference word, else larger is better.
        note: what a reader of the number must know.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    items: tuple[float, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise EvaluationError(f"the metric's {name} is {number}, which is not a score")
        for index, score in enumerate(self.items):
            if not math.isfinite(score):
                raise EvaluationError(f"item {index} (counted from 0) has the score {score}, which is not a score")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of the contract: ``value``, ``low``, ``high`` and, where there is one, ``note``."""
        out: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high}
        if self.note:
            out["note"] = self.note
        return out


def same_length(**columns: Sequence[Any]) -> int:
    """Check that parallel sequences are non-empty and equally long; return their length.

    Raises:
        EvaluationError: naming the columns that differ, or that there is nothing to score.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise EvaluationError(f"every item needs one of each: there are {told}")
    count = next(iter(lengths.values()))
    if count == 0:
        raise EvaluationError("there is nothing to score: no items", remedy="give at least one prediction")
    return count


def require(module: str, package: str) -> ModuleType:
    """Import a package of the ``eval`` extra when it is first needed.

    Args:
        module: the dotted name to import.
        package: the name of the distribution, for the message.

    Raises:
        MissingPartError: if it is not installed; the remedy is the command that brings the extra.
    """
    with needed(
        f"{package} is not installed, and this metric is computed with it", remedy='pip install "video-salmonn[eval]"'
    ):
        return importlib.import_module(module)
