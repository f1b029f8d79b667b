"""SAVE as task files of lmms-eval: the same items, prompts and scores, for any model it knows.

:func:`export` writes, for every task, ``save_<task>.yaml`` and ``save_<task>.jsonl`` (media by absolute path), and one
``save_tasks.py`` whose functions the YAML files name; those functions are the ones below. Point lmms-eval at the folder
with ``--include_path``. Nothing here imports lmms-eval.

A task's metrics are computed over all its answers at once by :mod:`video_salmonn.evaluation.scoring`; n/a is NaN there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from video_salmonn.evaluation.item import BenchmarkItem, Prediction
from video_salmonn.evaluation.predictions import write_atomic
from video_salmonn.evaluation.runner import load
from video_salmonn.evaluation.save import task as task_of
from video_salmonn.evaluation.save.locate import MediaIndex
from video_salmonn.evaluation.save.task import Task
from video_salmonn.evaluation.scoring import score

_SHIM = '"""Written by video-salmonn; the task files beside it name these functions."""\n\n'
_METRICS = ("wer", "accuracy", "vqa_accuracy", "cider", "meteor", "spice", "spider")
_LOWER_IS_BETTER = ("wer",)


def export(tasks: Sequence[Task], data: Path, out: Path, *, limit: int | None, allow_missing: bool) -> list[Path]:
    """Write task files; returns the YAML files.

    Args:
        tasks: which.
        data: the data folder.
        out: is created; files of the same names are replaced.
        limit, allow_missing: as for a run.

    Raises:
        EvaluationError: without annotations or media.
    """
    index = MediaIndex(data)
    written = []
    for task in tasks:
        loaded = load(task, data, index, limit=limit, allow_missing=allow_missing)
        rows = out / f"save_{task.id}.jsonl"
        lines = (json.dumps(document(task, item), ensure_ascii=False) + "\n" for item in loaded.items)
        write_atomic(rows, "".join(lines).encode())
        file = out / f"save_{task.id}.yaml"
        write_atomic(file, _yaml(task, rows.resolve()).encode())
        written.append(file)
    names = ", ".join(sorted([*_FUNCTIONS, *(f"aggregate_{metric}" for metric in _METRICS)]))
    shim = f"{_SHIM}from video_salmonn.evaluation.lmms_tasks import ({names})  # noqa: F401\n"
    write_atomic(out / "save_tasks.py", shim.encode())
    return written


def document(task: Task, item: BenchmarkItem) -> dict[str, Any]:
    """One row of the data: an item with its prompt and absolute paths."""
    media = item.media
    paths = {"video": media.video, "image": media.image, "sound": media.sound}
    return {
        "id": item.id,
        "task": task.id,
        "prompt": item.prompt,
        "question": item.annotation.question,
        **{name: str(path.resolve()) if path else None for name, path in paths.items()},
        "start": media.start,
        "end": media.end,
        "silent": "sound" not in task.senses,
        "references": list(item.annotation.references),
        "candidates": list(item.annotation.candidates),
        "part": item.annotation.part,
        "target": item.annotation.references[0],
    }


def _yaml(task: Task, rows: Path) -> str:
    metrics = "".join(
        f"  - metric: {metric}\n    aggregation: !function save_tasks.aggregate_{metric}\n"
        f"    higher_is_better: {str(metric not in _LOWER_IS_BETTER).lower()}\n"
        for metric in task.metrics
    )
    return (
        f"task: save_{task.id}\n"
        "dataset_path: json\n"
        f"dataset_kwargs:\n  data_files: {json.dumps(str(rows))}\n"
        "test_split: train\n"
        "output_type: generate_until\n"
        "doc_to_visual: !function save_tasks.doc_to_visual\n"
        "doc_to_text: !function save_tasks.doc_to_text\n"
        "doc_to_messages: !function save_tasks.doc_to_messages\n"
        "doc_to_target: target\n"
        f"generation_kwargs:\n  max_new_tokens: {task.max_new_tokens}\n  temperature: 0\n"
        "process_results: !function save_tasks.process_results\n"
        f"metric_list:\n{metrics}"
        f"metadata:\n  - version: {task.prompt.version}\n"
    )


def doc_to_visual(doc: Mapping[str, Any]) -> list[Any]:
    """Media for models that take a list: video or picture, then sound."""
    return [doc[name] for name in ("video", "image", "sound") if doc.get(name)]


def doc_to_text(doc: Mapping[str, Any]) -> str:
    """The task's prompt."""
    return str(doc["prompt"])


def doc_to_messages(doc: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The item as one user message: picture, sound, prompt. ``silent`` makes this package's model ignore the sound."""
    parts: list[dict[str, Any]] = []
    if doc.get("video"):
        times = {"start_time": doc.get("start"), "end_time": doc.get("end")}
        parts.append({"type": "video", "url": doc["video"], "silent": bool(doc.get("silent")), **times})
    if doc.get("image"):
        parts.append({"type": "image", "url": doc["image"]})
    if doc.get("sound"):
        parts.append({"type": "audio", "url": doc["sound"]})
    return [{"role": "user", "content": [*parts, {"type": "text", "text": doc_to_text(doc)}]}]


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """What the aggregations need of one answer, under every metric's name."""
    kept = {name: doc[name] for name in ("id", "task", "references", "candidates", "part", "question")}
    answer = kept | {"prediction": results[0]}
    return dict.fromkeys(task_of(doc["task"]).metrics, answer)


def _aggregation(metric: str) -> Callable[[Sequence[Mapping[str, Any]]], float]:
    def aggregate(answers: Sequence[Mapping[str, Any]]) -> float:
        rows = [
            Prediction(
                str(a["id"]), a["prediction"], tuple(a["references"]), tuple(a["candidates"]), a["part"], a["question"]
            )
            for a in answers
        ]
        value = score(task_of(answers[0]["task"]), rows, resamples=1).metrics[metric].value
        return math.nan if value is None else value

    aggregate.__name__ = f"aggregate_{metric}"
    return aggregate


_FUNCTIONS = ("doc_to_visual", "doc_to_text", "doc_to_messages", "process_results")
aggregate_wer = _aggregation("wer")
aggregate_accuracy = _aggregation("accuracy")
aggregate_vqa_accuracy = _aggregation("vqa_accuracy")
aggregate_cider = _aggregation("cider")
aggregate_meteor = _aggregation("meteor")
aggregate_spice = _aggregation("spice")
aggregate_spider = _aggregation("spider")
