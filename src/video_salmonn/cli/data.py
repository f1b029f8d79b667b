"""``video-salmonn data …``: build and encode data sets."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.errors import ConfigError

command = typer.Typer(add_completion=False, no_args_is_help=True, help="Build, encode and check data sets.")

_SOURCE = typer.Option(..., "--source", help="Folder with speech/, sounds/, images/ and clips/ and their manifests.")
_OUT = typer.Option(..., "--out", help="Folder that gets train.jsonl, dev.jsonl and test.jsonl.")
_JSON = typer.Option(False, "--json", help="Print one JSON value.")


@command.command("build-embedded")
@reports_errors
def build_embedded(
    source: Path = _SOURCE,
    out: Path = _OUT,
    seed: int = typer.Option(0, "--seed", help="Decides every choice."),
    scale: float = typer.Option(1.0, "--scale", help="Multiplies the number of composed items."),
    as_json: bool = _JSON,
) -> None:
    """Write the manifests that the embedded default is trained and tested on. Nothing is decoded or copied."""
    from video_salmonn.data.embedded.build import build

    table = build(source, out, seed, scale)
    if as_json:
        emit_json(table | {"out": str(out)})
        return
    for split, tasks in table["tasks"].items():
        stdout.print(f"{split}: {table['items'][split]} items")
        for task, count in tasks.items():
            stdout.print(f"  {count:6d} {task}")


@command.command("encode-embedded")
@reports_errors
def encode_embedded(
    manifests: Path = typer.Option(..., "--manifests", help="Folder written by build-embedded."),
    out: Path = typer.Option(..., "--out", help="Feature store: a folder of safetensors shards."),
    split: list[str] = typer.Option(["train", "dev", "test"], "--split", help="Repeatable."),
    task: str = typer.Option("", "--task", help="Only tasks that begin with this."),
    threads: int = typer.Option(1, "--threads", help="Of torch."),
    fast: bool = typer.Option(False, "--bf16", help="Speech encoder in bfloat16."),
    as_json: bool = _JSON,
) -> None:
    """Encode every sound and picture of the manifests once, with the frozen encoders. Goes on where it stopped."""
    import torch

    from video_salmonn.data.embedded.build import jobs
    from video_salmonn.data.embedded.encode import encode
    from video_salmonn.data.manifest import read_manifest

    for name in split:
        if not (manifests / f"{name}.jsonl").is_file():
            raise ConfigError(f"{manifests}: no {name}.jsonl", remedy="video-salmonn data build-embedded first")
    torch.set_num_threads(threads)
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            stderr.print(f"{done} / {total}, {time.monotonic() - began:.0f} s", soft_wrap=True)

    items = (item for name in split for item in read_manifest(manifests / f"{name}.jsonl"))
    wanted = jobs(item for item in items if item.task.startswith(task))
    dtype = torch.bfloat16 if fast else torch.float32
    counts = encode(wanted, manifests, out, dtype=dtype, progress=progress)
    if as_json:
        emit_json(counts)
    else:
        stdout.print(f"{counts['done']} encoded, {counts['already']} were there, {counts['failed']} failed")
    if counts["failed"]:
        raise typer.Exit(1)
