"""``video-salmonn verify DIR``: numerical parity with the released modules."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import typer

from video_salmonn.cli.output import emit_json, reports_errors, stdout


class Direction(StrEnum):
    """Block-mask directions."""

    past = "past"
    future = "future"
    none = "none"


@reports_errors
def command(
    folder: Path = typer.Argument(..., help="Folder of golden files (*.safetensors)."),
    mask_direction: Direction | None = typer.Option(None, help="Use this block mask in place of each file's own."),
    tolerance: float = typer.Option(1e-4, min=0.0, help="Largest allowed absolute difference (float32)."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list."),
) -> None:
    """Run this package's modules on every golden file of a folder; exit 1 if any output differs."""
    from video_salmonn.checkpoints.golden import verify

    direction = mask_direction.value if mask_direction else None
    checks = verify(folder, mask_direction=direction, tolerance=tolerance)
    if as_json:
        emit_json([check.to_dict() for check in checks])
    else:
        from rich.table import Table

        table = Table("file", "output", "max |ours - golden|", "")
        for check in checks:
            verdict = "[green]ok[/]" if check.passed else "[red]differs[/]"
            table.add_row(check.file, check.output, f"{check.max_abs_diff:.2e}", verdict)
        stdout.print(table)
        failed = sum(not check.passed for check in checks)
        stdout.print(f"{len(checks) - failed} of {len(checks)} outputs within {tolerance:g}")
    if not all(check.passed for check in checks):
        raise typer.Exit(1)
