"""The results file: one JSON line for each variant and seed, appended and synced as soon as it is measured."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.predictions import mend
from video_salmonn.files import digest, json_value, numbered_lines

ROUNDING = ("micro_batch", "word_micro_batch", "precision")
"""Settings that change how numbers are rounded and nothing else: they depend on the machine."""
Line = dict[str, Any]
"""``variant``, ``seed``, ``settings`` (``change`` of the variant and what all have alike), ``data``, ``commit``,
``device``, ``versions``, ``seconds``, ``losses``, ``rows``, ``zeroed``, ``cosines``."""


def read_results(path: Path) -> list[Line]:
    """All whole lines; a last line that a killed process left torn is left out.

    Raises:
        EvaluationError: another line is damaged (named).
    """
    if not path.is_file():
        return []
    lines: list[Line] = []
    numbered = list(numbered_lines(path, EvaluationError))
    for number, text in numbered:
        try:
            line = json_value(text)
            lines.append({**line, "variant": str(line["variant"]), "seed": int(line["seed"])})
        except (ValueError, KeyError, TypeError) as error:
            if number == numbered[-1][0]:
                break
            raise EvaluationError(f"{path}, line {number}: {error}", remedy="delete the line") from error
    return lines


def append_result(path: Path, line: Mapping[str, Any], lock: Path) -> None:
    """Add a line, whole; several processes may do so at once.

    Args:
        path: the results file.
        line: JSON-ready.
        lock: a file beside the runs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        mend(path)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())


def comparison(line: Mapping[str, Any]) -> str:
    """What lines must have alike to be compared, as a digest: budget, model, data; not how their sums are rounded."""
    settings = {name: value for name, value in line["settings"].items() if name not in ("change", *ROUNDING)}
    return digest([settings, line["data"]["fingerprint"]])[:16]


def comparisons(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines by what can be compared: the comparison that has the most first; of as many, the one that was begun last.

    A variant and seed that was measured twice counts once, as it was measured last.
    """
    groups: dict[str, dict[tuple[str, int], Line]] = {}
    for line in lines:
        groups.setdefault(comparison(line), {})[line["variant"], line["seed"]] = line
    places = {key: place for place, key in enumerate(groups)}
    order = sorted(groups, key=lambda key: (len(groups[key]), places[key]), reverse=True)
    return [list(groups[key].values()) for key in order]


def value_of(metric: str, marks: Sequence[Sequence[int]]) -> float | None:
    """A row's figure from its marks (see ``measuring.marks_of``); None where it is undefined."""
    if metric == "wer":
        words = sum(mark[1] for mark in marks)
        return sum(mark[0] for mark in marks) / words if words else None
    if metric == "balanced accuracy":
        shares = [[mark[0] for mark in marks if mark[1] == wanted] for wanted in (1, 0)]
        return sum(sum(share) / len(share) for share in shares) / 2 if all(shares) else None
    return sum(mark[0] for mark in marks) / len(marks) if marks else None
