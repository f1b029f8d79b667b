"""The timeline as a PNG, for slides, reports and issues.

Drawn with matplotlib, not Pillow (a core dependency): matplotlib carries a font with Greek, Cyrillic, accents and
signs, so names, answers and units look the same on every machine; Pillow's own font knows little more than ASCII.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from video_salmonn.errors import needed
from video_salmonn.inspection import timeline_text as words
from video_salmonn.inspection.cosine_scene import cosine_scene
from video_salmonn.inspection.layout import WIDE
from video_salmonn.inspection.scene import COLOURS, Area, Line, Picture, Rect, Scene, Shape, Text, readable, shorten
from video_salmonn.inspection.timeline import Timeline
from video_salmonn.inspection.timeline_scene import timeline_scene
from video_salmonn.wording import counted

WIDTH = WIDE.width
MARGIN = 30.0
PAGE = WIDTH + 2 * MARGIN
_DPI = 100.0
_LINE = 18.0
_OTHER_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans Devanagari",
    "Noto Sans Arabic",
    "Arial Unicode MS",
)
_WRAP = 172
"""Characters of 12.5 px on a line."""


def to_png(timeline: Timeline, scale: float = 1.0) -> bytes:
    """The picture.

    Args:
        timeline: what to draw.
        scale: 1 makes it 1300 pixels wide, 2 twice that (and as high as its content needs).

    Raises:
        MissingPartError: matplotlib is not installed.
    """
    with needed("a PNG needs matplotlib", remedy='pip install "video-salmonn[plot]", or write an .html page'):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    scene = page_scene(timeline)
    figure = Figure(figsize=(scene.width / _DPI, scene.height / _DPI), dpi=_DPI * scale, facecolor=COLOURS["paper"][0])
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    axes.axis("off")
    families = _families()
    for order, shape in enumerate(scene.shapes):
        _draw(axes, shape, order, families)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # no installed font has it: a box is drawn
        canvas.print_png(stream)
    return stream.getvalue()


def page_scene(timeline: Timeline) -> Scene:
    """Everything on one sheet: heading, answers, timeline, cosine maps, account."""
    page = Scene(PAGE, 0.0, f"What the model saw and heard of {timeline.name}")
    y = MARGIN + 12
    page.add(Text(MARGIN, y, shorten(readable(timeline.name), WIDTH, 21), 21, bold=True))
    y += 24
    page.add(Text(MARGIN, y, words.headline(timeline), 13, "muted"))
    y += 14
    y = _answer(page, timeline, y)
    for sentence in words.caveats(timeline):
        y = _paragraph(page, y, sentence, "alert")
    y = _place(page, timeline_scene(timeline), y + 16)
    y = _conditions(page, timeline, y)
    y = _heading(page, "How alike are the connector’s query outputs?", y)
    for sentence in words.mirrored(timeline):
        y = _paragraph(page, y, sentence, "token")
    y = _place(page, cosine_scene(timeline), y + 14)
    y = _paragraph(page, y, words.COSINE_NOTE)
    y = _account(page, timeline, y)
    for note in timeline.notes:
        y = _paragraph(page, y, note)
    page.height = float(round(y + MARGIN))
    return page


def _heading(page: Scene, text: str, y: float) -> float:
    page.add(Text(MARGIN, y + 22, text, 15, bold=True))
    return y + 28


def _paragraph(page: Scene, y: float, text: str, colour: str = "muted", indent: float = 0.0) -> float:
    """Wrapped text below ``y``; returns where it ends."""
    room = int(_WRAP * (1 - indent / WIDTH))
    for line in textwrap.wrap(readable(text), room) or [""]:
        y += _LINE
        page.add(Text(MARGIN + indent, y, line, 12.5, colour))
    return y + 4


def _place(page: Scene, scene: Scene, y: float) -> float:
    """Put a scene on the page."""
    for shape in scene.shapes:
        page.add(_moved(shape, MARGIN, y))
    return y + scene.height


def _answer(page: Scene, timeline: Timeline, y: float) -> float:
    """Question, answer, and what it rested on."""
    comparison = timeline.comparison
    if comparison is None:
        return y
    y = _paragraph(page, y + 4, comparison.question)
    for line in textwrap.wrap(readable(comparison.answer or "(empty)"), 96):
        y += 26
        page.add(Text(MARGIN, y, line, 20))
    return _paragraph(page, y + 6, comparison.finding, "token") + 4


def _conditions(page: Scene, timeline: Timeline, y: float) -> float:
    """The answers under all conditions."""
    comparison = timeline.comparison
    if comparison is None:
        return y
    y = _heading(page, "What did the answer rest on?", y + 4)
    for name, tokens, likely, verdict, answer in words.answers(timeline):
        said = f"{verdict}: {answer}" if verdict else answer
        page.add(
            Text(MARGIN, y + _LINE, name, 12.5, "muted"),
            Text(MARGIN + 250, y + _LINE, counted(int(tokens), "token"), 12.5, "muted", "end"),
            Text(MARGIN + 330, y + _LINE, f"log p {likely}", 12.5, "muted", "end"),
        )
        y = _paragraph(page, y, said, "alert" if verdict == "different" else "ink", 350)
    y = _paragraph(page, y, words.ANSWER_NOTE)
    return _paragraph(page, y, words.JOINT_NOTE) if comparison.joint else y


def _account(page: Scene, timeline: Timeline, y: float) -> float:
    """Fates and streams on the left, seconds on the right."""
    top = _heading(page, "Seen, heard, cut", y)
    y, half = top, WIDTH / 2 - 40
    rows = words.fates(timeline)
    rows += [
        ("stream", f"{'used' if chosen else 'not used'}: {name}, {codec}" + (f", {rest}" if rest else ""))
        for chosen, name, codec, rest in words.streams(timeline)
    ]
    for name, value in rows:
        for number, line in enumerate(textwrap.wrap(readable(value), 74)):
            y += _LINE
            if not number:
                page.add(Text(MARGIN, y, name, 12.5, "muted"))
            page.add(Text(MARGIN + 64, y, line, 12.5))
    left = MARGIN + WIDTH / 2 + 20
    page.add(Text(left, top - 6, "Seconds by stage", 15, bold=True))
    stages = words.stages(timeline)
    longest = max(stage.seconds for stage in stages) or 1.0
    below = top
    for stage in stages:
        below += _LINE
        total = stage.name == "total"
        page.add(
            Text(left, below, stage.name, 12.5, "ink" if total else "muted", bold=total),
            Text(left + 170, below, f"{stage.seconds:.3f} s", 12.5, anchor="end", bold=total),
            Rect(
                left + 182,
                below - 9,
                max(1.0, stage.seconds / longest * (half - 190)),
                9,
                "edge" if total else "picture",
            ),
        )
    y = _paragraph(page, max(y, below) + 6, words.time_note(timeline))
    y = _heading(page, "Sizes", y)
    for name, value in timeline.sizes:
        y += _LINE
        page.add(Text(MARGIN, y, name, 12.5, "muted"), Text(MARGIN + 560, y, value, 12.5))
    return y + 6


def _moved(shape: Shape, dx: float, dy: float) -> Shape:
    match shape:
        case Line():
            return replace(shape, x1=shape.x1 + dx, x2=shape.x2 + dx, y1=shape.y1 + dy, y2=shape.y2 + dy)
        case Area():
            return replace(shape, points=shape.points + np.array([dx, dy]))
        case _:
            return replace(shape, x=shape.x + dx, y=shape.y + dy)


def _families() -> list[str]:
    """matplotlib's own font, and those of other scripts that are installed."""
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in installed)]


