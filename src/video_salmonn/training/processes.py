"""What every process of a run sets up: the accelerator, a seed of its own, and what it does when told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from video_salmonn.errors import ConfigError
from video_salmonn.training.recipe import Recipe
from video_salmonn.wording import counted


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """Seed of a process's dropout in a step: the same in every run, Python version and machine."""
    return (seed * 1_000_003 + step) * 4099 + rank & 0x7FFF_FFFF_FFFF_FFFF


def build_accelerator(recipe: Recipe) -> Accelerator:
    """The accelerator (of Accelerate) for a recipe; processes and devices come from the launcher.

    Raises:
        ConfigError: fp16 is asked for without a GPU, or the processes cannot share a batch evenly.
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
    accelerator = Accelerator(mixed_precision=recipe.precision, cpu=not gpu, kwargs_handlers=handlers)
    processes = accelerator.num_processes
    if recipe.batch_size % processes:
        raise ConfigError(
            f"recipe: batch_size ({recipe.batch_size}) must be divisible by the {counted(processes, 'process')}",
            remedy="correct it, or give --set batch_size=…",
        )
    return accelerator


@contextmanager
def stop_signals(ask: Callable[[], None]) -> Iterator[None]:
    """A block in which SIGTERM and SIGINT call ``ask``; the handlers of before are back at its end. Elsewhere than in
    the main thread, where handlers cannot be set, it changes nothing."""

    def handle(number: int, frame: FrameType | None) -> None:
        ask()

    try:
        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
