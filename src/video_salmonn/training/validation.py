"""Validation while training: loss on held-out items, generated samples, and the metric that fits their task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch

from video_salmonn.errors import ContextError, EvaluationError, MediaError, MissingPartError, TrainingError
from video_salmonn.metrics.text import normalise_answer
from video_salmonn.metrics.wer import wer
from video_salmonn.model.processing import question_of
from video_salmonn.training.batching import Batch, PreparedExample
from video_salmonn.training.examples import ExampleMaker
from video_salmonn.training.objectives import Objective
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
        loss: first part of the objective's, summed.
        counted: what it is divided by.
    """

    usable: list[int] = field(default_factory=list)
    skipped: int = 0
    loss: float = 0.0
    counted: float = 0.0


Gather = Callable[[list[Any]], list[Any]]
"""Gives every process the lists of all, joined."""


@torch.inference_mode()
def validate(
    network: torch.nn.Module,
    objective: Objective,
    collate: Callable[[Sequence[PreparedExample]], Batch],
    maker: ExampleMaker,
    recipe: Recipe,
    rank: int = 0,
    world: int = 1,
    gather: Gather = lambda own: own,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(scores, samples) on the validation items: loss on all of them, metrics of some answers.

    ``validation_skipped`` counts items whose media could not be used, where there are any. Processes take the items in
    turns and share what they find, so all return the scores that one process alone would.

    Args:
        network, objective, collate, recipe: as in training.
        maker: of validation examples.
        rank, world: this process, and how many take part.
        gather: joins the lists of all processes.
    """
    was_training = network.training
    network.eval()
    count = min(len(maker.items), recipe.data.validation_items)
    own, rows = _prepared(maker, objective, range(rank, count, world))
    passes = list(batched(own.usable, recipe.micro_batch))
    for numbers in passes:
        batch = collate([rows[number] for number in numbers])
        own.loss += float(objective.losses(network(**batch.inputs), batch)[0])
        own.counted += sum(row.counted for row in batch.rows)
    shares: list[Share] = gather([own])
    usable = sorted(number for share in shares for number in share.usable)
    stride = max(1, len(usable) // max(1, recipe.data.validation_samples))
    asked = [number for number in usable[::stride][: recipe.data.validation_samples] if number in rows]
    swaps: dict[int, PreparedExample] = {}
    if recipe.data.validation_swapped:
        swaps = {n: found for n in asked if (found := swapped(maker, objective, rows[n], n, usable)) is not None}

    def answers(examples: Mapping[int, PreparedExample]) -> dict[int, str]:
        found: dict[int, str] = {}
        for numbers in batched(examples, recipe.micro_batch):
            batch = collate([examples[number] for number in numbers])
            found |= dict(zip(numbers, objective.answers(network, batch)))
        return found

    own_answers, swapped_answers = answers({n: rows[n] for n in asked}), answers(swaps)
    answered: list[tuple[int, dict[str, Any]]] = []
    for number in asked:
        example = rows[number].example
        sample = {"id": example.id, "task": example.task, "question": question_of(example.conversation)}
        sample |= {"answer": own_answers[number], "reference": example.conversation[-1]["content"]}
        if number in swapped_answers:
            sample["swapped_answer"] = swapped_answers[number]
        answered.append((number, sample))
    samples = [sample for _, sample in sorted(gather(answered), key=lambda entry: entry[0])]
    network.train(was_training)
    if not usable:
        raise TrainingError("no validation item can be used", remedy="check data.validation with: data validate")
    counted, skipped = sum(share.counted for share in shares), sum(share.skipped for share in shares)
    loss = sum(share.loss for share in shares) / max(1, counted)
    scores: dict[str, Any] = {"validation_loss": loss, "validation_items": len(usable)}
    if skipped:
        scores["validation_skipped"] = skipped
    return scores | score(samples), samples


def swapped(
    maker: ExampleMaker, objective: Objective, row: PreparedExample, number: int, usable: Sequence[int]
) -> PreparedExample | None:
    """An item with the media of the next one that has others, one with another answer to the same question before any
    other; None where there is none, or no media."""
    items = maker.items
    item = items[number]
    if row.example.features is None:
        return None
    following = sorted(usable, key=lambda other: (other <= number, other))
    others = [other for other in following if items[other].media and items[other].media != item.media]
    telling = [o for o in others if items[o].task == item.task and items[o].answer != item.answer]
    for other in [*telling, *others][:8]:
        try:
            return objective.prepare(replace(row.example, features=maker.plain(other).features))
        except (MediaError, ContextError):
            continue
    return None


def _prepared(
    maker: ExampleMaker, objective: Objective, numbers: Iterable[int]
) -> tuple[Share, dict[int, PreparedExample]]:
    """The items with these numbers, prepared; all of them weigh alike."""
    share, rows = Share(), {}
    for number in numbers:
        try:
            rows[number] = objective.prepare(replace(maker.plain(number), weight=1.0))
        except (MediaError, ContextError):
            share.skipped += 1
    share.usable = list(rows)
    return share, rows


def batched(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    """Numbers in groups."""
    left = iter(numbers)
    while part := list(islice(left, size)):
        yield part