def _colour(colour: str | None) -> str:
    if colour is None:
        return "none"
    return COLOURS[colour][0] if colour in COLOURS else colour


def _draw(axes: Any, shape: Shape, order: int, families: list[str]) -> None:
    """One shape onto matplotlib axes whose units are pixels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon, Rectangle

    points = 72 / _DPI
    match shape:
        case Rect():
            axes.add_patch(
                Rectangle(
                    (shape.x, shape.y),
                    shape.width,
                    shape.height,
                    facecolor="none" if shape.hatched else _colour(shape.fill),
                    edgecolor=_colour(shape.fill if shape.hatched else shape.edge),
                    hatch="////" if shape.hatched else None,
                    linewidth=0.7 if shape.edge else 0.0,
                    alpha=shape.opacity,
                    zorder=order,
                )
            )
        case Line():
            axes.add_line(
                Line2D(
                    (shape.x1, shape.x2),
                    (shape.y1, shape.y2),
                    color=_colour(shape.colour),
                    linewidth=shape.width * points,
                    linestyle="--" if shape.dashed else "-",
                    zorder=order,
                )
            )
        case Area():
            axes.add_patch(Polygon(shape.points, facecolor=_colour(shape.fill), linewidth=0, zorder=order))
        case Text():
            axes.text(
                shape.x,
                shape.y,
                readable(shape.text),
                fontsize=shape.size * points * 0.92,  # DejaVu Sans runs wider than the fonts of a browser
                color=_colour(shape.colour),
                ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
                va="baseline",
                weight="bold" if shape.bold else "normal",
                family=families,
                parse_math=False,
                zorder=order,
            )
        case Picture():
            extent = (shape.x, shape.x + shape.width, shape.y + shape.height, shape.y)
            how = "antialiased" if shape.photo else "nearest"
            axes.imshow(shape.pixels, extent=extent, aspect="auto", interpolation=how, zorder=order, clip_on=False)
            axes.set_xlim(0, PAGE)
