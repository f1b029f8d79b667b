"""Greedy answers to many held-out questions from stored features, under conditions that take something away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from video_salmonn.errors import ConfigError
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor, pad_rows
from video_salmonn.training.examples import Example

CONDITIONS = (
    "full",
    "no_media",
    "zeroed",
    "frames_only",
    "sound_only",
    "no_speech_encoder",
    "no_event_encoder",
    "shuffled",
    "fine_only",
    "coarse_only",
)
"""``zeroed``: the media's tokens are there and all zero. ``no_speech_encoder`` and ``no_event_encoder``: that encoder's
features are zero. The others as in SAVE's runs."""


def under(example: Example, condition: str, other: Example | None = None) -> Example:
    """An example under a condition.

    Args:
        example: as it is.
        condition: one of :data:`CONDITIONS`.
        other: whose media take its place (``shuffled``).

    Raises:
        ConfigError: no such condition.
    """
    if condition not in CONDITIONS:
        raise ConfigError(f"no such condition: {condition!r}", remedy=f"one of {', '.join(CONDITIONS)}")
    features = example.features
    if condition == "no_media" or features is None:
        return replace(example, features=None)
    if condition == "shuffled" and other is not None:
        return replace(example, features=other.features)
    changed: MediaFeatures | None = features
    if condition == "frames_only":
        changed = replace(features, speech=None, audio=None, sound_frames=0) if features.visual is not None else None
    elif condition == "sound_only":
        has_sound = features.speech is not None or features.audio is not None
        changed = replace(features, visual=None, still_frames=0) if has_sound else None
    elif condition == "no_speech_encoder" and features.speech is not None:
        changed = replace(features, speech=torch.zeros_like(features.speech))
    elif condition == "no_event_encoder" and features.audio is not None:
        changed = replace(features, audio=torch.zeros_like(features.audio))
    return replace(example, features=changed)


@torch.inference_mode()
def answer_all(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    examples: Sequence[Example],
    *,
    condition: str = "full",
    new_tokens: int = 80,
    batch: int = 16,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Answers in the order of the examples, which already are under the condition.

    Args:
        model: in evaluation mode.
        processor: that belongs to it.
        examples: questions with their reference answers as the last turn, which the model does not get.
        condition: decides about ``zeroed``, ``fine_only`` and ``coarse_only``, which happen inside the model.
        new_tokens: at most so many.
        batch: questions at once; they are put together by length.
        progress: called with the number of answers after each batch.
    """
    device, dtype = next((p.device, p.dtype) for p in model.connector.parameters())
    nothing = torch.zeros(0, model.connector.config.llm_dim, device=device, dtype=dtype)
    levels = {"fine_only": (1,), "coarse_only": (0,)}.get(condition, ())
    order = sorted(range(len(examples)), key=lambda i: _frames(examples[i]))
    answers = [""] * len(examples)
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        with_media = [i for i in group if examples[i].features is not None]
        tokens: dict[int, torch.Tensor] = {}
        if with_media:
            features = [_on(examples[i].features, device, dtype) for i in with_media]
            questions = [str(examples[i].conversation[-2]["content"]) for i in with_media]
            made = model.connect_media(features, processor.instruction(questions), levels).tokens
            tokens = dict(zip(with_media, made))
        embeds = [torch.zeros_like(t) if condition == "zeroed" else t for t in tokens.values()]
        rows = [processor.render(examples[i].conversation[:-1], [len(tokens[i])] if i in tokens else []) for i in group]
        ids = pad_rows(rows, processor.pad_id, left=True)
        width = ids["input_ids"].shape[1]
        output = model.generate(
            input_ids=ids["input_ids"].to(device),
            attention_mask=ids["attention_mask"].to(device),
            media_embeds=torch.cat(embeds) if embeds else nothing,
            max_new_tokens=new_tokens,
            num_beams=1,
            do_sample=False,
            pad_token_id=processor.pad_id,
        )
        for i, row in zip(group, output[:, width:]):
            answers[i] = processor.tokenizer.decode(row, skip_special_tokens=True).strip()
        if progress is not None:
            progress(min(start + batch, len(order)))
    return answers


def _frames(example: Example) -> int:
    features = example.features
    if features is None:
        return 0
    return features.sound_frames or (0 if features.visual is None else features.still_frames or len(features.visual))


def _on(features: MediaFeatures | None, device: torch.device, dtype: torch.dtype) -> MediaFeatures:
    assert features is not None
    visual, speech, audio = (
        None if value is None else value.to(device, dtype)
        for value in (features.visual, features.speech, features.audio)
    )
    return replace(features, visual=visual, speech=speech, audio=audio)
