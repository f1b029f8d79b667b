"""A convolutional grid -> a fixed number of visual tokens, without parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class GridResampler(nn.Module):
    """Adaptive average pooling to ``side x side``, flattened row by row.

    The released system gets its ``V`` = 32 tokens a frame from InstructBLIP's Q-Former; a convolutional network has
    no such thing, and pooling keeps where things are at no cost in parameters or training.

    Args:
        side: rows and columns of the pooled grid.
    """

    def __init__(self, side: int = 5) -> None:
        super().__init__()
        self.side = side

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """``(N, D, H, W)`` -> ``(N, side*side, D)``."""
        return F.adaptive_avg_pool2d(grid, self.side).flatten(2).transpose(1, 2)
