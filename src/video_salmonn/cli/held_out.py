"""``video-salmonn eval held-out``: measure a model on the held-out split of the embedded data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.data.manifest import check_splits
from video_salmonn.files import write_json, write_text
from video_salmonn.wording import counted


@reports_errors
def held_out(
    manifests: Path = typer.Option(..., "--manifests", help="Folder written by: data build-embedded."),
    features: Path = typer.Option(..., "--features", help="Folder written by: data encode-embedded."),
    out: Path = typer.Option(
        ..., "--out", help="Folder for answers and figures; a stopped run of the same model is resumed."
    ),
    model: str = typer.Option("embedded", "--model", help="Model name or folder."),
    weights: Path = typer.Option(
        None, "--weights", help="Folder with connector and adapter to use instead of the model's."
    ),
    split: str = typer.Option("test", "--split", help="test, or dev while training."),
    groups: str = typer.Option("all", "--groups", help="Comma-separated names of groups (rows of the table), or all."),
    limit: int = typer.Option(None, "--limit", min=1, help="Maximum items per row, drawn by their ids."),
    compared: int = typer.Option(None, "--compared", min=1, help="Maximum items per row for other conditions."),
    only_full: bool = typer.Option(False, "--only-full", help="Only with all media, without further conditions."),
    only_probe: bool = typer.Option(
        False, "--only-probe", help="Only the linear probes, into OUT/probes.json; the model is asked nothing."
    ),
    whisper: bool = typer.Option(False, "--whisper", help="Also run Whisper's own decoder on the speech rows."),
    batch_size: int = typer.Option(16, "--batch-size", min=1, help="Questions given to the model at once."),
    docs: Path = typer.Option(None, "--docs", help="Write the tables into this Markdown file."),
    dtype: str = typer.Option("fp32", "--dtype", help="fp32, bf16 or fp16."),
    device: str = typer.Option("cpu", "--device", help="cpu, cuda, mps …"),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON value."),
) -> None:
    """Speech, sounds, pictures, both at once, talking heads …, with baselines and 95 % intervals."""
    from video_salmonn.cli.checks import check_model, check_placement
    from video_salmonn.embedded.held_out.groups import choose

    wanted = choose(groups)
    check_model(model, dtype)
    check_placement(device)
    check_splits(manifests, [split])
    import torch

    from video_salmonn.checkpoints.assemble import load_model
    from video_salmonn.embedded.held_out.measure import HeldOut, measure
    from video_salmonn.embedded.held_out.page import page
    from video_salmonn.embedded.held_out.probe import probe_groups
    from video_salmonn.evaluation.settings import SETTINGS
    from video_salmonn.inference.questions import parse_dtype
    from video_salmonn.training.checkpointing import load_trained

    device = shared.choose_device(device)
    kind = parse_dtype(dtype) or torch.float32
    loaded, processor = load_model(model)
    if weights is not None:
        load_trained(loaded, weights)
    loaded = loaded.eval().to(device, kind)
    frames = int(loaded.config.media_config.picture_frames)
    data = HeldOut(manifests / f"{split}.jsonl", features, frames, limit)
    beside: dict[str, Any] = {}
    if not only_full or only_probe:  # first, so that a package that is missing is said before hours of answers
        beside = probe_groups(loaded.config, wanted, data, manifests / "train.jsonl", report=_line)
    if only_probe:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "probes.json", beside)
        if as_json:
            emit_json(beside)
        return
    results: dict[str, Any] = {
        "groups": measure(
            loaded,
            processor,
            data,
            out,
            groups=wanted,
            only_full=only_full,
            compared=compared,
            batch=batch_size,
            report=_line,
        ),
        "beside": beside,
        "missing": data.missing,
    }
    if whisper:
        from video_salmonn.embedded.held_out.whisper import whisper_figures

        results["beside"] |= whisper_figures(data, wanted, out, report=_line)
    results["settings"] = json.loads((out / SETTINGS).read_text(encoding="utf-8"))
    if data.missing:
        stderr.print(f"left out: {counted(data.missing, 'item')} without features", soft_wrap=True)
    write_json(out / "results.json", results)
    facts = {
        "model": f"`{model}`" + (f" with the weights in `{weights}`" if weights is not None else ""),
        "weights": f"`{results['settings']['weights'][:16]}`, greedy answers",
        "data": f"the {split} split of `video-salmonn data build-embedded`, features stored in float16"
        + (f"; {counted(data.missing, 'item')} without features left out" if data.missing else ""),
        "computed in": dtype,
        "command": f"`video-salmonn eval held-out --manifests {manifests} --features {features} --model {model}"
        f"{' --whisper' if whisper else ''}{f' --compared {compared}' if compared else ''} --out OUT --docs FILE`",
    }
    text = page(results, facts)
    for file in filter(None, (out / "page.md", docs)):
        write_text(file, text)
    if as_json:
        emit_json(results)
    else:
        stdout.print(text, markup=False, soft_wrap=True)


def _line(text: str) -> None:
    stderr.print(text, soft_wrap=True, markup=False)
