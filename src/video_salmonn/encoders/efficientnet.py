"""EfficientNet-Lite0 (ImageNet-1k): the embedded system's eye, used for its 7 x 7 grid before pooling.

Lite variants have no squeeze-and-excitation and ReLU6 in place of swish. Parameter names follow the state dict inside
the package it comes from, so that loading is strict. Input is 224 x 224 RGB scaled to
``(x - 127) / 128``: :func:`video_salmonn.features.frames.prepare_frames` with ``MEAN`` and ``STD`` below.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from video_salmonn.encoders.resampler import GridResampler
from video_salmonn.encoders.same_padding import SameConv2d
from video_salmonn.sub_config import SubConfig
from video_salmonn.types import Features

# (blocks, kernel, stride of the first, expansion, in, out): the B0 table, whose stem and head Lite keeps unscaled
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
WIDTH = 1280
NAMES = 1000
"""ImageNet's classes, which the head tells apart."""
SIZE = (224, 224)
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Inverted residual: expand, depthwise, project; added to its input where shapes allow."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = width * expansion
        self.expands = expansion != 1
        self.residual = stride == 1 and width == channels
        if self.expands:
            self._expand_conv = SameConv2d(width, hidden, 1, bias=False)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = _norm(hidden)
        self._project_conv = SameConv2d(hidden, channels, 1, bias=False)
        self._bn2 = _norm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLiteConfig(SubConfig):
    """Sizes of :class:`EfficientNetEncoder`.

    Attributes:
        side: the tokens of a frame form a ``side x side`` grid.
    """

    model_type = "efficientnet_lite"
    base_config_key = "vision_config"

    side: int = 5


class EfficientNetEncoder(nn.Module):
    """Frames -> ``V`` visual tokens each: the last feature grid, resampled.

    Args:
        side: the tokens of a frame form a ``side x side`` grid; ``V = side**2`` (25 in the embedded preset).
    """

    def __init__(self, side: int = 5) -> None:
        super().__init__()
        self.width = WIDTH
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList(
            _Block(width if index == 0 else channels, channels, kernel, stride if index == 0 else 1, expansion)
            for blocks, kernel, stride, expansion, width, channels in _STAGES
            for index in range(blocks)
        )
        self._conv_head = SameConv2d(320, WIDTH, 1, bias=False)
        self._bn1 = _norm(WIDTH)
        self._fc = nn.Linear(WIDTH, NAMES)
        self.resampler = GridResampler(side)

    def grid(self, frames: torch.Tensor) -> torch.Tensor:
        """Normalised frames ``(N, 3, 224, 224)`` -> ``(N, 1280, 7, 7)``."""
        if frames.device.type == "cpu":  # two thirds of the time, and the same bits
            frames = frames.contiguous(memory_format=torch.channels_last)
        hidden = F.relu6(self._bn0(self._conv_stem(frames)))
        for block in self._blocks:
            hidden = block(hidden)
        return F.relu6(self._bn1(self._conv_head(hidden))).contiguous()

    @property
    def head(self) -> nn.Linear:
        """Mean of a picture's features -> ImageNet logits."""
        return self._fc

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """Normalised frames ``(N, 3, 224, 224)`` -> ImageNet logits ``(N, 1000)``."""
        return self._fc(self.grid(frames).mean((2, 3)))

    def forward(self, inputs: torch.Tensor) -> Features:
        """Normalised frames ``(B, T, 3, 224, 224)`` -> values ``(B, T*V, 1280)``, frame after frame."""
        batch, frames = inputs.shape[:2]
        tokens = self.resampler(self.grid(inputs.flatten(0, 1)))
        return Features(tokens.reshape(batch, frames * tokens.shape[1], WIDTH))
