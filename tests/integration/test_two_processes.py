"""Two processes (gloo) train as one does, whole and sharded, or each by itself between means of their weights.

The longer checks are in ``test_distributed.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_runs import entries, recipe, run, write
from two_processes import STEPS, VALIDATED

from video_salmonn.training.checkpointing import read_trained
from video_salmonn.training.resuming import whole_state
from video_salmonn.training.stage import build_trainer

pytestmark = [pytest.mark.distributed, pytest.mark.xdist_group("distributed")]


def test_two_processes_train_as_one_whole_and_sharded(tmp_path: Path) -> None:
    rows = entries(12)
    for number, row in enumerate(rows):  # ranks lack modalities in turn, and lengths differ
        video = row["media"]["video"]
        row["media"] = ({"video": video, "audio": None, "end": 1.0}, {"audio": video}, {"video": video}, {})[number % 4]
    manifest, cache = write(tmp_path / "m.jsonl", rows), tmp_path / "cache"
    _, one = run(recipe(tmp_path / "one", cache, *STEPS, *VALIDATED, f"data.train=[{manifest}]"))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [*launch, str(script), str(tmp_path), str(cache), str(manifest)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for strategy in ("ddp", "fsdp2"):
        first, second = (json.loads((tmp_path / f"{strategy}-{rank}.json").read_text()) for rank in (0, 1))
        assert first["world"] == second["world"] == 2, "it really ran on two"
        assert (first["sharded"] > 50) == (strategy == "fsdp2") and first["sharded"] == second["sharded"]
        assert second["lines"] == [], "one process reports"
        for name in ("loss", "diversity_loss", "validation_loss"):
            values = [[line[name] for line in lines if name in line] for lines in (first["lines"], one)]
            assert values[0] == pytest.approx(values[1], abs=1e-4), (strategy, name)
    saved = tmp_path / "fsdp2/run"  # what shards were gathered into goes on in one process
    assert whole_state(saved / "checkpoints/step-3")["processes"] == 2
    alone = build_trainer(recipe(tmp_path / "fsdp2", cache, *STEPS, f"data.train=[{manifest}]"))
    assert alone.resume() and alone.step == 3
    _moves_apart_and_meets(tmp_path)


def _moves_apart_and_meets(folder: Path) -> None:
    """Under ``local`` weights differ between means, and are the mean of both after one, also in the checkpoint."""
    (first, lines), (second, silent) = (torch.load(folder / f"local-{rank}.pt") for rank in (0, 1))
    assert [step for step, *_ in first] == [2, 3], "every two steps, and before the last checkpoint"
    for (_, own, after), (_, other, also) in zip(first, second, strict=True):
        assert not torch.equal(own, other), "each process moved its own weights"
        assert torch.equal(after, also)
        torch.testing.assert_close(after, (own + other) / 2)
    assert silent == [] and [line["step"] for line in lines if "validation_loss" in line] == [3]
    saved = read_trained(folder / "local/run/checkpoints/step-3")
    assert sum(tensor.numel() for tensor in saved.values()) == len(first[-1][2])
    torch.testing.assert_close(sum(t.double().sum() for t in saved.values()), first[-1][2].double().sum())
