"""Train and measure the variants that have no line in the results yet: ``python -m studies.ablations --help``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def count(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def rate(text: str) -> float:
    """A finite number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def seeds(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 0 between commas."""
    numbers = tuple(int(seed) for seed in text.split(","))
    if min(numbers) < 0:
        raise ValueError(text)
    return numbers


def parser() -> argparse.ArgumentParser:
    """The command line; nothing heavy is imported for it."""
    from studies.ablations.variants import VARIANTS

    made = argparse.ArgumentParser(
        prog="python -m studies.ablations", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--manifests", type=Path, default=Path("runs/ablation-data"), help="of studies.ablations.items")
    made.add_argument("--features", type=Path, default=Path("runs/features"), help="of data encode-embedded")
    made.add_argument("--out", type=Path, default=Path("runs/ablations"), help="folder of the runs")
    made.add_argument("--results", type=Path, default=Path("results/ablations.jsonl"), help="gets a line a variant")
    made.add_argument("--only", choices=list(VARIANTS), action="append", help="repeatable; all by default")
    made.add_argument("--seeds", type=seeds, default="0,1,2", help="all variants with the first, then with the next")
    made.add_argument("--word-steps", type=count, default=1200, help="steps of the stage of words")
    made.add_argument("--steps", type=count, default=200, help="steps of the stage of reading")
    made.add_argument("--batch", type=count, default=4, help="items a step of reading")
    made.add_argument("--word-batch", type=count, default=4, help="items a step of words")
    per_pass = "at most; None: 64 on a card, 4 on a processor, whose cache holds them"
    made.add_argument("--micro-batch", type=count, help=f"items a forward pass of reading, {per_pass}")
    made.add_argument("--word-micro-batch", type=count, help=f"items a forward pass of words, {per_pass}")
    made.add_argument("--rate", type=rate, default=4e-4, help="peak learning rate of the stage of words")
    made.add_argument("--limit", type=count, default=60, help="held-out items a row (of ten rows), at most")
    made.add_argument("--model", choices=["embedded", "tiny"], default="embedded", help="tiny: random, to try it out")
    made.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="cuda if there is one")
    made.add_argument("--parallel", type=count, default=1, help="variants at once, a process each")
    made.add_argument("--commit", default="", help="of the code, where Git is not at hand")
    made.add_argument("--keep", action="store_true", help="keep trained weights")
    made.add_argument("--list", action="store_true", help="say what is left to run, and run nothing")
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return made


def main(words: list[str] | None = None) -> int:
    """The command. Returns 0 when every variant has its line, 1 when some failed or are left, 2 for bad input."""
    words = sys.argv[1:] if words is None else words
    arguments = parser().parse_args(words)
    for name in () if arguments.worker else ("train.jsonl", "test.jsonl"):  # before anything heavy is imported
        if not (arguments.manifests / name).is_file():
            print(f"{arguments.manifests}: no {name} (python -m studies.ablations.items write makes both)")
            return 2
    if arguments.device == "cpu":  # before torch looks: the trainer takes a card where there is one
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch
    from studies.ablations import data, running
    from studies.ablations.training import Budget, StoppedError
    from studies.ablations.variants import VARIANTS

    from video_salmonn.cli.startup import quiet_transformers
    from video_salmonn.errors import VideoSalmonnError

    quiet_transformers()

    def say(text: str) -> None:
        print(text, flush=True)

    there = torch.cuda.is_available()
    if arguments.device == "cuda" and not there:
        say("--device cuda: torch sees no card")
        return 2
    per_pass = 64 if there else 4
    plan = running.Plan(
        variants=tuple(name for name in VARIANTS if name in (arguments.only or VARIANTS)),
        seeds=arguments.seeds,
        budget=Budget(
            arguments.word_steps,
            arguments.steps,
            arguments.batch,
            arguments.word_batch,
            arguments.micro_batch or per_pass,
            arguments.word_micro_batch or per_pass,
            arguments.rate,
            arguments.limit,
            arguments.model,
        ),
        features=arguments.features,
        out=arguments.out,
        results=arguments.results,
        device="cuda" if there else "cpu",
        parallel=arguments.parallel,
        commit=arguments.commit or running.commit_of(ROOT),
        keep=arguments.keep,
    )
    if not there:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        if arguments.worker:
            return int(running.run_all(plan, data.read(plan.out), say) > 0)
        found = data.prepare(arguments.manifests, arguments.features, plan.out)
        left = running.pending(plan, found)
        say(f"data {found.fingerprint}: {found.items}, {found.missing} without features; to run: {len(left)}")
        if arguments.list:
            for name, seed in left:
                say(f"{name}, seed {seed}")
            return 0
        running.clear_failures(plan, found)
        if plan.parallel == 1:
            running.run_all(plan, found, say)
        else:
            command = [sys.executable, "-m", "studies.ablations", *words, "--worker", "--commit", plan.commit]
            running.watch(plan, found, [command] * plan.parallel, _environment(), say)
    except BrokenPipeError:  # the reader of --list has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except running.CrowdedError:
        say("the card's memory is full: --micro-batch or --parallel smaller")
        return running.CROWDED
    except StoppedError:
        say("stopped: the same command continues with this variant")
        return 1
    except VideoSalmonnError as error:
        say(f"{error}{f' ({error.remedy})' if error.remedy else ''}")
        return 2
    left = running.pending(plan, found)
    for note in running.failures(plan, found):
        say(f"failed: {note}")
    say(f"left to run: {len(left)}" if left else f"all in {plan.results}")
    return int(bool(left))


def _environment() -> dict[str, str]:
    """Of a worker: the package and this folder can be imported, and processes that share cores take one thread each."""
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]))
    given = {"OMP_NUM_THREADS": "1", "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    return {**given, **os.environ, "PYTHONPATH": paths}


if __name__ == "__main__":
    sys.exit(main())
