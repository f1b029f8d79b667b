"""Whisper's encoder for segments of any length up to 30 s (released: large-v2, always padded to 30 s).

transformers' ``WhisperEncoder`` refuses any input but a full 30 s window, because it adds its whole position table.
The weights and layers are used as they are; only the position table is cut to the input's length. At the full length
the result is the library's own, bit for bit (tested).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder as HFWhisperEncoder

from video_salmonn.types import Features
from video_salmonn.wording import counted

STEP_SECONDS = 0.02
"""One output step; two log-mel frames of 10 ms."""


class WhisperEncoder(nn.Module):
    """Log-mel in, 50 features per second out.

    Args:
        config: sizes; ``max_source_positions`` is the longest segment in steps (1500 = 30 s).
    """

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.model = HFWhisperEncoder(config)
        self.width: int = config.d_model
        self.max_steps: int = config.max_source_positions

    def forward(self, log_mel: torch.Tensor) -> Features:
        """Encode one batch of equally long segments.

        Args:
            log_mel: ``(B, mel bins, M)`` at 100 frames per second, M even and at most ``2 · max_source_positions``.

        Returns:
            values ``(B, M / 2, D)`` after the final LayerNorm, times in seconds from the segment's start.

        Raises:
            ValueError: the segment is empty, odd or longer than the position table.
        """
        frames = log_mel.shape[-1]
        if not 0 < frames <= 2 * self.max_steps or frames % 2:
            raise ValueError(
                f"log_mel has {counted(frames, 'frame')}; an even number from 2 to {2 * self.max_steps} is needed"
            )
        encoder = self.model
        hidden = F.gelu(encoder.conv1(log_mel.to(encoder.conv1.weight.dtype)))
        hidden = F.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        values = encoder.layer_norm(hidden)
        times = torch.arange(values.shape[1], device=values.device) * STEP_SECONDS
        return Features(values, None, times)
