"""Validation while training: loss on held-out items, generated samples, and the metric that fits their task."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from video_salmonn.errors import ContextError, MediaError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor, pad_rows
from video_salmonn.model.prompt import IGNORED
from video_salmonn.training.batching import Prepared, collate, prepare
from video_salmonn.training.examples import Example, ExampleMaker
from video_salmonn.training.recipe import Recipe


def words(text: str) -> str:
    """Lower-case words without punctuation."""
    kept = "".join(c.lower() if c.isalnum() or c in " '" else " " for c in text)
    return " ".join(kept.split())


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
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """(scores, samples) on the validation items: token loss, and exact answers among the generated samples."""
    was_training = model.training
    model.eval()
    total, tokens, rows = 0.0, 0, []
    for index in range(min(len(maker.items), recipe.data.validation_items)):
        try:
            example = maker.plain(index)
            rows.append(prepare(example, processor, context))
        except (MediaError, ContextError):
            continue
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
        samples.append({"id": row.example.id, "answer": answer, "reference": row.example.conversation[-1]["content"]})
    scores = {"validation_loss": total / max(1, tokens), "validation_items": float(len(rows))}
    if samples:
        exact = [words(s["answer"]) == words(s["reference"]) for s in samples]
        scores["validation_exact"] = sum(exact) / len(exact)
    model.train(was_training)
    return scores, samples
