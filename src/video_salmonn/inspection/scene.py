"""A drawing as data: a few shapes with colours by role, so that a page (SVG) and a picture draw exactly the same."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

import numpy as np

COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#15181d"),
    "panel": ("#f4f6f9", "#1d2229"),
    "ink": ("#1b2027", "#e8ebef"),
    "muted": ("#5b6573", "#9aa5b3"),
    "grid": ("#dde2e9", "#323a45"),
    "edge": ("#aab3bf", "#566170"),
    "picture": ("#2c6cb5", "#7ab0f0"),
    "sound": ("#b8590b", "#f0a35a"),
    "sound-soft": ("#f6dcc4", "#5a3a1d"),
    "token": ("#178058", "#4bc594"),
    "alert": ("#b3261e", "#ff9188"),
    "padding": ("#c3cad3", "#465060"),
}
"""role -> (colour on light paper, colour on dark paper)."""

_COSINE = ("#1c4a87", "#4f86c6", "#a9c8e8", "#f4f4f0", "#f5c992", "#d9822b", "#8f4300")
_LOUDNESS = ("#08060f", "#241253", "#51127c", "#822681", "#b63679", "#e65164", "#fb8861", "#fec287", "#fcfdbf")


@dataclass(frozen=True)
class Rect:
    """A rectangle; ``hatched`` draws diagonal lines of the fill's colour in place of the fill."""

    x: float
    y: float
    width: float
    height: float
    fill: str | None = None
    edge: str | None = None
    hatched: bool = False
    opacity: float = 1.0
    hint: str = ""


@dataclass(frozen=True)
class Line:
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str = "grid"
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Area:
    """A filled polygon, ``points (n, 2)``."""

    points: np.ndarray
    fill: str


@dataclass(frozen=True)
class Text:
    """One line of text; ``y`` is its baseline; ``anchor`` is start, middle or end."""

    x: float
    y: float
    text: str
    size: float = 12.0
    colour: str = "ink"
    anchor: str = "start"
    bold: bool = False


@dataclass(frozen=True)
class Picture:
    """Pixels ``uint8 (h, w, 3)`` stretched over a rectangle; ``photo`` may be smoothed and compressed with loss."""

    x: float
    y: float
    width: float
    height: float
    pixels: np.ndarray
    photo: bool = False
    hint: str = ""


Shape = Rect | Line | Area | Text | Picture


@dataclass
class Scene:
    """Shapes on a canvas, drawn in their order; ``title`` is the text alternative for screen readers."""

    width: float
    height: float
    title: str
    shapes: list[Shape] = field(default_factory=list)

    def add(self, *shapes: Shape) -> None:
        """Draw on top of what is there."""
        self.shapes.extend(shapes)


def width_of(text: str, size: float = 12.0) -> float:
    """A generous guess of a text's width in pixels; East Asian wide characters count double."""
    cells = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
    return 0.6 * size * cells


def shorten(text: str, room: float, size: float = 12.0) -> str:
    """The text, cut in its middle so that it fits ``room`` pixels."""
    if width_of(text, size) <= room:
        return text
    keep = max(2, int(room / (0.6 * size)) - 1)
    return text[: keep - keep // 2] + "…" + text[len(text) - keep // 2 :]


def readable(text: str) -> str:
    """Text from files and models made fit to show: control, direction-changing and undecodable characters as escapes.

    Line breaks and tabs become spaces.
    """
    out = []
    for char in text:
        kind = unicodedata.category(char)
        if char in "\n\r\t":
            out.append(" ")
        elif kind in ("Cc", "Cs", "Cn", "Co") or (kind == "Cf" and char not in "\u200c\u200d"):
            out.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
        else:
            out.append(char)
    return "".join(out)


def clock(seconds: float, long: bool = False) -> str:
    """A time for an axis: seconds without needless digits, or ``m:ss`` where ``long``."""
    if not long:
        return f"{seconds:g}"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}"


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign, and no minus before a zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def coloured(values: np.ndarray, low: float, high: float, scale: str = "cosine") -> np.ndarray:
    """Numbers as colours: ``(…)`` float -> ``(…, 3)`` uint8; NaN becomes grey.

    Args:
        values: numbers.
        low, high: ends of the scale; what lies outside gets the end's colour.
        scale: ``cosine``: blue, white in the middle, orange; ``loudness``: lighter with the value. Both are readable
            without colour vision.
    """
    stops = np.array([_rgb(c) for c in (_COSINE if scale == "cosine" else _LOUDNESS)], np.float64)
    span = high - low if high > low else 1.0
    known = np.isfinite(values)
    place = np.clip((np.where(known, values, low) - low) / span, 0, 1) * (len(stops) - 1)
    left = np.minimum(place.astype(int), len(stops) - 2)
    part = (place - left)[..., None]
    colours = stops[left] * (1 - part) + stops[left + 1] * part
    colours[~known] = (150, 156, 165)
    return colours.round().astype(np.uint8)


def contrast(colour: np.ndarray) -> str:
    """Black or white, whichever can be read on a colour."""
    return "#111418" if float(colour @ np.array([0.299, 0.587, 0.114])) > 130 else "#ffffff"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
