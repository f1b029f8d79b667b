"""Cosine maps of every level, all on one fixed scale from -1 to 1, so that clips, levels and models compare."""

from __future__ import annotations

import numpy as np

from video_salmonn.inspection.layout import WIDE, PageLayout
from video_salmonn.inspection.scene import Picture, Rect, Scene, Text, clock, coloured, number
from video_salmonn.inspection.timeline import LevelView, Timeline
from video_salmonn.wording import counted

STEPS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
"""Seconds between the marks of a time axis."""
SIDE = 214.0
_LEGEND = 46.0


def cosine_scene(timeline: Timeline, layout: PageLayout = WIDE) -> Scene:
    """Two maps of each level: window against window, and query against query."""
    scene = Scene(layout.width, 0.0, f"Cosine similarity between query outputs of {timeline.name}")
    _legend(scene)
    y = _LEGEND
    for index, level in enumerate(timeline.levels):
        title = f"Level {index + 1}: {level.seconds:g} s windows, {counted(level.queries, 'query')}"
        if layout.stacked:
            scene.add(Text(0, y + 13, title, 13, bold=True))
            for draw in (_windows_map, _queries_map) if len(level.windows_map) > 1 else (_queries_map,):
                draw(scene, level, 34, y + 46, SIDE)
                y += SIDE + 72
            y += 32
        else:
            left = (index % 2) * (layout.width / 2 + 6)
            scene.add(Text(left, y + 13, title, 13, bold=True))
            _windows_map(scene, level, left + 34, y + 46, SIDE)
            _queries_map(scene, level, left + 330, y + 46, SIDE)
            last = index == len(timeline.levels) - 1
            y += SIDE + 104 if index % 2 or last else 0
    scene.height = y
    return scene


def _legend(scene: Scene) -> None:
    """The one colour scale."""
    wide = 214.0
    scene.add(Picture(34, 4, wide, 12, coloured(np.linspace(-1, 1, 97)[None], -1, 1), hint="colour scale"))
    for value, words, anchor in ((-1.0, "−1 opposite", "start"), (0.0, "0", "middle"), (1.0, "1 alike", "end")):
        scene.add(Text(34 + (value + 1) / 2 * wide, 29, words, 10, "muted", anchor))


def _windows_map(scene: Scene, level: LevelView, left: float, top: float, side: float) -> None:
    """Window against window on the time axis."""
    end = int(level.real.sum()) * level.seconds
    if len(level.windows_map) == 1:
        scene.add(Rect(left, top, side, side, "panel"))
        scene.add(Text(left + side / 2, top + side / 2, "one window: nothing to compare", 12, "muted", "middle"))
        return
    nearest = "" if level.neighbours is None else f"; next window {number(level.neighbours, 3)}"
    scene.add(Text(left - 34, top - 12, f"window against window{nearest}", 11, "muted"))
    scene.add(Picture(left, top, side, side, coloured(level.windows_map, -1, 1), hint="window against window"))
    scene.add(Rect(left, top, side, side, None, "edge"))
    step = next((s for s in STEPS if s >= level.seconds and s / end * side >= 40), end)
    long = end > 120
    for tick in range(int(end / step + 1e-6) + 1):
        at = tick * step / end * side
        scene.add(Text(left + at, top + side + 14, clock(tick * step, long), 10, "muted", "middle"))
        scene.add(Text(left - 5, top + at + 4, clock(tick * step, long), 10, "muted", "end"))
    unit = "min:s" if long else "s"
    grouped = f"; a cell is {level.grouped} × {counted(level.grouped, 'window')}" if level.grouped > 1 else ""
    words = f"start of the window ({unit}){grouped}"
    scene.add(Text(left + side / 2, top + side + 31, words, 11, "muted", "middle"))


def _queries_map(scene: Scene, level: LevelView, left: float, top: float, side: float) -> None:
    """Query against query in the same window."""
    mean, absolute = level.mean_within, level.mean_absolute
    figures = "" if mean is None or absolute is None else f"; mean {number(mean)}, absolute {number(absolute)}"
    scene.add(Text(left - 34, top - 12, f"query against query{figures}", 11, "muted"))
    scene.add(Picture(left, top, side, side, coloured(level.queries_map, -1, 1), hint="query against query"))
    scene.add(Rect(left, top, side, side, None, "edge"))
    count, cell = level.queries, side / level.queries
    shown = range(count) if count <= 6 else sorted({0, *range(4, count, 5), count - 1})
    for query in shown:
        at = (query + 0.5) * cell
        scene.add(Text(left + at, top + side + 14, str(query + 1), 10, "muted", "middle"))
        scene.add(Text(left - 5, top + at + 4, str(query + 1), 10, "muted", "end"))
    scene.add(Text(left + side / 2, top + side + 31, "query", 11, "muted", "middle"))
