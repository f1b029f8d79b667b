"""A stream that is watched and heard while it lasts: its transcript, answers to a standing question, and questions
about what has come so far. Nothing here knows where a stream comes from.

Decisions:

* The transcript is the one that :func:`~video_salmonn.inference.transcribe.transcribe` makes of a file with the same
  ``look_ahead``, word for word: sound is cut where it is quiet, within ``look_ahead`` seconds, and every stretch is
  transcribed by itself. A word waits until its stretch is closed.
* A standing question is answered about windows as they are closed (:mod:`video_salmonn.inference.live_features`), from
  the features that the whole file would have there.
* Whoever pushes waits for the model. Memory holds the open stretch and the context of questions, whatever the length.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from video_salmonn.errors import ConfigError
from video_salmonn.inference.live_features import RATE, LiveFeatures
from video_salmonn.inference.media_store import EncodedMedia, Timer
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.inference.sound_stretches import QuietCuts
from video_salmonn.inference.transcribe import Transcriber
from video_salmonn.inference.transcript import Segment, Word
from video_salmonn.inference.transcript_options import check_spans, checked_look_ahead
from video_salmonn.types import Answer, AnswerReport

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

LOOK_AHEAD = 10.0
"""Seconds of sound that the transcript of a stream may depend on: one segment of the embedded model's encoder."""
ARRIVALS = 4096
"""Most pieces of a stream whose time of arrival is remembered, the latest ones."""
SLICE = RATE
"""Samples that are taken at once: what is pushed in one large piece is answered about as if it came in small ones."""


