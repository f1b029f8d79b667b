"""``video-salmonn transcribe FILE``: what is said in a file of any length, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.checks import check_decoder, check_media, check_out
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.cli.progress import counting
from video_salmonn.errors import ConfigError
from video_salmonn.files import write_text
from video_salmonn.inference.transcript import render
from video_salmonn.inference.transcript_options import check_transcript, checked_look_ahead
from video_salmonn.wording import counted

WRITTEN = ("txt", "srt", "vtt", "json")


@reports_errors
@shared.with_placement
@shared.answering("start", "end", "num_beams", "joint_ctc")
def command(
    media: str = typer.Argument(..., help="A video or sound file, or an https URL."),
    sound: str = shared.SOUND,
    model: str = shared.MODEL,
    form: str = typer.Option(None, "--format", help="txt, srt, vtt or json; by default the suffix of --out, else txt."),
    decoder: str = typer.Option(
        "model", "--decoder", help="model: the whole system. whisper: the decoder of the model's speech encoder."
    ),
    language: str = typer.Option(
        None, "--language", help="Language of the speech, for --decoder whisper; detected by default."
    ),
    translate: bool = typer.Option(False, "--translate", help="With --decoder whisper: translate into English."),
    whisper: Path = typer.Option(
        None, "--whisper", help="Folder of the Whisper that the model's speech encoder was taken from."
    ),
    look_ahead: float = typer.Option(
        None, "--look-ahead", help="Longest piece of sound in seconds, 2 to 300 (default 300; `live` uses 10)."
    ),
    out: Path = typer.Option(None, "--out", help="Write the transcript to this file."),
    as_json: bool = shared.JSON,
    *,
    options: dict[str, Any],
    placement: dict[str, Any],
) -> None:
    """Write down what is said in a video or sound file of any length, with times."""
    form = _form(form, out)
    if out is not None:
        check_out(out, (media, sound))
    stretch = {name: options.pop(name) for name in ("start", "end")}
    own = {name: value for name, value in options.items() if value is not None}
    task = "translate" if translate else "transcribe"
    check_transcript(decoder, task, language=language, whisper=whisper, options=own)
    check_decoder(model, decoder, whisper)
    checked_look_ahead(look_ahead)
    check_media(media, sound, {**stretch, **own, "no_video": True})
    engine = shared.load_engine(model, **placement)
    with counting("transcribing", "s of sound") as progress:
        transcript = engine.transcribe(
            media,
            sound=sound,
            decoder=decoder,
            language=language,
            task=task,
            words=form == "json" or as_json,
            whisper=whisper,
            look_ahead=look_ahead,
            progress=progress,
            **stretch,
            **own,
        )
    text = render(transcript, form) if form != "json" else None
    problem = None
    if out is not None:
        try:
            _write(out, text if text is not None else _json_text(transcript.to_dict()))
        except ConfigError as error:  # what took so long is not lost: it goes to stdout
            problem = error
    if as_json or (form == "json" and (out is None or problem is not None)):
        emit_json(transcript.to_dict())
    elif out is None or problem is not None:
        stdout.print(text, end="", soft_wrap=True)
    else:
        stdout.print(f"{counted(len(transcript.segments), 'segment')} in {out}", soft_wrap=True)
    if problem is not None:
        raise problem
    if not transcript.segments:
        stderr.print("note: no speech was found", style="yellow", soft_wrap=True)
    for warning in transcript.warnings:
        stderr.print(f"note: {warning}", style="yellow", soft_wrap=True)


def _form(form: str | None, out: Path | None) -> str:
    """The format asked for, by name or by the suffix of the file to write."""
    if form is None:
        suffix = "" if out is None else out.suffix.lower().lstrip(".")
        return suffix if suffix in WRITTEN else "txt"
    if form not in WRITTEN:
        raise ConfigError(f"format {form!r} is unknown", remedy=f"use one of: {', '.join(WRITTEN)}")
    return form


def _json_text(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _write(out: Path, text: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    except OSError as error:
        raise ConfigError(
            f"{out}: cannot be written ({error.strerror})",
            remedy="it is on stdout instead; free some space, or give another --out",
        ) from error
