"""What every benchmark ends with: one line of JSON that says what was measured, and on what."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

PACKAGES = ("video-salmonn", "torch", "transformers", "numpy", "pillow", "av")


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Processor, cores and how busy they are with other work."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"processor": processor(), "cores": os.cpu_count(), "system": platform.system(), "load_1_min": load}


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def interleaved(runs: dict[str, Callable[[], Any]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each run, taken in turns, so that other work on the machine falls on all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warm_up + repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(seconds: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Median over turns of ours / theirs, each pair having been measured one right after the other."""
    return median(a / b for a, b in zip(seconds[ours], seconds[theirs]))


def finish(name: str, results: dict[str, Any], *, threads: int, seed: int) -> None:
    """Print the JSON line."""
    line = {"benchmark": name, "results": results, "machine": machine(), "versions": versions()}
    print(json.dumps(line | {"threads": threads, "seed": seed}))
