"""Convolution with TensorFlow's "SAME" padding, which both embedded networks were trained with."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class SameConv2d(nn.Conv2d):
    """``Conv2d`` whose output has ``ceil(input / stride)`` rows and columns.

    The total padding is split in two, the odd pixel going to the bottom and right; with stride 2 this differs from
    any fixed symmetric padding, which is why torch's own ``padding`` argument cannot express it.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` -> ``(B, C', ceil(H/stride), ceil(W/stride))``."""
        pads: list[int] = []
        for size, kernel, stride in zip(reversed(input.shape[-2:]), reversed(self.kernel_size), reversed(self.stride)):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(input, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
