"""``video-salmonn convert``: the official files of the released model to a model directory."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from video_salmonn.checkpoints.released.given import ReleasedFiles, check_files
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.errors import ConfigError
from video_salmonn.files import json_object
from video_salmonn.wording import counted


class Dtype(StrEnum):
    """Precisions of the written weights."""

    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"


@reports_errors
def command(
    delta: Path = typer.Option(None, help="The delta checkpoint: pytorch_model_4_5001.pt."),
    new: bool = typer.Option(False, "--new", help="Instead of --delta: a new connector and adapter, to be trained."),
    beats: Path = typer.Option(..., help="BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt."),
    whisper: Path = typer.Option(..., help="Folder of openai/whisper-large-v2."),
    llm: Path = typer.Option(..., help="Folder of lmsys/vicuna-13b-v1.5; with --new also vicuna-7b-v1.5."),
    out: Path = typer.Option(..., help="Model directory to write."),
    instructblip: Path = typer.Option(None, help="instruct_blip_vicuna13b_trimmed.pth."),
    eva: Path = typer.Option(None, help="eva_vit_g.pth."),
    instructblip_hf: Path = typer.Option(None, help="Folder of Salesforce/instructblip-vicuna-13b, in place of both."),
    bert_tokenizer: Path = typer.Option(None, help="Folder of bert-base-uncased's tokenizer."),
    dtype: Dtype = typer.Option(Dtype.float16, help="Dtype of the written weights; the release computes in float16."),
    settings: Path = typer.Option(
        None, help="JSON with settings that the files lack or that differ from the release (docs)."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Check names and shapes from headers; write nothing."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Convert the released checkpoint and the five models it builds on; refuse anything that does not fit by name."""
    if new == (delta is not None):
        raise ConfigError("convert needs --delta, or --new for a model to be trained, and not both", remedy="give one")
    files = ReleasedFiles(
        delta=delta,
        beats=beats,
        whisper=whisper,
        llm=llm,
        instructblip=instructblip,
        eva=eva,
        instructblip_hf=instructblip_hf,
        bert_tokenizer=bert_tokenizer,
    )
    check_files(files)
    known = _settings(settings)
    from video_salmonn.checkpoints.released.convert import convert
    from video_salmonn.cli.startup import quiet_transformers

    quiet_transformers()
    report = convert(
        files,
        out,
        dtype=dtype.value,
        settings=known,
        dry_run=dry_run,
        progress=lambda line: stderr.print(line, style="dim", markup=False),
    )
    if as_json:
        emit_json(report)
        return
    from rich.table import Table

    table = Table("part", "tensors", "parameters")
    for part, number in report["parameters"].items():
        table.add_row(part, f"{report['tensors'][part]:,}", f"{number:,}")
    stdout.print(table)
    for drop in report["dropped"]:
        stdout.print(f"left out: {drop['count']} of {drop['file']}: {drop['reason']}", markup=False, soft_wrap=True)
    compared = "not compared yet" if dry_run else "compared and equal"
    stdout.print(f"second names: {len(report['aliases'])}, {compared}")
    for note in report["notes"]:
        stdout.print(f"note: {note}", markup=False, soft_wrap=True)
    size = f"{report['bytes'] / 1e9:.2f} GB"
    stdout.print(
        f"would write {size}" if dry_run else f"{out}: {size} in {counted(report['shards'], 'shard')}", markup=False
    )


def _settings(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    return json_object(path, ConfigError, remedy="see docs/released.md")
