"""``video-salmonn export RUN OUT``: a checkpoint of a run as a model directory."""

from __future__ import annotations

from pathlib import Path

import typer

from video_salmonn.cli.output import emit_json, reports_errors, stdout


@reports_errors
def command(
    run: Path = typer.Argument(..., help="Output folder of a training run."),
    out: Path = typer.Argument(..., help="Folder to write; must not exist yet."),
    checkpoint: str = typer.Option("best", "--checkpoint", help="best, last or step-N."),
    adapter_only: bool = typer.Option(False, "--adapter-only", help="Only the connector and the adapter."),
    int8: bool = typer.Option(False, "--int8", help="With --adapter-only: store matrices as int8."),
    mean_with: Path | None = typer.Option(
        None, "--mean-with", help="With --adapter-only: folder of other trained parts; the mean of both is written."
    ),
    mean_share: float = typer.Option(0.5, "--mean-share", help="With --mean-with: share of the run in the mean."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON value."),
) -> None:
    """Write a trained model so that `video-salmonn ask --model OUT` and VideoSalmonn.load(OUT) take it."""
    from video_salmonn.training.export_options import ExportOptions

    options = ExportOptions(checkpoint, adapter_only, int8, mean_with, mean_share)
    options.checkpoint(run, out)  # refused before anything heavy is imported
    from video_salmonn.cli.startup import quiet_transformers
    from video_salmonn.training.exporting import export

    quiet_transformers()
    account = export(run, out, **vars(options))
    if as_json:
        emit_json(account)
    else:
        stdout.print(f"step {account['step']} of {account['checkpoint']} in {out}", markup=False, soft_wrap=True)
