"""The one thread that runs the model: requests that wait are answered together, each as if it were alone.

Decisions:

* Whatever waits when the model is free, and shares its options, becomes one batch. Nothing waits for company.
* Rows of a batch end by themselves: a client that leaves, a stop string and a deadline end one row and no other.
* Answers that draw, or are about media longer than what the model was trained on, are made alone: draws of a batch
  would depend on the others, and long media are many rows themselves.
* A batch that fails is made again one by one, so that an error reaches the request it is about.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from video_salmonn.inference import long as long_media
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.inference.media_store import EncodedMedia
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.model.declining import BEGINNING
from video_salmonn.model.processing import question_of
from video_salmonn.model.transcripts import asks_for_words
from video_salmonn.serving.guard import log_fault
from video_salmonn.serving.problems import RequestProblem, problem_of
from video_salmonn.serving.rows import Rows, RowText
from video_salmonn.types import Answer


@dataclass
class JobOutcome:
    """What became of a job.

    Attributes:
        answer: the engine's, whose text is ``text`` here where a stop string cut it.
        text: as it was sent.
        finish: ``stop`` or ``length``.
        batch: how many were answered together.
        queued, first, total: seconds from the job's beginning until it ran, had its first token, and ended.
    """

    answer: Answer
    text: str
    finish: str
    batch: int
    queued: float
    first: float
    total: float


@dataclass
class Job:
    """One answer that is wanted.

    Attributes:
        conversation, media, options: as the engine takes them.
        stop: strings that end the answer.
        deadline: on the monotonic clock.
        on_text: gets text as it comes; called from the scheduler's thread.
        on_done: gets the outcome or the error, once; called from the scheduler's thread.
    """

    conversation: list[dict[str, Any]]
    media: Sequence[EncodedMedia]
    options: Mapping[str, Any]
    stop: Sequence[str]
    deadline: float
    on_text: Callable[[str], None]
    on_done: Callable[[JobOutcome | Exception], None]
    begun: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    """Set by whoever waits no longer; the model leaves the job at its next token."""

    @property
    def left(self) -> bool:
        """Whether nobody waits any more."""
        return self.cancelled or time.monotonic() > self.deadline

    @property
    def draws(self) -> bool:
        """Whether the answer is drawn."""
        return bool(self.options.get("do_sample"))


class Scheduler:
    """Answers jobs on a thread of its own.

    Args:
        engine: answers.
        max_batch: most jobs answered together.
        stall_seconds: without a token for so long, the scheduler counts as dead.
    """

    def __init__(self, engine: VideoSalmonn, max_batch: int, stall_seconds: float) -> None:
        self._engine = engine
        self._max_batch = max_batch
        self._stall_seconds = stall_seconds
        self._waiting: deque[Job] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self.running = 0
        """Jobs that are being answered."""
        tokenizer = engine.processor.tokenizer
        ends = engine.model.generation_config.eos_token_id
        self._ends = frozenset(
            token
            for token in (
                *(ends if isinstance(ends, list) else [ends]),
                tokenizer.eos_token_id,
                engine.processor.pad_id,
            )
            if token is not None
        )

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return len(self._waiting) + len(self._calls)

    @property
    def trouble(self) -> str:
        """Why no job will be answered; empty where all is well."""
        if self._closed:
            return "the server is shutting down"
        if not self._thread.is_alive():
            return "the thread that runs the model has ended"
        idle = time.monotonic() - self._moved
        if self.running and idle > self._stall_seconds:
            return f"the model has made no token for {idle:.0f} s"
        return ""

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer nothing more; what waits fails."""
        with self._wake:
            self._closed = True
            self._wake.notify()

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises:
            RequestProblem: nothing is answered here any more.
        """
        self._check()
        with self._wake:
            self._waiting.append(job)
            self._wake.notify()

    def call(self, work: Callable[[], None]) -> None:
        """Queue other work with the model, which reports its own outcome. Raises as :meth:`submit`."""
        self._check()
        with self._wake:
            self._calls.append(work)
            self._wake.notify()

    def _check(self) -> None:
        trouble = self.trouble
        if trouble:
            raise RequestProblem(503, trouble, retry_after=10)

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._moved = time.monotonic()
                self.running = len(batch)
                try:
                    self._answer(batch)
                finally:
                    self.running = 0
        finally:
            with self._wake:
                left = list(self._waiting)
                self._waiting.clear()
                self._closed = True
            for job in left:
                job.on_done(RequestProblem(503, "the server stopped before this was answered", retry_after=10))

    def _next(self) -> list[Job] | None:
        """The jobs to be answered next, and other work in its turn."""
        while True:
            with self._wake:
                while not (self._waiting or self._calls or self._closed):
                    self._wake.wait()
                if self._closed:
                    return None
                work = self._calls.popleft() if self._calls else None
                batch = [] if work is not None else self._gather()
            if work is not None:
                self._moved = time.monotonic()
                self.running = 1
                try:
                    work()
                finally:
                    self.running = 0
            elif batch:
                return batch

    def _gather(self) -> list[Job]:
        """Take the first job and those behind it that can be answered with it."""
        for job in [job for job in self._waiting if job.left]:
            self._waiting.remove(job)
            job.on_done(_late(job))
        if not self._waiting:
            return []
        first = self._waiting.popleft()
        if not self._joins(first):
            return [first]
        batch = [first]
        for job in list(self._waiting):
            if len(batch) == self._max_batch:
                break
            if self._joins(job) and dict(job.options) == dict(first.options):
                self._waiting.remove(job)
                batch.append(job)
        return batch

    def _joins(self, job: Job) -> bool:
        return not job.draws and not self._is_long(job)

    def _is_long(self, job: Job) -> bool:
        """Whether the engine would understand the job's media in pieces."""
        config = self._engine.model.connector.config
        words = asks_for_words(question_of(job.conversation))
        longest = self._engine.model.config.media_config.longest(words=words)
        if not longest or len(job.media) != 1:
            return False
        return long_media.frames_of(job.media[0].features, config) > max(int(longest / config.frame_seconds), 1)

    def _answer(self, batch: list[Job]) -> None:
        try:
            self._answer_together(batch)
        except Exception as error:  # noqa: BLE001 - one request's fault is not the others'
            if len(batch) > 1:
                for job in batch:
                    self._answer([job])
                return
            problem = problem_of(error)
            if problem.status >= 500:
                log_fault(error)
            batch[0].on_done(problem)

    def _answer_together(self, batch: list[Job]) -> None:
        start = time.monotonic()
        job = batch[0]
        if len(batch) == 1 and self._is_long(job):
            self._answer_long(job, start)
            return
        repeats = bool(self._engine.model.stop_repeats(dict(job.options)))
        rows = [RowText(self._decode, self._ends, one.stop, repeats, one.on_text, self._held(one)) for one in batch]
        watch = Rows(rows, [lambda one=one: one.left for one in batch], self.moved)  # type: ignore[misc]
        options = {**job.options, "stopping_criteria": [watch]}
        answers = self._engine.batch([MediaQuestion(one.conversation, one.media, options) for one in batch])
        end = time.monotonic()
        first = watch.first if watch.first is not None else end
        for one, row, answer in zip(batch, rows, answers):
            if one.left:
                one.on_done(_late(one))
                continue
            text = row.finish(answer.text)
            made = int(answer.report["new_tokens"])
            full = made >= int(one.options.get("max_new_tokens", made + 1)) and not row.ended
            begun = one.begun
            one.on_done(
                JobOutcome(
                    answer,
                    text,
                    "length" if full else "stop",
                    len(batch),
                    start - begun,
                    first - begun,
                    end - begun,
                )
            )

    def _held(self, job: Job) -> int:
        """Tokens until which the model may still decline its answer."""
        below = job.options.get("decline_below", self._engine.model.own_option("decline_below", {}))
        return BEGINNING if below and job.media and not asks_for_words(question_of(job.conversation)) else 0

    def _answer_long(self, job: Job, start: float) -> None:
        """An answer about media that are understood in pieces."""
        row = RowText(self._decode, self._ends, job.stop, False, job.on_text)
        pieces = self._engine.stream(list(job.media), job.conversation, **job.options)
        first, said = None, ""
        with closing(pieces):  # type: ignore[type-var]
            while True:
                try:
                    said += next(pieces)
                except StopIteration as done:
                    answer: Answer = done.value
                    break
                self.moved()
                first = first if first is not None else time.monotonic()
                if job.left:
                    job.on_done(_late(job))
                    return
                if row.cut(said) == said:
                    row.advance(said)
        end = time.monotonic()
        text = row.finish(answer.text)
        first = end if first is None else first
        job.on_done(JobOutcome(answer, text, "stop", 1, start - job.begun, first - job.begun, end - job.begun))

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._engine.processor.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def moved(self) -> None:
        """Note that the model is at work."""
        self._moved = time.monotonic()


def _late(job: Job) -> RequestProblem:
    if job.cancelled:
        return RequestProblem(499, "the client left")
    return RequestProblem(
        408, "the answer took longer than this server allows", remedy="ask for less, or at a quieter time"
    )