@dataclass(frozen=True)
class LiveEvent:
    """Something that became known about a stream.

    Attributes:
        kind: ``transcript``: something was said; ``answer``: the standing question was answered.
        start, end: seconds of the stream that it is about.
        text: the words, or the answer.
        latency: seconds from the moment at which ``end`` was reached in the stream to this event; None where the stream
            has no clock.
        id: number of the event among those of its kind.
        words: of a transcript, where their times are known.
        latencies: of each word, from its end.
        report: of an answer: the engine's account.
    """

    kind: Literal["transcript", "answer"]
    start: float
    end: float
    text: str
    latency: float | None
    id: int = 0
    words: tuple[Word, ...] = ()
    latencies: tuple[float | None, ...] = ()
    report: AnswerReport = field(default_factory=AnswerReport)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of ``video-salmonn live --json``."""
        found: dict[str, Any] = {
            "type": self.kind,
            "id": self.id,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "text": self.text,
            "latency": _rounded(self.latency),
        }
        if self.words:
            found["words"] = [
                {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3), "latency": _rounded(late)}
                for word, late in zip(self.words, self.latencies)
            ]
        if self.report:
            found["media"] = list(self.report["media"])
            found |= {"media_tokens": self.report["media_tokens"], "warnings": list(self.report["warnings"])}
        return found


class LiveSession:
    """One stream. Push what comes, in any portions; what becomes known is returned.

    Args:
        engine: the model.
        question: a standing question, answered about windows as they are closed; None for none.
        transcript: write down what is said; by default where there is no standing question.
        asks: keep features, so that :meth:`ask` can be used; they are kept with a standing question in any case.
        sight, sound: which streams there are.
        look_ahead: seconds of sound that the transcript may depend on.
        every: seconds after which the standing question is answered again: whole windows; None for one.
        context: seconds that a question is about: those of :meth:`ask` up to now, by default what the model was trained
            on; the standing one's up to a window's end, by default what is new since its last answer.
        decoder, language: of the transcript, as for :func:`~video_salmonn.inference.transcribe.transcribe`.
        max_new_tokens: longest answer; None for the model's own.
        clock: returns the time in seconds; None for a stream whose latency is meaningless.
        speed: seconds of the stream that come in a second.

    Raises:
        ConfigError: the model cannot follow a stream, or an option is impossible.
        MissingPartError: the model has no decoder of its own for ``whisper``.
    """

    def __init__(
        self,
        engine: VideoSalmonn,
        *,
        question: str | None = None,
        transcript: bool | None = None,
        asks: bool = False,
        sight: bool = True,
        sound: bool = True,
        look_ahead: float = LOOK_AHEAD,
        every: float | None = None,
        context: float | None = None,
        decoder: str = "model",
        language: str | None = None,
        max_new_tokens: int | None = None,
        clock: Callable[[], float] | None = time.monotonic,
        speed: float = 1.0,
    ) -> None:
        if question is not None and not question.strip():
            raise ConfigError("the standing question is empty", remedy="ask something, or leave it out")
        check_spans(question is not None or asks, every, context)
        self.engine, self.question, self.timer = engine, question, Timer()
        self.clock, self.speed = clock, speed
        self._options = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
        self._answered = self._told = self._said = 0  # frames; events of either kind
        self._looks_back = context is not None
        self.features: LiveFeatures | None = None
        self._writer: Transcriber | None = None
        wanted = question is None and not asks if transcript is None else transcript
        if question is not None or asks:
            self.features = LiveFeatures(engine, sight=sight, sound=sound, context=context, timer=self.timer)
        if wanted and not sound:
            raise ConfigError("a stream without sound has no transcript", remedy="give a question")
        if wanted:
            self._writer = Transcriber(engine, decoder=decoder, language=language)
        self._every = self._checked_every(every)
        if self.features is None and self._writer is None:
            raise ConfigError("neither a transcript nor a question is given", remedy="give a question")
        self._look_ahead = checked_look_ahead(look_ahead)
        self._cuts = QuietCuts(self._look_ahead)
        self._sound_samples = 0
        self._arrived: deque[tuple[float, float]] = deque(maxlen=ARRIVALS)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the events must know."""
        written = [*self._writer.warnings] if self._writer is not None else []
        repaired = self.features.warnings if self.features is not None else ()
        return tuple(dict.fromkeys([*self.engine.notices, *written, *repaired]))

    @property
    def waits(self) -> dict[str, float]:
        """Longest wait in seconds, by kind of event, until a stretch or window is closed; computing comes on top.

        A transcript waits until the sound may be cut. Windows of a stream with sound are closed with the encoder's
        segment that they lie in, others by themselves.
        """
        found = {} if self._writer is None else {"transcript": self._look_ahead}
        if self.features is not None:
            features = self.features
            frames = features.segment_frames if features.sound else features.window_frames
            found["answer"] = max(frames, self._every) * features.frame_seconds
        return found

    @property
    def held_bytes(self) -> int:
        """Bytes of sound, pictures and features that are kept."""
        return self._cuts.held_bytes + (self.features.held_bytes if self.features is not None else 0)

    # --------------------------------------------------------------------------------------------------- input

    def push(
        self,
        *,
        sound: NDArray[np.float32] | None = None,
        start: float | None = None,
        pictures: Sequence[tuple[float, NDArray[np.uint8]]] = (),
        arrived: float | None = None,
    ) -> list[LiveEvent]:
        """Take the next portion of the stream.

        Args:
            sound: samples ``(n,)`` at 16 kHz.
            start: seconds on the stream's axis at which they begin; None for right behind those before.
            pictures: (seconds on the stream's axis, ``(H, W, 3)`` RGB), two a second are used.
            arrived: when the end of this portion was there, on ``clock``; None for now.

        Returns:
            what became known.
        """
        place = self._sound_samples / RATE if start is None else start
        ends = [time_ for time_, _ in pictures]
        if sound is not None and len(sound):
            ends.append(place + len(sound) / RATE)
        if ends and self.clock is not None:
            self._arrived.append((max(ends), self.clock() if arrived is None else arrived))
        events: list[LiveEvent] = []
        waiting = deque(pictures)
        for at in range(0, 0 if sound is None else len(sound), SLICE):
            assert sound is not None
            some = np.asarray(sound[at : at + SLICE], np.float32)
            events += self._push_sound(some, place + at / RATE)
            while waiting and waiting[0][0] <= place + (at + len(some)) / RATE:
                events += self._push_picture(*waiting.popleft())
        for time_, picture in waiting:
            events += self._push_picture(time_, picture)
        return events

    def _push_sound(self, samples: NDArray[np.float32], start: float) -> list[LiveEvent]:
        events: list[LiveEvent] = []
        if self._writer is not None:
            gap = round(start * RATE) - self._sound_samples
            silence = np.zeros(max(gap, 0), np.float32)
            fresh = np.concatenate([silence, samples[max(-gap, 0) :]])
            self._sound_samples += len(fresh)
            for place, stretch in self._cuts.push(fresh):
                events += self._written(stretch, place)
        else:
            self._sound_samples = round(start * RATE) + len(samples)
        if self.features is not None:
            self.features.push_sound(samples, start)
            events += self._answers()
        return events

    def _push_picture(self, time_: float, picture: NDArray[np.uint8]) -> list[LiveEvent]:
        if self.features is None:
            return []
        self.features.push_picture(picture, time_)
        return self._answers()

    def finish(self) -> list[LiveEvent]:
        """Results of the open stretch and the open windows at the end of the stream."""
        events: list[LiveEvent] = []
        if self._writer is not None:
            for place, stretch in self._cuts.finish():
                events += self._written(stretch, place)
        if self.features is not None and self.question is not None:
            self.features.end()
            events += self._answers(self.features.frames, ended=True)
        return events

    # -------------------------------------------------------------------------------------------------- output

    def ask(self, question: str) -> Answer:
        """Answer a question about the context up to now, open windows included, as if the stream ended here.

        Raises:
            ConfigError: nothing has come yet, or features are not kept.
        """
        media = self.so_far()
        answer = self.engine.batch([MediaQuestion(question, [media], self._options)])[0]
        self.engine.preparer.tokens.forget([media])
        return answer

    def so_far(self) -> EncodedMedia:
        """What :meth:`ask` asks about. Raises ConfigError as it does."""
        if self.features is None:
            raise ConfigError("this session keeps no features", remedy="make it with asks=True")
        return self.features.so_far()

    def spoken(self, seconds: float) -> float | None:
        """When a place of the stream was there, on the clock; None where that is not known."""
        for end, arrived in self._arrived:
            if end >= seconds - 1e-6:
                return arrived - (end - seconds) / self.speed
        return self._arrived[-1][1] if self._arrived else None

    def _late(self, seconds: float) -> float | None:
        then = self.spoken(seconds)
        return None if then is None or self.clock is None else max(self.clock() - then, 0.0)

    def _written(self, samples: NDArray[np.float32], place: float) -> list[LiveEvent]:
        assert self._writer is not None
        return [self._transcript(segment) for segment in self._writer.stretch(samples, place) if segment.text]

    def _transcript(self, segment: Segment) -> LiveEvent:
        latencies = tuple(self._late(word.end) for word in segment.words)
        late = self._late(segment.end)
        self._said += 1
        return LiveEvent(
            "transcript", segment.start, segment.end, segment.text, late, self._said - 1, segment.words, latencies
        )

    def _checked_every(self, seconds: float | None) -> int:
        """Frames from one answer to the next. Raises ConfigError."""
        if self.features is None:
            return 0
        window, longest = self.features.window_frames, self.features.context
        frames = window if seconds is None else round(seconds / self.features.frame_seconds)
        if frames % window or not window <= frames <= longest:
            step = self.features.frame_seconds
            raise ConfigError(
                f"every is {seconds:g} s", remedy=f"give {window * step:g} to {longest * step:g}, in whole windows"
            )
        return frames

    def _answers(self, closed: int | None = None, ended: bool = False) -> list[LiveEvent]:
        """Answers about windows that are closed since the last ones; where the stream ended, about the rest too."""
        features = self.features
        assert features is not None
        closed = features.closed_frames if closed is None else closed
        events = []
        while self.question is not None and closed - self._answered >= (1 if ended else self._every):
            end = min(self._answered + self._every, closed)
            start = features.begin(end) if self._looks_back else self._answered
            self._answered = end
            events.append(self._answer(features.stretch(start, end), start * features.frame_seconds))
        features.forget()
        return events

    def _answer(self, media: EncodedMedia, start: float) -> LiveEvent:
        assert self.question is not None
        answer = self.engine.batch([MediaQuestion(self.question, [media], self._options)])[0]
        self.engine.preparer.tokens.forget([media])
        self._told += 1
        end = start + media.report.duration
        return LiveEvent("answer", start, end, answer.text, self._late(end), self._told - 1, report=answer.report)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
