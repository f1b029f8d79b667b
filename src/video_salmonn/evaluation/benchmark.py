"""One evaluation from data to ``results.json``: tasks and baselines in the same run, scored as they finish."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from video_salmonn.errors import ConfigError, EvaluationError, MissingPartError
from video_salmonn.evaluation.conditions import FULL, WHISPER, inapplicable
from video_salmonn.evaluation.engine import Engine, HasDecoder
from video_salmonn.evaluation.item import Prediction
from video_salmonn.evaluation.predictions import read_predictions, write_atomic
from video_salmonn.evaluation.runner import LoadedTask, Progress, load, run_condition
from video_salmonn.evaluation.save.locate import MediaIndex
from video_salmonn.evaluation.save.mini_marker import NAME, read_marker
from video_salmonn.evaluation.save.task import Task
from video_salmonn.evaluation.scoring import TaskScore, score
from video_salmonn.evaluation.settings import agree_on_settings
from video_salmonn.evaluation.shards import Shards
from video_salmonn.files import json_object
from video_salmonn.metrics.coco_java import check_tools
from video_salmonn.metrics.intervals import LEVEL, RESAMPLES
from video_salmonn.metrics.judge import JUDGE_VERSION, Judge
from video_salmonn.version import __version__

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/]+/)+")
"""The folders of an absolute path; not of a URL."""
_PACKAGES = ("torch", "transformers", "jiwer", "whisper-normalizer", "pycocoevalcap", "snowballstemmer")


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        batch_size: requests given to the model at once.
        limit: maximum number of items per task.
        resume: continue the run in the output folder.
        allow_missing: leave out items whose media are missing.
        baselines: conditions to run beside ``full``.
        resamples: of the bootstrap.
        seed: of the bootstrap and of ``shuffled``.
        judge: for sound sources.
        likelihood: where a task offers choices, also ask how likely each is.
        max_new_tokens: answers end here, where a task allows longer ones.
    """

    batch_size: int = 1
    limit: int | None = None
    resume: bool = False
    allow_missing: bool = False
    baselines: tuple[str, ...] = ()
    resamples: int = RESAMPLES
    seed: int = 0
    judge: Judge | None = None
    likelihood: bool = False
    max_new_tokens: int | None = None


def evaluate(
    engine: Engine,
    tasks: Sequence[Task],
    data: Path,
    out: Path,
    options: Options | None = None,
    *,
    shards: Shards | None = None,
    progress: Progress | None = None,
    ready: Sequence[LoadedTask] | None = None,
) -> dict[str, Any]:
    """Run tasks and write ``OUT/predictions/``, ``OUT/scores/`` and ``OUT/results.json``.

    Args:
        engine: is asked.
        tasks, data, out, options: as for :func:`prepare`.
        shards: this process among several.
        progress: called with every batch.
        ready: what :func:`prepare` made of the same arguments, where it was called before the model was loaded.

    Returns:
        what ``results.json`` holds. Processes other than the first return it without scores.

    Raises:
        ConfigError, EvaluationError: see :mod:`video_salmonn.evaluation.runner`.
    """
    import torch  # here: reports are read and written without it

    options, shards = options or Options(), shards or Shards()
    loaded = prepare(tasks, data, out, options) if ready is None else ready
    settings = {
        "model": engine.describe(),
        "seed": options.seed,
        "choices": "likelihood" if options.likelihood else "generated",
        "tasks": {one.task.id: one.identity for one in loaded},
    }
    whisper = _WhisperBaseline(engine)
    if WHISPER in options.baselines and any(one.task.kind == "speech" for one in loaded) and whisper.decoder:
        settings["whisper"] = whisper.decoder.describe()
    if shards.first:
        agree_on_settings(out, settings, (out / "predictions").glob("*.jsonl"), resume=options.resume)
    shards.wait()
    marker = read_marker(data)
    results: dict[str, Any] = {
        "benchmark": f"{NAME} {marker.get('version')}" if marker else "SAVE",
        "model": settings["model"],
        "seed": options.seed,
        "choices": settings["choices"],
        "whisper": settings.get("whisper"),
        "batch_size": options.batch_size,
        "threads": torch.get_num_threads(),
        "processes": shards.count,
        "intervals": {"method": "percentile bootstrap over items", "level": LEVEL, "resamples": options.resamples},
        "judge": {"model": options.judge.model, "wording": JUDGE_VERSION} if options.judge else None,
        "versions": versions(),
        "tasks": _earlier(out) if options.resume else {},
    }
    for one in loaded:
        before = results["tasks"].get(one.task.id, {})
        entry = _run_task(engine, whisper, one, out, options, shards, progress)
        # What an interrupted run spent on a task it finished belongs to the task's time.
        for clock in ("seconds", "cpu_seconds"):
            entry[clock] = {c: round(s + before.get(clock, {}).get(c, 0.0), 3) for c, s in entry[clock].items()}
        results["tasks"][one.task.id] = entry
        if shards.first:
            _write(out / "results.json", results)
    return results


