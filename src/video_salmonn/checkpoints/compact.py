"""Small files for shipped weights: matrices as int8 with a scale a row, everything else in bfloat16.

A row's largest magnitude becomes 127, so a weight is off by at most half of a 127th of it. Reading gives float32 back;
nothing computes in int8.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from video_salmonn.errors import CheckpointError

SCALE = ".int8_scale"


def compact(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors for a small file: ``name`` int8 and ``name.int8_scale`` float32 ``(rows,)``, or ``name`` bfloat16."""
    small: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or not tensor.is_floating_point():
            small[name] = tensor.bfloat16() if tensor.is_floating_point() else tensor
            continue
        scale = tensor.float().abs().amax(dim=1).clamp(min=1e-12) / 127
        small[name] = (tensor.float() / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
        small[name + SCALE] = scale
    return small


def expand(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Inverse of :func:`compact`, in float32; tensors of ordinary files pass through.

    Raises:
        CheckpointError: an int8 tensor lacks its scale.
    """
    whole: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        if tensor.dtype == torch.int8:
            scale = tensors.get(name + SCALE)
            if scale is None or scale.shape != tensor.shape[:1]:
                raise CheckpointError(f"tensor {name!r} is int8 and lacks its scale", remedy="export the weights again")
            whole[name] = tensor.float() * scale.float()[:, None]
        else:
            whole[name] = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return whole
