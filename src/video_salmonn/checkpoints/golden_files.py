"""Which golden files a folder has; apart from what runs them, so that a wrong folder is answered at once."""

from __future__ import annotations

from pathlib import Path

from video_salmonn.checkpoints.directory import check_tensors
from video_salmonn.errors import CheckpointError


def golden_files(folder: Path) -> list[Path]:
    """Every ``*.safetensors`` of a folder, by name.

    Raises:
        CheckpointError: the folder has none, or one of them is damaged.
    """
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        raise CheckpointError(
            f"{folder}: no golden files (*.safetensors) here", remedy="give the folder that holds them"
        )
    for file in files:
        check_tensors(file)
    return files
