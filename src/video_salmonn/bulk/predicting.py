"""Rows that are decoded to answers, several at once: what the batch command and the Ray actor share.

A row that cannot be answered costs that row: a batch that fails is halved until what is left is one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from video_salmonn.errors import VideoSalmonnError
from video_salmonn.inference.options import MEDIA_OPTIONS
from video_salmonn.inference.pieces import Piece, timeline
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.media.options import MediaOptions
from video_salmonn.types import Answer, Clip

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn
    from video_salmonn.model.processing import VideoSalmonnProcessor

DECODING = (*MEDIA_OPTIONS, "no_audio", "no_video")
"""Options that decoding has applied already."""
MOST_UNEXPECTED = 20
"""Rows in a row that may fail for reasons that are not their own, such as a lost GPU, before everything stops."""


@dataclass(frozen=True)
class Decoded:
    """A row whose media are decoded.

    Attributes:
        conversation: a question or messages.
        clips: its media, in order.
        options: of the row, those of decoding among them.
    """

    conversation: Any
    clips: Sequence[Clip] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


class TooManyFailures(VideoSalmonnError):
    """Rows fail one after the other for a reason that is none of theirs."""


class Predictor:
    """Answers decoded rows in batches.

    Args:
        engine: the model.
    """

    def __init__(self, engine: VideoSalmonn) -> None:
        self.engine = engine
        self._unexpected = 0

    def answer(self, rows: Sequence[Decoded]) -> list[Answer | Exception]:
        """An answer for each row, or why there is none.

        Raises:
            TooManyFailures: one row after the other fails unexpectedly.
        """
        items = [MediaQuestion(row.conversation, list(row.clips), _left(row.options)) for row in rows]
        found = self._answer(items)
        return [
            one if isinstance(one, Exception) else _clocked(one, float(row.options.get("start") or 0))
            for one, row in zip(found, rows)
        ]

    def finish_of(self, answer: Answer, options: Mapping[str, Any]) -> str:
        """``length`` for an answer that was ended by its longest length, else ``stop``."""
        most = options.get("max_new_tokens") or self.engine.model.config.generation.max_new_tokens or 128
        pieces = len(answer.report.get("pieces", ())) or 1
        return "length" if answer.report["new_tokens"] >= pieces * int(most) else "stop"

    def _answer(self, items: list[MediaQuestion]) -> list[Answer | Exception]:
        if not items:
            return []
        try:
            answers: list[Answer | Exception] = list(self.engine.batch(items))
        except Exception as error:
            if len(items) > 1:
                half = len(items) // 2
                return self._answer(items[:half]) + self._answer(items[half:])
            self._unexpected = 0 if isinstance(error, VideoSalmonnError) else self._unexpected + 1
            if self._unexpected >= MOST_UNEXPECTED:
                raise TooManyFailures(
                    f"{MOST_UNEXPECTED} consecutive rows failed unexpectedly, the last with "
                    f"{type(error).__name__}: {error}",
                    remedy="fix the cause (device, memory); the same command with --retry-failed continues",
                ) from error
            return [error]
        self._unexpected = 0
        return answers


def media_options(processor: VideoSalmonnProcessor, options: Mapping[str, Any], threads: int = 0) -> MediaOptions:
    """How a row's media are decoded for a model.

    Raises:
        ConfigError: an option is impossible.
    """
    wanted = {name: options[name] for name in MEDIA_OPTIONS if options.get(name) is not None}
    if options.get("no_audio"):
        wanted["use_audio"] = False
    if options.get("no_video"):
        wanted["use_video"] = False
    return replace(processor.media_options(**wanted), threads=threads)


def _left(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that are left once the media are decoded."""
    return {name: value for name, value in options.items() if name not in DECODING}


def _clocked(answer: Answer, start: float) -> Answer:
    """An answer about a stretch of a file, with its times counted from the file's beginning."""
    told = answer.report.get("pieces")
    if not start or not told:
        return answer
    before = [Piece(one["from"], one["to"], one["answer"]) for one in told]
    after = [replace(one, start=one.start + start, end=one.end + start) for one in before]
    text = timeline(after) if answer.text == timeline(before) else answer.text
    report = answer.report | {"answer": text, "pieces": [one.to_dict() for one in after]}
    return Answer(text, report)
