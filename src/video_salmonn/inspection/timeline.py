"""What became of a clip on its way to the language model, on one time axis: the data behind ``video-salmonn inspect``.

:mod:`inspecting` measures it; :mod:`timeline_scene` and :mod:`cosine_scene` lay it out; :mod:`timeline_html` and
:mod:`timeline_picture` draw that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from video_salmonn.inspection.comparison import Comparison
from video_salmonn.inspection.thumbnails import Thumbnail
from video_salmonn.inspection.words_heard import WordsHeard
from video_salmonn.types import MediaReport

MIRRORED = 0.3
"""By how much the mean absolute cosine must exceed the mean for the page to say that outputs mirror each other."""
ALIKE = 0.8
"""Mean absolute cosine from which on outputs of a window are called alike."""


@dataclass(frozen=True)
class Sight:
    """The pictures.

    Attributes:
        times: of every frame given to the vision encoder, seconds, ``(T,)``.
        thumbnails: some of them, evenly chosen.
        size: (height, width) the vision encoder is given.
        still_frames: frames that a picture is shown for; 0 for moving pictures.
    """

    times: np.ndarray
    thumbnails: tuple[Thumbnail, ...]
    size: tuple[int, int]
    still_frames: int


@dataclass(frozen=True)
class SoundSegment:
    """Sound that is encoded in one pass: seconds of its real sound, and where its padding ends."""

    start: float
    end: float
    padded_end: float


@dataclass(frozen=True)
class Sound:
    """The sound.

    Attributes:
        seconds: its length.
        envelope: smallest and largest sample of each column, ``(n, 2)``.
        peak: largest absolute sample.
        mel: log-mel as the speech encoder gets it, real sound only, ``(bins, m)`` in 10·log10(power) dB; None where
            the model has no speech encoder.
        mel_bins: bands of the speech encoder.
        segments: encoder segments.
    """

    seconds: float
    envelope: np.ndarray
    peak: float
    mel: np.ndarray | None
    mel_bins: int
    segments: tuple[SoundSegment, ...]


@dataclass(frozen=True)
class LevelView:
    """One resolution of the connector.

    Attributes:
        seconds: length of a window.
        queries: per window.
        real: ``(W,)`` bool, windows with at least one real frame; the others are padding.
        within: ``(W,)`` mean cosine between different query outputs of a window (what the diversity loss lowers);
            NaN for padding and for a single query.
        absolute: ``(W,)`` mean absolute cosine of the same pairs: 1 also where outputs point in opposite directions.
        queries_map: ``(N, N)`` cosine of query against query in the same window, mean over real windows.
        windows_map: ``(n, n)`` cosine of window against window, query by query, mean over the queries; real windows
            only, in the order of time. A cell is the mean over ``grouped`` × ``grouped`` windows.
        grouped: windows in a row of ``windows_map``.
        neighbours: mean of ``windows_map`` between neighbouring windows (before grouping); None for one window.
    """

    seconds: float
    queries: int
    real: np.ndarray
    within: np.ndarray
    absolute: np.ndarray
    queries_map: np.ndarray
    windows_map: np.ndarray
    grouped: int
    neighbours: float | None

    @property
    def mean_within(self) -> float | None:
        """Mean of ``within`` over real windows; None where a window has one query."""
        return _mean(self.within)

    @property
    def mean_absolute(self) -> float | None:
        """Mean of ``absolute`` over real windows; None where a window has one query."""
        return _mean(self.absolute)

    @property
    def mirrored(self) -> bool:
        """Whether the mean cosine hides that outputs are copies and mirror images of each other."""
        mean, absolute = self.mean_within, self.mean_absolute
        return mean is not None and absolute is not None and absolute >= ALIKE and absolute - mean >= MIRRORED


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


@dataclass(frozen=True)
class Tokens:
    """Media tokens: ``kept`` is ``(L,)`` bool, each covers ``seconds``; the others are trimmed."""

    kept: np.ndarray
    seconds: float

    @property
    def given(self) -> int:
        """Tokens that the language model is given."""
        return int(self.kept.sum())


@dataclass(frozen=True)
class Timeline:
    """Everything ``inspect`` shows of a clip.

    Attributes:
        model: its name.
        report: what was seen, heard, cut and lost.
        offset: the clip's time 0 in the file, seconds.
        frame_seconds: of the connector.
        real_end: end of the last frame of 0.5 s that holds anything, seconds.
        axis_end: end of the longest padding window.
        sight, sound: None where not seen or heard.
        levels: of the connector, finest first.
        tokens: media tokens.
        coarseness: factor by which windows are longer than usual.
        sizes: (what, size) in the order of the pipeline.
        seconds: by stage, names as in the report of ``ask``, and ``comparison`` and ``drawing``.
        words: that were heard; None where the connector spells none or nothing is heard.
        comparison: answers, where a question was asked.
        warnings: beyond those of the report.
        notes: what this picture leaves out or how to read it.
        caveats: what a reader must know before trusting an answer of this model.
    """

    model: str
    report: MediaReport
    offset: float
    frame_seconds: float
    real_end: float
    axis_end: float
    sight: Sight | None
    sound: Sound | None
    levels: tuple[LevelView, ...]
    tokens: Tokens
    coarseness: int
    sizes: tuple[tuple[str, str], ...]
    seconds: dict[str, float]
    words: WordsHeard | None = None
    comparison: Comparison | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The source without its folders."""
        return Path(self.report.source).name or self.report.source

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of ``inspect --json``."""
        levels = [
            {
                "seconds": level.seconds,
                "queries": level.queries,
                "windows": len(level.real),
                "padding_windows": int((~level.real).sum()),
                "cosine_within": level.mean_within,
                "absolute_cosine_within": level.mean_absolute,
                "cosine_neighbours": level.neighbours,
            }
            for level in self.levels
        ]
        return {
            "model": self.model,
            "media": [self.report.to_dict()],
            "media_tokens": self.tokens.given,
            "trimmed_tokens": len(self.tokens.kept) - self.tokens.given,
            "levels": levels,
            "segments": [] if self.sound is None else [[s.start, s.end, s.padded_end] for s in self.sound.segments],
            "words": None if self.words is None else self.words.to_dict(),
            "seconds": self.seconds,
            "question": None if self.comparison is None else self.comparison.to_dict(),
            "warnings": [*self.caveats, *self.report.cuts, *self.report.warnings, *self.warnings],
        }
