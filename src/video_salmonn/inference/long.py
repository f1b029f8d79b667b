"""Media that do not fit the language model's context: never cut silently.

``error`` refuses; ``segments`` asks about one stretch after another and puts the answers together; ``coarse`` makes
the connector's windows longer, so the same clip takes fewer tokens.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from video_salmonn.connector import ConnectorConfig
from video_salmonn.errors import ContextError
from video_salmonn.inference.pieces import clock
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.wording import counted

MAX_COARSENESS = 64


def stream_frames(features: MediaFeatures, steps_per_frame: int) -> tuple[int, int]:
    """Frames of 0.5 s of an item's picture and of its sound."""
    visual = 0 if features.visual is None else features.still_frames or features.visual.shape[0]
    steps = max((t.shape[0] for t in (features.speech, features.audio) if t is not None), default=0)
    return visual, -(-steps // steps_per_frame)


def frames_of(features: MediaFeatures, config: ConnectorConfig) -> int:
    """Frames of 0.5 s an item takes on the connector's axis."""
    return config.axis_frames(*stream_frames(features, config.audio_tokens))


def coarseness_to_fit(config: ConnectorConfig, frames: list[int], room: int) -> int:
    """Smallest power of two by which windows must be longer for all items to fit ``room`` tokens.

    Raises:
        ContextError: not even the coarsest windows fit.
    """
    coarseness = 1
    while sum(config.tokens_for(n, coarseness) for n in frames) > room:
        coarseness *= 2
        if coarseness > MAX_COARSENESS:
            raise ContextError(
                f"media of {sum(frames) * config.frame_seconds:.0f} s do not fit {counted(room, 'token')} even "
                f"with windows "
                f"{MAX_COARSENESS} times as long",
                remedy="ask about a stretch of it (start, end), or use long='segments'",
            )
    return coarseness


def split(features: MediaFeatures, frames: int, steps_per_frame: int) -> list[MediaFeatures]:
    """Cut an item's features into stretches of at most ``frames`` frames; a picture goes into each of them."""
    total = max(stream_frames(features, steps_per_frame))
    borders = [*range(0, total, frames), total]
    return [cut(features, span, steps_per_frame) for span in pairwise(borders)]


def cut(features: MediaFeatures, span: tuple[int, int], steps_per_frame: int) -> MediaFeatures:
    """A stretch of an item's features, in frames from the first to one past the last; a picture goes into each."""
    start, end = span
    visual = features.visual
    if visual is not None and not features.still_frames:
        visual = visual[start:end]
        visual = visual if len(visual) else None
    sound = slice(start * steps_per_frame, end * steps_per_frame)
    speech, audio = (None if t is None else t[sound] for t in (features.speech, features.audio))
    speech, audio = (t if t is not None and len(t) else None for t in (speech, audio))
    return replace(
        features,
        visual=visual,
        speech=speech,
        audio=audio,
        sound_frames=max(0, min(features.sound_frames, end) - start),
        still_frames=min(features.still_frames, end - start) if features.still_frames else 0,
        loudness=None if features.loudness is None else features.loudness[start : end + 1],
    )


def merge_answers(answers: list[str], seconds: list[float]) -> str:
    """Answers about consecutive stretches of equal length in seconds as one text, each with its time in the clip."""
    if len(answers) == 1:
        return answers[0]
    lines, start = [], 0.0
    for answer, length in zip(answers, seconds):
        lines.append(f"[{clock(start)}-{clock(start + length)}] {answer}")
        start += length
    return "\n".join(lines)
