"""Options of seeing and hearing applied to a clip that is decoded already, without a decoder.

What only decoding can do is refused by name: nothing a caller asks for is left out silently.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from video_salmonn.errors import ConfigError, EmptyMediaError
from video_salmonn.media.downmix import SILENCE
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.sampling import TOLERANCE, half_frame
from video_salmonn.types import Clip, FrameBatch, Heard, MediaReport, Seen, Waveform

APPLICABLE = ("use_video", "use_audio", "start", "end")
"""Fields of :class:`MediaOptions` that a decoded clip can still follow."""


def check_applicable(given: Collection[str], name: str) -> None:
    """Raise unless a decoded clip can follow the options the caller named.

    Raises:
        ConfigError: one of them needs the decoder.
    """
    refused = sorted(set(given) - set(APPLICABLE))
    if refused:
        raise ConfigError(
            f"{name}: {', '.join(refused)} cannot be applied to media that are decoded already",
            remedy="give the file itself, or decode it with these options (load_clip); start, end and switching sound "
            "or picture off can be applied",
        )


def with_options(clip: Clip, options: MediaOptions, sound: Clip | None = None) -> Clip:
    """The stretch and the modalities of a decoded clip that ``options`` ask for.

    Args:
        clip: decoded; its times are what ``start`` and ``end`` count on.
        options: ``use_video``, ``use_audio``, ``start``, ``end`` and ``limits.max_seconds`` are applied; the others
            are taken for those it was decoded with.
        sound: takes the place of the clip's own sound, before anything is cut.

    Raises:
        EmptyMediaError: nothing is left of it.
    """
    if sound is not None:
        clip = _with_sound(clip, sound)
    report = clip.report
    frames, wave, seen, heard, cuts = clip.frames, clip.sound, report.seen, report.heard, list(report.cuts)
    if not options.use_video:
        frames, seen = None, Seen("off")
    if not options.use_audio:
        wave, heard = None, Heard("off")
    start, stop = options.start or 0.0, options.stop
    if wave is None and _is_picture(report):  # it has no time, as when a file of it is read
        start, stop = 0.0, None
    untouched = options.use_video and options.use_audio
    duration = max(_length(frames, seen, report), 0.0 if wave is None else wave.seconds)
    if start and start >= duration:
        raise EmptyMediaError(
            report.source, f"start={start:g} s lies behind its end at {duration:.2f} s", remedy="Choose a start in it."
        )
    if start or (stop is not None and start + stop < duration - TOLERANCE):
        length = duration - start if stop is None else min(stop, duration - start)
        frames, seen = _cut_frames(frames, seen, report, start, length)
        wave, heard = _cut_sound(wave, heard, start, length)
        cuts += _cuts(options, start, length, duration)
        duration, untouched = length, False
    if frames is None and wave is None:
        raise EmptyMediaError(
            report.source,
            f"nothing is left to see or to hear (picture: {seen.status}, sound: {heard.status})",
            remedy="Switch the other modality on, or choose another stretch.",
        )
    if untouched:
        return clip
    made = replace(report, duration=duration, seen=seen, heard=heard, cuts=cuts, warnings=list(report.warnings))
    return Clip(frames, wave, duration, made)


def _length(frames: FrameBatch | None, seen: Seen, report: MediaReport) -> float:
    """Seconds the picture lasts."""
    if frames is None:
        return 0.0
    if seen.end is not None:
        return seen.end
    return max(report.duration, float(frames.times[-1]))


def _is_picture(report: MediaReport) -> bool:
    return any(stream.get("kind") == "picture" and stream.get("chosen") for stream in report.streams)


def _cut_frames(
    frames: FrameBatch | None, seen: Seen, report: MediaReport, start: float, length: float
) -> tuple[FrameBatch | None, Seen]:
    if frames is None or not len(frames):
        return frames, seen
    if _is_picture(report):  # a picture is there at every time
        return frames, seen
    chosen, times = _chosen(frames.times, start, length, _length(frames, seen, report), _half(report))
    if not len(chosen):
        return None, Seen("absent", detail="no picture in the stretch asked for")
    end = min(length, _length(frames, seen, report) - start)
    return FrameBatch(frames.frames[chosen], times), replace(seen, start=0.0, end=end, frames=len(chosen))


def _half(report: MediaReport) -> float:
    rates = [s.get("frame_rate") for s in report.streams if s.get("chosen") and s.get("kind") == "video"]
    return half_frame(rates[0] if rates else None)


def _chosen(times: np.ndarray, start: float, length: float, shown: float, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a stretch and their times in it.

    Frames on a regular grid stay on one that begins with the stretch: the picture on screen at each of its times, as
    the decoder would have taken them. Others keep their own times.
    """
    steps = np.diff(times)
    if len(times) > 1 and np.allclose(steps, steps[0], atol=1e-6) and steps[0] > 0:
        step = float(steps[0])
        end = min(length - TOLERANCE, shown - half - start)
        count = max(1 if start < shown else 0, math.ceil(end / step - 1e-9))
        grid = np.arange(count, dtype=np.float64) * step
        index = np.floor((grid + start - times[0]) / step + 1e-6).astype(int).clip(0, len(times) - 1)
        return index, grid
    inside = np.flatnonzero((times >= start - TOLERANCE) & (times < start + length - TOLERANCE))
    before = np.flatnonzero(times < start - TOLERANCE)
    if not len(inside) and len(before) and start < shown:  # the one on screen when the stretch begins
        return before[-1:], np.zeros(1)
    return inside, (times[inside] - start).clip(0.0)


