"""``video-salmonn warmup``: align the embedded default's connector with its language model's words, by CTC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from video_salmonn.cli import options as shared
from video_salmonn.cli.output import emit_json, reports_errors, stdout
from video_salmonn.errors import ConfigError

_SHARES = "speech=6,sound=2,picture=4,speech+picture=6,sound+picture=2"


def _print(line: dict[str, Any]) -> None:
    stdout.print(json.dumps(line, ensure_ascii=False), soft_wrap=True, markup=False)


def _shares(text: str) -> dict[str, int]:
    try:
        return {kind.strip(): int(count) for kind, count in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise ConfigError(f"--shares {text!r} is not understood", remedy="for example speech=8,picture=2") from error


def _changes(text: str) -> dict[str, Any]:
    try:
        changes = json.loads(text or "{}")
    except ValueError:
        changes = None
    if not isinstance(changes, dict):
        raise ConfigError(f"--connector {text!r} is no JSON object", remedy="for example '{\"levels\": [[1, 3]]}'")
    return changes


@reports_errors
def command(
    manifests: Path = typer.Option(..., "--manifests", help="Folder written by: data build-embedded."),
    features: Path = typer.Option(..., "--features", help="Folder written by: data encode-embedded."),
    out: Path = typer.Option(..., "--out", help="The run's folder; a run that is there goes on."),
    start: Path = typer.Option(None, "--start", help="Another warm-up's folder or weights file."),
    speech_only: bool = typer.Option(False, "--speech-only", help="Speech branch only: a third of the cost."),
    steps: int = typer.Option(2400, "--steps"),
    batch: int = typer.Option(8, "--batch"),
    rate: float = typer.Option(1e-3, "--rate", help="Peak learning rate."),
    rise: int = typer.Option(80, "--rise", help="Steps in which the rate rises."),
    shares: str = typer.Option(_SHARES, "--shares", help="Steps that go to each kind, in turn."),
    connector: str = typer.Option("", "--connector", help='Changes for an ablation, as JSON: {"levels": [[1, 3]]}.'),
    level_dropout: float = typer.Option(
        0.0, "--level-dropout", min=0.0, max=0.9, help="Share of steps with one level, drawn, set to zero."
    ),
    validate_every: int = typer.Option(200, "--validate-every"),
    seed: int = typer.Option(0, "--seed", min=0, max=2**63 - 1),
    device: str = typer.Option("cpu", "--device", help="cpu, cuda, mps …"),
    threads: int = typer.Option(0, "--threads", help="Of torch on the CPU; 0 leaves its default."),
    pack: Path = typer.Option(None, "--pack", help="Train nothing, write OUT's weights small into this file."),
    measure: str = typer.Option("", "--measure", help="dev or test: train nothing, report OUT's (or START's) WER."),
    whole: bool = typer.Option(False, "--whole", help="With --measure: of the full connector it grows to."),
    as_json: bool = typer.Option(False, "--json", help="Print all reports as one JSON list at the end."),
) -> None:
    """Train the connector by CTC against the language model's token embeddings; the language model does not run.

    Prints a report every few steps, one line of JSON each. OUT/export/connector.safetensors is what a recipe's
    ``init`` takes. SIGTERM and Ctrl-C save and leave; the same command resumes.
    """
    import torch

    from video_salmonn.embedded import warmup_run as embedded
    from video_salmonn.embedded.warmup import WarmupConfig

    reports: list[dict[str, Any]] = []
    report = reports.append if as_json else _print
    if threads:
        torch.set_num_threads(threads)
    if pack is not None:
        report({"packed": str(embedded.pack(start or out, pack)), "bytes": pack.stat().st_size})
    elif measure:
        report(embedded.measure(start or out, manifests, features, measure, whole=whole))
    else:
        config = WarmupConfig(
            steps=steps,
            batch=batch,
            shares=_shares(shares),
            rate=rate,
            rise=min(rise, steps),
            seed=seed,
            level_dropout=level_dropout,
            validate_every=validate_every,
        )
        embedded.warm_up(
            manifests,
            features,
            out,
            config,
            start=start,
            speech_only=speech_only,
            changes=_changes(connector),
            device=shared.choose_device(device),
            report=report,
        )
    if as_json:
        emit_json(reports)
