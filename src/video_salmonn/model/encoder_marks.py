"""What stored features depend on: a fingerprint for each stream, of the encoder's weights and of how media reach it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from video_salmonn.files import fingerprint
from video_salmonn.model.configuration import VideoSalmonnConfig

if TYPE_CHECKING:
    from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration

PICTURES = ("frame_times", "image_size", "resize", "image_mean", "image_std", "spotlight", "max_seconds")
SOUNDS = ("segment_seconds", "pad_last_segment", "max_seconds", "max_sound_seconds", "first_channel")
"""Fields of :class:`~video_salmonn.model.configuration.MediaConfig` that a stream's features depend on."""


Encoder = nn.Module | Mapping[str, torch.Tensor]
"""A network, or its weights by name."""


def encoder_marks(
    config: VideoSalmonnConfig, vision: Encoder | None, speech: Encoder | None, audio: Encoder | None
) -> dict[str, str]:
    """Fingerprints of ``visual``, ``speech`` and ``audio`` features, of those that there are.

    Args:
        config: of the model.
        vision, speech, audio: its encoders, in the numbers that their weights are stored in; None for absent ones. The
            network that reads visual features for a question (InstructBLIP's) does not count.

    Returns:
        64 hexadecimal digits by stream.
    """
    settings, media, connector = config.encoder_settings(), config.media_config.to_dict(), config.connector_config
    sound: list[Any] = [*(media[name] for name in SOUNDS), connector.trim_padding, connector.audio_tokens]
    prepared: dict[str, list[Any]] = {
        "visual": [media[name] for name in PICTURES],
        "speech": [*sound, media["mel_bins"]],
        "audio": sound,
    }
    parts = {"visual": ("vision", vision), "speech": ("speech", speech), "audio": ("audio", audio)}
    return {
        stream: fingerprint(encoder, settings[name], prepared[stream])
        for stream, (name, encoder) in parts.items()
        if encoder is not None
    }


def model_marks(model: VideoSalmonnForConditionalGeneration) -> dict[str, str]:
    """:func:`encoder_marks` of a model's own encoders."""
    tower = model.tower
    return encoder_marks(model.config, tower.vision, tower.speech, tower.audio)
