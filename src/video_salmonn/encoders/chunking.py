"""How long sound is cut into encoder segments: the same for whole files, training and live input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from video_salmonn.errors import ConfigError

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Segments:
    """Cut sound.

    Attributes:
        waveform: ``(n segments, samples)`` float32, the last one zero-padded.
        frames: real frames of 0.5 s over all segments, counted from the real length.
        lengths: real samples of each segment, ``(n segments,)`` int64.
    """

    waveform: torch.Tensor
    frames: int
    lengths: torch.Tensor


def segment_samples(seconds: float, frame_seconds: float = 0.5) -> int:
    """Samples of a segment. Raises ConfigError unless it is a whole number of frames of at most 30 s."""
    if not 0 < seconds <= 30 or not math.isclose(seconds / frame_seconds, round(seconds / frame_seconds)):
        raise ConfigError(
            f"segment_seconds {seconds} must be a whole number of frames of {frame_seconds} s and at most 30",
            remedy="use 30 (released), or for example 10",
        )
    return round(seconds * SAMPLE_RATE)


def cut(waveform: torch.Tensor, segment_seconds: float, *, pad_last: bool, frame_seconds: float = 0.5) -> Segments:
    """Cut one waveform into segments.

    Args:
        waveform: ``(n,)`` float at 16 kHz.
        segment_seconds: length of a segment.
        pad_last: pad the last segment to the full length (what the encoders were trained with), or only to whole
            frames of 0.5 s, when it is alone.
        frame_seconds: length of a frame.

    Returns:
        at least one segment, also for an empty waveform.
    """
    size = segment_samples(segment_seconds, frame_seconds)
    per_frame = round(frame_seconds * SAMPLE_RATE)
    samples = waveform.shape[0]
    frames = max(1, -(-samples // per_frame))
    if samples <= size and not pad_last:
        size = frames * per_frame
    count = max(1, -(-samples // size))
    padded = F.pad(waveform.float(), (0, count * size - samples)).view(count, size)
    starts = torch.arange(count) * size
    return Segments(padded, frames, (samples - starts).clamp(0, size))
