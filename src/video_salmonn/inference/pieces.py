"""Media longer than what a model was trained on: understood in pieces, whose answers become one.

A model states the longest media it was trained on (``trained_seconds``). Anything longer is cut on the time axis into
pieces of at most that length, where the sound is quietest near an even division, so that words stay whole. The question
is asked of every piece, and the answers become one by the first rule that fits:

1. *Transcripts* are joined. Pieces in which CTC heard no words are left out where it heard some in others.
2. *The same answer* from all pieces is the answer.
3. *Yes or no*: yes if any piece says yes, in the words of the piece that is surest of it.
4. *Everything else* becomes a timeline: "From 0:00 to 0:20: Rain; from 0:20 to 0:35: A dog barking." Neighbours that
   say the same are put together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from video_salmonn.types import PieceReport

Span = tuple[int, int]
"""A stretch of the connector's axis, in frames: first, and one past the last."""
AT_ONCE = 16
"""Pieces that are generated for together."""
ROOM = 0.8
"""Share of the longest length that pieces have on average, so that a border can be moved to where it is quiet."""
AROUND = 0.1
"""Seconds of sound around a border that are measured for loudness."""
_YES, _NO = re.compile(r"\W*yes\b", re.IGNORECASE), re.compile(r"\W*no\b", re.IGNORECASE)


def border_loudness(samples: NDArray[np.float32], rate: int, frame_seconds: float) -> torch.Tensor:
    """How loud a sound is at the borders of its frames: mean square ``(frames + 1,)``, float32.

    Args:
        samples: ``(n,)``.
        rate: samples a second.
        frame_seconds: of a frame.
    """
    squares = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    step, half = round(rate * frame_seconds), round(rate * AROUND / 2)
    places = np.arange(math.ceil(len(samples) / step) + 1) * step
    low, high = (np.clip(places + offset, 0, len(samples)) for offset in (-half, half))
    return torch.from_numpy(((squares[high] - squares[low]) / np.maximum(high - low, 1)).astype(np.float32))


def spans(frames: int, longest: int, loudness: torch.Tensor | None) -> list[Span]:
    """Pieces of at most ``longest`` frames that cover ``frames``, of about equal length.

    Args:
        frames: of the media.
        longest: of a piece; at least 1.
        loudness: see :func:`border_loudness`; None where there is no sound: then all are as long as can be.
    """
    if frames <= longest:
        return [(0, frames)]
    if loudness is None:
        return [(start, min(start + longest, frames)) for start in range(0, frames, longest)]
    found, start = [], 0
    while frames - start > longest:
        count = max(math.ceil((frames - start) / (ROOM * longest)), 2)
        even = (frames - start) / count
        slack = longest - even
        low = max(start + 1, math.ceil(start + even - slack))
        places = [place for place in range(low, start + longest + 1) if place < frames]
        quiet = [float(loudness[place]) if place < len(loudness) else 0.0 for place in places]
        middle = start + even
        border = min(zip(quiet, (abs(place - middle) for place in places), places))[2]
        found.append((start, border))
        start = border
    return [*found, (start, frames)]


@dataclass(frozen=True)
class Piece:
    """What was answered about a stretch of the media.

    Attributes:
        start, end: seconds on the clip axis.
        answer: text.
        joint: CTC took part in it.
    """

    start: float
    end: float
    answer: str
    joint: bool = False

    def to_dict(self) -> PieceReport:
        """The JSON form of reports."""
        return {"from": self.start, "to": self.end, "answer": self.answer}


def clock(seconds: float) -> str:
    """``m:ss`` of a time, to the nearest second."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"


def transcript(pieces: Sequence[Piece]) -> str:
    """Rule 1: the pieces' transcripts as one."""
    spoken = [piece for piece in pieces if piece.joint] or list(pieces)
    if len({_plain(piece.answer) for piece in spoken}) == 1 and not spoken[0].joint:
        return spoken[0].answer
    return " ".join(piece.answer for piece in spoken if piece.answer)


def says_yes(answer: str) -> bool:
    """Whether an answer is a yes."""
    return _YES.match(answer) is not None


def is_yes_or_no(pieces: Sequence[Piece]) -> bool:
    """Whether all pieces were answered by yes or no."""
    return all(says_yes(piece.answer) or _NO.match(piece.answer) for piece in pieces)


def agreed(pieces: Sequence[Piece]) -> str | None:
    """Rule 2: the one answer that all pieces give; None where they differ."""
    return pieces[0].answer if len({_plain(piece.answer) for piece in pieces}) == 1 else None


def timeline(pieces: Sequence[Piece]) -> str:
    """Rule 4: what is answered about which time."""
    parts = []
    for _, same in groupby(pieces, key=lambda piece: _plain(piece.answer)):
        group = list(same)
        text = group[0].answer.rstrip(". ") or "nothing"
        parts.append(f"from {clock(group[0].start)} to {clock(group[-1].end)}: {text}")
    text = "; ".join(parts) + "."
    return text[:1].upper() + text[1:]


def _plain(answer: str) -> str:
    return " ".join(answer.casefold().rstrip(". ").split())
