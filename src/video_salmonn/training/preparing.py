"""Recipe and model are made ready for a machine: which precision is fast, which weights move, which kernels run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.resources.arithmetic import multiplies_bfloat16
from video_salmonn.training.optimisation import select_trainable
from video_salmonn.training.recipe import Recipe


def settle(recipe: Recipe) -> Recipe:
    """The recipe with ``auto`` precisions decided for this machine: ``bf16`` where that is fast, else ``no``."""
    precision, frozen = recipe.precision, recipe.frozen_precision
    if precision == "auto":
        precision = "bf16" if multiplies_bfloat16("cuda" if torch.cuda.is_available() else "cpu") else "no"
    if frozen == "auto":
        frozen = "bf16" if precision != "no" else "no"
    return replace(recipe, precision=precision, frozen_precision=frozen)


def prepare_model(model: VideoSalmonnForConditionalGeneration, recipe: Recipe, device: torch.device) -> None:
    """Change a model in place for training.

    Args:
        model: on the CPU, in float32.
        recipe: settled (:func:`settle`).
        device: where it will train.

    Raises:
        TrainingError: an entry of ``trainable`` names nothing, or an encoder.
    """
    model.config.diversity_form = recipe.diversity_form
    model.config.diversity_weight = recipe.diversity_weight
    select_trainable(model, recipe.trainable)
    if recipe.frozen_precision == "bf16":
        for parameter in model.language_model.parameters():
            parameter.data = parameter.data if parameter.requires_grad else parameter.data.bfloat16()
    if recipe.gradient_checkpointing:
        # transformers 5.23 renamed it and warns about the old name
        renamed = hasattr(model, "activation_checkpointing_enable")
        name = "activation_checkpointing_enable" if renamed else "gradient_checkpointing_enable"
        getattr(model, name)({"use_reentrant": False})
    eager = recipe.precision == "bf16" and device.type == "cpu"
    if recipe.attention != "auto" or eager:
        model.language_model.set_attn_implementation("eager" if recipe.attention == "auto" else recipe.attention)


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
