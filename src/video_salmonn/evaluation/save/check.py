"""What of the benchmark is on this machine, what is missing, and where to get it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.save.locate import MediaIndex
from video_salmonn.evaluation.save.mini_marker import read_marker
from video_salmonn.evaluation.save.task import Task
from video_salmonn.wording import counted

_SHOWN = 5


@dataclass(slots=True)
class TaskCheck:
    """One task's state.

    Attributes:
        task: its id.
        annotations: path of the annotation file, None if there is none.
        items: entries in it.
        expected: entries of the published file (of the built one for SAVE-mini), None where that is not fixed.
        found: entries whose media are all there.
        missing: the first few (id, names) that are not.
        lacking: how many entries lack media (missing or ambiguous).
        ambiguous: the first few (id, names) that fit several files.
        stand_ins: how many entries use a stand-in (the video's own track, a stretch of the whole video).
        problem: why the annotations cannot be used, or that their number differs from the published one.
        remedy: what to get from where.
    """

    task: str
    annotations: str | None = None
    items: int = 0
    expected: int | None = None
    found: int = 0
    lacking: int = 0
    missing: list[tuple[str, str]] = field(default_factory=list)
    ambiguous: list[tuple[str, str]] = field(default_factory=list)
    stand_ins: int = 0
    problem: str = ""
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether the task can run in full."""
        return bool(self.annotations) and not self.problem and self.lacking == 0

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "task": self.task,
            "ok": self.ok,
            "annotations": self.annotations,
            "items": self.items,
            "expected": self.expected,
            "media_found": self.found,
            "media_lacking": self.lacking,
            "missing": [{"id": name, "media": media} for name, media in self.missing],
            "ambiguous": [{"id": name, "media": media} for name, media in self.ambiguous],
            "stand_ins": self.stand_ins,
            "problem": self.problem,
            "remedy": self.remedy,
        }


def check(data: Path, tasks: Sequence[Task]) -> list[TaskCheck]:
    """Look for every task's annotations and media below ``data``; no media file is opened.

    Raises:
        EvaluationError: if ``data`` is not a folder. Anything wrong with one task is in that task's entry.
    """
    index = MediaIndex(data)
    marker = read_marker(data)
    counts = marker["counts"] if marker else {task.id: task.expected for task in tasks}
    return [_check(data, task, index, counts.get(task.id), {} if marker else task.counts) for task in tasks]


def _check(data: Path, task: Task, index: MediaIndex, expected: int | None, known: Mapping[str, int]) -> TaskCheck:
    out = TaskCheck(task.id, expected=expected)
    file = task.find_annotations(data)
    if file is None:
        out.problem = f"no annotations ({' or '.join(task.files)})"
        out.remedy = f"annotations: {task.annotations}. Media: {task.media}."
        return out
    out.annotations = str(file)
    try:
        entries, located, _ = task.load(data, index)
    except EvaluationError as error:
        out.problem, out.remedy = str(error), error.remedy
        return out
    out.items, out.found = len(entries), len(located.media)
    out.missing, out.ambiguous = located.missing[:_SHOWN], located.ambiguous[:_SHOWN]
    out.lacking = len(located.missing) + len(located.ambiguous)
    out.stand_ins = len(located.notes)
    if expected is not None and out.items != expected:
        out.problem = f"holds {counted(out.items, 'item')} where the published file has {expected}"
        out.remedy = f"annotations: {task.annotations}."
    else:
        facts = task.facts(entries)
        wrong = [
            f"{facts.get(name, 0)} {name}, published {count}"
            for name, count in known.items()
            if facts.get(name) != count
        ]
        if wrong:
            out.problem = f"has the published number of items, but {'; '.join(wrong)}"
            out.remedy = f"annotations: {task.annotations}."
    if out.lacking:
        out.remedy = f"media: {task.media}. Or map names to files in {data / (task.id + '.paths.json')}."
    return out
