"""A recipe over the clips of the repository, and a manifest whose items have one modality each."""

from __future__ import annotations

import json
from pathlib import Path

from video_salmonn.training.recipe import Recipe, load_recipe
from video_salmonn.training.stage import build_trainer
from video_salmonn.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
GRID = ROOT / "examples/grid"


def changes(tmp_path: Path, cache: Path) -> list[str]:
    return [
        f"output={tmp_path / 'run'}",
        f"data.train=[{GRID / 'train.jsonl'}]",
        f"data.validation={GRID / 'held_out.jsonl'}",
        f"data.cache={cache}",
        "connector.dropout=0.0",
        "validate_every=0",
        "data.validation_samples=4",
        "data.validation_swapped=false",
        "batch_size=8",
        "micro_batch=4",
        "max_steps=6",
        "optim.warmup_steps=2",
        "optim.min_rate=1.0",
        "log_every=1",
        "save_every=3",
    ]


def recipe(tmp_path: Path, cache: Path, *more: str) -> Recipe:
    return load_recipe(ROOT / "recipes/tiny.yaml", [*changes(tmp_path, cache), *more])


def run(loaded: Recipe, *, resume: bool = False) -> tuple[Trainer, list[dict]]:
    trainer = build_trainer(loaded)
    if resume:
        assert trainer.resume()
    lines: list[dict] = []
    trainer.run(lines.append)
    return trainer, lines


def entries(count: int) -> list[dict]:
    """The first items of the example manifest, with absolute paths."""
    rows = [json.loads(line) for line in (GRID / "train.jsonl").read_text().splitlines()[:count]]
    for row in rows:
        row["media"]["video"] = str(GRID / row["media"]["video"])
    return rows


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
