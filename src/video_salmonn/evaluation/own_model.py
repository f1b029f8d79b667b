"""This package's own model as an :class:`~video_salmonn.evaluation.engine.Engine`."""

from __future__ import annotations

from video_salmonn.errors import ConfigError
from video_salmonn.evaluation.engine import Engine


def load_engine(model: str, *, device: str, dtype: str) -> Engine:
    """Load a model by name or folder."""
    raise ConfigError(f"{model}: this build has no inference engine yet")
