"""``video-salmonn verify DIR``: numerical parity with the released modules."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.output import emit_json, reports_errors, stdout, styled
from video_salmonn.errors import MediaError
from video_salmonn.wording import counted

EXAMPLE = "4405327307"
QUESTION = "Describe the video and audio in detail"
EXPECTED = "group of musicians performing on stage"
"""From the answer that the authors' README shows for their example (float16, beam 5)."""


class Direction(StrEnum):
    """Block-mask directions."""

    past = "past"
    future = "future"
    none = "none"


@reports_errors
def command(
    folder: Path = typer.Argument(
        ..., help="Folder of golden files (*.safetensors); with --released, the converted model."
    ),
    released: Path = typer.Option(
        None, "--released", help="The authors' dummy folder (4405327307.mp4 and .wav): ask their README's question."
    ),
    device: str = shared.DEVICE,
    mask_direction: Direction | None = typer.Option(None, help="Use this block mask in place of each file's own."),
    tolerance: float = typer.Option(1e-4, min=0.0, help="Largest allowed absolute difference (float32)."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list."),
) -> None:
    """Run this package's modules on every golden file of a folder; exit 1 if any output differs."""
    if released is not None:
        _ask_released(folder, released, device, as_json)
        return
    from video_salmonn.checkpoints.golden_files import golden_files

    golden_files(folder)  # before PyTorch is imported
    from video_salmonn.checkpoints.golden import verify

    direction = mask_direction.value if mask_direction else None
    checks = verify(folder, mask_direction=direction, tolerance=tolerance)
    if as_json:
        emit_json([check.to_dict() for check in checks])
    else:
        from rich.table import Table

        table = Table("file", "output", "max |ours - golden|", "")
        for check in checks:
            verdict = styled("ok", "green") if check.passed else styled("differs", "red")
            table.add_row(check.file, check.output, f"{check.max_abs_diff:.2e}", verdict)
        stdout.print(table)
        failed = sum(not check.passed for check in checks)
        stdout.print(f"{len(checks) - failed} of {counted(len(checks), 'output')} within {tolerance:g}")
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


def _ask_released(model: Path, folder: Path, device: str, as_json: bool) -> None:
    """The authors' README example; exit 1 if the answer lacks what theirs says."""
    video, sound = (folder / f"{EXAMPLE}.{kind}" for kind in ("mp4", "wav"))
    for file in (video, sound):
        if not file.is_file():
            raise MediaError(str(file), "is not there", remedy="get the folder 'dummy' of the authors' repository")
    engine = shared.load_engine(str(model), device, "float16" if shared.choose_device(device) != "cpu" else None)
    report = engine.ask(video, QUESTION, sound=sound).report
    passed = EXPECTED in report["answer"]
    if as_json:
        emit_json([{"file": str(video), "output": "answer", "expected": EXPECTED, "passed": passed} | report])
    else:
        stdout.print(report["answer"], markup=False, soft_wrap=True)
        stdout.print(styled("as in the README", "green") if passed else f"differs: no {EXPECTED!r} in it")
    if not passed:
        raise typer.Exit(1)
