"""EVA-ViT-g with ``ln_vision`` (released: 39 blocks, 224 px, patch 14, width 1408).

transformers' ``InstructBlipVisionModel`` is this network; its final norm is given torch's default epsilon 1e-5, which
is what the released ``ln_vision`` uses, where the library would use the blocks' 1e-6.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import InstructBlipVisionConfig, InstructBlipVisionModel

from video_salmonn.types import Features

LN_VISION_EPS = 1e-5


class EvaViT(nn.Module):
    """Frames in, patch tokens out.

    Args:
        config: sizes of the vision transformer.
    """

    def __init__(self, config: InstructBlipVisionConfig) -> None:
        super().__init__()
        self.model = InstructBlipVisionModel(config)
        self.model.post_layernorm.eps = LN_VISION_EPS
        self.width: int = config.hidden_size

    def forward(self, frames: torch.Tensor) -> Features:
        """Encode frames.

        Args:
            frames: ``(T, 3, H, W)``, normalised.

        Returns:
            values ``(T, 1 + patches, D)``: class token first, after ``ln_vision``.
        """
        return Features(self.model(pixel_values=frames).last_hidden_state)
