"""What a run writes beside its checkpoints: metrics.jsonl, samples.jsonl, broken.tsv and, if wanted, TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from video_salmonn.errors import TrainingError, needed
from video_salmonn.files import json_value, write_text

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
BROKEN = "broken.tsv"


def _writer(folder: Path, step: int) -> Any:
    """TensorBoard's writer; scalars of later steps, left by a run that was cut off, are hidden."""
    with needed(
        "recipe: tensorboard is true, but TensorBoard is not installed",
        remedy="pip install 'video-salmonn[train]', or --set tensorboard=false",
    ):
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder), purge_step=step + 1)


class Logbook:
    """Written by the main process only.

    Args:
        folder: of the run; made if need be.
        step: the run continues after this step; lines of later steps, from an interrupted run, are removed.
        tensorboard: write scalars for TensorBoard as well.

    Raises:
        TrainingError: the folder cannot be written.
        MissingPartError: TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = False) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (METRICS, SAMPLES):
                _rewind(folder / name, step)
        except OSError as error:
            raise self._unwritable(error) from error
        self.board = _writer(folder / "tensorboard", step) if tensorboard else None

    def metrics(self, line: dict[str, Any]) -> None:
        """Append one line; numbers also go to TensorBoard, nested ones under ``outer/inner``."""
        self._append(METRICS, [line])
        if self.board is not None:
            for name, value in _flat(line).items():
                if name != "step":
                    self.board.add_scalar(name, value, line["step"])
            self.board.flush()

    def samples(self, step: int, samples: Sequence[dict[str, Any]]) -> None:
        """Append generated answers."""
        self._append(SAMPLES, [{"step": step, **sample} for sample in samples])

    def broken(self, reasons: dict[str, str]) -> None:
        """Write the items that could not be used, whole each time."""
        lines = [f"{name}\t{' '.join(reason.split())}\n" for name, reason in sorted(reasons.items())]
        try:
            write_text(self.folder / BROKEN, "".join(lines))
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """End TensorBoard's file."""
        if self.board is not None:
            self.board.close()

    def _append(self, name: str, lines: Sequence[dict[str, Any]]) -> None:
        try:
            with (self.folder / name).open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"output {self.folder}: cannot be written ({error.strerror})",
            remedy="free space or choose another --set output=FOLDER, then --resume; checkpoints are whole",
        )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a metrics file; one that was cut off in the middle is left out."""
    lines = []
    for text in path.read_bytes().split(b"\n"):
        try:
            value = json_value(text)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            lines.append(value)
    return lines


def _rewind(path: Path, step: int) -> None:
    """Take out lines of steps after ``step``: the run will write them again."""
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of a nested dictionary, by path."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            flat[f"{prefix}{name}"] = float(value)
    return flat
