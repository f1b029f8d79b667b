"""video-SALMONN: a language model that watches a video and hears it.

>>> from video_salmonn import VideoSalmonn
>>> model = VideoSalmonn.load("tiny")  # doctest: +SKIP
>>> model.ask("clip.mp4", "What is said, and what can be seen?").text  # doctest: +SKIP

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from video_salmonn.version import __version__

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn
    from video_salmonn.model.configuration import VideoSalmonnConfig
    from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
    from video_salmonn.model.processing import VideoSalmonnProcessor
    from video_salmonn.types import Answer, AnswerReport, Clip, MediaReport

__all__ = [
    "Answer",
    "AnswerReport",
    "Clip",
    "MediaReport",
    "VideoSalmonn",
    "VideoSalmonnConfig",
    "VideoSalmonnForConditionalGeneration",
    "VideoSalmonnProcessor",
    "__version__",
    "load",
]

_LAZY = {
    "Answer": "video_salmonn.types",
    "AnswerReport": "video_salmonn.types",
    "Clip": "video_salmonn.types",
    "MediaReport": "video_salmonn.types",
    "VideoSalmonn": "video_salmonn.inference.engine",
    "VideoSalmonnConfig": "video_salmonn.model.configuration",
    "VideoSalmonnForConditionalGeneration": "video_salmonn.model.modeling",
    "VideoSalmonnProcessor": "video_salmonn.model.processing",
}


def load(name_or_dir: str = "embedded", **options: Any) -> VideoSalmonn:
    """Load a model: ``embedded``, ``tiny`` or a directory. Options as :meth:`VideoSalmonn.load`."""
    from video_salmonn.inference.engine import VideoSalmonn

    return VideoSalmonn.load(name_or_dir, **options)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'video_salmonn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
