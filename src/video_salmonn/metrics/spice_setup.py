"""Bring SPICE the two files it needs and this package may not ship: Stanford CoreNLP 3.6.0 and its models (GPL)."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

from video_salmonn.errors import EvaluationError, MissingPartError
from video_salmonn.metrics.coco_java import CORENLP_JARS, CORENLP_VARIABLE, corenlp_folder, missing_corenlp


def state() -> dict[str, Any]:
    """Where the files are looked for, which there are, and what to do."""
    folder, missing = corenlp_folder(), missing_corenlp()
    return {
        "folder": str(folder),
        "files": list(CORENLP_JARS),
        "missing": missing,
        "remedy": (
            "Get the release 3.6.0 (2015-12-09) of Stanford CoreNLP from its official project, unpack it, and run "
            f"`video-salmonn eval setup-spice --from FOLDER`; or put the files there yourself, or name another folder "
            f"in {CORENLP_VARIABLE}. Until then SPICE and SPIDEr are n/a."
        )
        if missing
        else "",
    }


def install(source: Path) -> dict[str, Any]:
    """Copy the two jars from an unpacked CoreNLP release; returns :func:`state` afterwards.

    Raises:
        MissingPartError: if the folder lacks one of them.
        EvaluationError: if one is damaged (no jar).
    """
    folder = corenlp_folder()
    for name in CORENLP_JARS:
        if not (source / name).is_file():
            raise MissingPartError(f"{source}: holds no {name}", remedy="unpack the release 3.6.0 and name its folder")
        if not zipfile.is_zipfile(source / name):
            raise EvaluationError(f"{source / name}: is damaged: it is not a jar", remedy="download it again")
    folder.mkdir(parents=True, exist_ok=True)
    for name in CORENLP_JARS:
        if (folder / name).exists() and (source / name).samefile(folder / name):
            continue
        partial = folder / f".{name}.{os.getpid()}.part"
        shutil.copyfile(source / name, partial)
        partial.replace(folder / name)
    return state()
