"""Validation while training: loss on held-out items, generated samples, and the metric that fits their task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from video_salmonn.errors import ContextError, EvaluationError, MediaError, MissingPartError, TrainingError
from video_salmonn.metrics.text import normalise_answer
from video_salmonn.metrics.wer import wer
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor, pad_rows
from video_salmonn.model.prompt import IGNORED
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
        ``validation_wer`` over the speech tasks, where there are any and the ``eval`` extra is installed; ``tasks``:
        for each task ``n``, ``exact`` and, for speech, ``wer``.
    """
    by_task: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for sample in samples:
        by_task[sample["task"]].append(sample)
    scores: dict[str, Any] = {"validation_exact": _exact(samples)} if samples else {}
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


@torch.inference_mode()
def generate_answer(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    example: Example,
    row: Prepared,
    device: torch.device,
    new_tokens: int = 64,
) -> str:
    """The model's greedy answer to an example's question."""
    batch = collate([row], processor, device, model.dtype)
    embeds = model.connect_media(batch.features, batch.instruction).tokens if batch.features else []
    lengths = [len(tokens) for tokens in embeds]
    rendered = processor.render(example.conversation[:-1], lengths)
    ids = pad_rows([rendered], processor.pad_id, left=True)
    output = model.generate(
        input_ids=ids["input_ids"].to(device),
        attention_mask=ids["attention_mask"].to(device),
        media_embeds=torch.cat(embeds) if embeds else torch.zeros(0, model.connector.config.llm_dim, device=device),
        max_new_tokens=new_tokens,
        num_beams=1,
        do_sample=False,
        pad_token_id=processor.pad_id,
    )
    return processor.tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()


@torch.inference_mode()
def validate(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    maker: ExampleMaker,
    recipe: Recipe,
    device: torch.device,
    context: int,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(scores, samples) on the validation items: token loss on all of them, metrics of some generated answers.

    ``validation_skipped`` counts items whose media could not be used, where there are any.
    """
    was_training = model.training
    model.eval()
    total, tokens, skipped = 0.0, 0, 0
    rows: list[Prepared] = []
    for index in range(min(len(maker.items), recipe.data.validation_items)):
        try:
            example = maker.plain(index)
            rows.append(prepare(example, processor, context))
        except (MediaError, ContextError):
            skipped += 1
    for start in range(0, len(rows), recipe.micro_batch):
        batch = collate(rows[start : start + recipe.micro_batch], processor, device, torch.float32)
        instruction = batch.instruction or (None, None)
        logits = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            media_features=batch.features or None,
            instruction_ids=instruction[0],
            instruction_mask=instruction[1],
            logits_to_keep=batch.answer_span,
        ).logits[:, :-1]
        labels = batch.labels[:, -batch.answer_span + 1 :]
        total += float(F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum"))
        tokens += int((labels != IGNORED).sum())
    samples = []
    stride = max(1, len(rows) // max(1, recipe.data.validation_samples))
    for row in rows[::stride][: recipe.data.validation_samples]:
        answer = generate_answer(model, processor, row.example, row, device)
        reference = row.example.conversation[-1]["content"]
        samples.append({"id": row.example.id, "task": row.example.task, "answer": answer, "reference": reference})
    model.train(was_training)
    if not rows:
        raise TrainingError("no validation item can be used", remedy="check data.validation with: data validate")
    scores: dict[str, Any] = {"validation_loss": total / max(1, tokens), "validation_items": len(rows)}
    if skipped:
        scores["validation_skipped"] = skipped
    return scores | score(samples), samples
