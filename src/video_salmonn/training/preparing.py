"""A model is made ready for a recipe: which weights move, in which precision they rest, which kernels run."""

from __future__ import annotations

import torch

from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.training.optimisation import select_trainable
from video_salmonn.training.recipe import Recipe


def prepare_model(model: VideoSalmonnForConditionalGeneration, recipe: Recipe, device: torch.device) -> None:
    """Change a model in place for training.

    Args:
        model: on the CPU, in float32.
        recipe: settled (:func:`~video_salmonn.training.precision.settle`).
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
