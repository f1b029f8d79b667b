"""YAMNet (MobileNet v1 trained on AudioSet's 521 classes): the embedded system's ear for sounds that are not speech.

The released system uses BEATs here; YAMNet is what can be had inside an installable package. One patch of 0.96 s
belongs to every 0.5 s frame (:mod:`video_salmonn.features.patches`), and its embedding is repeated over the frame's
``A`` = 25 audio steps, so that it lines up step by step with Whisper's 20 ms features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from video_salmonn.encoders.same_padding import SameConv2d
from video_salmonn.sub_config import SubConfig
from video_salmonn.types import Features

_CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
CLASSES = 521
WIDTH = 1024


def yamnet_layers() -> list[tuple[int, int, int, int, int]]:
    """The 27 convolutions as ``(in, out, kernel, stride, groups)``: the stem, then 13 x (depthwise, pointwise)."""
    layers = [(1, 32, 3, 2, 1)]
    width = 32
    for channels, stride in zip(_CHANNELS, _STRIDES):
        layers += [(width, width, 3, stride, width), (width, channels, 1, 1, 1)]
        width = channels
    return layers


class YamnetConfig(SubConfig):
    """Sizes of :class:`YamnetEncoder`.

    Attributes:
        steps_per_frame: ``A``, audio steps under one 0.5 s frame.
    """

    model_type = "yamnet"
    base_config_key = "audio_config"

    steps_per_frame: int = 25


class YamnetEncoder(nn.Module):
    """Log-mel patches -> one embedding per frame, repeated over the frame's audio steps. Batch norms are folded.

    Args:
        steps_per_frame: ``A``, audio steps under one 0.5 s frame.
    """

    def __init__(self, steps_per_frame: int = 25) -> None:
        super().__init__()
        self.width = WIDTH
        self.steps_per_frame = steps_per_frame
        self.layers = nn.ModuleList(
            SameConv2d(width, channels, kernel, stride, groups=groups)
            for width, channels, kernel, stride, groups in yamnet_layers()
        )
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def embed(self, patches: torch.Tensor) -> torch.Tensor:
        """Patches ``(..., 96, 64)`` -> embeddings ``(..., 1024)``, the mean over the last 3 x 2 grid."""
        lead = patches.shape[:-2]
        hidden = patches.reshape(-1, 1, *patches.shape[-2:])
        for layer in self.layers:
            hidden = F.relu(layer(hidden))
        return hidden.mean((2, 3)).reshape(*lead, WIDTH)

    def scores(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings ``(..., 1024)`` -> independent probabilities ``(..., 521)`` of AudioSet's classes."""
        return torch.sigmoid(self.classifier(embeddings))

    def forward(self, inputs: torch.Tensor) -> Features:
        """Patches ``(B, T, 96, 64)``, one a 0.5 s frame -> values ``(B, T*A, 1024)``."""
        values = self.embed(inputs).repeat_interleave(self.steps_per_frame, dim=1)
        times = torch.arange(values.shape[1], dtype=torch.float32, device=values.device) * (0.5 / self.steps_per_frame)
        return Features(values, None, times)
