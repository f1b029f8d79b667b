"""One folder, one experiment: what was asked is written beside the answers, and another experiment is refused.

Answers are kept so that a stopped run continues. Without this record a second model would publish the first one's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.evaluation.predictions import write_atomic
from video_salmonn.files import json_object

SETTINGS = "settings.json"


def agree_on_settings(out: Path, settings: dict[str, Any], answers: Iterable[Path], *, resume: bool) -> None:
    """Write down what will be asked, or check that it is what was asked before.

    Args:
        out: the evaluation's folder.
        settings: JSON-ready; what would change an answer: weights, numerics, data, prompts.
        answers: files of answers in it; if there are any and nothing says what they answer, they are refused.
        resume: continue the run in the folder.

    Raises:
        ConfigError: if the folder holds another experiment, naming the first setting that differs.
    """
    file = out / SETTINGS
    if file.is_file():
        if not resume:
            raise ConfigError(
                f"{out} already holds an evaluation", remedy="continue it with --resume, or choose another --out"
            )
        before = json_object(file, ConfigError, remedy="choose another --out")
        if difference := _difference(before, json.loads(json.dumps(settings)), ""):
            raise ConfigError(
                f"{file}: the run to resume differs in {difference}",
                remedy="use the settings of that run, or choose another --out",
            )
        settings = _joined(before, settings)
    elif any(file.is_file() and file.stat().st_size for file in answers):
        raise ConfigError(
            f"{out} contains predictions but no settings.json, so their settings are unknown",
            remedy="choose another --out",
        )
    write_atomic(file, json.dumps(settings, ensure_ascii=False, indent=2).encode() + b"\n")


def _difference(before: Any, now: Any, where: str) -> str:
    """The first setting present in both that differs, as "path (before, now)"; "" if none does."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() & now.keys()):
            if found := _difference(before[key], now[key], f"{where}.{key}" if where else key):
                return found
        return ""
    return "" if before == now else f"{where} ({before!r} then, {now!r} now)"


def _joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Tasks asked for now are added to those of before."""
    tasks = before.get("tasks", {}) | now.get("tasks", {})
    return before | now | ({"tasks": tasks} if tasks else {})
