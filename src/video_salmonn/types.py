"""The nouns that travel down the pipeline. Plain data, no behaviour beyond their own consistency.

Time is in seconds on the *clip axis*: 0 is the start of what was asked for (the file, or its ``start`` option).
Nothing here imports torch: media are numpy arrays until :mod:`video_salmonn.features` turns them into tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import numpy as np

from video_salmonn.wording import counted

if TYPE_CHECKING:
    import torch

Status = Literal["used", "absent", "silent", "off", "failed"]
"""What became of a modality: ``used``; ``absent`` (the file has none); ``silent`` (a track is there, nothing is in
it); ``off`` (switched off by the caller); ``failed`` (there, but it could not be decoded)."""


SeenReport = TypedDict(
    "SeenReport", {"status": Status, "from": float | None, "to": float | None, "frames": int, "detail": str}
)
"""JSON form of :class:`Seen`."""
HeardReport = TypedDict("HeardReport", {"status": Status, "from": float | None, "to": float | None, "detail": str})
"""JSON form of :class:`Heard`."""
PieceReport = TypedDict("PieceReport", {"from": float, "to": float, "answer": str})
"""What was answered about a piece of long media; seconds on the clip axis."""


class MediaAccount(TypedDict):
    """JSON form of :class:`MediaReport`; ``reused``: it came from the cache, nothing was decoded or encoded."""

    source: str
    duration: float
    seen: SeenReport
    heard: HeardReport
    streams: list[dict[str, Any]]
    cuts: list[str]
    warnings: list[str]
    reused: NotRequired[bool]


class AnswerReport(TypedDict, total=False):
    """The account of an answer, as ``--json`` prints it.

    Attributes:
        answer: the text.
        model: its name.
        media: one entry a media item, in order.
        media_tokens, prompt_tokens, new_tokens: the media's, the whole prompt's with them, and the answer's.
        seconds: of each stage, and in ``total``.
        warnings: everything that was cut, missing, coarser or without effect, as sentences.
        joint_ctc: the connector's CTC took part; left out where it did not.
        pieces: the answers about pieces of long media; left out for whole media.
        times: what is so when, where that was asked for.
        likelihoods: of given answers, where an evaluation asked for them.
    """

    answer: str
    model: str
    media: list[MediaAccount]
    media_tokens: int
    prompt_tokens: int
    new_tokens: int
    seconds: dict[str, float]
    warnings: list[str]
    joint_ctc: bool
    pieces: list[PieceReport]
    times: list[PieceReport]
    likelihoods: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Pictures with their times.

    Attributes:
        frames: ``uint8`` of shape ``(T, H, W, 3)``, RGB, upright (rotation applied).
        times: ``float64`` of shape ``(T,)``, presentation time of each picture in seconds on the clip axis.
    """

    frames: np.ndarray
    times: np.ndarray

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 (T, H, W, 3), got {self.frames.dtype} {self.frames.shape}")
        if self.times.shape != (self.frames.shape[0],):
            raise ValueError(f"{counted(self.frames.shape[0], 'frame', 'need')} as many times, got {self.times.shape}")

    def __len__(self) -> int:
        return int(self.frames.shape[0])


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono sound whose first sample is at time 0 of the clip axis (late tracks are padded with silence in front).

    Attributes:
        samples: ``float32`` of shape ``(n,)``, nominally in [-1, 1].
        rate: samples per second.
    """

    samples: np.ndarray
    rate: int = 16_000

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise ValueError(f"samples must be float32 (n,), got {self.samples.dtype} {self.samples.shape}")

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate


@dataclass(slots=True)
class Seen:
    """What of the picture was used. ``start`` and ``end`` are seconds on the clip axis, None unless used."""

    status: Status
    start: float | None = None
    end: float | None = None
    frames: int = 0
    detail: str = ""

    def to_dict(self) -> SeenReport:
        """The JSON form of the contract (``from``/``to``)."""
        return {
            "status": self.status,
            "from": self.start,
            "to": self.end,
            "frames": self.frames,
            "detail": self.detail,
        }


@dataclass(slots=True)
class Heard:
    """What of the sound was used. ``start`` and ``end`` are seconds on the clip axis, None unless used or silent."""

    status: Status
    start: float | None = None
    end: float | None = None
    detail: str = ""

    def to_dict(self) -> HeardReport:
        """The JSON form of the contract (``from``/``to``)."""
        return {"status": self.status, "from": self.start, "to": self.end, "detail": self.detail}


@dataclass(slots=True)
class MediaReport:
    """What was seen, heard, cut, chosen or lost of one media item. Every stage passes it on unchanged.

    Attributes:
        source: file name, URL, ``<bytes>`` or ``<array>``.
        duration: seconds on the clip axis.
        seen: the picture's fate.
        heard: the sound's fate.
        streams: one dict a stream of the container, with ``index``, ``kind``, ``codec``, ``chosen`` and details.
        cuts: sentences on what a limit or option cut.
        warnings: sentences on what was lost, repaired or guessed.
    """

    source: str
    duration: float
    seen: Seen
    heard: Heard
    streams: list[dict[str, Any]] = field(default_factory=list)
    cuts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> MediaAccount:
        """The JSON form used by every command."""
        return {
            "source": self.source,
            "duration": self.duration,
            "seen": self.seen.to_dict(),
            "heard": self.heard.to_dict(),
            "streams": self.streams,
            "cuts": self.cuts,
            "warnings": self.warnings,
        }


@dataclass(frozen=True, slots=True)
class Clip:
    """One media item, decoded: pictures, sound (either may be None), and the report on both."""

    frames: FrameBatch | None
    sound: Waveform | None
    duration: float
    report: MediaReport


@dataclass(frozen=True, slots=True)
class Features:
    """What an encoder makes of its input.

    Attributes:
        values: float tensor of shape ``(B, N, D)``.
        mask: bool tensor of shape ``(B, N)``, True where ``values`` come from real input, or None if all do.
        times: float tensor of shape ``(N,)``: seconds at which each step begins, or None where order is not time.
    """

    values: torch.Tensor
    mask: torch.Tensor | None = None
    times: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a model holds one given answer to be.

    Attributes:
        text: the answer.
        log: natural logarithm of the probability that the model answers exactly this: its tokens and the token that
            ends an answer.
        tokens: how many tokens that are, the ending one included.
    """

    text: str
    log: float
    tokens: int

    @property
    def mean(self) -> float:
        """``log`` per token, which does not favour short answers."""
        return self.log / self.tokens


@dataclass(slots=True)
class Answer:
    """What the model said, and the account of how it came to it.

    Attributes:
        text: the answer.
        report: the account (media, tokens, seconds per stage, warnings), JSON-ready.
    """

    text: str
    report: AnswerReport = field(default_factory=AnswerReport)

    def __str__(self) -> str:
        return self.text
