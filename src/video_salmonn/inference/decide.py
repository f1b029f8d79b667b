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

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from video_salmonn.errors import ConfigError
from video_salmonn.inference.calibration import Calibration, calibration_of
from video_salmonn.inference.items import as_media
from video_salmonn.inference.likelihood import answer_ids
from video_salmonn.inference.media_store import EncodedMedia, Timer
from video_salmonn.model import prompt
from video_salmonn.model.caching import CACHE, cache_of
from video_salmonn.wording import counted

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

MAX_CHOICES = 255
ROWS = 16
"""Rows of the language model's batch."""
_ASKS = re.compile(
    r"(?:please )?(?:is|are|am|was|were|do|does|did|has|have|had|can|could|will|would|should|any|(?:tell me|say|i want "
    r"to know) (?:whether|if))\b",
    re.IGNORECASE,
)
"""How a predicate begins that is a question though no question mark ends it."""


@dataclass(frozen=True)
class Option:
    """One possible answer.

    Attributes:
        value: the answer; True and False are read as yes and no.
        description: what it means, where its name does not say it.
    """

    value: str | bool
    description: str = ""


@dataclass(frozen=True)
class Predicate:
    """Is it so? Best put as a question that is answered by yes or no; a statement works, too.

    Attributes:
        instructions: the question.
        name: comes back with the answer.
    """

    instructions: str
    name: str | None = None


@dataclass(frozen=True)
class Choice:
    """Which of these?

    Attributes:
        instructions: the question.
        choices: 2 to :data:`MAX_CHOICES` answers, all different.
        name: comes back with the answer.
    """

    instructions: str
    choices: tuple[Option, ...]
    name: str | None = None


@dataclass(frozen=True)
class Score:
    """How much? The answer is the expected level, counted from 0.

    Attributes:
        instructions: the question.
        levels: 2 or more, from the lowest to the highest.
        name: comes back with the answer.
    """

    instructions: str
    levels: tuple[Option, ...]
    name: str | None = None


Question = Predicate | Choice | Score


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
    asked = [question_of(one) for one in questions]
    if not asked:
        raise ConfigError("no questions were asked", remedy="give at least one")
    begin, timer = perf_counter(), Timer()
    sources = as_media(media, sound)
    mode = options.pop("long", "error")
    if mode not in ("error", "coarse"):
        raise ConfigError(f"long is {mode!r}", remedy="decisions take error or coarse")
    conversations = [_conversation(context, text_of(one), len(sources)) for one in asked]
    candidates = [_candidates(one) for one in asked]
    encoded = engine.encode(sources, timer, **options)
    found = _found(engine, conversations, candidates, encoded, mode, timer, on_step)
    calibration = calibration_of(engine)
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


def question_of(given: Question | Mapping[str, Any]) -> Question:
    """A question from either form.

    Raises:
        ConfigError: it lacks something, or its answers are not different.
    """
    if isinstance(given, Mapping):
        given = _of_mapping(given)
    prompt.readable(given.instructions, "instructions")
    if not given.instructions.strip():
        raise ConfigError("a question has no instructions", remedy="say what is asked")
    options = () if isinstance(given, Predicate) else given.choices if isinstance(given, Choice) else given.levels
    if isinstance(given, Predicate):
        return given
    if not 2 <= len(options) <= MAX_CHOICES:
        raise ConfigError(f"{counted(len(options), 'choice')} in a question", remedy=f"give 2 to {MAX_CHOICES}")
    values = [option.value if isinstance(option.value, bool) else _plain(option.value) for option in options]
    if "" in values or len({(type(value), value) for value in values}) != len(values):
        raise ConfigError("choices are empty or the same", remedy="give every choice a value of its own")
    return given


def _of_mapping(given: Mapping[str, Any]) -> Question:
    kind, text, name = given.get("type"), given.get("instructions", ""), given.get("name")
    if kind == "predicate":
        return Predicate(text, name)
    if kind == "choice":
        options = given.get("choices") or ()
        return Choice(text, tuple(Option(one["value"], one.get("description") or "") for one in options), name)
    if kind == "score":
        options = given.get("levels") or ()
        return Score(text, tuple(Option(one["label"], one.get("description") or "") for one in options), name)
    raise ConfigError(f"a question of type {kind!r}", remedy="types: predicate, choice, score")


def text_of(question: Question) -> str:
    """What the model is asked."""
    text = question.instructions.strip()
    if isinstance(question, Predicate):
        asks = text.endswith("?") or _ASKS.match(text)
        return text if asks else f'Is this true? "{text}" Answer yes or no.'
    options = question.choices if isinstance(question, Choice) else question.levels
    if isinstance(question, Score):
        return f"{text} Levels, from the lowest: {', '.join(_named(option) for option in options)}."
    if any(option.description for option in options):
        return f"{text} Choices: {'; '.join(_named(option) for option in options)}."
    return text


def _named(option: Option) -> str:
    value = _word(option)
    return f"{value} ({option.description})" if option.description else value


def _word(option: Option) -> str:
    return ("yes" if option.value else "no") if isinstance(option.value, bool) else option.value


def _plain(text: str) -> str:
    return " ".join(prompt.readable(text, "a choice").split())


def _conversation(context: Sequence[Mapping[str, Any]], text: str, media: int) -> list[dict[str, Any]]:
    """The context with a question at its end; in its last message, where that is a user's."""
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


