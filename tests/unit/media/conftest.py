from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import media_make
import numpy as np
import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures" / "media"


@pytest.fixture(scope="session")
def clips() -> Path:
    return FIXTURES


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Callable[..., Path]:
    """``made("a.mp4", **options of media_make.write)``, written once a session."""
    folder = tmp_path_factory.mktemp("media")
    known: dict[str, Path] = {}

    def make(name: str, **options) -> Path:
        parts = {k: v.tobytes() if isinstance(v, np.ndarray) else repr(v) for k, v in options.items()}
        key = name + repr(sorted((k, hash(v)) for k, v in parts.items()))
        if key not in known:
            path = Path(tempfile.mkdtemp(dir=folder)) / name
            media_make.write(path, **options)
            known[key] = path
        return known[key]

    return make
