"""The file that says a data folder is SAVE-mini: its figures must never be printed beside the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video_salmonn.errors import EvaluationError
from video_salmonn.files import json_object

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
    found = json_object(file, EvaluationError, remedy="build SAVE-mini again")
    if not isinstance(found.get("counts"), dict):
        raise EvaluationError(f"{file}: 'counts' must be an object", remedy="build SAVE-mini again")
    return found
