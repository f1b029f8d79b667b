"""``video-salmonn info PRESET_OR_DIR``: what a model costs, without loading it."""

from __future__ import annotations

from pathlib import Path

import typer

from video_salmonn.cli.output import emit_json, reports_errors, stdout


@reports_errors
def command(
    model: str = typer.Argument(..., help="A preset (released-13b, paper-7b, embedded, tiny) or a model directory."),
    clip: float = typer.Option(30.0, min=0.1, help="Length in seconds of the clip the costs are stated for."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Print parameters, media tokens, FLOPs and bytes of a model, computed from its configuration alone."""
    from video_salmonn.model.configuration import VideoSalmonnConfig
    from video_salmonn.model.cost import info
    from video_salmonn.model.presets import preset

    folder = Path(model)
    config = VideoSalmonnConfig.from_pretrained(model) if (folder / "config.json").is_file() else preset(model)
    account = info(config, clip)
    if as_json:
        emit_json(account)
        return
    from rich.table import Table

    table = Table("part", "parameters", "trainable", "bytes (16 bit)", title=model)
    for part, number in account["parameters"].items():
        size = f"{account['bytes'][part] / 1e6:,.1f} MB"
        table.add_row(part, f"{number / 1e6:,.2f} M", f"{account['trainable'][part] / 1e6:,.2f} M", size)
    stdout.print(table)
    stages = Table("stage", "GFLOP", title=f"one clip of {clip:g} s")
    for stage, number in account["flops"].items():
        stages.add_row(stage, f"{number / 1e9:,.2f}")
    stdout.print(stages)
    stdout.print(
        f"{account['media_tokens_per_second']:g} media tokens per second, {account['media_tokens']} for this clip; "
        f"cache {account['kv_bytes_per_token']:,} bytes per token, {account['bytes']['kv_cache'] / 1e6:,.1f} MB"
    )
