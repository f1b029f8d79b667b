"""Validation while training: loss on held-out items, generated samples, and the metric that fits their task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.nn import functional as F

from video_salmonn.errors import ContextError, EvaluationError, MediaError, MissingPartError, TrainingError
from video_salmonn.metrics.text import normalise_answer
from video_salmonn.metrics.wer import wer
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor, question_of
from video_salmonn.model.prompt import IGNORED
from video_salmonn.training.answering import generate_answers
from video_salmonn.training.batching import Prepared, collate, prepare
from video_salmonn.training.examples import Example, ExampleMaker
from video_salmonn.training.recipe import Recipe

SPEECH_TASKS = ("transcribe", "asr", "avsr")
"""Tasks whose names begin so are scored by word error rate; all others by exact answers."""


def score(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Metrics of generated answers: over all, and by task.

    Args:
        samples: ``{"task", "answer", "reference", …}`` each.

    Returns:
        ``validation_exact``, the share of answers that equal the reference but for case, punctuation and articles;
        ``validation_swapped``, the same of answers to these questions about other items' media; ``validation_wer`` over
        the speech tasks, where there are any and the ``eval`` extra is installed; ``tasks``: for each task ``n``,
        ``exact`` and, for speech, ``wer``.
    """
    by_task: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for sample in samples:
        by_task[sample["task"]].append(sample)
    scores: dict[str, Any] = {"validation_exact": _exact(samples)} if samples else {}
    handed = [{**sample, "answer": sample["swapped_answer"]} for sample in samples if "swapped_answer" in sample]
    if handed:
        scores["validation_swapped"] = _exact(handed)
    speech = [sample for sample in samples if sample["task"].startswith(SPEECH_TASKS)]
    overall = _wer(speech)
    if overall is not None:
        scores["validation_wer"] = overall
    if samples:
        scores["tasks"] = {}
    for task, group in sorted(by_task.items()):
        scores["tasks"][task] = {"n": len(group), "exact": _exact(group)}
        rate = _wer(group) if task.startswith(SPEECH_TASKS) else None
        if rate is not None:
            scores["tasks"][task]["wer"] = rate
    return scores


def _exact(samples: Sequence[dict[str, Any]]) -> float:
    right = [normalise_answer(s["answer"]) == normalise_answer(s["reference"]) for s in samples]
    return sum(right) / len(right)


def _wer(samples: Sequence[dict[str, Any]]) -> float | None:
    """Word error rate, or None where it is not defined or its libraries are not installed."""
    if not samples:
        return None
    try:
        return wer([s["reference"] for s in samples], [s["answer"] for s in samples]).value
    except (MissingPartError, EvaluationError):
        return None


@dataclass
class Share:
    """What one process found on its part of the validation items.

    Attributes:
        usable: numbers of the items that could be used.
        skipped: how many could not.
        loss: token cross entropies, summed.
        tokens: answer tokens.
    """

    usable: list[int] = field(default_factory=list)
    skipped: int = 0
    loss: float = 0.0
    tokens: int = 0


Gather = Callable[[list[Any]], list[Any]]
"""Gives every process the lists of all, joined."""


@torch.inference_mode()
def validate(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    maker: ExampleMaker,
    recipe: Recipe,
    device: torch.device,
    context: int,
    rank: int = 0,
    world: int = 1,
    gather: Gather = lambda own: own,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(scores, samples) on the validation items: token loss on all of them, metrics of some generated answers.

    ``validation_skipped`` counts items whose media could not be used, where there are any. Processes take the items in
    turns and share what they find, so all return the scores that one process alone would.

    Args:
        model, processor, maker, recipe, device, context: as in training.
        rank, world: this process, and how many take part.
        gather: joins the lists of all processes.
    """
    was_training = model.training
    model.eval()
    own, rows = _measure(model, processor, maker, recipe, device, context, range(rank, _count(maker, recipe), world))
    shares: list[Share] = gather([own])
    usable = sorted(number for share in shares for number in share.usable)
    stride = max(1, len(usable) // max(1, recipe.data.validation_samples))
    asked = [number for number in usable[::stride][: recipe.data.validation_samples] if number in rows]
    swaps: dict[int, Example] = {}
    if recipe.data.validation_swapped:
        swaps = {n: found for n in asked if (found := swapped(maker, rows[n].example, n, usable)) is not None}
    own_answers = _answers(model, processor, {n: rows[n].example for n in asked}, recipe.micro_batch)
    swapped_answers = _answers(model, processor, swaps, recipe.micro_batch)
    answered: list[tuple[int, dict[str, Any]]] = []
    for number in asked:
        example = rows[number].example
        sample = {"id": example.id, "task": example.task, "question": question_of(example.conversation)}
        sample |= {"answer": own_answers[number], "reference": example.conversation[-1]["content"]}
        if number in swapped_answers:
            sample["swapped_answer"] = swapped_answers[number]
        answered.append((number, sample))
    samples = [sample for _, sample in sorted(gather(answered), key=lambda entry: entry[0])]
    model.train(was_training)
    if not usable:
        raise TrainingError("no validation item can be used", remedy="check data.validation with: data validate")
    tokens, skipped = sum(share.tokens for share in shares), sum(share.skipped for share in shares)
    loss = sum(share.loss for share in shares) / max(1, tokens)
    scores: dict[str, Any] = {"validation_loss": loss, "validation_items": len(usable)}
    if skipped:
        scores["validation_skipped"] = skipped
    return scores | score(samples), samples


def _answers(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    examples: Mapping[int, Example],
    together: int,
) -> dict[int, str]:
    """Answers by the examples' numbers, so many at once."""
    found: dict[int, str] = {}
    numbers = list(examples)
    for start in range(0, len(numbers), together):
        part = numbers[start : start + together]
        found |= dict(zip(part, generate_answers(model, processor, [examples[number] for number in part])))
    return found


def swapped(maker: ExampleMaker, example: Example, number: int, usable: Sequence[int]) -> Example | None:
    """An item with the media of the next one that has others, one with another answer to the same question before any
    other; None where there is none, or no media."""
    items = maker.items
    item = items[number]
    if example.features is None:
        return None
    following = sorted(usable, key=lambda other: (other <= number, other))
    others = [other for other in following if items[other].media and items[other].media != item.media]
    telling = [o for o in others if items[o].task == item.task and items[o].answer != item.answer]
    for other in [*telling, *others][:8]:
        try:
            return replace(example, features=maker.plain(other).features)
        except MediaError:
            continue
    return None


def _count(maker: ExampleMaker, recipe: Recipe) -> int:
    return min(len(maker.items), recipe.data.validation_items)


def _measure(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    maker: ExampleMaker,
    recipe: Recipe,
    device: torch.device,
    context: int,
    numbers: Iterable[int],
) -> tuple[Share, dict[int, Prepared]]:
    """The token loss of the items with these numbers, and the items themselves, prepared."""
    share, rows = Share(), {}
    for number in numbers:
        try:
            rows[number] = prepare(maker.plain(number), processor, context)
        except (MediaError, ContextError):
            share.skipped += 1
    share.usable = list(rows)
    for start in range(0, len(rows), recipe.micro_batch):
        part = [rows[number] for number in share.usable[start : start + recipe.micro_batch]]
        batch = collate(part, processor, device, torch.float32)
        logits, labels = model(**batch.inputs).logits[:, :-1], batch.targets
        share.loss += float(F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum"))
        share.tokens += int((labels != IGNORED).sum())
    return share, rows
