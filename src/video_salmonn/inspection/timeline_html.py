"""The timeline as one HTML file: no scripts, nothing loaded from elsewhere, light and dark.

Every text that comes from a file, a model or the user is made readable and escaped, and the page forbids itself
scripts and requests besides (Content-Security-Policy), so a hostile file name stays a name.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from PIL import Image

from video_salmonn.inspection import timeline_text as words
from video_salmonn.inspection.scene import COLOURS, Area, Line, Picture, Rect, Scene, Shape, Text, readable
from video_salmonn.inspection.timeline import Timeline
from video_salmonn.inspection.timeline_scene import cosine_scene, timeline_scene
from video_salmonn.version import __version__

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_JPEG_QUALITY = 82


def to_html(timeline: Timeline) -> str:
    """The page."""
    title = _text(f"{timeline.name} — what the model saw and heard")
    parts = [
        f"<header><h1>{_text(timeline.name)}</h1><p class=lead>{_text(words.headline(timeline))}</p></header>",
        *(f'<p class="note alert">{_text(sentence)}</p>' for sentence in words.warnings(timeline)),
        _question(timeline),
        _section("On one time axis", _svg(timeline_scene(timeline)), _notes(timeline.notes)),
        _section(
            "How alike are the connector’s query outputs?",
            f"<p class=note>{_text(words.COSINE_NOTE)}</p>",
            _svg(cosine_scene(timeline)),
        ),
        '<div class="columns">',
        _section("Seen, heard, cut", _pairs(words.fates(timeline)), "<h3>Streams</h3>", _streams(timeline)),
        _section(
            "Seconds by stage", _bars(words.stages(timeline)), f"<p class=note>{_text(words.time_note(timeline))}</p>"
        ),
        "</div>",
        _section("Sizes", _pairs(timeline.sizes)),
        f"<footer>video-salmonn {_text(__version__)} · {_text(timeline.report.source)}</footer>",
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{_style()}</style>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{"".join(parts)}</body></html>\n'


def _text(text: str) -> str:
    return escape(readable(text))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{''.join(parts)}</section>"


def _notes(notes: Iterable[str]) -> str:
    return "".join(f'<p class="note">{_text(note)}</p>' for note in notes)


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    cells = (f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _streams(timeline: Timeline) -> str:
    rows = []
    for chosen, *cells in words.streams(timeline):
        mark = '<span class="chosen">used</span>' if chosen else '<span class="unused">not used</span>'
        rows.append(f"<tr><td>{mark}</td>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _bars(stages: Sequence[words.Stage]) -> str:
    longest = max((stage.seconds for stage in stages), default=0.0) or 1.0
    rows = []
    for stage in stages:
        kind = ' class="total"' if stage.name == "total" else ""
        width = 100 * stage.seconds / longest
        rows.append(
            f'<tr{kind}><th scope="row">{_text(stage.name)}</th><td class="number">{stage.seconds:.3f} s</td>'
            f'<td class="wide"><div class="bar" style="width:{width:.1f}%"></div></td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def _question(timeline: Timeline) -> str:
    comparison = timeline.comparison
    if comparison is None:
        return ""
    head = (
        ("condition", ""),
        ("media tokens", ' class="number"'),
        ("log-probability of the full answer", ' class="number"'),
        ("answer", ' class="answer"'),
    )
    rows = []
    for name, tokens, likely, verdict, answer in words.answers(timeline):
        mark = f'<span class="{verdict}">{verdict}</span> ' if verdict else ""
        rows.append(
            f'<tr><th scope="row">{_text(name)}</th><td class="number">{tokens}</td><td class="number">{likely}</td>'
            f'<td class="answer">{mark}{_text(answer)}</td></tr>'
        )
    header = "".join(f'<th scope="col"{css}>{_text(cell)}</th>' for cell, css in head)
    return _section(
        "What did the answer rest on?",
        f'<p class="question">{_text(comparison.question)}</p><p class="finding">{_text(comparison.finding)}</p>',
        f"<table><thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>",
        f"<p class=note>{_text(words.ANSWER_NOTE)}</p>",
    )


# ---------------------------------------------------------------------------------------------------------- drawing


def _svg(scene: Scene) -> str:
    body = "".join(_shape(shape) for shape in scene.shapes)
    hatch = (
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="s-padding" width="1.6" height="7" fill="var(--padding)"/></pattern></defs>'
    )
    size = f'viewBox="0 0 {scene.width:g} {scene.height:g}" width="{scene.width:g}" height="{scene.height:g}"'
    return f'<figure><svg {size} role="img" aria-label="{_text(scene.title)}">{hatch}{body}</svg></figure>'


def _colour(colour: str | None) -> str:
    if colour is None:
        return "none"
    return f"var(--{colour})" if colour in COLOURS else colour


def _shape(shape: Shape) -> str:
    match shape:
        case Rect():
            fill = "url(#hatch)" if shape.hatched else _colour(shape.fill)
            return (
                f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}" '
                f'fill="{fill}" stroke="{_colour(shape.edge)}"{_opacity(shape.opacity)}>{_hint(shape.hint)}</rect>'
            )
        case Line():
            dash = ' stroke-dasharray="4 3"' if shape.dashed else ""
            return (
                f'<line x1="{shape.x1:.1f}" y1="{shape.y1:.1f}" x2="{shape.x2:.1f}" y2="{shape.y2:.1f}" '
                f'stroke="{_colour(shape.colour)}" stroke-width="{shape.width:g}"{dash}/>'
            )
        case Area():
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
            return f'<polygon points="{points}" fill="{_colour(shape.fill)}"/>'
        case Text():
            weight = ' font-weight="600"' if shape.bold else ""
            return (
                f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}" text-anchor="{shape.anchor}" '
                f'fill="{_colour(shape.colour)}"{weight}>{_text(shape.text)}</text>'
            )
        case Picture():
            crisp = "" if shape.photo else ' style="image-rendering:pixelated"'
            return (
                f'<image x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}" '
                f'preserveAspectRatio="none" href="{_data(shape)}"{crisp}>{_hint(shape.hint)}</image>'
            )


def _opacity(value: float) -> str:
    return "" if value == 1 else f' opacity="{value:g}"'


def _hint(text: str) -> str:
    return f"<title>{_text(text)}</title>" if text else ""


def _data(picture: Picture) -> str:
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture.pixels))
    if picture.photo:
        image.save(stream, "JPEG", quality=_JPEG_QUALITY)
    else:
        image.save(stream, "PNG", optimize=True)
    kind = "jpeg" if picture.photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _style() -> str:
    light = "".join(f"--{role}:{pair[0]};" for role, pair in COLOURS.items())
    dark = "".join(f"--{role}:{pair[1]};" for role, pair in COLOURS.items())
    return f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{_RULES}"


_RULES = """
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;max-width:1280px;margin:0 auto;
padding:1.6rem 1.2rem 2.5rem;color:var(--ink);background:var(--paper)}
header{border-bottom:1px solid var(--grid);margin-bottom:1.2rem}
h1{font-size:1.55rem;line-height:1.25;margin:0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:1.9rem 0 .6rem}h3{font-size:.95rem;margin:1.1rem 0 .3rem}
.lead{margin:.3rem 0 1rem;color:var(--muted)}
.note{color:var(--muted);font-size:.86rem;max-width:62rem;margin:.45rem 0}
.alert{color:var(--alert);border-left:3px solid var(--alert);padding-left:.7rem}
figure{margin:0;overflow-x:auto}svg{display:block;max-width:100%;height:auto;min-width:880px}
svg text{font-family:inherit}
table{border-collapse:collapse;font-size:.9rem;width:100%}
th,td{border-bottom:1px solid var(--grid);padding:.32rem .8rem .32rem 0;text-align:left;vertical-align:top;
font-weight:400;overflow-wrap:anywhere}
th[scope=row]{color:var(--muted);white-space:nowrap;width:1%;padding-right:1.2rem}
thead th{color:var(--muted);font-size:.8rem}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;width:1%}
th.number{white-space:normal;min-width:6.5rem;overflow-wrap:normal}.answer{min-width:24rem;padding-left:1.2rem}
thead th{vertical-align:bottom}
.question{font-size:1.05rem;margin:.2rem 0;font-style:italic}
.finding{background:var(--panel);border-left:4px solid var(--token);padding:.7rem 1rem;margin:.6rem 0 1rem}
.same,.different,.chosen,.unused{font-size:.75rem;border-radius:3px;padding:.1rem .4rem;margin-right:.3rem;
border:1px solid var(--edge);color:var(--muted);white-space:nowrap}
.different{color:var(--alert);border-color:var(--alert)}.chosen{color:var(--token);border-color:var(--token)}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr));gap:0 3rem}
.bar{height:.75rem;margin-top:.3rem;background:var(--picture);border-radius:2px;min-width:1px}
td.wide{width:60%}.total .bar{background:var(--edge)}.total th,.total td{font-weight:600;color:var(--ink)}
footer{margin-top:2rem;color:var(--muted);font-size:.8rem;overflow-wrap:anywhere}
""".strip()
