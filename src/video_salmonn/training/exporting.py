"""A run's checkpoint -> a model directory that anything can load, or its trained parts alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from video_salmonn.checkpoints.assemble import read_tensors
from video_salmonn.checkpoints.compact import compact
from video_salmonn.checkpoints.shipped import CONNECTOR_FILE, LORA_FILE, WORDS_FILE
from video_salmonn.errors import CheckpointError
from video_salmonn.files import json_object, write_tensors
from video_salmonn.training import checkpointing
from video_salmonn.training.averaging import average_into
from video_salmonn.training.export_options import ExportOptions
from video_salmonn.training.recipe import Recipe
from video_salmonn.training.run_folder import read_state
from video_salmonn.training.starting import build_model

RECORDS = ("recipe.json", "environment.json", "state.json")


def export(
    run: Path,
    out: Path,
    *,
    which: str = "best",
    adapter_only: bool = False,
    int8: bool = False,
    mean_with: Path | None = None,
    mean_share: float = 0.5,
) -> dict[str, Any]:
    """Write what a run has learned.

    Args:
        run: folder of a run.
        out: folder to write, whole or not at all; must not exist yet.
        which, adapter_only, int8, mean_with, mean_share: see
            :class:`~video_salmonn.training.export_options.ExportOptions`.

    Returns:
        ``{"checkpoint", "step", "out", "files"}``.

    Raises:
        CheckpointError: no such checkpoint, or ``out`` exists, or (``adapter_only``) other parts were trained too.
        ConfigError: ``int8`` or ``mean_with`` for a whole model, or a share that is none.
    """
    options = ExportOptions(which, adapter_only, int8, mean_with, mean_share)
    folder = options.checkpoint(run, out)
    if adapter_only and (folder / checkpointing.OTHER_FILE).is_file():
        raise CheckpointError(
            f"{folder}: more than connector and adapter was trained ({checkpointing.OTHER_FILE})",
            remedy="export the whole model: leave --adapter-only out",
        )
    state = read_state(folder)
    if adapter_only:

        def write_small(work: Path) -> None:
            _copy(folder, work, (CONNECTOR_FILE, LORA_FILE, WORDS_FILE, *RECORDS))
            if mean_with is not None:
                average_into(work, mean_with, mean_share)
            for name in (CONNECTOR_FILE, LORA_FILE) if int8 else ():
                if (work / name).is_file():
                    write_tensors(work / name, compact(read_tensors(work / name)))

        checkpointing.write_folder(out, write_small)
    else:
        model, processor = build_model(read_recipe(folder))
        checkpointing.load_trained(model, folder)

        def write(work: Path) -> None:
            model.save_pretrained(work)
            processor.save_pretrained(work)
            _copy(folder, work, RECORDS)

        checkpointing.write_folder(out, write)
    return {
        "checkpoint": str(folder),
        "step": int(state["step"]),
        "out": str(out),
        "files": sorted(p.name for p in out.iterdir()),
    }


def read_recipe(folder: Path) -> Recipe:
    """The recipe a checkpoint was made with. Raises CheckpointError where it cannot be read."""
    path = folder / "recipe.json"
    other = "use the version that trained it"
    values = json_object(path, CheckpointError, remedy=other)
    try:
        recipe = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Recipe), values))
    except OmegaConfBaseException as error:
        raise CheckpointError(f"{path}: not a recipe ({error})", remedy=other) from error
    assert isinstance(recipe, Recipe)
    recipe.init = None  # its weights are in the checkpoint
    return recipe


def _copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
