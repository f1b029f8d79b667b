"""The sizes of a clip's inputs to each network, from which FLOPs and memory are both computed.

The production modules run on tensors of these shapes on the meta device, so neither figure can drift from the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from video_salmonn.encoders.beats import Beats
from video_salmonn.encoders.eva import EvaViT
from video_salmonn.features.fbank import num_frames
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.lengths import sight_frames, sound_frames
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration

RATE = 16_000


@dataclass(frozen=True)
class EncoderRun:
    """One encoder and a clip.

    Attributes:
        name: of the part.
        run: calls it once and returns what it gives.
        times: how many such calls the clip takes; a fraction where the last one is smaller.
        kept: whether what it gives stays until the answer (else the next encoder reads it and it goes).
    """

    name: str
    run: Callable[[], torch.Tensor]
    times: float
    kept: bool


@dataclass(frozen=True)
class ClipShapes:
    """Frames of pictures and sound of a clip, as a configuration cuts it.

    Attributes:
        frames: pictures taken.
        heard: frames of 0.5 s of sound.
        segments: windows the sound encoders read.
        segment: samples of one.
    """

    frames: int
    heard: int
    segments: int
    segment: int


def clip_shapes(config: VideoSalmonnConfig, seconds: float) -> ClipShapes:
    """What is seen and heard of a clip with picture and sound."""
    heard = sound_frames(config, min(seconds, config.media_config.max_seconds or seconds))
    segment = round(config.media_config.segment_seconds * RATE)
    samples = round(heard * config.connector_config.frame_seconds * RATE)
    return ClipShapes(sight_frames(config, seconds), heard, max(1, -(-samples // segment)), segment)


def encoder_stages(
    model: VideoSalmonnForConditionalGeneration,
    seconds: float,
    dtype: torch.dtype = torch.float32,
    *,
    frames_at_once: int = 1,
    segments_at_once: int = 1,
    words: int = 16,
) -> Iterator[EncoderRun]:
    """The encoders of a model in the order they run.

    Args:
        model: on the meta device, in ``dtype``.
        seconds: duration of the clip.
        dtype: of the inputs.
        frames_at_once: pictures given to the vision encoder in one call.
        segments_at_once: windows given to a sound encoder in one call.
        words: of the question, for an encoder that reads it.
    """
    config, tower = model.config, model.tower
    shapes = clip_shapes(config, seconds)
    pictures, windows = min(shapes.frames, frames_at_once), min(shapes.segments, segments_at_once)

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device="meta", dtype=dtype)

    side = config.media_config.image_size
    if (vision := tower.vision) is not None:
        pixels = empty(pictures, 3, side, side)
        seen = pixels if isinstance(vision, EvaViT) else pixels[None]
        yield EncoderRun("vision", lambda: vision(seen).values, shapes.frames / pictures, kept=True)
    if (qformer := tower.instruction_qformer) is not None:
        patches = (side // config.vision_config.patch_size) ** 2 + 1
        grid = empty(pictures, patches, config.vision_config.hidden_size)
        ids = torch.zeros(len(grid), words, dtype=torch.long, device="meta")
        yield EncoderRun("instruction_qformer", lambda: qformer(grid, ids).values, shapes.frames / pictures, kept=False)
    if (speech := tower.speech) is not None:
        mel = empty(windows, config.media_config.mel_bins, shapes.segment // 160)
        yield EncoderRun("speech", lambda: speech(mel).values, shapes.segments / windows, kept=True)
    if (audio := tower.audio) is not None:
        if isinstance(audio, Beats):
            sound = empty(windows, num_frames(shapes.segment) // 16 * 16, audio.config.num_mel_bins)
        else:
            sound = empty(windows, shapes.segment // 8000, 96, 64)
        yield EncoderRun("audio", lambda: audio(sound).values, shapes.segments / windows, kept=True)


def connector_inputs(
    config: VideoSalmonnConfig, seconds: float, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Visual, speech and sound-event features of a clip, as the connector gets them; on the meta device.

    With ``synchronise`` both senses lie on one axis of time, padded to whole windows; without it each has a length of
    its own.
    """
    sizes, shapes = config.connector_config, clip_shapes(config, seconds)
    whole = -(-max(shapes.frames, shapes.heard) // sizes.window_multiple) * sizes.window_multiple
    sight, sound = (whole, whole) if sizes.synchronise else (shapes.frames, shapes.heard)
    steps = sound * sizes.audio_tokens

    def empty(*shape: Any) -> torch.Tensor:
        return torch.empty(1, *shape, device="meta", dtype=dtype)

    return (
        empty(sight, sizes.visual_tokens, sizes.visual_dim) if sizes.visual_dim else None,
        empty(steps, sizes.speech_dim) if sizes.speech_dim else None,
        empty(steps, sizes.audio_dim) if sizes.audio_dim else None,
    )
