"""``POST /v1/chat/completions``: from a body to an answer, whole or streamed."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from video_salmonn.serving.media import ReadMedia
from video_salmonn.serving.parts import AskedConversation, read_messages
from video_salmonn.serving.problems import DONE, RequestProblem
from video_salmonn.serving.protocol import ChatRequest, MediaFields
from video_salmonn.serving.scheduler import JobOutcome
from video_salmonn.serving.service import Service
from video_salmonn.types import AnswerReport


@dataclass
class Chat:
    """A chat request that was checked.

    Attributes:
        request: the body.
        asked: its conversation and media.
        options: for the engine.
        stop: strings that end the answer.
        ignored: fields of the body without effect.
    """

    request: ChatRequest
    asked: AskedConversation
    options: dict[str, Any]
    stop: list[str]
    ignored: list[str]


def check_chat(request: ChatRequest, service: Service) -> Chat:
    """Check a body before anything of it is decoded.

    Raises:
        RequestProblem: something is asked for that this server does not do.
    """
    service.check_model(request.model)
    if (request.n or 1) != 1:
        raise RequestProblem(400, "n must be 1: one answer is made for a request", param="n")
    kind = (request.response_format or {}).get("type", "text")
    if kind != "text":
        raise RequestProblem(
            400,
            "answers are plain text and cannot be forced into JSON",
            remedy="use /v1/decisions for typed answers",
            param="response_format",
        )
    settings = service.settings
    for name in ("max_tokens", "max_completion_tokens"):
        value = getattr(request, name)
        if value is not None and value > settings.max_new_tokens:
            raise RequestProblem(
                400,
                f"{name} is {value}, more than the {settings.max_new_tokens} that this server writes",
                param=name,
            )
    media = request.mm_processor_kwargs or MediaFields()
    if media.start is not None and media.end is not None and media.end <= media.start:
        raise RequestProblem(400, "end is not after start", param="mm_processor_kwargs.end")
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if any(not text or len(text) > 256 for text in stop):
        raise RequestProblem(400, "a stop string has 1 to 256 characters", param="stop")
    asked = read_messages(request.messages, media, settings)
    if asked.conversation[-1]["role"] != "user":
        raise RequestProblem(400, "the last message must be a user's", param="messages")
    wanted = request.max_completion_tokens or request.max_tokens
    default = int(service.engine.model.config.generation.max_new_tokens or 128)
    options: dict[str, Any] = {"max_new_tokens": wanted or min(default, settings.max_new_tokens)}
    if media.long is not None:
        options["long"] = media.long
    if request.temperature:
        options |= {"do_sample": True, "temperature": request.temperature}
        if request.top_p is not None:
            options["top_p"] = request.top_p
        if request.seed is not None:
            options["seed"] = request.seed
    return Chat(request, asked, options, stop, request.unread())


async def complete(chat: Chat, service: Service, owner: str) -> dict[str, Any]:
    """The whole answer as OpenAI's ``chat.completion`` object. Raises RequestProblem."""
    deadline = time.monotonic() + service.settings.request_seconds
    begun = time.monotonic()
    media = await read_media(chat.asked, chat.request.mm_processor_kwargs, service, owner)
    outcome: JobOutcome | None = None
    async for event in service.answer(chat.asked.conversation, media, chat.options, chat.stop, deadline):
        if isinstance(event, JobOutcome):
            outcome = event
    assert outcome is not None  # the iterator ends with it or raises
    service.metrics.latency.observe(time.monotonic() - begun)
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": service.name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": outcome.text, "refusal": None},
                "finish_reason": outcome.finish,
                "logprobs": None,
            }
        ],
        "usage": usage_of(outcome.answer.report, media),
        "video_salmonn": extension(outcome, media, chat.asked.warnings, chat.ignored),
    }


async def stream(chat: Chat, service: Service, owner: str) -> AsyncIterator[str]:
    """The answer as server-sent events; an error after the first of them is one of them."""
    deadline = time.monotonic() + service.settings.request_seconds
    begun = time.monotonic()
    head = {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": service.name,
    }
    wants_usage = bool(chat.request.stream_options and chat.request.stream_options.include_usage)

    def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _event({**head, "choices": [choice], **({"usage": None} if wants_usage else {}), **more})

    media = await read_media(chat.asked, chat.request.mm_processor_kwargs, service, owner)
    yield event({"role": "assistant", "content": ""})
    first = True
    async for found in service.answer(chat.asked.conversation, media, chat.options, chat.stop, deadline):
        if first:
            service.metrics.first_token.observe(time.monotonic() - begun)
            first = False
        if isinstance(found, str):
            yield event({"content": found})
            continue
        service.metrics.latency.observe(time.monotonic() - begun)
        told = extension(found, media, chat.asked.warnings, chat.ignored)
        yield event({}, found.finish, video_salmonn=told)
        if wants_usage:
            usage = usage_of(found.answer.report, media)
            yield _event({**head, "choices": [], "usage": usage})
    yield DONE


async def read_media(
    asked: AskedConversation, options: MediaFields | None, service: Service, owner: str
) -> list[ReadMedia]:
    """The media of a conversation, encoded. Raises RequestProblem."""
    return await service.read(asked.media, options or MediaFields(), owner)


def usage_of(report: AnswerReport, media: Sequence[ReadMedia]) -> dict[str, Any]:
    """OpenAI's and vLLM's account of tokens."""
    kinds: Counter[str] = Counter()
    cached = 0
    for item in media:
        kinds[item.kind] += item.tokens
        cached += item.tokens if item.reused else 0
    if len(kinds) == 1:  # windows may have been longer than usual, which only the report knows
        kinds = Counter({next(iter(kinds)): report["media_tokens"]})
    prompt, new = report["prompt_tokens"], report["new_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "prompt_tokens_details": {
            "audio_tokens": kinds["audio"],
            "image_tokens": kinds["image"],
            "text_tokens": max(0, prompt - report["media_tokens"]),
            "cached_tokens": min(cached, report["media_tokens"]),
            "multimodal_tokens": {kind: kinds[kind] for kind in ("video", "audio", "image")},
        },
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def extension(
    outcome: JobOutcome, media: Sequence[ReadMedia], warnings: Sequence[str], ignored: Sequence[str]
) -> dict[str, Any]:
    """What OpenAI's objects have no place for: what was seen and heard, seconds of every stage, and warnings."""
    report = outcome.answer.report
    seconds = {name: report["seconds"][name] for name in ("connect", "prefill", "generate")}
    for stage in ("decode", "features", "encode"):
        seconds[stage] = round(sum(item.seconds.get(stage, 0.0) for item in media), 4)
    seconds |= {"queue": round(outcome.queued, 4), "total": round(outcome.total, 4)}
    return {
        "media": media_report(media),
        "media_tokens": report["media_tokens"],
        "seconds": seconds,
        "batch": outcome.batch,
        "warnings": [*map(without_path, report["warnings"]), *warnings],
        "ignored_fields": list(ignored),
        **({"pieces": report["pieces"]} if "pieces" in report else {}),
    }


def without_path(warning: str) -> str:
    """A warning without the file of this machine that it refers to."""
    return re.sub(r" \(see [^)]*\)$", "", warning)


def media_report(media: Sequence[ReadMedia]) -> list[dict[str, Any]]:
    """What was seen and heard of every media item, in the form every command prints."""
    return [item.encoded.report.to_dict() | {"reused": item.reused, "kind": item.kind} for item in media]


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=True)}\n\n"
