"""``video-salmonn inspect``: a page or a picture of what a model makes of a clip."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.checks import check_media, check_out, check_question
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.cli.progress import working
from video_salmonn.errors import ConfigError

if TYPE_CHECKING:
    from video_salmonn.inspection.timeline import Timeline

_PAGE = (".html", ".htm")
LONG = typer.Option("error", "--long", help="Media beyond the context: error, or coarse (longer windows).")


@reports_errors
@shared.with_placement
@shared.answering("no_audio", "no_video", "start", "end", "max_new_tokens", long=LONG)
def command(
    media: str = typer.Argument(..., help="A video, sound or picture file, or an https URL."),
    out: Path = typer.Option(..., "--out", help="What to write: a page (.html) or a picture (.png)."),
    sound: str = shared.SOUND,
    model: str = shared.MODEL,
    question: str | None = typer.Option(
        None, "--question", help="Ask this, also without sound, without picture, without media."
    ),
    profile: str = shared.PROFILE,
    scale: float = typer.Option(1.0, "--scale", min=0.5, max=4.0, help="Size of a picture; 1 is 1300 pixels wide."),
    as_json: bool = shared.JSON,
    *,
    options: dict[str, Any],
    placement: dict[str, Any],
) -> None:
    """Draw frames, sound, windows and media tokens on one time axis, and say what an answer rested on."""
    if options["long"] not in ("error", "coarse"):
        raise ConfigError(f"long is {options['long']!r}", remedy="inspect knows error and coarse")
    if math.isnan(scale):
        raise ConfigError("--scale is not a number", remedy="give 0.5 to 4")
    if question is not None:
        check_question(question)
    check_media(media, sound, options)
    kind = _kind_of(out)
    check_out(out, (media, sound))
    from video_salmonn.evaluation.predictions import write_atomic
    from video_salmonn.inspection.inspecting import inspect_media

    engine = shared.load_engine(model, profile=profile, **placement)
    with working("looking, listening and drawing"):
        timeline = inspect_media(engine, media, sound=sound, question=question, **options)
        data = _page(timeline, media, sound, out) if kind == "html" else _picture(timeline, scale)
    try:
        write_atomic(out, data)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})", remedy="choose another --out") from error
    if as_json:
        emit_json({"out": str(out), "bytes": len(data)} | timeline.to_dict())
    else:
        _tell(timeline, out, len(data))


def _kind_of(out: Path) -> str:
    """``html`` or ``png``."""
    suffix = out.suffix.lower()
    if suffix not in (*_PAGE, ".png"):
        raise ConfigError(f"--out {out}: unknown kind of file", remedy="end its name in .html or .png")
    return "html" if suffix in _PAGE else "png"


def _page(timeline: Timeline, media: str, sound: str | None, out: Path) -> bytes:
    from video_salmonn.inspection.player import player_of
    from video_salmonn.inspection.timeline_html import to_html

    return to_html(timeline, player_of(timeline, media, sound, out)).encode()


def _picture(timeline: Timeline, scale: float) -> bytes:
    from video_salmonn.inspection.timeline_picture import to_png

    return to_png(timeline, scale)


def _tell(timeline: Timeline, out: Path, size: int) -> None:
    from video_salmonn.inspection import timeline_text as words
    from video_salmonn.inspection.scene import readable

    stdout.print(readable(words.headline(timeline)), markup=False, soft_wrap=True)
    if timeline.comparison is not None:
        stdout.print(f"answer: {readable(timeline.comparison.answer)}", markup=False, soft_wrap=True)
        stdout.print(timeline.comparison.finding, markup=False, soft_wrap=True)
    stdout.print(f"wrote {readable(str(out))} ({size / 1024:.0f} KiB)", markup=False, soft_wrap=True)
    for sentence in words.caveats(timeline):
        stderr.print(f"note: {readable(sentence)}", markup=False, soft_wrap=True)
