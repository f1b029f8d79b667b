"""Any file in; timestamped frames and a 16 kHz mono waveform out, with a report of what was used, cut or lost.

Names are imported when they are used: options, limits and array sources need no decoder, so training and inference on
features that were made before run where PyAV is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from video_salmonn.errors import MissingPartError

if TYPE_CHECKING:
    from video_salmonn.media.audio import segments
    from video_salmonn.media.clip import ClipPart, ClipStream, iter_clip, load_clip
    from video_salmonn.media.limits import Limits
    from video_salmonn.media.options import MediaOptions
    from video_salmonn.media.probing import duration, probe
    from video_salmonn.media.source import ArraySound, ArrayVideo, MediaSource, source_name
    from video_salmonn.media.worker import load_many

__all__ = [
    "ArraySound",
    "ArrayVideo",
    "ClipPart",
    "ClipStream",
    "Limits",
    "MediaOptions",
    "MediaSource",
    "duration",
    "iter_clip",
    "load_clip",
    "load_many",
    "probe",
    "segments",
    "source_name",
]

_LAZY = {
    "ArraySound": "source",
    "ArrayVideo": "source",
    "ClipPart": "clip",
    "ClipStream": "clip",
    "Limits": "limits",
    "MediaOptions": "options",
    "MediaSource": "source",
    "duration": "probing",
    "iter_clip": "clip",
    "load_clip": "clip",
    "load_many": "worker",
    "probe": "probing",
    "segments": "audio",
    "source_name": "source",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for. Raises MissingPartError where that decodes and PyAV cannot be imported."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    except ImportError as error:
        if (error.name or "").split(".")[0] != "av":
            raise
        raise MissingPartError(
            f"media cannot be decoded here: PyAV is not installed or does not load ({error})",
            remedy="pip install av; or train on features that were made elsewhere (data.features, data.cache)",
        ) from error
