"""Typed decisions about media: is it so, which of these, how much; with probabilities, from likelihoods.

Nothing is generated. A question becomes a prompt, its possible answers become token sequences, and their
log-probabilities, divided by a temperature, become probabilities.

Decisions:

* Many questions cost one clip: media are encoded and connected once, and the part of the prompts that is the same (all
  media tokens among it) goes through the language model once; every question adds its own words.
* *Predicates* compare how the model would begin to answer, with yes or with no. *Choices* and *scores* compare whole
  answers, each in the two spellings a model may choose (as given, and as a sentence).
* ``mass`` is what of the model's probability fell on the possible answers at all. Where it is small, the model would
  have said something else, and ``confidence`` (the chosen answer's probability times ``mass``) is small, too.
* Temperatures, and a bias towards yes, come from the model (:mod:`video_salmonn.inference.calibration`). They were
  fitted on held-out items, or are 1 and 0 and said to be not measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from video_salmonn.errors import ConfigError
from video_salmonn.inference.calibration import Calibration, calibration_of
from video_salmonn.inference.decided_questions import (
    Choice,
    Option,
    Predicate,
    Question,
    Score,
    question_of,
    spellings_of,
    text_of,
    word_of,
)
from video_salmonn.inference.likelihood import answer_ids
from video_salmonn.inference.media_store import EncodedMedia, Timer
from video_salmonn.inference.questions import as_media
from video_salmonn.inference.shared_likelihood import probabilities, shared_log_likelihoods
from video_salmonn.model import prompt

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

__all__ = [
    "Choice",
    "Decisions",
    "Option",
    "Predicate",
    "Question",
    "Score",
    "decide",
    "probabilities",
    "question_of",
    "text_of",
]


@dataclass(frozen=True)
class Decisions:
    """Answers in the order of the questions, and the account of them.

    Attributes:
        answers: JSON-ready, as ``/v1/decisions`` returns them: ``type``, ``name``, ``mass``, and by type
            ``probability``; or ``choice``, ``probabilities``, ``confidence``; or ``score`` and the same.
        report: ``media``, ``media_tokens``, ``prompt_tokens``, ``shared_tokens`` (read once for all questions),
            ``seconds``, ``warnings``, ``calibration``.
    """

    answers: list[dict[str, Any]]
    report: dict[str, Any] = field(default_factory=dict)


def decide(
    engine: VideoSalmonn,
    media: Any,
    questions: Sequence[Question | Mapping[str, Any]],
    *,
    sound: Any = None,
    context: Sequence[Mapping[str, Any]] = (),
    on_step: Callable[[], None] | None = None,
    **options: Any,
) -> Decisions:
    """Decide questions about media.

    Args:
        engine: the model.
        media: as for :meth:`VideoSalmonn.ask`.
        questions: or mappings with OpenAI's names: ``type``, ``instructions``, ``choices``, ``levels``, ``name``.
        sound: takes the place of the media's own sound.
        context: messages before the questions; they hold the places of the media where it has any.
        on_step: called before every pass of the language model; what it raises ends the work.
        **options: ``no_audio``, ``no_video``, ``start``, ``end``, ``long`` (``error`` or ``coarse``) and other decoding
            options.

    Raises:
        MediaError: the media cannot be used.
        ContextError: media and question do not fit the context.
        ConfigError: no question, or one that cannot be decided.
    """
    if isinstance(questions, (str, Mapping)) or not isinstance(questions, Sequence):
        raise ConfigError(f"the questions are {type(questions).__name__}", remedy="give a list of questions")
    asked = [question_of(one) for one in questions]
    if not asked:
        raise ConfigError("no questions were asked", remedy="give at least one")
    begin, timer = perf_counter(), Timer()
    sources = as_media(media, sound)
    mode = options.pop("long", "error")
    if mode not in ("error", "coarse"):
        raise ConfigError(f"long is {mode!r}", remedy="decisions take error or coarse")
    conversations = [_conversation(context, text_of(one), len(sources)) for one in asked]
    candidates = [spellings_of(one) for one in asked]
    encoded = engine.encode(sources, timer, **options)
    found = _found(engine, conversations, candidates, encoded, mode, timer, on_step)
    calibration = calibration_of(engine.name)
    answers = [_answer(one, logs, calibration) for one, logs in zip(asked, found.logs)]
    timer.seconds["total"] = perf_counter() - begin
    warnings = [line for item in encoded for line in (*item.report.cuts, *item.report.warnings)]
    return Decisions(
        answers,
        {
            "model": engine.name,
            "media": [item.report.to_dict() | {"reused": item.reused} for item in encoded],
            "media_tokens": found.media_tokens,
            "prompt_tokens": found.prompt_tokens,
            "shared_tokens": found.shared_tokens,
            "seconds": {name: round(value, 4) for name, value in timer.seconds.items()},
            "warnings": [*engine.notices, *warnings, *found.warnings],
            "calibration": calibration.to_dict(),
        },
    )


def _conversation(context: Sequence[Mapping[str, Any]], text: str, media: int) -> list[dict[str, Any]]:
    """The context with a question at its end; in its last message, where that is a user's."""
    if isinstance(context, str) or not isinstance(context, Sequence):
        raise ConfigError(f"the context is {type(context).__name__}", remedy="give a list of messages")
    if context:
        prompt.parse([*context, {"role": "user", "content": text}], len(prompt.places(context)))
    messages = [dict(message) for message in context]
    if not messages:
        return [
            {"role": "user", "content": [*({"type": "media"} for _ in range(media)), {"type": "text", "text": text}]}
        ]
    if messages[-1].get("role") != "user":
        return [*messages, {"role": "user", "content": text}]
    content = messages[-1].get("content") or ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content)
    written = any(part.get("type") == "text" for part in parts)
    messages[-1]["content"] = [*parts, {"type": "text", "text": f"\n{text}" if written else text}]
    return messages