def prepare(tasks: Sequence[Task], data: Path, out: Path, options: Options) -> list[LoadedTask]:
    """Read all tasks and look for the tools of their metrics: what is missing does not surface hours later.

    Neither a model nor PyTorch is needed for it.

    Args:
        tasks: which.
        data: folder of annotations and media.
        out: folder of the evaluation.
        options: how to run.

    Raises:
        ConfigError, EvaluationError: see :func:`video_salmonn.evaluation.runner.load`.
    """
    if not tasks:
        raise ConfigError("no task to run")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is not a folder", remedy="choose another --out")
    if (most := options.max_new_tokens) is not None:
        if most < 1:
            raise ConfigError(f"answers need at least one token, not {most}")
        tasks = [replace(task, max_new_tokens=min(most, task.max_new_tokens)) for task in tasks]
    if any(task.kind in ("caption", "dialogue") for task in tasks):
        check_tools()
    index = MediaIndex(data)
    return [load(t, data, index, limit=options.limit, allow_missing=options.allow_missing) for t in tasks]


class _WhisperBaseline:
    """The recogniser an engine's speech encoder was taken from, loaded when it is first asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.reason = ""

    @cached_property
    def decoder(self) -> Engine | None:
        """It, or None where ``reason`` says why there is none."""
        if not isinstance(self._engine, HasDecoder):
            self.reason = "the model names no recogniser of its own"
            return None
        try:
            return self._engine.own_decoder()
        except MissingPartError as error:
            self.reason = f"{error} ({error.remedy})" if error.remedy else str(error)
            return None


def _run_task(
    engine: Engine,
    whisper: _WhisperBaseline,
    one: LoadedTask,
    out: Path,
    options: Options,
    shards: Shards,
    progress: Progress | None,
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "title": one.task.title,
        **one.identity,
        "baselines": {},
        "skipped": {},
        "seconds": {},
        "cpu_seconds": {},
    }
    for condition in (FULL, *options.baselines):
        if condition != FULL and (reason := inapplicable(condition, one.task, one.items)):
            entry["skipped"][condition] = reason
            continue
        asked = whisper.decoder if condition == WHISPER else engine
        if asked is None:
            entry["skipped"][condition] = whisper.reason
            continue
        begin, begin_cpu = time.perf_counter(), time.process_time()
        file = run_condition(
            asked,
            one,
            out,
            condition,
            batch_size=options.batch_size,
            seed=options.seed,
            likelihood=options.likelihood and condition != WHISPER,
            shards=shards,
            progress=progress,
        )
        entry["seconds"][condition] = time.perf_counter() - begin
        entry["cpu_seconds"][condition] = time.process_time() - begin_cpu
        if not shards.first:
            continue
        answered = read_predictions(file)
        found = score(
            one.task,
            answered,
            resamples=options.resamples,
            seed=options.seed,
            judge=options.judge if condition == FULL else None,
        )
        _write(out / "scores" / f"{file.stem}.json", item_scores(found))
        if condition == FULL:
            entry.update(found.to_dict() | {"warnings": warning_counts(answered)})
        else:
            entry["baselines"][condition] = found.to_dict() | {"warnings": warning_counts(answered)}
    return entry


def warning_counts(predictions: Sequence[Prediction]) -> dict[str, int]:
    """Warnings about the answers and about their media, with the number of items each one concerns, most first.

    Numbers inside a warning are replaced by ``N``: the same warning about two items counts twice, not once each.
    Folders of absolute paths are left out: a report says nothing of the machine that it was made on.
    """
    counts: Counter[str] = Counter()
    for prediction in predictions:
        media = (text for one in prediction.media for name in ("cuts", "warnings") for text in one.get(name) or ())
        counts.update({_NUMBER.sub("N", _FOLDERS.sub("", text)) for text in (*prediction.warnings, *media)})
    return dict(counts.most_common())


def item_scores(found: TaskScore) -> dict[str, Any]:
    """Every item's score by every metric that has one, for reports (best and worst items)."""
    return {
        "task": found.task,
        "ids": list(found.ids),
        "metrics": {name: list(scored.items) for name, scored in found.metrics.items() if scored.items},
    }


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    out = {"video-salmonn": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            out[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            out[package] = "not installed"
    return out


def _earlier(out: Path) -> dict[str, Any]:
    """Tasks an earlier run into the same folder finished."""
    file = out / "results.json"
    return read_results(out)["tasks"] if file.is_file() else {}


def _is_entry(entry: Any) -> bool:
    """Whether this is what an evaluation writes about a task."""
    fields = {"n": int, "of": int, "annotations": dict, "metrics": dict, "prompt": dict, "baselines": dict}
    return isinstance(entry, dict) and all(isinstance(entry.get(key), kind) for key, kind in fields.items())


def read_results(out: Path) -> dict[str, Any]:
    """``results.json`` of an evaluation.

    Raises:
        EvaluationError: if it is missing or is none.
    """
    file = out / "results.json"
    again = "remove it and run again with --resume"
    found = json_object(file, EvaluationError, remedy=again, absent="run `video-salmonn eval save` first")
    tasks = found.get("tasks")
    if not isinstance(tasks, dict) or not all(_is_entry(entry) for entry in tasks.values()):
        raise EvaluationError(f"{file}: holds no results of an evaluation", remedy=again)
    return found


def _write(file: Path, value: Any) -> None:
    write_atomic(file, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False).encode() + b"\n")
