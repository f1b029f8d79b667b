"""Runs variants: claims one after another, trains and measures it, and appends its line at once.

Several processes may work on one folder, also on one card: each claims a variant and seed by a lock that ends with the
process, so a killed one's work is taken up by another. What has a line in the results is not run again.
"""

from __future__ import annotations

import gc
import json
import platform
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from studies.ablations.data import Data
from studies.ablations.measuring import measure
from studies.ablations.results import append_result, comparison, read_results
from studies.ablations.training import Budget, StoppedError, train
from studies.ablations.variants import VARIANTS

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.files import digest
from video_salmonn.resources.arithmetic import multiplies_bfloat16
from video_salmonn.version import __version__
from video_salmonn.wording import counted

HELD_SHARE = 0.5
"""Of a card's memory that is free, what the features of all processes together may take."""
FAILED = "failed.txt"
CROWDED = 3
"""What a process ends with that found the card's memory full."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        variants: names, in order.
        seeds: the outer loop.
        budget: of each.
        features: folder of the feature store.
        out: folder of the runs.
        results: the file that gets the lines.
        device: ``cpu`` or ``cuda``.
        parallel: processes that share the device.
        commit: of the code.
        keep: keep trained weights.
    """

    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: Budget
    features: Path
    out: Path
    results: Path
    device: str
    parallel: int = 1
    commit: str = "unknown"
    keep: bool = False


def settings(plan: Plan, name: str) -> dict[str, Any]:
    """What a line depends on besides seed and data."""
    precision = "bf16" if multiplies_bfloat16(plan.device) else "no"
    return {"change": VARIANTS[name].to_dict(), **asdict(plan.budget), "precision": precision}


def pending(plan: Plan, data: Data) -> list[tuple[str, int]]:
    """Variants and seeds without a line of this budget and data, in the order they run: seeds outermost."""
    done = {
        (line["variant"], line["seed"], comparison(line), digest(line["settings"]["change"]))
        for line in read_results(plan.results)
    }
    wanted = [(name, seed) for seed in plan.seeds for name in plan.variants]
    return [(name, seed) for name, seed in wanted if (name, seed, *_identity(plan, data, name)) not in done]


def _identity(plan: Plan, data: Data, name: str) -> tuple[str, str]:
    line = {"settings": settings(plan, name), "data": {"fingerprint": data.fingerprint}}
    return comparison(line), digest(json.loads(json.dumps(line["settings"]["change"])))


def folder_of(plan: Plan, data: Data, name: str, seed: int) -> Path:
    """Where a variant's runs lie: another budget, or other data, have another folder."""
    return plan.out / f"{name}-{seed}-{digest(_identity(plan, data, name))[:8]}"


