"""What a run leaves on disk to go on from: trained weights, optimiser, step. The last complete save always stands.

``weights-<step>.safetensors`` holds tensors only; ``state.pt`` names the step it belongs to and is replaced last.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from video_salmonn.checkpoints.compact import expand
from video_salmonn.errors import CheckpointError
from video_salmonn.files import write_tensors, written

STATE = "state.pt"
METRICS = "metrics.jsonl"


def save_run(
    out: Path, step: int, weights: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer, config: dict[str, Any]
) -> Path:
    """Write a checkpoint and remove the one before. Returns the weights' file.

    Args:
        out: the run's folder.
        step: optimiser steps done.
        weights: what is trained, by name.
        optimizer: its state.
        config: plain values, for the record.
    """
    target = out / f"weights-{step}.safetensors"
    write_tensors(target, weights)
    with written(out / STATE) as partial:
        torch.save({"optimizer": optimizer.state_dict(), "step": step, "config": config}, partial)
    for old in out.glob("weights-*.safetensors"):
        if old != target:
            old.unlink()
    return target


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors, packed ones unpacked. Raises CheckpointError where they cannot be read."""
    try:
        return expand(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not readable as safetensors ({error})") from error


def read_run(out: Path) -> tuple[int, dict[str, torch.Tensor], dict[str, Any]] | None:
    """(step, weights, optimiser state) of a run's last save; None where there is none.

    Raises:
        CheckpointError: a file of it is missing or damaged.
    """
    path = out / STATE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise CheckpointError(f"{path}: not a readable run state ({error})") from error
    return state["step"], read_weights(out / f"weights-{state['step']}.safetensors"), state["optimizer"]


def log_line(out: Path, line: dict[str, Any]) -> None:
    """Append one line to the run's ``metrics.jsonl``."""
    with (out / METRICS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def load_prefixed(module: torch.nn.Module, weights: dict[str, torch.Tensor], prefix: str) -> None:
    """Load the tensors under ``prefix`` into a module, strictly. Raises CheckpointError where they do not fit."""
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(f"{prefix.rstrip('.')}: the checkpoint does not fit ({error})") from error
