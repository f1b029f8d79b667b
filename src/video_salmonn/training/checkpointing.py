"""Checkpoints: weights as safetensors, optimiser, state, recipe and environment; whole or not there at all."""

from __future__ import annotations

import os
import pickle
import platform
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from video_salmonn import files
from video_salmonn.checkpoints.assemble import read_tensors, trained_state, words_tensors
from video_salmonn.checkpoints.compact import expand
from video_salmonn.checkpoints.shipped import CONNECTOR_FILE, LORA_FILE, WORDS_FILE
from video_salmonn.errors import CheckpointError
from video_salmonn.model import adapters
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.training.run_folder import FILES, LAST, last_checkpoint, steps
from video_salmonn.training.sharding import full, like

OTHER_FILE = "other.safetensors"


def trained_tensors(model: VideoSalmonnForConditionalGeneration) -> dict[str, dict[str, torch.Tensor]]:
    """What is trained, by file: connector, adapter, the word outputs' tokens, any other unfrozen part (full names).

    Sharded tensors are gathered, for which all processes have to call this.
    """
    found: dict[str, dict[str, torch.Tensor]] = {}
    found[CONNECTOR_FILE] = {n: _plain(t) for n, t in model.connector.state_dict().items()}
    if adapters.names(model.language_model):
        found[LORA_FILE] = {n: _plain(t) for n, t in adapters.state(model.language_model).items()}
    if model.words is not None:
        found[WORDS_FILE] = words_tensors(model.words)
    other = {
        name: _plain(p)
        for name, p in model.named_parameters()
        if p.requires_grad and not name.startswith("connector.") and ".lora_" not in name
    }
    if other:
        found[OTHER_FILE] = other
    return found


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return full(tensor.detach()).cpu().contiguous()


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimiser's state with whole tensors: the same from any number of processes, which all have to call this."""
    state = optimizer.state_dict()
    moments = {
        number: {name: full(value) if isinstance(value, torch.Tensor) else value for name, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return {**state, "state": moments}


def environment() -> dict[str, str]:
    """What the run ran on."""
    names = ("torch", "transformers", "accelerate", "numpy", "safetensors")
    versions = {name: metadata.version(name) for name in names}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}


def write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder under another name, then move it into place; an interruption or a full disk leaves the old one.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        files.write_folder(target, write)
    except (OSError, RuntimeError, SafetensorError) as error:  # a full disk is any of these, by who writes
        raise CheckpointError(
            f"{target}: cannot be written ({error}); earlier checkpoints are whole",
            remedy="free space on the disk and resume, or choose another output",
        ) from error


def sweep(run: Path) -> None:
    """Remove half-written folders that a killed run left; a best checkpoint caught in between is put back."""
    for left in (run / "checkpoints").glob(".*"):
        whole = left.with_name(left.name.removeprefix(".").removesuffix("-old"))
        if left.name.endswith("-old") and not whole.exists():
            left.replace(whole)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def save_checkpoint(
    run: Path,
    tensors: dict[str, dict[str, torch.Tensor]],
    optimizer: dict[str, Any] | None,
    state: dict[str, Any],
    recipe: dict[str, Any],
    keep: int,
    name: str | None = None,
) -> Path:
    """Save a checkpoint ``step-N`` (or ``name``) under ``run/checkpoints`` and point ``last`` at it.

    Args:
        run: folder of the run.
        tensors: what is trained, by file (:func:`trained_tensors`).
        optimizer: its state (:func:`optimizer_state`), or None if training will not resume from it.
        state: ``step`` and what else resuming needs.
        recipe: of the run.
        keep: older ``step-*`` checkpoints kept.
        name: of the folder, for example ``best``.
    """
    target = run / "checkpoints" / (name or f"step-{state['step']}")

    def write(folder: Path) -> None:
        for file, values in tensors.items():
            files.write_tensors(folder / file, values)
        if optimizer is not None:
            torch.save(optimizer, folder / "optimizer.pt")
        digests = {path.name: files.digest_file(path) for path in sorted(folder.iterdir())}
        records = {"state.json": {**state, FILES: digests}, "recipe.json": recipe, "environment.json": environment()}
        for name, record in records.items():
            files.write_json(folder / name, record)

    write_folder(target, write)
    if name is None:
        pointer = run / "checkpoints" / LAST
        try:
            files.write_text(pointer, target.name)
        except OSError as error:
            raise CheckpointError(f"{pointer}: cannot be written ({error})", remedy="free space and resume") from error
        for old in steps(run)[: -max(keep, 1)]:
            shutil.rmtree(old, ignore_errors=True)
    return target


def read_trained(place: Path) -> dict[str, torch.Tensor]:
    """What was trained, by the model's names.

    Args:
        place: a checkpoint or export, a run (its newest checkpoint), or a file of a connector's weights.

    Raises:
        CheckpointError: there is nothing of this kind, or it is damaged.
    """
    if place.is_file():
        prefix = "connector."
        return {prefix + name.removeprefix(prefix): tensor for name, tensor in expand(read_tensors(place)).items()}
    folder = last_checkpoint(place) or place
    state = trained_state(folder)
    if (folder / OTHER_FILE).is_file():
        state |= read_tensors(folder / OTHER_FILE)
    if not state:
        raise CheckpointError(
            f"{folder}: holds no {CONNECTOR_FILE}", remedy="give a checkpoint folder, a run, or a file"
        )
    return state


def load_trained(model: VideoSalmonnForConditionalGeneration, place: Path) -> list[str]:
    """Load what was trained into a model (:func:`read_trained`, :func:`place_trained`); returns the names loaded."""
    return place_trained(model, read_trained(place), place)


def place_trained(
    model: VideoSalmonnForConditionalGeneration, state: dict[str, torch.Tensor], folder: Path
) -> list[str]:
    """Put trained tensors, which came from ``folder``, into a model; returns their names.

    Of two adapters of unlike rank the narrower one is filled up; what it does stays.

    Raises:
        CheckpointError: a tensor has no place or another shape.
    """
    columns = state.get("words.columns")
    if columns is not None and len(columns) != model.config.words:
        model.set_words(columns.tolist())  # what it was trained to say; filled below
    if model.config.lora is not None and (rank := adapters.rank_of(state)) > model.config.lora.r:
        model.widen_lora(rank)
    own = model.state_dict()
    state = adapters.as_wide(state, own)
    for name, tensor in state.items():
        if name not in own or own[name].shape != tensor.shape:
            shape = tuple(own[name].shape) if name in own else "no place"
            raise CheckpointError(
                f"{folder}: tensor {name!r} {tuple(tensor.shape)} does not fit this model ({shape})",
                remedy="use the recipe the checkpoint was trained with",
            )
    model.load_state_dict({name: like(own[name], tensor) for name, tensor in state.items()}, strict=False)
    return sorted(state)


def load_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Load the optimiser's state. Raises CheckpointError where it is missing or does not fit."""
    path = folder / "optimizer.pt"
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for number, entry in state["state"].items():
            for name, value in entry.items():
                if isinstance(value, torch.Tensor) and value.ndim:  # the step count is not a moment estimate
                    entry[name] = like(parameters[number], value)
        optimizer.load_state_dict(state)
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, IndexError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path}: the optimiser cannot be restored ({error})",
            remedy="use the recipe the checkpoint was trained with, or start anew from its weights: --set init=FOLDER",
        ) from error
    for group, own in zip(optimizer.param_groups, settings):
        group.update(own)  # rates and decay are the recipe's, which may have changed since


def disk_free(path: Path) -> int:
    """Bytes free where ``path`` is, or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(os.fspath(path)).free
