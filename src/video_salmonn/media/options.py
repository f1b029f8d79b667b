"""The options of seeing and hearing, checked when they are made. Needs no decoder, unlike what they are given to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

from video_salmonn.errors import ConfigError
from video_salmonn.media.limits import Limits
from video_salmonn.media.sampling import parse_frame_times

Scaling = Literal["bicubic", "bilinear", "area"]
SoundMode = Literal["mix", "released"]
"""``mix``: all channels mixed. ``released``: the first channel only, padded with zeros to at least 3 s, as the released
code does (its other habit, taking every file for 16 kHz, is not offered)."""


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """How media are seen and heard.

    Attributes:
        use_video: whether pictures are looked at.
        use_audio: whether sound is listened to.
        start: beginning of the stretch wanted, seconds into the file; None for its beginning.
        end: end of the stretch wanted, seconds into the file; None for its end.
        frame_times: ``"uniform"`` (2 frames per second), ``"released"`` (first and last frame of every second), or
            frames per second as a number.
        spotlight: for pictures, ``n`` of the paper's image spotlight (the whole and ``(n-1)^2`` crops); 0 is off.
        frame_size: ``(H, W)`` that every frame is scaled to; None keeps the size of the first frame.
        picture_size: ``(H, W)`` that single pictures are scaled to where ``frame_size`` is None, by Pillow's filter
            from the whole picture as the released code does; videos keep their size.
        scaling: filter of the scaler.
        sound_mode: ``"mix"`` of all channels, or ``"released"``: first channel only, at least 3 s.
        on_corrupt: ``"keep"`` uses what can be decoded and reports what was lost; ``"raise"`` refuses.
        video_stream: index of the picture stream; None chooses.
        audio_stream: index of the sound stream; None chooses.
        threads: decoding threads; 0 for one a core.
        limits: what the media may cost.
    """

    use_video: bool = True
    use_audio: bool = True
    start: float | None = None
    end: float | None = None
    frame_times: str | float = "uniform"
    spotlight: int = 0
    frame_size: tuple[int, int] | None = None
    picture_size: tuple[int, int] | None = None
    scaling: Scaling = "bicubic"
    sound_mode: SoundMode = "mix"
    on_corrupt: Literal["keep", "raise"] = "keep"
    video_stream: int | None = None
    audio_stream: int | None = None
    threads: int = 0
    limits: Limits = field(default_factory=Limits)

    @property
    def stop(self) -> float | None:
        """Where the stretch wanted ends on the clip axis, by ``end`` or by ``Limits.max_seconds``; None for the end."""
        ends = [] if self.end is None else [self.end - (self.start or 0.0)]
        if self.limits.max_seconds is not None:
            ends.append(self.limits.max_seconds)
        return min(ends, default=None)

    def __post_init__(self) -> None:
        parse_frame_times(self.frame_times)
        switch(self.use_video, "use_video")
        switch(self.use_audio, "use_audio")
        if not (self.use_video or self.use_audio):
            raise ConfigError("use_video and use_audio are both off", remedy="Switch one of them on.")
        for name in ("start", "end"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be 0 or more seconds, not {value!r}", remedy=f"Correct {name}.")
        for name in ("video_stream", "audio_stream"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Integral) and _is_number(value) and int(value) >= 0):
                raise ConfigError(f"{name} must be the index of a stream, not {value!r}", remedy=f"Correct {name}.")
        if not isinstance(self.limits, Limits):
            raise ConfigError(f"limits must be Limits, not {type(self.limits).__name__}", remedy="Pass Limits(…).")
        if self.end is not None and self.end <= (self.start or 0):
            raise ConfigError(f"end ({self.end:g} s) is not after start ({self.start or 0:g} s)", remedy="Correct end.")
        if self.spotlight not in (0, *range(2, 17)):
            raise ConfigError(f"spotlight must be 0 or 2 to 16, not {self.spotlight!r}", remedy="The paper uses 4.")
        for name in ("frame_size", "picture_size"):
            size = getattr(self, name)
            if size is not None and not (len(size) == 2 and all(isinstance(n, int) and 0 < n <= 8192 for n in size)):
                raise ConfigError(f"{name} must be (H, W) of 1 to 8192, not {size!r}", remedy="Correct it.")
        if self.on_corrupt not in ("keep", "raise"):
            raise ConfigError(f"on_corrupt {self.on_corrupt!r} is unknown", remedy="Use keep or raise.")
        if self.scaling not in ("bicubic", "bilinear", "area"):
            raise ConfigError(f"scaling {self.scaling!r} is unknown", remedy="Use bicubic, bilinear or area.")
        if self.sound_mode not in ("mix", "released"):
            raise ConfigError(f"sound_mode {self.sound_mode!r} is unknown", remedy="Use mix or released.")


def switch(value: Any, name: str) -> bool:
    """A switch that is on or off; None is off. Raises ConfigError for anything else, such as the text ``"false"``."""
    if value is not None and value not in (True, False):
        raise ConfigError(f"{name} must be True or False, not {value!r}", remedy=f"Correct {name}.")
    return bool(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
