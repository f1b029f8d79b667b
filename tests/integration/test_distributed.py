"""Two processes give the losses of one, also from a checkpoint that another number of processes wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from training_runs import GRID, ROOT, entries, write

HANGS = 1800
"""Seconds after which a run is taken to hang; a busy machine takes minutes for what takes half a minute alone."""
pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.xdist_group("distributed")]


def command(out: Path, cache: Path, processes: int, steps: int, *extra: str) -> list[str]:
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
        "validate_every=0",
        "data.validation=examples/grid/held_out.jsonl",
        "data.validation_swapped=false",
    ]
    sets = [part for change in changes for part in ("--set", change)]
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [*launch, "-m", "video_salmonn", "train", "recipes/tiny.yaml", *sets, *extra]


def train(out: Path, cache: Path, processes: int, steps: int, *extra: str) -> list[dict]:
    done = subprocess.run(
        command(out, cache, processes, steps, *extra),
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return read(out)


def read(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_equal_one_and_resume_across_world_sizes(tmp_path: Path) -> None:
    cache = tmp_path / "features"
    checked = sets("validate_every=10", "data.validation_items=5", "data.validation_samples=3")
    one = train(tmp_path / "one", cache, 1, 20, *checked)
    two = train(tmp_path / "two", cache, 2, 20, *checked)
    held_out = [[line for line in lines if "validation_loss" in line] for lines in (one, two)]
    assert [line["validation_items"] for line in held_out[1]] == [5, 5]  # shared out: 3 and 2
    for alone, together in zip(*held_out):
        assert together["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-4)
    samples = [(tmp_path / name / "samples.jsonl").read_text() for name in ("one", "two")]
    assert samples[0] == samples[1] and samples[0].count("\n") == 6
    one, two = ([line for line in lines if "loss" in line] for lines in (one, two))
    assert len(two) == 20
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], abs=1e-4)
    state = json.loads((tmp_path / "two/checkpoints/step-20/state.json").read_text())
    assert state["processes"] == 2  # it really ran on two

    train(tmp_path / "mixed", cache, 2, 10)
    resumed = train(tmp_path / "mixed", cache, 1, 20, "--resume")
    assert [line["loss"] for line in resumed] == pytest.approx([line["loss"] for line in one], abs=1e-4)


def sets(*changes: str) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def test_ranks_whose_items_have_other_modalities_do_not_hang_and_equal_one_process(tmp_path: Path) -> None:
    rows = entries(24)
    for number, row in enumerate(rows):
        video = row["media"]["video"]
        row["media"] = ({"video": video, "audio": None}, {"audio": video}, {"video": video}, {})[number % 4]
    manifest = write(tmp_path / "mixed.jsonl", rows)
    # one item a rank and step, so that most steps pair ranks that lack different branches of the connector
    more = sets(f"data.train=[{manifest}]", "batch_size=2", "micro_batch=1")
    one = train(tmp_path / "one", tmp_path / "cache", 1, 12, *more)
    two = train(tmp_path / "two", tmp_path / "cache", 2, 12, *more)
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], abs=1e-4)


def launched(tmp_path: Path) -> tuple[subprocess.Popen, Path]:
    """An endless run on two processes that has made some steps."""
    more = sets("save_every=2", f"data.train=[{GRID / 'train.jsonl'}]")
    process = subprocess.Popen(
        command(tmp_path / "run", tmp_path / "cache", 2, 100_000, *more),
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "run/metrics.jsonl"
    for _ in range(1000):
        if metrics.exists() and metrics.read_text().count("\n") >= 4:
            break
        time.sleep(0.2)
    return process, tmp_path / "run"


def test_a_rank_that_dies_ends_the_run_with_an_error(tmp_path: Path) -> None:
    process, out = launched(tmp_path)
    try:
        worker = psutil.Process(process.pid).children()[1]
        worker.send_signal(signal.SIGKILL)
        _, stderr = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "SIGKILL" in stderr or "-9" in stderr
    last = (out / "checkpoints/last").read_text()
    assert f"step-{json.loads((out / 'checkpoints' / last / 'state.json').read_text())['step']}" == last


def test_sigterm_stops_all_processes_after_the_same_step(tmp_path: Path) -> None:
    process, out = launched(tmp_path)
    try:
        for worker in psutil.Process(process.pid).children()[:1]:
            worker.send_signal(signal.SIGTERM)  # only one of them is told
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, stderr[-3000:]
    last = (out / "checkpoints/last").read_text()
    assert last == f"step-{read(out)[-1]['step']}"


PROBE = """
import json, sys
from torch.distributed.tensor import DTensor
from video_salmonn.training import trainer
plain = trainer.Trainer.run
def run(self, *args):
    plain(self, *args)
    kinds = {n: isinstance(p, DTensor) and p.to_local().numel() < p.numel() for n, p in self.plain.named_parameters()}
    whole = sorted(n for n, sharded in kinds.items() if not sharded and not n.startswith("tower."))
    found = {"world": self.accelerator.num_processes, "sharded": sum(kinds.values()), "whole": whole}
    (self.out / f"rank{self.accelerator.process_index}.json").write_text(json.dumps(found))
trainer.Trainer.run = run
sys.argv = ["video-salmonn", *sys.argv[1:]]
from video_salmonn.cli.main import run as main
main()
"""


def test_fsdp2_shards_for_real_equals_one_process_and_its_checkpoint_goes_on_anywhere(tmp_path: Path) -> None:
    rows = entries(24)
    for number, row in enumerate(rows):
        video = row["media"]["video"]
        row["media"] = ({"video": video, "audio": None}, {"audio": video}, {"video": video}, {})[number % 4]
    manifest = write(tmp_path / "mixed.jsonl", rows)
    cache = tmp_path / "cache"
    more = [*sets(f"data.train=[{manifest}]", "micro_batch=2", "batch_size=4", "validate_every=10", "strategy=fsdp2")]
    more += sets("data.validation_samples=1", "data.validation_items=2")
    one = [line for line in train(tmp_path / "one", cache, 1, 20, *more) if "loss" in line]
    script = tmp_path / "probe.py"
    script.write_text(PROBE)
    launch = command(tmp_path / "two", cache, 2, 20, *more)
    at = launch.index("-m", launch.index("--nproc_per_node"))
    done = subprocess.run(
        [*launch[:at], str(script), *launch[at + 2 :]],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = [line for line in read(tmp_path / "two") if "loss" in line]
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], abs=1e-4)
    assert [line["grad_norm"] for line in two] == pytest.approx([line["grad_norm"] for line in one], rel=1e-3)
    for rank in (0, 1):
        found = json.loads((tmp_path / f"two/rank{rank}.json").read_text())
        assert found["world"] == 2 and found["sharded"] > 50 and found["whole"] == []
    for name, processes in (("two", 1), ("one", 2)):  # a checkpoint of two is gone on from by one, and the reverse
        (tmp_path / name / "checkpoints/last").write_text("step-10")
        lines = train(tmp_path / name, cache, processes, 20, *more, "--resume")
        losses = [line["loss"] for line in lines if "loss" in line]
        assert losses == pytest.approx([line["loss"] for line in one], abs=1e-4)
