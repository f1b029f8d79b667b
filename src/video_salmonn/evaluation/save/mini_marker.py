"""The file that says a data folder is SAVE-mini: its numbers must never stand beside the paper's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from video_salmonn.errors import EvaluationError

NAME = "SAVE-mini"
FILE = "save-mini.json"


def read_marker(data: Path) -> dict[str, Any] | None:
    """What the builder wrote about a folder (``version``, ``seed``, ``counts``, ``sources``), None for other folders.

    Raises:
        EvaluationError: if the file is damaged.
    """
    file = data / FILE
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        counts = found["counts"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise EvaluationError(f"{file}: is damaged: {error}", remedy="build SAVE-mini again") from error
    if not isinstance(counts, dict):
        raise EvaluationError(f"{file}: 'counts' must be an object", remedy="build SAVE-mini again")
    return dict(found)
