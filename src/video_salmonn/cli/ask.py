"""``video-salmonn ask MEDIA QUESTION``: one question, one answer, and the account of what was seen and heard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.checks import check_media, check_question
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.cli.progress import working
from video_salmonn.errors import ConfigError
from video_salmonn.wording import counted

if TYPE_CHECKING:
    from video_salmonn.types import AnswerReport


@reports_errors
@shared.with_placement
@shared.answering()
def command(
    media: str = typer.Argument(None, help="A video, sound or picture file, or an https URL."),
    question: str = typer.Argument(None, help="The question, or an alias such as '<asr>'."),
    sound: str = shared.SOUND,
    model: str = shared.MODEL,
    times: bool = typer.Option(False, "--times", help="Answer with times: the question is asked of piece after piece."),
    profile: str = shared.PROFILE,
    released_json: Path = typer.Option(
        None, "--released-json", help="Answer every item of a file in the released example format."
    ),
    out: Path = typer.Option(Path("eval_result.json"), "--out", help="With --released-json: where the answers go."),
    as_json: bool = shared.JSON,
    *,
    options: dict[str, Any],
    placement: dict[str, Any],
) -> None:
    """Answer a question about a video, a sound or a picture."""
    if released_json is not None:
        _answer_released(released_json, out, model, profile, placement, options, as_json)
        return
    if media is None or question is None:
        raise ConfigError("MEDIA and QUESTION are needed", remedy='video-salmonn ask clip.mp4 "What is said?"')
    check_question(question)
    check_media(media, sound, options)
    if times:
        _answer_times(media, question, sound, options, model, profile, placement, as_json)
        return
    engine = shared.load_engine(model, profile=profile, **placement)
    if as_json:
        with working("looking, listening and answering"):
            report = engine.ask(media, question, sound=sound, **options).report
        emit_json(report)
        return
    _print_answer(engine, media, question, sound, options)
    from video_salmonn.inference.times import yes_or_no  # PyTorch is imported by now

    if yes_or_no(question) is not None:
        stderr.print(
            "note: the model does not state times by itself; --times asks about pieces of the file", style="yellow"
        )


def _answer_times(
    media: str,
    question: str,
    sound: str | None,
    options: dict[str, Any],
    model: str,
    profile: str | None,
    placement: dict[str, Any],
    as_json: bool,
) -> None:
    """``--times``: the question asked of one piece after another."""
    engine = shared.load_engine(model, profile=profile, **placement)
    from video_salmonn.inference.times import SECONDS, ask_times

    seconds = options.pop("piece_seconds") or SECONDS
    with working("looking and listening, piece by piece"):
        answer = ask_times(engine, media, question, seconds=seconds, sound=sound, **options)
    if as_json:
        emit_json(answer.report)
        return
    stdout.print(answer.text, soft_wrap=True)
    print_account(answer.report)


def _print_answer(engine: Any, media: str, question: str, sound: str | None, options: dict[str, Any]) -> None:
    """Stream the answer where it can be streamed, then say what it rests on."""
    beams = options.get("num_beams") or engine.model.generation_config.num_beams or 1
    if options["long"] == "segments" or beams > 1:
        with working("looking, listening and answering"):
            answer = engine.ask(media, question, sound=sound, **options)
        stdout.print(answer.text, soft_wrap=True)
    else:
        pieces = engine.stream(media, question, sound=sound, **options)
        with working("looking and listening"):  # until the first words
            piece, answer = _next(pieces)
        while piece is not None:
            stdout.print(piece, end="", soft_wrap=True)
            piece, answer = _next(pieces)
        stdout.print()
    print_account(answer.report)


def _next(pieces: Iterator[str]) -> tuple[str | None, Any]:
    """The next piece of a streamed answer; at its end None, and the whole answer."""
    try:
        return next(pieces), None
    except StopIteration as done:
        return None, done.value


def print_account(report: AnswerReport) -> None:
    """What was seen and heard, tokens and times, on stderr."""
    for media in report["media"]:
        seen, heard = media["seen"], media["heard"]
        looked = (
            f"{seen['from']:.1f}-{seen['to']:.1f} s, {counted(seen['frames'], 'frame')}"
            if seen["status"] == "used"
            else ""
        )
        listened = f"{heard['from']:.1f}-{heard['to']:.1f} s" if heard["status"] == "used" else ""
        stderr.print(
            f"seen: {seen['status']} {looked}; heard: {heard['status']} {listened}", style="dim", soft_wrap=True
        )
    for warning in report["warnings"]:
        stderr.print(f"note: {warning}", style="yellow", markup=False, soft_wrap=True)
    seconds = report["seconds"]
    stderr.print(
        f"{counted(report['media_tokens'], 'media token')}, {report['new_tokens']} new; load {seconds['load']:.1f} s, "
        f"media {seconds['decode'] + seconds['features'] + seconds['encode'] + seconds['connect']:.1f} s, "
        f"answer {seconds['prefill'] + seconds['generate']:.1f} s",
        style="dim",
        soft_wrap=True,
    )


def _answer_released(
    path: Path,
    out: Path,
    model: str,
    profile: str | None,
    placement: dict[str, Any],
    options: dict[str, Any],
    as_json: bool,
) -> None:
    from video_salmonn.inference.options import checked
    from video_salmonn.inference.released_json import answer_file, check_out, read_items

    checked(options)  # all of this before a model is loaded
    read_items(path)
    check_out(out)
    engine = shared.load_engine(model, profile=profile, **placement)
    results = answer_file(engine, path, out, **options)
    if as_json:
        emit_json(results)
    else:
        stdout.print(f"{counted(len(results), 'answer')} in {out}", markup=False)
    failed = [result for result in results if "error" in result]
    for result in failed:
        stderr.print(f"not answered: {result['error']['message']}", style="yellow", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
