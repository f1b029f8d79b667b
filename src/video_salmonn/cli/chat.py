"""``video-salmonn chat MEDIA``: a conversation about media that are encoded once."""

from __future__ import annotations

import sys
from typing import Any

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.ask import print_account
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.errors import VideoSalmonnError

HELP = "commands: /reset forgets the conversation, /account shows what the last answer rests on, /quit ends"


@reports_errors
@shared.with_memory
def command(
    media: str = typer.Argument(..., help="A video, sound or picture file, or an https URL."),
    sound: str = shared.SOUND,
    model: str = shared.MODEL,
    no_audio: bool = shared.NO_AUDIO,
    no_video: bool = shared.NO_VIDEO,
    start: float = shared.START,
    end: float = shared.END,
    max_new_tokens: int = shared.NEW_TOKENS,
    long: str = shared.LONG,
    device: str = shared.DEVICE,
    dtype: str = shared.DTYPE,
    as_json: bool = typer.Option(False, "--json", help="One JSON list of reports at the end; questions from stdin."),
    *,
    memory: dict[str, Any],
) -> None:
    """Ask several questions about one file, one line each; the file is decoded and encoded once."""
    engine = shared.load_engine(model, device, dtype, **memory)
    session = engine.chat(
        media,
        sound=sound,
        no_audio=no_audio,
        no_video=no_video,
        start=start,
        end=end,
        max_new_tokens=max_new_tokens,
        long=long,
    )
    engine.encode(session.media, **session.options)  # a bad file is refused before the first question
    talks = sys.stdin.isatty() and not as_json
    if talks:
        stderr.print(HELP, style="dim")
    reports: list[dict] = []
    while True:
        if talks:
            stderr.print("> ", end="", style="bold")
        line = sys.stdin.readline()
        question = line.strip()
        if not line or question == "/quit":
            break
        if not question:
            continue
        if question == "/reset":
            session.reset()
            continue
        if question == "/account":
            if reports:
                print_account(reports[-1])
            continue
        try:
            answer = session.ask(question)
        except VideoSalmonnError as error:
            if not talks:
                raise
            stderr.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
            continue
        reports.append(answer.report)
        if not as_json:
            stdout.print(answer.text, markup=False, soft_wrap=True)
    if as_json:
        emit_json(reports)
