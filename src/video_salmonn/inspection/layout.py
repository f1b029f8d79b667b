"""Two widths of every drawing: beside their labels for screens and pictures, and below them for narrow screens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PageLayout:
    """Measures of a drawing in pixels.

    Attributes:
        width: of the drawing.
        left: where the time axis begins; what is left of it holds labels.
        right: room after its end.
        stacked: labels are above their lanes.
    """

    width: float
    left: float
    right: float
    stacked: bool

    @property
    def plot(self) -> float:
        """Width of the time axis."""
        return self.width - self.left - self.right


WIDE = PageLayout(width=1240.0, left=176.0, right=14.0, stacked=False)
NARROW = PageLayout(width=360.0, left=4.0, right=10.0, stacked=True)
