"""``video-salmonn plot RUN``: the curves of a run as a picture."""

from __future__ import annotations

from pathlib import Path

import typer

from video_salmonn.cli.output import emit_json, reports_errors, stdout


@reports_errors
def command(
    run: Path = typer.Argument(..., help="Output folder of a training run."),
    out: Path | None = typer.Option(None, "--out", help="Picture to write: .png, .svg or .pdf; RUN/curves.png."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON value."),
) -> None:
    """Draw losses, validation and learning rate of a run, finished or not."""
    from video_salmonn.training.plotting import plot

    target = out or run / "curves.png"
    points = plot(run, target)
    if as_json:
        emit_json({"out": str(target), **points})
    else:
        stdout.print(str(target), markup=False, soft_wrap=True)
