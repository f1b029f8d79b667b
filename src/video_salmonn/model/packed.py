"""Layers packed in 8 or 4 bits: how to recognise one."""

from __future__ import annotations

import torch
from torch import nn


def packed(module: nn.Module) -> bool:
    """Whether a layer's weight is not an ordinary tensor of floating numbers."""
    weight = getattr(module, "weight", None)
    return weight is not None and (not weight.dtype.is_floating_point or type(weight.data) is not torch.Tensor)