def _cut_sound(wave: Waveform | None, heard: Heard, start: float, length: float) -> tuple[Waveform | None, Heard]:
    if wave is None or not len(wave.samples):
        return wave, heard
    samples = wave.samples[round(start * wave.rate) : round((start + length) * wave.rate)]
    if not len(samples):
        return None, Heard("absent", detail="no sound in the stretch asked for")
    begin = max(0.0, (heard.start or 0.0) - start)
    end = len(samples) / wave.rate
    if heard.status == "used" and float(samples.max() - samples.min()) < SILENCE:
        return Waveform(samples, wave.rate), Heard("silent", begin, end, "nothing but silence in the stretch asked for")
    return Waveform(samples, wave.rate), replace(heard, start=min(begin, end), end=end)


def _cuts(options: MediaOptions, start: float, length: float, duration: float) -> list[str]:
    cuts = [f"start={start:g}: the first {start:g} s were not asked for"] if start else []
    end = start + length
    if end < duration - TOLERANCE:
        asked = options.end is not None and end >= options.end - TOLERANCE
        cause = f"end={options.end:g}" if asked else f"max_seconds={options.limits.max_seconds:g}"
        cuts.append(f"{cause}: {end:.2f} s up to {duration:.2f} s {'was not asked for' if asked else 'was not used'}")
    return cuts


def _with_sound(clip: Clip, sound: Clip) -> Clip:
    """A clip with another one's sound."""
    name = sound.report.source
    streams = [dict(stream) for stream in clip.report.streams if stream.get("kind") != "audio"]
    streams += [dict(stream, source=name) for stream in sound.report.streams if stream.get("kind") == "audio"]
    warnings = list(clip.report.warnings)
    if clip.sound is not None:
        warnings.append(f"the clip's own sound was replaced by {name}")
    warnings += [f"{name}: {sentence}" for sentence in (*sound.report.cuts, *sound.report.warnings)]
    heard = 0.0 if sound.sound is None else sound.sound.seconds
    shown = _length(clip.frames, clip.report.seen, clip.report)
    picture = _is_picture(clip.report) and heard > 0
    duration = heard if picture else max(heard, shown)
    report = replace(clip.report, heard=sound.report.heard, streams=streams, warnings=warnings, duration=duration)
    return Clip(clip.frames, sound.sound, duration, report)
