"""Two processes give the losses of one, also from a checkpoint that another number of processes wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.xdist_group("distributed")]


def train(out: Path, cache: Path, processes: int, steps: int, *extra: str) -> list[dict]:
    changes = [
        f"output={out}",
        f"data.cache={cache}",
        "connector.dropout=0.0",
        "batch_size=8",
        "micro_batch=4",
        f"max_steps={steps}",
        "optim.warmup_steps=2",
        "optim.min_rate=1.0",
        "log_every=1",
        "save_every=10",
    ]
    sets = [part for change in changes for part in ("--set", change)]
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [*launch, "-m", "video_salmonn", "train", "recipes/tiny.yaml", *sets, *extra],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_equal_one_and_resume_across_world_sizes(tmp_path: Path) -> None:
    cache = tmp_path / "features"
    one = train(tmp_path / "one", cache, 1, 20)
    two = train(tmp_path / "two", cache, 2, 20)
    assert len(two) == 20
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], abs=1e-4)
    state = json.loads((tmp_path / "two/checkpoints/step-20/state.json").read_text())
    assert state["processes"] == 2  # it really ran on two

    train(tmp_path / "mixed", cache, 2, 10)
    resumed = train(tmp_path / "mixed", cache, 1, 20, "--resume")
    assert [line["loss"] for line in resumed] == pytest.approx([line["loss"] for line in one], abs=1e-4)
