"""Training with and without the cache of the frozen encoders' features, on one and on two processes.

Each configuration runs in processes of its own, in turns; the tiny model on the clips of this repository. Peak memory
is a process's largest resident size; waiting is the share of a step in which no example was ready.

    python benchmarks/bench_training.py
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import finish

ROOT = Path(__file__).parents[1]
SEED = 0


def measure(cached: bool, steps: int, out: Path) -> None:
    """One configuration, in this process: steps are run and timed after the first ones, the first rank writes."""
    import torch

    from video_salmonn.cache import Cache
    from video_salmonn.training.recipe import load_recipe
    from video_salmonn.training.stage import build_trainer

    torch.set_num_threads(1)
    os.chdir(ROOT)
    changes = [f"seed={SEED}", "max_steps=1000", "batch_size=8", "micro_batch=8", "optim.warmup_steps=2"]
    trainer = build_trainer(load_recipe(Path("recipes/tiny.yaml"), changes))
    if cached:
        for index in range(len(trainer.maker.items)):
            trainer.maker.plain(index)
    else:
        trainer.maker.source.media.cache = Cache(memory_bytes=0)
    for _ in range(2):
        trainer.train_step()
    trainer.waited, began = 0.0, time.perf_counter()
    for _ in range(steps):
        trainer.train_step()
    seconds = time.perf_counter() - began
    trainer.loader.close()
    if trainer.accelerator.is_main_process:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = {"samples_per_s": steps * 8 / seconds, "waiting": trainer.waited / seconds, "peak_mb": peak}
        out.write_text(json.dumps(found | {"world": trainer.accelerator.num_processes}))


def launch(cached: bool, processes: int, steps: int, folder: Path) -> dict[str, float]:
    """Run a configuration in processes of its own and read what it measured."""
    out = folder / "found.json"
    head = [sys.executable]
    if processes > 1:
        head += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    arguments = [__file__, "--measure", str(out), "--steps", str(steps), *(["--cached"] if cached else [])]
    subprocess.run(
        [*head, *arguments], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    found = json.loads(out.read_text())
    assert found["world"] == processes
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cached", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.cached, options.steps, options.measure)
        return
    configurations = [(cached, processes) for processes in (1, 2) for cached in (False, True)]
    runs: dict[tuple[bool, int], list[dict[str, float]]] = {c: [] for c in configurations}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeats):
            for cached, processes in configurations:
                runs[cached, processes].append(launch(cached, processes, options.steps, Path(folder)))
    results = {}
    print(f"{'processes':>9} {'features':>10} {'samples/s':>10} {'waiting':>8} {'peak MB a process':>18}")
    for (cached, processes), found in runs.items():
        middle = {key: round(median(run[key] for run in found), 4) for key in ("samples_per_s", "waiting", "peak_mb")}
        name = "cached" if cached else "made anew"
        print(
            f"{processes:>9} {name:>10} {middle['samples_per_s']:>10.2f} {middle['waiting']:>8.1%}"
            f" {middle['peak_mb']:>18.0f}"
        )
        results[f"{processes}, {name}"] = middle
    finish("training", results, threads=1, seed=SEED)


if __name__ == "__main__":
    main()
