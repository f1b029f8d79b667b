"""The folder of a training run: which checkpoints it holds, and their records. Nothing here imports PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video_salmonn.errors import CheckpointError
from video_salmonn.files import json_object

LAST = "last"
BEST = "best"
FILES = "files"
"""Key of ``state.json``: the digests of the other files."""


def find_checkpoint(run: Path, which: str = "best") -> Path:
    """A checkpoint of a run.

    Args:
        run: folder of a run, or a checkpoint folder itself.
        which: ``best`` (the newest where nothing was validated), ``last``, or ``step-N``.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    if (run / "state.json").is_file():
        return run
    folder: Path | None = run / "checkpoints" / which
    if which == "last" or (which == "best" and not (run / "checkpoints" / BEST).is_dir()):
        folder = last_checkpoint(run)
    if folder is None or not (folder / "state.json").is_file():
        have = sorted(p.parent.name for p in run.glob("checkpoints/*/state.json"))
        if not have:
            wrong = "holds no checkpoint" if run.is_dir() else "no such folder"
            raise CheckpointError(f"{run}: {wrong}", remedy="give the output folder of a run of video-salmonn train")
        raise CheckpointError(f"{run}: no checkpoint {which!r}", remedy=f"there are: {', '.join(have)}")
    return folder


def last_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None."""
    pointer = run / "checkpoints" / LAST
    if pointer.is_file():
        folder = pointer.parent / pointer.read_text("utf-8", "replace").strip()
        if (folder / "state.json").is_file():
            return folder
    found = steps(run)
    return found[-1] if found else None


def steps(run: Path) -> list[Path]:
    """The numbered checkpoints of a run, oldest first."""
    found = [path for path in run.glob("checkpoints/step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def read_state(folder: Path) -> dict[str, Any]:
    """The state a checkpoint was saved with. Raises CheckpointError where it is damaged."""
    state = read_record(folder, "state.json")
    if not isinstance(state.get("step"), int):
        raise CheckpointError(f"{folder / 'state.json'}: is damaged (no step)", remedy="use another checkpoint")
    return state


def read_record(folder: Path, name: str) -> dict[str, Any]:
    """One of a checkpoint's JSON files. Raises CheckpointError where it is missing or damaged."""
    again = "use another checkpoint"
    return json_object(folder / name, CheckpointError, remedy=again, absent=again)
