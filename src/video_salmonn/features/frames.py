"""Pictures to vision-encoder input: resize and normalise, batched."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Resize = Literal["bicubic", "released", "picture"]
"""``bicubic``: antialiased, clamped to [0, 1]; ``released``: what the released code does with videos: bicubic
without antialiasing or clamping; ``picture``: Pillow's antialiased bicubic itself, which the release uses for single
pictures. All ignore the aspect ratio."""


def resize(frames: torch.Tensor, size: tuple[int, int], how: Resize = "bicubic") -> torch.Tensor:
    """(T, 3, H, W), float in [0, 1] or uint8 -> (T, 3, *size) of the same kind.

    Whole levels (uint8) are for ``bicubic`` on the CPU: torch then rounds as PIL does, and is many times faster than in
    floats. Both are within two levels of 255 of PIL, except where the overshoot of a hard edge is cut to the range.
    ``picture`` takes uint8 on the CPU.
    """
    if tuple(frames.shape[-2:]) == size:
        return frames
    if how == "picture":
        rows = (Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames)
        scaled = [np.asarray(row.resize(size[::-1], Image.Resampling.BICUBIC)) for row in rows]
        return torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2)
    if how == "released":
        return F.interpolate(frames, size=size, mode="bicubic", align_corners=False)
    resized = F.interpolate(frames, size=size, mode="bicubic", align_corners=False, antialias=True)
    return resized if resized.dtype == torch.uint8 else resized.clamp(0.0, 1.0)


def prepare_frames(
    frames: torch.Tensor,
    size: tuple[int, int] = (224, 224),
    *,
    how: Resize = "bicubic",
    mean: tuple[float, ...] = CLIP_MEAN,
    std: tuple[float, ...] = CLIP_STD,
) -> torch.Tensor:
    """Pixels to normalised encoder input.

    Args:
        frames: ``(T, H, W, 3)`` uint8 RGB.
        size: (height, width) the encoder wants.
        how: the resizing filter.
        mean, std: per channel, of values in [0, 1].

    Returns:
        ``(T, 3, *size)`` float32.

    Raises:
        ValueError: the frames are not a uint8 RGB batch.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be uint8 (T, H, W, 3), got {frames.dtype} {tuple(frames.shape)}")
    pixels = frames.permute(0, 3, 1, 2)
    if how == "picture" or (how == "bicubic" and frames.device.type == "cpu"):
        pixels = resize(pixels, size, how).float().div(255.0)
    else:
        pixels = resize(pixels.float().div(255.0), size, how)
    shift, scale = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (mean, std))
    return (pixels - shift) / scale
