"""What every process of a run sets up: Accelerate's engine, and a seed of its own."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from video_salmonn.errors import ConfigError
from video_salmonn.training.recipe import Recipe


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """Seed of a process's dropout in a step: the same in every run, Python version and machine."""
    return (seed * 1_000_003 + step) * 4099 + rank & 0x7FFF_FFFF_FFFF_FFFF


def build_accelerator(recipe: Recipe) -> Accelerator:
    """Accelerate's engine for a recipe; processes and devices come from the launcher.

    Raises:
        ConfigError: fp16 is asked for without a GPU.
    """
    gpu = torch.cuda.is_available()
    if recipe.precision == "fp16" and not gpu:
        raise ConfigError("recipe: precision fp16 needs a GPU", remedy="--set precision=bf16, or no")
    handlers = [
        # A rank whose batch lacks a modality leaves that branch of the connector without gradient.
        DistributedDataParallelKwargs(find_unused_parameters=True),
        # The others wait while one process validates a slow item, or the main process saves.
        InitProcessGroupKwargs(timeout=timedelta(hours=2)),
    ]
    AcceleratorState._reset_state()  # one Python process may train several stages, each in its own precision
    return Accelerator(mixed_precision=recipe.precision, cpu=not gpu, kwargs_handlers=handlers)