def _candidates(question: Question) -> list[list[str]]:
    """For every possible answer its spellings."""
    if isinstance(question, Predicate):
        return [["Yes"], ["No"]]
    options = question.choices if isinstance(question, Choice) else question.levels
    found = []
    for option in options:
        word = _plain(_word(option))
        found.append(list(dict.fromkeys([word, f"{word[:1].upper()}{word[1:].rstrip('.')}."])))
    return found


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


def shared_log_likelihoods(
    model: Any,
    prompts: Sequence[Sequence[int]],
    media_embeds: torch.Tensor | None,
    answers: Sequence[Sequence[Sequence[Sequence[int]]]],
    media_id: int,
    on_step: Callable[[], None] | None = None,
) -> tuple[list[list[float]], int]:
    """Log-probabilities of the answers to several prompts that begin alike.

    Args:
        model: the model.
        prompts: token ids; the media id where media tokens go.
        media_embeds: media tokens ``(n, D_llm)``, the same for all prompts; None without media.
        answers: for every prompt its answers, each in one or more spellings, as token ids.
        media_id: where media tokens go.
        on_step: called before every further pass.

    Returns:
        (for every prompt the natural log-probability of each answer, over all its spellings; tokens that were read once
        for all).
    """
    shared = _common(prompts)
    if any(media_id in ids[shared:] for ids in prompts):
        raise ConfigError("media stand behind the words of a question", remedy="put media before the questions")
    device = model.device
    first_ids = torch.tensor([list(prompts[0][:shared])], device=device)
    none = torch.zeros(0, model.connector.config.llm_dim, device=device, dtype=model.dtype)
    first = model(
        input_ids=first_ids,
        attention_mask=torch.ones_like(first_ids),
        media_embeds=none if media_embeds is None else media_embeds,
        use_cache=True,
        logits_to_keep=1,
    )
    step = on_step or (lambda: None)
    begun, tails = cache_of(first), [list(ids[shared:]) for ids in prompts]
    short = [all(len(form) == 1 for forms in options for form in forms) for options in answers]
    logs: list[list[float]] = [[] for _ in prompts]
    told: dict[tuple[int, ...], torch.Tensor] = {}  # what follows a tail: (V,)
    waiting = sorted({tuple(tail) for tail, is_short in zip(tails, short) if is_short}, key=len)
    for begin in range(0, len(waiting), ROWS):
        step()
        part = waiting[begin : begin + ROWS]
        logits, _ = _continued(model, begun, part, shared)
        told |= {tail: row[len(tail) - 1].float().log_softmax(-1) for tail, row in zip(part, logits)}
    for number, (tail, options) in enumerate(zip(tails, answers)):
        if short[number]:
            scores = told[tuple(tail)]
            logs[number] = [_log_sum([float(scores[form[0]]) for form in forms]) for forms in options]
            continue
        step()
        logits, cache = _continued(model, begun, [tail], shared)
        opening = logits[0, -1].float().log_softmax(-1)
        forms = [form for option in options for form in option]
        found: list[float] = []
        for begin in range(0, len(forms), ROWS):
            step()
            rows = [list(form[:-1]) or [form[0]] for form in forms[begin : begin + ROWS]]
            logits, _ = _continued(model, cache, rows, shared + len(tail))
            for form, row in zip(forms[begin : begin + ROWS], logits):
                rest = row[: len(form) - 1].float().log_softmax(-1)
                after = rest.gather(1, torch.tensor(form[1:], device=device, dtype=torch.long)[:, None])
                found.append(min(0.0, float(opening[form[0]].double() + after.double().sum())))
        said = iter(found)
        logs[number] = [_log_sum([next(said) for _ in option]) for option in options]
    return logs, shared


def _continued(model: Any, cache: Any, rows: Sequence[Sequence[int]], begin: int) -> tuple[torch.Tensor, Any]:
    """Read several continuations of what a cache of one row holds, which stays as it is.

    Args:
        model: the model.
        cache: of the beginning.
        rows: token ids of each; padded on the right, where no real token looks.
        begin: how many tokens the cache holds.

    Returns:
        (logits ``(R, longest, V)``, the cache with them).
    """
    width = max(map(len, rows))
    padded = torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in rows], device=model.device)
    cache = copy.deepcopy(cache)
    if len(rows) > 1:
        cache.batch_repeat_interleave(len(rows))
    output = model(
        inputs_embeds=model.get_input_embeddings()(padded),
        position_ids=begin + torch.arange(width, device=model.device).expand(len(rows), -1),
        use_cache=True,
        **{CACHE: cache},
    )
    return output.logits, cache_of(output)


def _common(prompts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all prompts share; of each at least one token stays."""
    least = min(map(len, prompts)) - 1
    for place in range(least):
        if len({ids[place] for ids in prompts}) > 1:
            return place
    return least


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top if math.isinf(top) else top + math.log(sum(math.exp(log - top) for log in logs))


def probabilities(logs: Sequence[float], temperature: float = 1.0, bias: float = 0.0) -> list[float]:
    """Log-probabilities of the possible answers as probabilities that sum to 1.

    Args:
        logs: of each answer.
        temperature: divides them.
        bias: is added to the first of them then.
    """
    top = max(logs)
    if math.isinf(top):
        return [1 / len(logs)] * len(logs)
    scaled = [(log - top) / temperature + (0.0 if place else bias) for place, log in enumerate(logs)]
    whole = _log_sum(scaled)
    return [math.exp(value - whole) for value in scaled]


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
        {"value": number, "label": _word(option), "probability": share}
        for number, (option, share) in enumerate(zip(question.levels, shares))
    ]
    score = sum(number * share for number, share in enumerate(shares))
    return {**head, "score": score, "probabilities": levels, "confidence": confidence, "mass": mass}
