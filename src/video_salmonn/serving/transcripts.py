"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``: what is said in a file, in five formats."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.responses import PlainTextResponse, Response

from video_salmonn.errors import ConfigError
from video_salmonn.inference.transcript import Transcript, render, verbose_json
from video_salmonn.inference.transcript_options import DECODERS
from video_salmonn.serving.answering import JsonResponse
from video_salmonn.serving.chat import without_path
from video_salmonn.serving.problems import RequestProblem, problem_of
from video_salmonn.serving.service import Service

FORMATS = {"json": "json", "text": "txt", "srt": "srt", "verbose_json": "verbose_json", "vtt": "vtt"}
"""OpenAI's name of a format -> this package's."""
WHISPER = "whisper-1"
"""A model's name that asks for the decoder of the speech encoder."""
KNOWN = (
    *("file", "model", "language", "response_format", "decoder", "stream", "start", "end"),
    *("timestamp_granularities", "timestamp_granularities[]"),
)


@dataclass
class Wish:
    """A request that was checked.

    Attributes:
        data: the file.
        task: ``transcribe`` or ``translate``.
        decoder: who writes.
        form: of the answer, by OpenAI's name.
        language: of the speech, or None.
        start, end: the stretch that is wanted, in seconds.
        words: whether words get times.
        ignored: fields without effect.
    """

    data: bytes
    task: str
    decoder: str
    form: str
    language: str | None
    start: float | None
    end: float | None
    words: bool
    ignored: list[str]


async def read_form(form: FormData, task: str, service: Service) -> Wish:
    """Check the fields of a form.

    Raises:
        RequestProblem: something of it cannot be used.
    """
    file, model = form.get("file"), form.get("model") or None
    if not isinstance(file, UploadFile):
        raise RequestProblem(400, "file is not an uploaded file", remedy="send multipart/form-data", param="file")
    text = {name: value for name, value in form.items() if isinstance(value, str)}
    if model != WHISPER:
        service.check_model(None if model is None else str(model))
    decoder = text.get("decoder") or ("whisper" if model == WHISPER or task == "translate" else "model")
    if decoder not in DECODERS or (task == "translate" and decoder != "whisper"):
        wanted = "whisper" if task == "translate" else " or ".join(DECODERS)
        raise RequestProblem(400, f"decoder must be {wanted}", param="decoder")
    response_format = text.get("response_format") or "json"
    if response_format not in FORMATS:
        raise RequestProblem(
            400, "response_format is unknown", remedy=f"use one of: {', '.join(FORMATS)}", param="response_format"
        )
    if text.get("stream", "").lower() in ("true", "1"):
        raise RequestProblem(400, "transcripts are not streamed", remedy="leave stream out", param="stream")
    data = await file.read()
    if not data:
        raise RequestProblem(400, "the uploaded file is empty", param="file")
    granularities = [value for key in KNOWN[-2:] for value in form.getlist(key)]
    start, end = (_seconds(text.get(name), name) for name in ("start", "end"))
    unused = set(form) - set(KNOWN)
    if decoder != "whisper" and text.get("language"):
        unused.add("language")  # the whole system writes the language that it was trained on
    if response_format != "verbose_json":
        unused |= set(form) & set(KNOWN[-2:])  # as with OpenAI, no other format has times of words
    return Wish(
        data,
        task,
        decoder,
        response_format,
        text.get("language") or None,
        start,
        end,
        "word" in granularities or (decoder == "model" and response_format == "verbose_json"),
        sorted(name[:64] for name in unused)[:32],
    )


def _seconds(text: str | None, name: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise RequestProblem(400, f"{name} is not a number of seconds", param=name)
    return value


async def transcribed(wish: Wish, service: Service) -> Transcript:
    """The transcript. Raises RequestProblem."""
    deadline = time.monotonic() + service.settings.request_seconds
    begun = time.monotonic()
    engine = service.engine
    try:
        options = engine.processor.media_options(
            limits=service.settings.limits(), use_video=False, threads=1, start=wish.start, end=wish.end
        )
        if not options.use_audio:
            raise ConfigError("this model does not hear", remedy="use another")
        options = replace(options, sound_mode="mix")
        async with service.reader.pool.worker() as load:
            clip = await load(wish.data, options=options)
        clip = replace(clip, report=replace(clip.report, source="file"))
        found = await service.with_model(
            lambda step: engine.transcribe(
                clip,
                decoder=wish.decoder,
                task=wish.task,
                language=wish.language if wish.decoder == "whisper" else None,
                words=wish.words,
                progress=lambda done, length: step(),
            ),
            deadline,
        )
    except Exception as error:
        problem = problem_of(error, "file")
        if wish.task == "translate" and problem.status == 400:
            problem = RequestProblem(501, str(problem), remedy=problem.remedy)
        raise problem from error
    service.metrics.latency.observe(time.monotonic() - begun)
    return found


def response_of(transcript: Transcript, wish: Wish, service: Service) -> Response:
    """A transcript in the format that was asked for."""
    if wish.form in ("text", "srt", "vtt"):
        kind = "text/vtt; charset=utf-8" if wish.form == "vtt" else "text/plain; charset=utf-8"
        return PlainTextResponse(render(transcript, FORMATS[wish.form]), headers={"content-type": kind})
    body: dict[str, Any] = {"text": transcript.text}
    if wish.form == "verbose_json":
        body = verbose_json(transcript)
        if not wish.words:
            body.pop("words")
    body["usage"] = {"type": "duration", "seconds": round(transcript.duration, 3)}
    body["video_salmonn"] = {
        "model": service.name,
        "decoder": transcript.decoder,
        "media": list(transcript.media),
        "seconds": transcript.seconds,
        "warnings": list(map(without_path, transcript.warnings)),
        "ignored_fields": wish.ignored,
    }
    return JsonResponse(body)
