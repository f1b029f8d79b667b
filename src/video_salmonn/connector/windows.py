"""Windows of one resolution, and the block mask that decides which frames of its window a frame attends to."""

from __future__ import annotations

import torch

from video_salmonn.connector.configuration import MaskDirection
from video_salmonn.wording import counted


def fold_windows(values: torch.Tensor, frames: int) -> torch.Tensor:
    """Fold the time axis into the batch: (B, T, S, D) -> (B·W, frames·S, D) with W = T / frames.

    Raises:
        ValueError: T is not a multiple of ``frames``.
    """
    batch, length, slots, width = values.shape
    if length % frames:
        raise ValueError(f"{counted(length, 'frame', 'do')} not divide into windows of {frames}")
    return values.reshape(batch * (length // frames), frames * slots, width)


def unfold_windows(values: torch.Tensor, batch: int) -> torch.Tensor:
    """Inverse on the batch axis: (B·W, N, D) -> (B, W, N, D)."""
    return values.view(batch, -1, *values.shape[1:])


def block_mask(frames: int, slots: int, direction: MaskDirection, device: torch.device | None = None) -> torch.Tensor:
    """Which key slots a query slot may see: ``(frames·slots, frames·slots)`` bool, rows are queries.

    ``past``: frame i sees frames j <= i (paper §3.2.1). ``future``: j >= i (``torch.triu`` in
    the released ``Qformer.py``).
    """
    ones = torch.ones(frames, frames, dtype=torch.bool, device=device)
    visible = {"past": ones.tril, "future": ones.triu, "none": lambda: ones}[direction]()
    return visible.repeat_interleave(slots, 0).repeat_interleave(slots, 1)


def window_block_mask(frame_mask: torch.Tensor, slots: int, direction: MaskDirection) -> torch.Tensor:
    """The block mask with padding frames hidden as keys; every frame still sees itself, so no row is empty.

    Args:
        frame_mask: ``(B·W, frames)`` bool, True for real frames.

    Returns:
        ``(B·W, 1, frames·slots, frames·slots)`` bool.
    """
    frames = frame_mask.shape[1]
    visible = block_mask(frames, 1, direction, frame_mask.device) & frame_mask[:, None, :]
    visible = visible | torch.eye(frames, dtype=torch.bool, device=frame_mask.device)
    return visible.repeat_interleave(slots, 1).repeat_interleave(slots, 2)[:, None]