@dataclass
class _Found:
    """For every question the log-probability of each possible answer, and how much was read for it."""

    logs: list[list[float]]
    media_tokens: int
    prompt_tokens: int
    shared_tokens: int
    warnings: list[str]


def _ids(engine: VideoSalmonn, conversation: Any, candidates: list[list[str]], media: int) -> list[list[list[int]]]:
    """Token ids of every spelling; of yes and no only how they begin."""
    asked = engine.processor.render_text(conversation, media)
    ids = [[answer_ids(engine.processor, conversation, asked, text) for text in forms] for forms in candidates]
    if candidates == [["Yes"], ["No"]]:
        (yes,), (no,) = ids
        end = 0
        while end < min(len(yes), len(no)) - 1 and yes[-1 - end] == no[-1 - end]:
            end += 1
        return [[yes[: len(yes) - end]], [no[: len(no) - end]]]
    return ids


def _found(
    engine: VideoSalmonn,
    conversations: list[list[dict[str, Any]]],
    candidates: list[list[list[str]]],
    media: list[EncodedMedia],
    mode: str,
    timer: Timer,
    on_step: Callable[[], None] | None,
) -> _Found:
    ids = [_ids(engine, one, forms, len(media)) for one, forms in zip(conversations, candidates)]
    longest = max(len(form) for question in ids for forms in question for form in forms)
    alike = engine.processor.instruction(["?"]) is None  # else what is seen depends on the question
    groups = [list(range(len(ids)))] if alike else [[number] for number in range(len(ids))]
    logs: list[list[float]] = []
    shared = read = tokens = 0
    warnings: list[str] = []
    for group in groups:
        with engine.lock, torch.inference_mode():
            with timer.stage("connect"):
                made = [engine.prepare(media, conversations[n], long=mode, max_new_tokens=longest) for n in group]
            prompts, media_id = [one.input_ids for one in made], engine.model.config.media_token_id
            with timer.stage("prefill"):
                told, common = shared_log_likelihoods(
                    engine.model, prompts, made[0].media_embeds, [ids[n] for n in group], media_id, on_step
                )
        logs += told
        read += sum(map(len, prompts))
        shared, tokens = common if alike else 0, made[0].media_tokens
        warnings += [line for one in made for line in one.warnings]
    return _Found(logs, tokens, read, shared, list(dict.fromkeys(warnings)))


def _answer(question: Question, logs: list[float], calibration: Calibration) -> dict[str, Any]:
    kind = {Predicate: "predicate", Choice: "choice", Score: "score"}[type(question)]
    shares = probabilities(logs, calibration.temperature(kind), calibration.biases.get(kind, 0.0))
    mass = min(1.0, sum(map(math.exp, logs)))
    head = {"type": kind, "name": question.name}
    if isinstance(question, Predicate):
        return {**head, "probability": shares[0], "mass": mass}
    top = shares.index(max(shares))
    confidence = shares[top] * mass
    if isinstance(question, Choice):
        found = [{"value": option.value, "probability": share} for option, share in zip(question.choices, shares)]
        return {
            **head,
            "choice": question.choices[top].value,
            "probabilities": found,
            "confidence": confidence,
            "mass": mass,
        }
    levels = [
        {"value": number, "label": word_of(option), "probability": share}
        for number, (option, share) in enumerate(zip(question.levels, shares))
    ]
    score = sum(number * share for number, share in enumerate(shares))
    return {**head, "score": score, "probabilities": levels, "confidence": confidence, "mass": mass}
