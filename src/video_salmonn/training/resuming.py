"""Going on with a run: from a whole checkpoint, on the data it was begun with, and saying what else has changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from video_salmonn import files
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.training.run_folder import FILES, last_checkpoint, read_state, steps

FREE = (
    "output",
    "max_steps",
    "minutes",
    "keep",
    "tensorboard",
    "log_every",
    "validate_every",
    "save_every",
    "validation_samples",
)
"""Keys of a recipe that may change without a word."""


def chosen(run: Path, name: str | None = None) -> Path | None:
    """The checkpoint to resume from: the newest, or ``step-N``; None where there is none yet.

    Raises:
        CheckpointError: there is none of that name.
    """
    if (run / "state.pt").is_file() and not (run / "checkpoints").is_dir():
        weights = max(run.glob("weights-*.safetensors"), key=lambda path: path.stat().st_mtime, default=None)
        raise CheckpointError(
            f"{run}: was saved by the command warmup of an earlier version; its optimizer and order of items are not "
            "those of train",
            remedy=f"begin a run from its weights: --set init={weights or run} --set output=FOLDER",
        )
    if name is None:
        return last_checkpoint(run)
    found = {path.name: path for path in steps(run)}
    if name not in found:
        raise CheckpointError(f"{run}: no checkpoint {name!r}", remedy=f"there are: {', '.join(found) or 'none'}")
    return found[name]


def whole_state(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint all of whose files are there, as they were written.

    Raises:
        CheckpointError: one is missing or damaged (named); the remedy names the checkpoint before, if there is one.
    """
    number = step_of(folder)
    older = [path.name for path in steps(folder.parent.parent) if step_of(path) < number]
    remedy = "there is none before it: start again with another --set output=FOLDER"
    if older:
        remedy = f"resume from the one before: --resume --checkpoint {older[-1]}"
    try:
        state = read_state(folder)
        for name, wanted in dict(state.get(FILES, {})).items():
            if files.digest_file(folder / name) != wanted:
                raise CheckpointError(f"{folder / name}: damaged")
        int(state["step"])
    except CheckpointError as error:
        raise CheckpointError(str(error), remedy=remedy) from error
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or folder}: cannot be read ({error.strerror})", remedy=remedy
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / 'state.json'}: damaged ({error!r})", remedy=remedy) from error
    return state


def step_of(folder: Path) -> int:
    """The number in a checkpoint's name; 0 where there is none."""
    number = folder.name.removeprefix("step-")
    return int(number) if number.isdecimal() else 0


def refuse_other_items(state: dict[str, Any], now: str, folder: Path) -> None:
    """Refuse to resume with other items than a run was started with, since its position would mean other items.

    Raises:
        ConfigError: they differ.
    """
    if state.get("items", now) != now:
        raise ConfigError(
            f"{folder}: was trained on other items: a manifest of data.train, or data.repeat, has changed since",
            remedy=f"bring them back, or begin another run from its weights: --set init={folder} --set output=FOLDER",
        )


def changed_keys(then: dict[str, Any], now: dict[str, Any], above: str = "") -> list[str]:
    """What a recipe says now that it did not say then, as ``key: then -> now``; rates and the like are left out."""
    lines: list[str] = []
    for key in sorted(({*then} & {*now}) - set(FREE)):
        old, new = then.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += changed_keys(old, new, f"{above}{key}.")
        elif old != new:
            lines.append(f"{above}{key}: {old} -> {new}")
    return lines


def set_aside(run: Path, step: int) -> list[str]:
    """Rename the checkpoints after ``step``, where a run resumes; returns their new names."""
    names = []
    for path in [path for path in steps(run) if step_of(path) > step]:
        aside = path.with_name(f"set-aside-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
        names.append(aside.name)
    return names
