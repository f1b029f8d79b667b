"""Which precision is fast on a device, and which kernels are right: bfloat16 where the hardware multiplies it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from video_salmonn.resources.arithmetic import multiplies_bfloat16
from video_salmonn.training.recipe import Recipe


@contextmanager
def without_cudnn_attention(device: torch.device | str) -> Iterator[None]:
    """A block in which cuDNN's attention is out of the choice on a GPU.

    With torch 2.11 on an H100 the gradients of 13 of 471 training steps were not finite, the first in the same step on
    two machines. That fits a reported fault of its backward pass, with masks over lengths that leave 64 when divided by
    128 (github.com/pytorch/pytorch/issues/196678). The other fused kernels are left in the choice.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()
    if torch.device(device).type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def settle(recipe: Recipe) -> Recipe:
    """The recipe with ``auto`` precisions decided for this machine: ``bf16`` where that is fast, else ``no``."""
    precision, frozen = recipe.precision, recipe.frozen_precision
    if precision == "auto":
        precision = "bf16" if multiplies_bfloat16("cuda" if torch.cuda.is_available() else "cpu") else "no"
    if frozen == "auto":
        frozen = "bf16" if precision != "no" else "no"
    return replace(recipe, precision=precision, frozen_precision=frozen)
