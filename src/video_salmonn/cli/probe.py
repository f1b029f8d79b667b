"""``video-salmonn probe``: what is in a file, what of it would be seen and heard, and what it would cost."""

from __future__ import annotations

import math
from typing import Any

import typer
from rich.table import Table

from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.media import MediaOptions, load_clip, probe
from video_salmonn.types import MediaReport
from video_salmonn.wording import counted


@reports_errors
def command(
    file: str = typer.Argument(..., help="A video, sound or picture file, or an https URL."),
    sound: str | None = typer.Option(None, "--sound", help="A separate sound file that replaces the file's own."),
    start: float | None = typer.Option(None, "--start", help="Begin this many seconds into the file."),
    end: float | None = typer.Option(None, "--end", help="Stop this many seconds into the file."),
    full: bool = typer.Option(False, "--full", help="Decode everything: exact lengths, silence, damage."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON value."),
) -> None:
    """Show streams, lengths, what would be seen and heard, and the number of media tokens."""
    # Small frames: only their number and the damage matter here.
    options = MediaOptions(start=start, end=end, frame_size=(32, 32))
    report = load_clip(file, sound=sound, options=options).report if full else probe(file, sound=sound, options=options)
    tokens = media_tokens(report.duration)
    if as_json:
        emit_json(report.to_dict() | {"media_tokens": tokens, "media_tokens_exact": full})
        return
    _show(report, tokens, full)


def media_tokens(seconds: float) -> int:
    """Vectors the language model gets for a clip of ``seconds``: 3 for every begun 0.5 s frame (paper, section 4.2).

    The windows of the coarse level can round this up further; that is the model's business and not known here.
    """
    return 3 * math.ceil(round(seconds / 0.5, 3))


def _show(report: MediaReport, tokens: int, exact: bool) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "stream", "codec", "details", "from", "to"):
        table.add_column(heading)
    for stream in report.streams:
        table.add_row(
            "*" if stream["chosen"] else "",
            f"#{stream['index']} {stream['kind']}",
            str(stream["codec"]),
            _details(stream),
            _seconds(stream.get("start")),
            _seconds(stream.get("end")),
        )
    stdout.print(report.source, markup=False, soft_wrap=True)
    stdout.print(table)
    seen, heard = report.seen, report.heard
    how = "" if exact else "about "  # a header may be a frame off: --full counts what is decoded
    stdout.print(f"duration {how}{report.duration:.2f} s, {how}{counted(tokens, 'media token')}")
    stdout.print(f"seen     {_fate(seen.status, seen.start, seen.end, seen.detail)}, {counted(seen.frames, 'frame')}")
    stdout.print(f"heard    {_fate(heard.status, heard.start, heard.end, heard.detail)}")
    for sentence in report.cuts:
        stdout.print(f"cut: {sentence}", markup=False, soft_wrap=True)
    for sentence in report.warnings:
        stderr.print(f"warning: {sentence}", markup=False, soft_wrap=True)


def _details(stream: dict[str, Any]) -> str:
    if "width" in stream:
        rate = stream.get("frame_rate")
        return f"{stream['width']}x{stream['height']}" + (f" {rate:.4g} fps" if rate else "")
    if "sample_rate" in stream:
        return f"{stream['sample_rate']} Hz, {counted(stream['channels'], 'channel')}"
    return ""


def _fate(status: str, start: float | None, end: float | None, detail: str) -> str:
    span = "" if start is None or end is None else f" {start:.2f}–{end:.2f} s"
    return status + span + (f" ({detail})" if detail else "")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{round(value, 2) + 0.0:.2f}"  # not -0.00
