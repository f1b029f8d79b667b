"""What is said at the end of a run: figures of the last validation, three of its answers, and what to make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from video_salmonn.metrics.text import normalise_answer
from video_salmonn.wording import counted

SHOWN = 3


def shown(samples: Sequence[dict[str, Any]], count: int = SHOWN) -> list[dict[str, Any]]:
    """Some of the answers: of different tasks and items as far as possible, spread over the samples."""
    tasks = list(dict.fromkeys(sample["task"] for sample in samples))
    chosen: list[dict[str, Any]] = []
    for place in range(min(count, len(samples))):
        left = [sample for sample in samples if sample not in chosen]
        task = tasks[place % len(tasks)]
        of_task = [sample for sample in left if sample["task"] == task] or left
        chosen.append(of_task[place * len(of_task) // count])
    return chosen


def conclusion(scores: Mapping[str, Any], samples: Sequence[dict[str, Any]]) -> list[str]:
    """Lines to print.

    Args:
        scores, samples: of the last validation; empty where there was none.
    """
    if not scores:
        return ["not validated: no figures, no answers (set validate_every and data.validation)"]
    line = f"validation: loss {scores['validation_loss']:.3f} on {counted(scores['validation_items'], 'item')}"
    if samples:
        right = round(scores["validation_exact"] * len(samples))
        line += f"; {right} of {counted(len(samples), 'answer')} right ({scores['validation_exact']:.0%})"
    if "validation_swapped" in scores:
        line += f", {scores['validation_swapped']:.0%} with the media of other items"
    lines = [line]
    for sample in shown(samples):
        answer, reference = sample["answer"], sample["reference"]
        verdict = "right" if normalise_answer(answer) == normalise_answer(reference) else f"expected: {reference}"
        lines.append(f"  {sample['id']}: {sample['question']}  {answer}  ({verdict})")
    return lines + remarks(samples)


def remarks(samples: Sequence[dict[str, Any]]) -> list[str]:
    """What the answers give away: that the model says the same whatever it sees and hears."""
    alike: list[str] = []
    for question in dict.fromkeys(sample["question"] for sample in samples):
        group = [sample for sample in samples if sample["question"] == question]
        if len(group) > 1 and len({s["reference"] for s in group}) > 1 and len({s["answer"] for s in group}) == 1:
            alike.append(question)
    if not alike:
        return []
    return [f"the model gives the same answer for all media, to: {'; '.join(alike[:3])}"]
