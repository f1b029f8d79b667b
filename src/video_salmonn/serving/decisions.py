"""``POST /v1/decisions``: typed answers with probabilities about media, with OpenAI's names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from video_salmonn.inference.decide import Choice, Option, Predicate, Question, Score, decide, question_of
from video_salmonn.serving.chat import media_report, read_media, without_path
from video_salmonn.serving.parts import TEXT, AskedConversation, read_messages
from video_salmonn.serving.problems import RequestProblem, problem_of
from video_salmonn.serving.protocol import (
    AnyQuestion,
    ChoiceQuestion,
    DecisionsRequest,
    MediaFields,
    Message,
    PredicateQuestion,
)
from video_salmonn.serving.service import Service
from video_salmonn.wording import counted


@dataclass
class Decision:
    """A request that was checked.

    Attributes:
        request: the body.
        asked: the input's conversation and media.
        questions: for the engine.
    """

    request: DecisionsRequest
    asked: AskedConversation
    questions: list[Question]


def check_decisions(request: DecisionsRequest, service: Service) -> Decision:
    """Check a body before anything of it is decoded.

    Raises:
        RequestProblem: something of it cannot be decided.
    """
    service.check_model(request.model)
    settings = service.settings
    if len(request.questions) > settings.max_questions:
        count = counted(len(request.questions), "question")
        raise RequestProblem(
            400, f"{count}, more than the {settings.max_questions} that this server takes", param="questions"
        )
    questions = []
    characters = 0
    for number, given in enumerate(request.questions):
        param = f"questions[{number}]"
        question = _question(given, param)
        characters += len(question.instructions)
        for option in () if isinstance(question, Predicate) else _options(question):
            characters += len(str(option.value)) + len(option.description)
        if characters > settings.max_text:
            raise RequestProblem(400, f"questions: more than {settings.max_text} characters", param="questions")
        try:
            questions.append(question_of(question))
        except Exception as error:
            raise problem_of(error, param) from error
    asked = read_messages(_messages(request.input), request.mm_processor_kwargs or MediaFields(), settings)
    if not asked.media and not any(_has_text(turn["content"]) for turn in asked.conversation):
        raise RequestProblem(400, "input is empty", remedy="give what is to be decided about", param="input")
    return Decision(request, asked, questions)


def _options(question: Choice | Score) -> Sequence[Option]:
    return question.choices if isinstance(question, Choice) else question.levels


def _has_text(content: Any) -> bool:
    parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
    return any(part.strip() for part in parts)


def _question(given: AnyQuestion, param: str) -> Question:
    text = given.instructions
    if not isinstance(text, str):
        if not all(part.get("type") in TEXT and isinstance(part.get("text"), str) for part in text):
            raise RequestProblem(400, f"{param}.instructions holds more than text", param=f"{param}.instructions")
        text = "\n".join(part["text"] for part in text)
    if isinstance(given, PredicateQuestion):
        return Predicate(text, given.name)
    if isinstance(given, ChoiceQuestion):
        return Choice(text, tuple(Option(one.value, one.description or "") for one in given.choices), given.name)
    return Score(text, tuple(Option(one.label, one.description or "") for one in given.levels), given.name)


def _messages(given: str | list[dict[str, Any]]) -> list[Message]:
    if isinstance(given, str):
        return [Message(role="user", content=given)]
    if all("role" not in part for part in given):
        return [Message(role="user", content=given)]
    messages = []
    for number, item in enumerate(given):
        try:
            messages.append(Message.model_validate(item))
        except ValidationError:
            raise RequestProblem(
                400, f"input[{number}] is not a message with role and content", param=f"input[{number}]"
            ) from None
    return messages


async def decided(decision: Decision, service: Service, owner: str) -> dict[str, Any]:
    """The answers, as OpenAI's decision object with an account of the media. Raises RequestProblem."""
    deadline = time.monotonic() + service.settings.request_seconds
    begun = time.monotonic()
    options = decision.request.mm_processor_kwargs or MediaFields()
    media = await read_media(decision.asked, options, service, owner)
    encoded: Any = [item.encoded for item in media]
    context, engine, questions = decision.asked.conversation, service.engine, decision.questions
    found = await service.with_model(
        lambda step: decide(engine, encoded, questions, context=context, on_step=step, long=options.long or "error"),
        deadline,
    )
    service.metrics.latency.observe(time.monotonic() - begun)
    report = found.report
    shared = report["shared_tokens"]
    read = report["prompt_tokens"] - shared * (len(questions) - 1)
    service.metrics.prompt_tokens.inc(read)
    cached = sum(item.tokens for item in media if item.reused)
    return {
        "id": f"decision-{uuid4().hex}",
        "object": "decision",
        "created": int(time.time()),
        "model": service.name,
        "answers": found.answers,
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": min(cached, read), "cache_write_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read,
        },
        "media": media_report(media),
        "video_salmonn": {
            "media_tokens": report["media_tokens"],
            "shared_tokens": shared,
            "calibration": report["calibration"],
            "seconds": report["seconds"],
            "warnings": [*map(without_path, report["warnings"]), *decision.asked.warnings],
            "ignored_fields": decision.request.unread(),
        },
    }
