"""How long a cold command takes until its model is loaded, beside ``import torch``: CPU time of whole processes.

python benchmarks/bench_startup.py [--model embedded] [--repeat 3]

Every figure is the least of several processes, one thread, files in the page cache (the first round is not counted).
Ratios hold on busy machines, where seconds do not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys

LOAD = "from video_salmonn.cli.options import load_engine; load_engine({model!r}, 'cpu', None)"
CODES = {
    "torch": "import torch",
    "transformers": "from transformers import PreTrainedModel; from transformers.generation import GenerationMixin",
    "imports": "from video_salmonn.inference.engine import VideoSalmonn",
    "imports and loading": LOAD,
    "--help": "import sys; sys.argv[1:] = ['--help']; from video_salmonn.cli.main import run; run()",
}


def seconds(code: str) -> float:
    """CPU seconds of one process that runs ``code``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, check=False, **quiet)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure in turns, so that what else the machine does meets all of them alike."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    codes = {name: code.format(model=options.model) if code is LOAD else code for name, code in CODES.items()}
    rounds = [{name: seconds(code) for name, code in codes.items()} for _ in range(options.repeat + 1)][1:]
    least = {name: min(one[name] for one in rounds) for name in codes}
    print(f"{'process':<22}{'CPU s':>8}{'x torch':>9}")
    for name, value in least.items():
        print(f"{name:<22}{value:>8.2f}{value / least['torch']:>9.2f}")
    ratios = {name: round(value / least["torch"], 3) for name, value in least.items()}
    print(json.dumps({"benchmark": "startup", "model": options.model, "cpu_seconds": least, "times_torch": ratios}))


if __name__ == "__main__":
    main()
