"""``video-salmonn chat MEDIA``: a conversation about media that are encoded once."""

from __future__ import annotations

import sys
from typing import Any

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.ask import print_account
from video_salmonn.cli.checks import check_media
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.cli.progress import working
from video_salmonn.errors import VideoSalmonnError

HELP = "commands: /reset forgets the conversation, /account shows what the last answer rests on, /quit ends"


@reports_errors
@shared.with_placement
@shared.answering("no_audio", "no_video", "start", "end", "max_new_tokens", "long", "decline_below")
def command(
    media: str = typer.Argument(..., help="A video, sound or picture file, or an https URL."),
    sound: str = shared.SOUND,
    model: str = shared.MODEL,
    as_json: bool = typer.Option(
        False, "--json", help="One JSON list at the end: for each question of stdin its report, or its error."
    ),
    *,
    options: dict[str, Any],
    placement: dict[str, Any],
) -> None:
    """Ask several questions about one file, one line each; the file is decoded and encoded once."""
    check_media(media, sound, options)
    engine = shared.load_engine(model, **placement)
    session = engine.chat(media, sound=sound, **options)
    with working("looking and listening"):
        session.encode()  # a bad file is refused before the first question
    talks = sys.stdin.isatty() and not as_json
    if talks:
        stderr.print(HELP, style="dim")
    reports: list[Any] = []
    failed = 0
    while True:
        if talks:
            stderr.print("> ", end="", style="bold")
        line = sys.stdin.readline()  # what is not UTF-8 in it makes a question that is refused
        question = line.strip()
        if not line or question == "/quit":
            break
        if not question:
            continue
        if question == "/reset":
            session.reset()
            continue
        if question == "/account":
            account = next((report for report in reversed(reports) if "error" not in report), None)
            if account is not None:
                print_account(account)
            continue
        try:
            with working("answering"):
                answer = session.ask(question)
        except VideoSalmonnError as error:  # the conversation continues without this question
            failed += 1
            reports.append({"question": question, "error": error.to_dict()})
            if not as_json:
                stderr.print(f"error: {error}", style="red", soft_wrap=True)
            continue
        reports.append(answer.report)
        if not as_json:
            stdout.print(answer.text, soft_wrap=True)
    if as_json:
        emit_json(reports)
    if failed and not talks:
        raise typer.Exit(1)
