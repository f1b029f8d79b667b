"""What a report is made of, whatever it is printed as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A table: header, and rows of texts."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Bars:
    """A figure: (label, value, low, high) a bar, all on the scale of one metric."""

    metric: str
    bars: Sequence[tuple[str, float, float | None, float | None]]


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a file beside the report."""

    label: str
    href: str


Block = str | Table | Bars | Link
"""A paragraph, a table, a figure or a link."""


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A headline and its content."""

    title: str
    blocks: list[Block]
