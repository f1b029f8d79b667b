"""Clips per minute of `video-salmonn batch` against a loop over `ask`, on the same clips, in turns.

A turn asks about every clip of `examples/grid` (talking heads of 3 s) once in a loop, then once as a batch: media
decoded ahead in processes, answers made together, results written and synced. Nothing is cached between them. Seconds
are those on the clock, which other work on the machine disturbs, and those of processors, of this process and of the
decoding processes that it starts. The answers of both must be the same.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from common import finish
from video_salmonn import VideoSalmonn
from video_salmonn.bulk.openai_lines import answer_of
from video_salmonn.bulk.results import Results
from video_salmonn.bulk.rows import Row, read_rows
from video_salmonn.bulk.run import run, settings_of
from video_salmonn.cache import Cache
from video_salmonn.errors import MissingPartError
from video_salmonn.files import json_value

GRID = Path(__file__).parents[1] / "examples" / "grid"
QUESTION = "What words are spoken?"


def processor_seconds() -> float:
    """Of this process and of the processes that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(work: Any) -> tuple[Any, float, float]:
    """(result, seconds on the clock, processor seconds)."""
    wall, cpu = time.perf_counter(), processor_seconds()
    made = work()
    return made, time.perf_counter() - wall, processor_seconds() - cpu


def looped(engine: VideoSalmonn, rows: list[Row]) -> dict[str, str]:
    """Answers of a loop over ask, by id."""
    return {row.id: engine.ask(row.media[0], row.conversation, **row.options).text for row in rows}


def batched(engine: VideoSalmonn, rows: list[Row], settings: Any, size: int, workers: int) -> dict[str, str]:
    """Answers of a batch, by id, read from its file of results."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.jsonl"
        with Results(out, settings) as results:
            run(engine, lambda: rows, results, batch_size=size, workers=workers)
        lines = [json_value(text) for text in out.read_bytes().splitlines()]
    return {line["custom_id"]: answer_of(line) or "" for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=18)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="embedded")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        engine = VideoSalmonn.load(args.model, cache=Cache(memory_bytes=0))
    except MissingPartError as error:
        print(f"not measured: {error} ({error.remedy})")
        return
    rows = list(read_rows(str(GRID), QUESTION, {"max_new_tokens": 20}))[: args.clips]
    settings = settings_of(engine)
    looped(engine, rows[:1])  # warm
    seconds: dict[str, list[tuple[float, float]]] = {"loop": [], "batch": []}
    ratios, processor_ratios, different = [], [], 0
    for _ in range(args.repeats):
        one, *loop = timed(lambda: looped(engine, rows))
        other, *batch = timed(lambda: batched(engine, rows, settings, args.batch_size, args.workers))
        different += sum(one[name] != other[name] for name in one)
        seconds["loop"].append((loop[0], loop[1]))
        seconds["batch"].append((batch[0], batch[1]))
        ratios.append(loop[0] / batch[0])
        processor_ratios.append(loop[1] / batch[1])
    results: dict[str, Any] = {"clips": len(rows), "batch_size": args.batch_size, "workers": args.workers}
    print(f"{'':8}{'clips a minute':>16}{'processor s a clip':>20}")
    for name, made in seconds.items():
        pace, cpu = median(60 * len(rows) / wall for wall, _ in made), median(cpu / len(rows) for _, cpu in made)
        results[name] = {"clips_per_minute": round(pace, 2), "processor_seconds_per_clip": round(cpu, 3)}
        print(f"{name:8}{pace:16.1f}{cpu:20.2f}")
    for name, made in (("ratio", ratios), ("processor_ratio", processor_ratios)):
        results |= {name: round(median(made), 3), f"{name}s": [round(one, 3) for one in made]}
    results["different_answers"] = different
    print(f"ratio on the clock {results['ratio']:.2f} (aim 1.5), in processor seconds {results['processor_ratio']:.2f}")
    print(f"answers that differ: {different} of {len(rows) * args.repeats}")
    finish("batch", results, threads=args.threads, seed=0)


if __name__ == "__main__":
    main()
