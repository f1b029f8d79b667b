"""``video-salmonn info PRESET_OR_DIR``: what a model costs, without loading it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from video_salmonn.checkpoints.directory import read_settings
from video_salmonn.cli.checks import PRESETS
from video_salmonn.cli.output import emit_json, reports_errors, stdout
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.wording import counted

if TYPE_CHECKING:
    from video_salmonn.model.configuration import VideoSalmonnConfig


def read_config(model: str) -> VideoSalmonnConfig:
    """Configuration of a preset or of a model directory, without its weights.

    Raises:
        ConfigError: no such preset. CheckpointError: the directory describes no video-salmonn model.
    """
    file = Path(model) / "config.json"
    if model not in PRESETS and not file.is_file():
        raise ConfigError(f"no preset {model!r}, and no model directory", remedy=f"presets: {', '.join(PRESETS)}")
    if file.is_file():
        read_settings(Path(model))
    from video_salmonn.model.configuration import VideoSalmonnConfig
    from video_salmonn.model.presets import preset

    if file.is_file():
        try:
            return VideoSalmonnConfig.from_pretrained(model)
        except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
            raise CheckpointError(f"{file}: cannot be read ({error})", remedy="export the model again") from error
    return preset(model)


@reports_errors
def command(
    model: str = typer.Argument(..., help="A preset (released-13b, paper-7b, embedded, tiny) or a model directory."),
    clip: float = typer.Option(30.0, min=0.1, help="Length in seconds of the clip the costs are stated for."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Print parameters, media tokens, FLOPs and bytes of a model, computed from its configuration alone."""
    if not math.isfinite(clip):
        raise ConfigError(f"--clip is {clip}", remedy="give a length in seconds")
    config = read_config(model)
    from video_salmonn.resources.cost import info

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
        f"cache {counted(account['kv_bytes_per_token'], 'byte', form=',')} per token, "
        f"{account['bytes']['kv_cache'] / 1e6:,.1f} MB"
    )
