"""Transcripts with times, and the formats they are written in: plain text, SubRip, WebVTT and JSON.

Pure functions over plain data: nothing here knows a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.types import MediaAccount

FORMATS = ("txt", "srt", "vtt", "json", "verbose_json")
LONGEST_SEGMENT = 6.0
"""Seconds after which a segment is split: what subtitles commonly show at once."""
MOST_CHARACTERS = 84
"""Characters of a segment: two lines of 42, as subtitles have them."""
PAUSE = 0.8
"""Seconds without a word that end a segment."""


@dataclass(frozen=True)
class Word:
    """A spoken word with its times.

    Attributes:
        start, end: seconds into the file.
        text: the word without spaces around it.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Segment:
    """A stretch of a transcript, as long as a subtitle.

    Attributes:
        id: its number, from 0.
        start, end: seconds into the file.
        text: what is said.
        words: its words with their times; empty where they are not known.
    """

    id: int
    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """What is said in a media file, and when.

    Attributes:
        segments: in the order of time.
        duration: seconds of the file, or of the stretch that was asked for.
        language: English name in lower case ("english"), or "unknown" if the decoder does not state it.
        decoder: ``model`` or ``whisper``.
        task: ``transcribe``, or ``translate`` where the text is an English translation.
        media: the report on the media item, as in answers: what was heard, cut and lost.
        model: name of the model.
        seconds: computing time by stage.
        warnings: sentences a reader must know.
    """

    segments: tuple[Segment, ...]
    duration: float
    language: str
    decoder: str
    task: str = "transcribe"
    media: tuple[MediaAccount, ...] = ()
    model: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole transcript as one line."""
        return " ".join(segment.text for segment in self.segments if segment.text)

    @property
    def words(self) -> tuple[Word, ...]:
        """All words whose times are known."""
        return tuple(word for segment in self.segments for word in segment.words)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of ``video-salmonn transcribe``: the names of OpenAI's ``verbose_json``, and the account."""
        return verbose_json(self) | {
            "media": list(self.media),
            "decoder": self.decoder,
            "model": self.model,
            "seconds": self.seconds,
            "warnings": list(self.warnings),
        }


def segments_of(words: Sequence[Word], first: int = 0) -> list[Segment]:
    """Words as segments that a subtitle can show.

    A pause of :data:`PAUSE` ends a segment. One that is longer than :data:`LONGEST_SEGMENT` or
    :data:`MOST_CHARACTERS` is split where the pause between two of its words is longest, later ones first.

    Args:
        words: in the order of time.
        first: number of the first segment.
    """
    runs: list[list[Word]] = []
    for word in words:
        if runs and word.start - runs[-1][-1].end < PAUSE:
            runs[-1].append(word)
        else:
            runs.append([word])
    pieces = [piece for run in runs for piece in _split(run)]
    return [
        Segment(number, piece[0].start, piece[-1].end, " ".join(word.text for word in piece), tuple(piece))
        for number, piece in enumerate(pieces, first)
    ]


def _split(words: list[Word]) -> list[list[Word]]:
    """A run of words in pieces that are short enough."""
    done: list[list[Word]] = []
    while not _fits(words):
        count = next(n for n in range(len(words) - 1, 0, -1) if n == 1 or _fits(words[:n]))
        places = range(max(1, count // 2), count + 1)
        border = max(places, key=lambda place: (round(words[place].start - words[place - 1].end, 2), place))
        done.append(words[:border])
        words = words[border:]
    return [*done, words]


def _fits(words: Sequence[Word]) -> bool:
    length = sum(len(word.text) + 1 for word in words) - 1
    return len(words) == 1 or (words[-1].end - words[0].start <= LONGEST_SEGMENT and length <= MOST_CHARACTERS)


# -------------------------------------------------------------------------------------------------------- formats


def render(transcript: Transcript, form: str) -> str:
    """A transcript as text in one of :data:`FORMATS`, ending with a line feed.

    ``json`` is OpenAI's short form (``{"text"}``), ``verbose_json`` its long one; with times to the millisecond.

    Raises:
        ConfigError: no such format.
    """
    if form not in _RENDERERS:
        raise ConfigError(f"format {form!r} is unknown", remedy=f"use one of: {', '.join(FORMATS)}")
    return _RENDERERS[form](transcript)


def verbose_json(transcript: Transcript) -> dict[str, Any]:
    """OpenAI's ``verbose_json``: task, language, duration, text, segments and words."""
    return {
        "task": transcript.task,
        "language": transcript.language,
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "segments": [
            {"id": one.id, "start": round(one.start, 3), "end": round(one.end, 3), "text": one.text}
            for one in transcript.segments
        ],
        "words": [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)} for word in transcript.words
        ],
    }


def timestamp(seconds: float, point: str) -> str:
    """``hh:mm:ss`` and milliseconds after ``point``."""
    thousandths = max(round(seconds * 1000), 0)
    hours, rest = divmod(thousandths, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, rest = divmod(rest, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{point}{rest:03d}"


def _text(transcript: Transcript) -> str:
    return transcript.text + "\n"


def _cue(segment: Segment, point: str) -> str:
    return f"{timestamp(segment.start, point)} --> {timestamp(segment.end, point)}"


def _srt(transcript: Transcript) -> str:
    cues = [f"{number}\n{_cue(one, ',')}\n{one.text}\n" for number, one in enumerate(transcript.segments, 1)]
    return "\n".join(cues) or "\n"


def _vtt(transcript: Transcript) -> str:
    safe = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}  # WebVTT reads these as markup
    cues = [f"{_cue(one, '.')}\n{one.text.translate(safe)}\n" for one in transcript.segments]
    return "\n".join(["WEBVTT\n", *cues])


def _json(transcript: Transcript) -> str:
    return json.dumps({"text": transcript.text}, ensure_ascii=False) + "\n"


def _verbose_json(transcript: Transcript) -> str:
    return json.dumps(verbose_json(transcript), ensure_ascii=False, indent=2) + "\n"


_RENDERERS: dict[str, Callable[[Transcript], str]] = {
    "txt": _text,
    "srt": _srt,
    "vtt": _vtt,
    "json": _json,
    "verbose_json": _verbose_json,
}
