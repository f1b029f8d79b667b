"""Greedy answers of a model that is held in memory, from features that are there already: one batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor, pad_rows, question_of
from video_salmonn.model.transcripts import asks_for_words
from video_salmonn.training.batching import features_on
from video_salmonn.training.examples import Example


@torch.inference_mode()
def generate_answers(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    examples: Sequence[Example],
    *,
    new_tokens: int = 64,
    zero_levels: Collection[int] = (),
    zero_tokens: bool = False,
) -> list[str]:
    """Answers to the examples' last questions, in their order.

    Args:
        model: in evaluation mode.
        processor: that belongs to it.
        examples: questions with their reference answers as the last turn, which the model does not get.
        new_tokens: maximum length of an answer.
        zero_levels: levels of the connector to set to zero.
        zero_tokens: give the language model zeros in place of the connector's tokens.
    """
    device, dtype = next((p.device, p.dtype) for p in model.connector.parameters())
    features = [features_on(e.features, device, dtype) for e in examples if e.features is not None]
    tokens: list[torch.Tensor] = []
    if features:
        questions = [question_of(e.conversation) for e in examples if e.features is not None]
        pair = processor.instruction(questions)
        instruction = None if pair is None else (pair[0].to(device), pair[1].to(device))
        tokens = model.connect_media(features, instruction, zero_levels).tokens
    lengths = iter([len(part) for part in tokens])
    rows = [processor.render(e.conversation[:-1], [next(lengths)] if e.features is not None else []) for e in examples]
    ids = pad_rows(rows, processor.pad_id, left=True)
    nothing = torch.zeros(0, model.connector.config.llm_dim, device=device, dtype=dtype)
    embeds = torch.cat([nothing, *tokens])
    output = model.generate(
        input_ids=ids["input_ids"].to(device),
        attention_mask=ids["attention_mask"].to(device),
        media_embeds=torch.zeros_like(embeds) if zero_tokens else embeds,
        max_new_tokens=new_tokens,
        num_beams=1,
        do_sample=False,
        pad_token_id=processor.pad_id,
        transcribes=[asks_for_words(question_of(e.conversation)) for e in examples],
    )
    new = output[:, ids["input_ids"].shape[1] :]
    return [processor.tokenizer.decode(row, skip_special_tokens=True).strip() for row in new]
