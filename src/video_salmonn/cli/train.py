"""``video-salmonn train RECIPE.yaml``: run one stage of training."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.errors import ConfigError

if TYPE_CHECKING:
    from video_salmonn.training.recipe import Recipe

LOOKED_AT = 1000
"""Lines of a manifest that are read before a model is loaded; training reads all."""


@reports_errors
def command(
    recipe: Path = typer.Argument(..., help="A recipe, for example recipes/tiny.yaml."),
    changes: list[str] = typer.Option([], "--set", help="Change a key of the recipe: key=value; repeatable."),
    resume: bool = typer.Option(False, "--resume", help="Resume from the newest checkpoint of the output folder."),
    checkpoint: str | None = typer.Option(None, "--checkpoint", help="With --resume: another checkpoint, as step-N."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Load everything, run one batch, print what would happen."),
    validate: bool = typer.Option(False, "--validate", help="Train nothing: measure on data.validation, print, end."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object at the end."),
) -> None:
    """Train. Writes OUT/metrics.jsonl and OUT/checkpoints; SIGTERM and Ctrl-C save and stop."""
    from video_salmonn.training.recipe import load_recipe

    loaded = load_recipe(recipe, list(changes))
    if checkpoint and not resume:
        raise ConfigError("--checkpoint is for --resume", remedy="add --resume")
    out = Path(loaded.output)
    if validate and not loaded.data.validation:
        raise ConfigError("--validate needs data.validation", remedy="give --set data.validation=MANIFEST")
    if not (resume or dry_run or validate) and (out / "metrics.jsonl").exists():
        raise ConfigError(f"{out} already holds a run", remedy="give --resume, or another --set output=FOLDER")
    _check_files(loaded, out)
    from video_salmonn.cli.startup import quiet_transformers

    quiet_transformers()
    from video_salmonn.training.conclusion import conclusion, remarks, shown
    from video_salmonn.training.stage import build_trainer

    trainer = build_trainer(loaded)
    for note in trainer.maker.notes if trainer.accelerator.is_main_process else ():
        stderr.print(note, style="bold", markup=False, soft_wrap=True)
    if dry_run:
        from video_salmonn.training.rehearsal import rehearse

        account = rehearse(trainer)
        trainer.accelerator.end_training()
        if as_json:
            emit_json(account)
        else:
            for key, value in account.items():
                stdout.print(f"{key:>12}: {value}", markup=False, soft_wrap=True)
        return
    if resume:
        found = trainer.resume(checkpoint)
        stderr.print(f"resumed at step {trainer.step}" if found else "no checkpoint yet: from the start", style="dim")
        for note in trainer.notes if trainer.accelerator.is_main_process else ():
            stderr.print(f"changed since: {note}", style="bold", markup=False, soft_wrap=True)
    main = trainer.accelerator.is_main_process

    def report(line: dict[str, Any]) -> None:
        if "loss" not in line:
            stderr.print("  ".join(f"{k} {_short(v)}" for k, v in line.items()), style="bold", soft_wrap=True)
            return
        left = (loaded.max_steps - trainer.step) * line["seconds"]
        if loaded.minutes:
            left = min(left, 60 * loaded.minutes * max(0.0, 1 - trainer.spent))
        stderr.print(
            f"step {line['step']}/{loaded.max_steps}  loss {line['loss']:.4f}  lr {line['lr']:.2e}  "
            f"{line['seconds']:.2f} s/step  {left / 60:.1f} min left"
            + (f"  broken items {line['broken_items']}" if "broken_items" in line else ""),
            soft_wrap=True,
        )

    if validate:
        trainer.measure()
    else:
        trainer.run(report if main else lambda line: None)
    trainer.accelerator.end_training()  # a process group that is left open may abort the process as it ends
    if main:
        summary = {
            "step": trainer.step,
            "output": str(trainer.out),
            "stopped": trainer.stop,
            "rules": dict(trainer.rules),
            "broken": trainer.broken,
            "validation": trainer.validated,
            "samples": shown(trainer.samples),
            "remarks": remarks(trainer.samples),
        }
        if as_json:
            emit_json(summary)
        else:
            for line in conclusion(trainer.validated, trainer.samples):
                stdout.print(line, markup=False, soft_wrap=True)
            stdout.print(f"step {trainer.step}; checkpoints in {trainer.out / 'checkpoints'}", markup=False)


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _check_files(recipe: Recipe, out: Path) -> None:
    """Raise for files that training could not use, as far as that is seen without PyTorch and in a moment.

    Raises:
        ManifestError: a manifest is missing, or damaged in its first lines.
        ConfigError: the output is a file, or features or a start are not there.
    """
    from video_salmonn.data.manifest import read_manifest

    for manifest in filter(None, (*recipe.data.train, recipe.data.validation)):
        for _ in islice(read_manifest(manifest), LOOKED_AT):
            pass
    for key, name in (("data.features", recipe.data.features), ("init", recipe.init)):
        if name and not Path(name).exists():
            raise ConfigError(f"{key} {name}: no such file or folder", remedy=f"correct it, or give --set {key}=…")
    if next((place for place in (out, *out.parents) if place.exists()), out).is_file():
        raise ConfigError(f"output {out}: a file is in its place", remedy="choose another --set output=FOLDER")
