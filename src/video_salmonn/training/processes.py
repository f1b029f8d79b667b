"""What every process of a run sets up: precision and accelerator, a seed of its own, attention kernels, signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from types import FrameType

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from video_salmonn.errors import ConfigError
from video_salmonn.resources.arithmetic import multiplies_bfloat16
from video_salmonn.training.recipe import Recipe
from video_salmonn.wording import counted


def dropout_seed(seed: int, step: int, rank: int) -> int:
    """Seed of a process's dropout in a step: the same in every run, Python version and machine."""
    return (seed * 1_000_003 + step) * 4099 + rank & 0x7FFF_FFFF_FFFF_FFFF


def settle(recipe: Recipe) -> tuple[Recipe, Accelerator]:
    """The recipe with ``auto`` precisions decided for this machine (``bf16`` where that is fast, else ``no``), and the
    accelerator (of Accelerate) that follows from it; processes and devices come from the launcher.

    Raises:
        ConfigError: fp16 is asked for without a GPU, or the processes cannot share a batch evenly.
    """
    gpu = torch.cuda.is_available()
    precision, frozen = recipe.precision, recipe.frozen_precision
    if precision == "auto":
        precision = "bf16" if multiplies_bfloat16("cuda" if gpu else "cpu") else "no"
    if frozen == "auto":
        frozen = "bf16" if precision != "no" else "no"
    if precision == "fp16" and not gpu:
        raise ConfigError("recipe: precision fp16 needs a GPU", remedy="--set precision=bf16, or no")
    handlers = [
        # A rank whose batch lacks a modality leaves that branch of the connector without gradient.
        DistributedDataParallelKwargs(find_unused_parameters=True),
        # The others wait while one process validates a slow item, or the main process saves.
        InitProcessGroupKwargs(timeout=timedelta(hours=2), **_exchange(recipe)),
    ]
    AcceleratorState._reset_state()  # one Python process may train several stages, each in its own precision
    accelerator = Accelerator(mixed_precision=precision, cpu=not gpu, kwargs_handlers=handlers)
    processes = accelerator.num_processes
    if recipe.batch_size % processes:
        raise ConfigError(
            f"recipe: batch_size ({recipe.batch_size}) must be divisible by the {counted(processes, 'process')}",
            remedy="correct it, or give --set batch_size=…",
        )
    return replace(recipe, precision=precision, frozen_precision=frozen), accelerator


def _exchange(recipe: Recipe) -> dict[str, str]:
    """What processes talk through: NCCL by default, which refuses two of them on one GPU."""
    return {"backend": "gloo"} if recipe.strategy == "local" else {}


def processes_on_a_card() -> int:
    """How many processes of this launch share one GPU (strategy ``local``)."""
    return -(-int(os.environ.get("LOCAL_WORLD_SIZE", "1")) // max(torch.cuda.device_count(), 1))


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