def locked(folder: Path) -> FileLock | None:
    """The lock of a run's folder, which is made; None where another process has it. It ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def provenance(data: Data, commit: str, device: str) -> dict[str, Any]:
    """What a line says of where it was measured, and on what."""
    return {
        "data": {"fingerprint": data.fingerprint, "items": data.items, "missing": data.missing},
        "commit": commit,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(device),
        "versions": {"video_salmonn": __version__, "torch": torch.__version__},
    }


class CrowdedError(Exception):
    """The card has no room for one more process; what was being trained is left to the others."""


def run_all(plan: Plan, data: Data, say: Say) -> int:
    """Run what is pending and not claimed by another process, the first of it first, until there is none.

    A variant that fails is noted in its folder and left out. On a card, whose state is then unknown, the process ends.

    Returns:
        how many failed.

    Raises:
        CrowdedError: the card's memory is full.
        StoppedError: by a signal.
    """
    store: FeatureStore | None = None
    failures = 0

    def claimed() -> tuple[str, int, FileLock] | None:
        """The first that is free, locked."""
        for name, seed in pending(plan, data):
            folder = folder_of(plan, data, name, seed)
            if (lock := locked(folder)) is None:
                continue
            if (name, seed) in pending(plan, data) and not (folder / FAILED).is_file():
                return name, seed, lock
            lock.release()
        return None

    while (claim := claimed()) is not None:
        name, seed, lock = claim
        try:
            if store is None:  # read once by a process, whatever it runs
                store = FeatureStore(plan.features)
                store.hold(plan.device, HELD_SHARE / plan.parallel)
            run(plan, data, name, seed, store, say)
        except StoppedError:
            raise
        except torch.OutOfMemoryError as error:
            say(f"{name}, seed {seed}: out of memory, left to other processes: {error}")
            raise CrowdedError from error
        except Exception:  # noqa: BLE001 - whatever it is, the other variants are still to be run
            failures += 1
            note = folder_of(plan, data, name, seed) / FAILED
            note.write_text(traceback.format_exc(), encoding="utf-8")
            say(f"{name}, seed {seed}: failed: {note}")
            if plan.device != "cpu":
                break
        finally:
            lock.release()
    return failures


def run(plan: Plan, data: Data, name: str, seed: int, store: FeatureStore, say: Say) -> dict[str, Any]:
    """Train and measure one variant with one seed; returns its line, which then is in the results file."""
    variant, folder = VARIANTS[name], folder_of(plan, data, name, seed)
    say(f"{name}, seed {seed}: begun")
    trained = train(
        variant, seed, plan.budget, data, store, folder, lambda line: say(f"{name}, seed {seed}: {json.dumps(line)}")
    )
    began = time.perf_counter()
    measured = measure(trained, data, store, plan.budget.limit, batch=32 if plan.device == "cpu" else 128)
    seconds = {**trained.seconds, "measuring": round(time.perf_counter() - began, 1)}
    line = {
        "variant": name,
        "seed": seed,
        "settings": settings(plan, name),
        **provenance(data, plan.commit, plan.device),
        "seconds": seconds,
        "losses": trained.losses,
        **_rounded(asdict(measured)),
    }
    append_result(plan.results, line, plan.out / ".results.lock")
    if not plan.keep:
        for checkpoints in folder.glob("*/checkpoints"):
            shutil.rmtree(checkpoints)
    say(f"{name}, seed {seed}: done in {sum(seconds.values()):.0f} s")
    del trained
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return line


def _rounded(value: Any) -> Any:
    """Numbers with six digits: more would only make the file longer."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def device_name(device: str) -> str:
    """The card, or the processor and how many threads are used."""
    if device != "cpu":
        return torch.cuda.get_device_name(0)
    model = ""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    return f"{model or platform.machine()}, threads: {torch.get_num_threads()}"


def commit_of(root: Path) -> str:
    """The commit that is checked out, ``+`` after it where files differ from it; ``unknown`` where there is no Git."""
    try:
        name = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "src", "studies", "recipes")
        return name + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def clear_failures(plan: Plan, data: Data) -> None:
    """Forget what failed before: a new call tries again."""
    for name, seed in pending(plan, data):
        (folder_of(plan, data, name, seed) / FAILED).unlink(missing_ok=True)


def failures(plan: Plan, data: Data) -> Iterator[Path]:
    """Notes of what failed since."""
    for name, seed in pending(plan, data):
        if (note := folder_of(plan, data, name, seed) / FAILED).is_file():
            yield note


def watch(plan: Plan, data: Data, commands: Sequence[Sequence[str]], environment: dict[str, str], say: Say) -> None:
    """Run worker processes until nothing is left.

    One that dies is replaced, at most as often as there are variants. One that found the card's memory full is replaced
    only if it was the last: the others have more room without it.

    Args:
        plan: what they run.
        data: on what.
        commands: one a worker.
        environment: of the workers.
        say: gets their state now and then.
    """
    chances = len(pending(plan, data))
    plan.out.mkdir(parents=True, exist_ok=True)
    logs = [(plan.out / f"worker-{number}.log").open("a", encoding="utf-8") for number in range(len(commands))]

    def start(number: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(commands[number], env=environment, stdout=logs[number], stderr=subprocess.STDOUT)

    workers = {number: start(number) for number in range(min(len(commands), max(1, chances)))}
    told = len(read_results(plan.results))
    try:
        while workers:
            time.sleep(1)
            lines = read_results(plan.results)
            for line in lines[told:]:
                say(f"{line['variant']}, seed {line['seed']}: done in {sum(line['seconds'].values()):.0f} s")
            told = len(lines)
            for number, worker in list(workers.items()):
                code = worker.poll()
                if code is None:
                    continue
                del workers[number]
                left = len(pending(plan, data)) - len(list(failures(plan, data)))
                if code == CROWDED and workers:
                    say(f"worker {number} found the card's memory full; {counted(len(workers), 'worker')} left")
                elif code and left > len(workers) and chances > 0:
                    chances -= 1
                    say(f"worker {number} ended with {code} ({plan.out}/worker-{number}.log); another one is started")
                    workers[number] = start(number)
    except BaseException:
        for worker in workers.values():
            worker.terminate()  # it saves what it has trained and ends
        for worker in workers.values():
            worker.wait()
        raise
    finally:
        for log in logs:
            log.close()
