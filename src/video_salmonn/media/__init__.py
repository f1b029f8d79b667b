"""Any file in; timestamped frames and a 16 kHz mono waveform out, with a report of what was used, cut or lost."""

from video_salmonn.media.audio import segments
from video_salmonn.media.clip import ClipStream, Piece, iter_clip, load_clip
from video_salmonn.media.limits import Limits
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.probing import duration, probe
from video_salmonn.media.source import ArraySound, ArrayVideo, MediaSource
from video_salmonn.media.worker import load_many

__all__ = [
    "ArraySound",
    "ArrayVideo",
    "ClipStream",
    "Limits",
    "MediaOptions",
    "MediaSource",
    "Piece",
    "duration",
    "iter_clip",
    "load_clip",
    "load_many",
    "probe",
    "segments",
]
