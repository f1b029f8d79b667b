"""Greedy answers to many held-out questions from stored features, under conditions that take something away."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch

from video_salmonn.errors import ConfigError
from video_salmonn.inference.long import frames_of
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training.answering import generate_answers
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
        changed = features.without(sound=True) if features.visual is not None else None
    elif condition == "sound_only":
        has_sound = features.speech is not None or features.audio is not None
        changed = replace(features.without(sight=True), still_frames=0) if has_sound else None
    elif condition == "no_speech_encoder" and features.speech is not None:
        changed = replace(features, speech=torch.zeros_like(features.speech))
    elif condition == "no_event_encoder" and features.audio is not None:
        changed = replace(features, audio=torch.zeros_like(features.audio))
    return replace(example, features=changed)


def answer_all(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    examples: Sequence[Example],
    *,
    condition: str = "full",
    new_tokens: int = 80,
    batch: int = 16,
    zero_levels: Collection[int] = (),
) -> list[str]:
    """Answers in the order of the examples, which already are under the condition.

    Args:
        model: in evaluation mode.
        processor: that belongs to it.
        examples: questions with their reference answers as the last turn, which the model does not get.
        condition: decides about ``zeroed``, ``fine_only`` and ``coarse_only``, which happen inside the model.
        new_tokens: maximum length of an answer.
        batch: questions at once; they are put together by length.
        zero_levels: further levels of the connector to set to zero.
    """
    config = model.connector.config
    levels = {*zero_levels, *{"fine_only": (1,), "coarse_only": (0,)}.get(condition, ())}
    frames = [0 if example.features is None else frames_of(example.features, config) for example in examples]
    order = sorted(range(len(examples)), key=frames.__getitem__)
    answers = [""] * len(examples)
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        made = generate_answers(
            model,
            processor,
            [examples[i] for i in group],
            new_tokens=new_tokens,
            zero_levels=levels,
            zero_tokens=condition == "zeroed",
        )
        for i, answer in zip(group, made):
            answers[i] = answer
    return answers
