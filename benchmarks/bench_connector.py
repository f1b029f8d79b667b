"""The connector at its released size against the plain form of the same equations, side by side.

Width 2304, 60 frames of 0.5 s, batch 1, the released profile. Times are taken in turns (A B A B …) and the ratio is
the median over turns. FLOPs are torch's own count on the meta device. Peak memory is the rise of a child process'
largest resident set over what it held before its first pass.

    python benchmarks/bench_connector.py [--repeats 9] [--threads 2] [--device cpu] [--dtype float32]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from common import finish, interleaved, median_ratio
from plain_connector import plain_connector
from video_salmonn.connector import ConnectorConfig, MultiResolutionCausalQFormer

SEED = 20240
FRAMES = 60
CONFIG = ConnectorConfig(mask_direction="future", attend_padding=True, trim_padding=False)


def build(device: str, dtype: torch.dtype):
    """The production module with random weights, and random features of a 30 s clip."""
    torch.manual_seed(SEED)
    with torch.device(device):
        connector = MultiResolutionCausalQFormer(CONFIG).eval()
        if device != "meta":
            with torch.no_grad():
                for parameter in connector.parameters():
                    parameter.add_(0.02 * torch.randn_like(parameter))
        shapes = (1, FRAMES, 32, 768), (1, 25 * FRAMES, 1280), (1, 1496, 768)
        inputs = [torch.randn(shape).to(dtype) for shape in shapes]
    return connector.to(dtype), inputs


def runs(device: str, dtype: torch.dtype):
    connector, inputs = build(device, dtype)
    weights = dict(connector.state_dict())

    def wait(tokens: torch.Tensor) -> torch.Tensor:
        if device == "cuda":
            torch.cuda.synchronize()
        return tokens

    return {
        "ours": lambda: wait(connector(*inputs).tokens),
        "plain": lambda: wait(plain_connector(CONFIG, weights, *inputs)),
    }


def giga_flops() -> dict[str, float]:
    counts = {}
    for name, run in runs("meta", torch.float32).items():
        with FlopCounterMode(display=False) as counter:
            run()
        counts[name] = counter.get_total_flops() / 1e9
    return counts


def peak(name: str, device: str, dtype: torch.dtype) -> float:
    """MB that one pass takes beyond weights and inputs; measured in the process that calls this."""
    run = runs(device, dtype)[name]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    status = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - now) * 1024 / 1e6


def peaks(options: argparse.Namespace) -> dict[str, float]:
    found = {}
    for name in ("ours", "plain"):
        command = [sys.executable, __file__, "--peak", name, "--device", options.device, "--dtype", options.dtype]
        done = subprocess.run([*command, "--threads", str(options.threads)], capture_output=True, text=True, check=True)
        found[name] = float(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--peak", choices=["ours", "plain"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    with torch.no_grad():
        if options.peak:
            print(peak(options.peak, options.device, dtype))
            return
        flops, memory = giga_flops(), peaks(options)
        both = runs(options.device, dtype)
        difference = (both["ours"]().float() - both["plain"]().float()).abs().max().item()
        seconds = interleaved(both, options.repeats)
    ratio = median_ratio(seconds, "ours", "plain")
    print(f"released size, {FRAMES} frames, {options.dtype} on {options.device}, {options.threads} threads")
    print(f"{'':8}{'median s':>10}{'fastest s':>11}{'GFLOP':>9}{'peak MB':>9}")
    for name, taken in seconds.items():
        print(f"{name:8}{median(taken):10.3f}{min(taken):11.3f}{flops[name]:9.1f}{memory[name]:9.0f}")
    print(f"time ratio {ratio:.3f} (aim 0.75), FLOP ratio {flops['ours'] / flops['plain']:.3f}")
    print(f"largest difference of the tokens {difference:.2e}")
    results = {
        "seconds": seconds,
        "median_seconds": {name: median(taken) for name, taken in seconds.items()},
        "time_ratio": ratio,
        "gflop": flops,
        "peak_mb": memory,
        "max_abs_diff": difference,
        "frames": FRAMES,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else options.device,
        "dtype": options.dtype,
    }
    finish("connector", results, threads=options.threads, seed=SEED)


if __name__ == "__main__":
    main()
