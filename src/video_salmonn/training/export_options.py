"""What an export is asked for, checked before anything heavy is imported. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.training.run_folder import find_checkpoint


@dataclass(frozen=True)
class ExportOptions:
    """How a run is written.

    Attributes:
        which: see :func:`find_checkpoint`.
        adapter_only: only ``connector.safetensors`` and, where the model has them, ``lora.safetensors`` and
            ``words.safetensors``, for ``init`` of another recipe and for ``VideoSalmonn.load`` of the same preset.
        int8: store the matrices of these two in a byte a number (:mod:`video_salmonn.checkpoints.compact`).
        mean_with: folder of other trained parts: the mean of both is written (:mod:`video_salmonn.training.averaging`).
        mean_share: of the run in that mean.
    """

    which: str = "best"
    adapter_only: bool = False
    int8: bool = False
    mean_with: Path | None = None
    mean_share: float = 0.5

    def checkpoint(self, run: Path, out: Path) -> Path:
        """The folder of the checkpoint that is to be written.

        Raises:
            CheckpointError: no such checkpoint, or ``out`` exists.
            ConfigError: ``int8`` or ``mean_with`` for a whole model, or a share that is none.
        """
        folder = find_checkpoint(run, self.which)
        if out.exists():
            raise CheckpointError(f"{out}: already there", remedy="choose another folder")
        if self.int8 and not self.adapter_only:
            raise ConfigError("int8 is for connector and adapter alone", remedy="add --adapter-only")
        if self.mean_with is not None and not self.adapter_only:
            raise ConfigError("a mean is of connector and adapter alone", remedy="add --adapter-only")
        if not 0 < self.mean_share < 1 or (self.mean_share != 0.5 and self.mean_with is None):
            raise ConfigError(
                f"{self.mean_share} of the run in a mean",
                remedy="with --mean-with, give --mean-share a number between 0 and 1",
            )
        return folder
