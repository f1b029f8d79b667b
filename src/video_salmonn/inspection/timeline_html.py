"""The timeline as one HTML file, light and dark, that asks nothing of the network.

Every text that comes from a file, a model or the user is made readable and escaped. The page forbids itself all
requests but for the media file it plays, and all scripts but one, known by its digest, which moves the playhead
(Content-Security-Policy), so a hostile file name stays a name.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

import numpy as np
from PIL import Image

from video_salmonn.inference.transcript import Transcript
from video_salmonn.inspection import timeline_text as words
from video_salmonn.inspection.cosine_scene import cosine_scene
from video_salmonn.inspection.layout import NARROW, WIDE, PageLayout
from video_salmonn.inspection.player import Player
from video_salmonn.inspection.scene import COLOURS, Area, Line, Picture, Rect, Scene, Shape, Text, readable
from video_salmonn.inspection.timeline import Timeline
from video_salmonn.inspection.timeline_scene import timeline_scene
from video_salmonn.version import __version__

_POLICY = "default-src 'none'; img-src data:; media-src data: {media}; style-src 'unsafe-inline'"
_BESIDE = "'self' file:"
"""Where the media of a page lie that is a file."""
_JPEG_QUALITY = 82


def to_html(timeline: Timeline, player: Player | None = None) -> str:
    """The page.

    Args:
        timeline: what to show.
        player: what to play (:func:`~video_salmonn.inspection.player.player_of`); None for no player.
    """
    player = player or Player(None)
    drawings = _Drawings(timeline, player.main is not None)
    cosines = "".join(drawings.svg(cosine_scene(timeline, layout), layout) for layout in (WIDE, NARROW))
    parts = [
        f"<header><h1>{_text(timeline.name)}</h1><p class=lead>{_text(words.headline(timeline))}</p></header>",
        _answer(timeline),
        *(f'<p class="note alert">{_text(sentence)}</p>' for sentence in words.caveats(timeline)),
        _section("On one time axis", _watch(timeline, player), drawings.axis(), _notes(timeline.notes)),
        _conditions(timeline),
        _section(
            "How alike are the connector’s query outputs?",
            *(f'<p class="finding">{_text(sentence)}</p>' for sentence in words.mirrored(timeline)),
            f"<figure>{cosines}</figure>",
            f"<p class=note>{_text(words.COSINE_NOTE)}</p>",
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
    return _document(timeline, parts, drawings)


def clip_page(
    timeline: Timeline, player: Player, transcript: Transcript | None = None, *, media: str = "", script: str = ""
) -> str:
    """A page about a clip for somebody who asks about it: player, time axis, transcript, what was seen and heard.

    Args:
        timeline: of the clip.
        player: what to play.
        transcript: of its speech; every word, or stretch where words have no times, sends the player there.
        media: where media may come from besides the page itself, as a source of a Content-Security-Policy.
        script: JavaScript that the page runs besides its own.
    """
    drawings = _Drawings(timeline, player.main is not None)
    parts = [
        _section("What was seen and heard", *(f"<p>{_text(sentence)}</p>" for sentence in words.told(timeline))),
        *(f'<p class="note alert">{_text(sentence)}</p>' for sentence in words.caveats(timeline)),
        _section("On one time axis", _watch(timeline, player), drawings.axis(), _notes(timeline.notes)),
        "" if transcript is None else _transcript(transcript, player.main is not None),
    ]
    return _document(timeline, parts, drawings, media, script, kind="clip")


def _document(
    timeline: Timeline, parts: Iterable[str], drawings: _Drawings, media: str = _BESIDE, more: str = "", kind: str = ""
) -> str:
    """A whole page of its parts, which runs nothing but the scripts given here."""
    title = _text(f"{timeline.name}: what the model saw and heard")
    scripts = [script for script in (_asset("page.js") if drawings.plays else "", more) if script]
    policy = _POLICY.format(media=media.replace('"', "%22"))
    if scripts:
        digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
        policy += "; script-src " + " ".join(f"'sha256-{digest}'" for digest in digests)
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{_style()}</style>"
    )
    body = "".join(parts) + drawings.store() + "".join(f"<script>{script}</script>" for script in scripts)
    mark = f' class="{kind}"' if kind else ""
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body{mark}>{body}</body></html>\n'


def _asset(name: str) -> str:
    return files("video_salmonn.inspection").joinpath(name).read_text("utf-8").strip()


def _text(text: str) -> str:
    return escape(readable(text))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{''.join(parts)}</section>"


def _notes(notes: Iterable[str]) -> str:
    return "".join(f'<p class="note">{_text(note)}</p>' for note in notes)


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    cells = (f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in rows)
    return f'<table class="stack">{"".join(cells)}</table>'


def _streams(timeline: Timeline) -> str:
    rows = []
    for chosen, *cells in words.streams(timeline):
        mark = '<span class="chosen">used</span>' if chosen else '<span class="unused">not used</span>'
        rows.append(f"<tr><td>{mark}</td>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _bars(stages: Sequence[words.StageSeconds]) -> str:
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


def _answer(timeline: Timeline) -> str:
    """Question, answer, and what it rested on."""
    comparison = timeline.comparison
    if comparison is None:
        return ""
    return (
        f'<section aria-label="answer"><p class="question">{_text(comparison.question)}</p>'
        f'<p class="answer">{_lines(comparison.answer or "(empty)")}</p>'
        f'<p class="finding">{_text(comparison.finding)}</p></section>'
    )


def _lines(text: str) -> str:
    return "\n".join(_text(line) for line in text.splitlines())


def _conditions(timeline: Timeline) -> str:
    """The answers under all conditions."""
    if timeline.comparison is None:
        return ""
    head = (
        ("condition", ""),
        ("media tokens", ' class="number"'),
        ("log-probability of the full answer", ' class="number"'),
        ("answer", ' class="said"'),
    )
    rows = []
    for name, tokens, likely, verdict, answer in words.answers(timeline):
        mark = f'<span class="{verdict}">{verdict}</span> ' if verdict else ""
        rows.append(
            f'<tr><th scope="row">{_text(name)}</th><td class="number" data-label="media tokens">{tokens}</td>'
            f'<td class="number" data-label="log-probability">{likely}</td>'
            f'<td class="said">{mark}{_text(answer)}</td></tr>'
        )
    header = "".join(f'<th scope="col"{css}>{_text(cell)}</th>' for cell, css in head)
    notes = [words.ANSWER_NOTE, *([words.JOINT_NOTE] if timeline.comparison.joint else [])]
    return _section(
        "What did the answer rest on?",
        f'<table class="stack"><thead><tr>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table>',
        _notes(notes),
    )


def _watch(timeline: Timeline, player: Player) -> str:
    """The player, where the clip is, and the words it can be sent to."""
    spoken = "" if timeline.words is None else _spoken(timeline)
    note = f'<p class="note">{_text(player.reason)}</p>' if player.reason else ""
    if player.main is None:
        return spoken + note
    tag = "video" if player.moving else "audio"
    muted = " muted" if player.muted or player.sound is not None else ""
    places = f'data-offset="{timeline.offset:g}" data-end="{min(timeline.report.duration, timeline.axis_end):g}"'
    name = _text(f"{timeline.name}, as it was given to the model")
    main = (
        f'<{tag} id="player" controls preload="auto" playsinline{muted} {places} aria-label="{name}" '
        f'src="{escape(player.main.address)}"></{tag}>'
    )
    if player.sound is not None:
        main += f'<audio id="player-sound" preload="auto" src="{escape(player.sound.address)}"></audio>'
    return (
        f'<div class="watch"><div>{main}<p id="unplayable" class="note alert" hidden>This browser cannot play the file.'
        f"</p></div><div>"
        f'<p class="note">At <output id="now">0.0 s</output> of the clip. The line in the drawing follows the player; '
        f"a click on the drawing or on a word sends the player there.</p>{spoken}{note}</div></div>"
    )


def _spoken(timeline: Timeline) -> str:
    """The words that were heard, each with its time."""
    assert timeline.words is not None
    found = "".join(_spoken_word(word.text, word.start, word.end, True) for word in timeline.words.words)
    title, note = (
        "Words that the connector spells",
        (
            "Greedy CTC over the media tokens, before the language model corrects it. In clips of a few seconds, "
            "names of what is seen and heard may be among the words."
        ),
    )
    if timeline.words.answered:
        title, note = "Words of the answer", "Each at the media tokens that say it best (CTC, forced alignment)."
    return f'<h3>{title}</h3><p class="words">{found or "none"}</p><p class="note">{note}</p>'


def _transcript(transcript: Transcript, plays: bool) -> str:
    """What is said, line by line, each word or line with its time."""
    lines = []
    for segment in transcript.segments:
        said = "".join(_spoken_word(word.text, word.start, word.end, plays) for word in segment.words)
        said = said or _spoken_word(segment.text, segment.start, segment.end, plays)
        lines.append(f'<p class="words"><span class="number">{_clock(segment.start)}</span> {said}</p>')
    notes = [f"Written by the decoder “{transcript.decoder}”.", *transcript.warnings]
    return _section("Transcript", "".join(lines) or "<p>No speech was found.</p>", _notes(notes))


def _spoken_word(text: str, start: float, end: float, plays: bool) -> str:
    if not plays:
        return f"{_text(text)} "
    return (
        f'<button type="button" data-from="{start:.3f}" data-to="{end:.3f}" title="{start:.2f}–{end:.2f} s">'
        f"{_text(text)}</button>"
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


# ---------------------------------------------------------------------------------------------------------- drawing


class _Drawings:
    """Scenes as SVG; pictures are kept once in a store, however many drawings show them.

    Not by matplotlib, which draws the PNG: its SVG has fixed colours (black words on a dark page), no hints, and every
    picture once a drawing.
    """

    def __init__(self, timeline: Timeline, plays: bool) -> None:
        self.timeline, self.plays = timeline, plays
        self.pictures: dict[str, str] = {}

    def svg(self, scene: Scene, layout: PageLayout, axis: bool = False) -> str:
        """A drawing; ``axis`` marks one with the time axis, which gets the playhead."""
        body = "".join(self._shape(shape) for shape in scene.shapes)
        kind, label, place = ("narrow" if layout.stacked else "wide"), scene.title, ""
        if axis:
            label = words.described(self.timeline)
        if axis and self.plays:
            place = f' data-left="{layout.left:g}" data-pixels="{layout.plot / self.timeline.axis_end:.4f}"'
            x = f'x1="{layout.left:g}" x2="{layout.left:g}"'
            body += f'<line class="playhead" {x} y1="18" y2="{scene.height:g}"/>'
        return (
            f'<svg class="{kind}" viewBox="0 0 {scene.width:g} {scene.height:g}" role="img" '
            f'aria-label="{_text(label)}"{place}>{body}</svg>'
        )

    def axis(self) -> str:
        """Everything on one time axis, for wide and for narrow screens."""
        scenes = ((timeline_scene(self.timeline, layout), layout) for layout in (WIDE, NARROW))
        return f"<figure>{''.join(self.svg(scene, layout, axis=True) for scene, layout in scenes)}</figure>"

    def store(self) -> str:
        """What the drawings refer to."""
        hatch = (
            '<pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<rect width="1.6" height="7" fill="var(--padding)"/></pattern>'
        )
        return f'<svg class="store" aria-hidden="true"><defs>{hatch}{"".join(self.pictures.values())}</defs></svg>'

    def _shape(self, shape: Shape) -> str:
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
                    f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}" '
                    f'text-anchor="{shape.anchor}" fill="{_colour(shape.colour)}"{weight}>{_text(shape.text)}</text>'
                )
            case Picture():
                return (
                    f'<use href="#{self._kept(shape)}" x="{shape.x:.1f}" y="{shape.y:.1f}" '
                    f'width="{shape.width:.1f}" height="{shape.height:.1f}">{_hint(shape.hint)}</use>'
                )

    def _kept(self, picture: Picture) -> str:
        """The name of a picture in the store."""
        data = _data(picture)
        name = "p" + hashlib.sha256(data.encode()).hexdigest()[:16]
        crisp = "" if picture.photo else ' style="image-rendering:pixelated"'
        self.pictures[name] = (
            f'<symbol id="{name}" viewBox="0 0 1 1" preserveAspectRatio="none"><image width="1" height="1" '
            f'preserveAspectRatio="none" href="{data}"{crisp}/></symbol>'
        )
        return name


def _colour(colour: str | None) -> str:
    if colour is None:
        return "none"
    return f"var(--{colour})" if colour in COLOURS else colour


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
    roles = f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return roles + _asset("page.css")
