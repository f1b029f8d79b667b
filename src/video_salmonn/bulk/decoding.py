"""Media of rows decoded ahead, in processes of their own that can be killed, while the model computes."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from video_salmonn.bulk.openai_lines import Inline
from video_salmonn.bulk.predicting import Decoded
from video_salmonn.bulk.rows import Row
from video_salmonn.errors import ConfigError, VideoSalmonnError
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.worker import Worker

Ready = tuple[Row, Decoded | Exception]
"""A row with its media, or with why there are none."""
FIRST_PACE = 1.0
"""Seconds that answering a row is taken to need before any was answered."""
LONGEST_WAIT = 10.0
"""Seconds that a decoded row waits for company at most."""


def default_workers() -> int:
    """Decoding processes on this machine: all cores but one, four at most."""
    return max(1, min(4, (os.cpu_count() or 2) - 1))


class DecodingAhead:
    """Decodes rows in several processes and hands them over as they are ready, in batches.

    Args:
        options_of: how a row's media are decoded.
        workers: processes.
        ahead: rows that are decoded or being decoded at once; they lie in memory.
        seconds: that the media of one row may take before their process is killed.
        memory: bytes of address space that a process may use; None for no limit.
    """

    def __init__(
        self,
        options_of: Callable[[Row], MediaOptions],
        *,
        workers: int = 1,
        ahead: int = 16,
        seconds: float | None = None,
        memory: int | None = None,
    ) -> None:
        if workers < 1 or ahead < 1:
            raise ConfigError(f"{workers} workers and {ahead} rows ahead are too few", remedy="use 1 or more")
        self._options_of, self._ahead = options_of, ahead
        self._workers = [Worker(seconds, memory) for _ in range(workers)]
        self._idle = deque(self._workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decoding")

    def __enter__(self) -> DecodingAhead:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()
        self._pool.shutdown(wait=True)

    def batches(self, rows: Iterable[Row], size: int) -> Iterator[list[Ready]]:
        """Rows in batches of up to ``size``, as they are ready.

        While a batch is being answered the next ones are decoded. A batch that is not full waits for company no longer
        than answering it alone is expected to take, by the pace of the batch before it: a row costs far less in a full
        batch, and where decoding is what takes time the model would have to wait anyway. The oldest row is always
        taken, with those that are most like it in length, since all are padded to the longest. A row that fails is
        handed over with its error.
        """
        coming, size = iter(rows), min(size, self._ahead)
        running: set[Future[Decoded]] = set()
        owner: dict[Future[Decoded], Row] = {}
        ready: list[Ready] = []
        pace, since, more = FIRST_PACE, time.monotonic(), True
        while more or running or ready:
            while more and len(running) + len(ready) < self._ahead:
                row = next(coming, None)
                if row is None:
                    more = False
                    break
                if row.problem is not None:
                    ready.append((row, row.problem))
                    continue
                future = self._pool.submit(self._decode, row)
                running.add(future)
                owner[future] = row
            until = since + min(LONGEST_WAIT, pace * _answerable(ready))
            left = until - time.monotonic() if running and len(ready) < size else 0.0
            done, running = wait(running, None if not ready else max(left, 0.0), FIRST_COMPLETED)
            since = since if ready else time.monotonic()
            for future in [one for one in owner if one in done]:  # in their order
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                ready.append((owner.pop(future), future.result() if error is None else error))
            if ready and (not done or len(ready) >= size or not running):
                batch, ready = _alike(ready, size)
                began = time.monotonic()
                yield batch
                since = time.monotonic()
                pace = (since - began) / _answerable(batch) if _answerable(batch) else pace

    def _decode(self, row: Row) -> Decoded:
        worker = self._idle.popleft()
        try:
            options = self._options_of(row)
            clips = []
            for item in row.media:
                source, sound = item if isinstance(item, tuple) else (item, None)
                clips.append(worker.load(_content(source), sound=_content(sound), options=options))
            return Decoded(row.conversation, clips, row.options)
        except VideoSalmonnError:
            raise
        finally:
            self._idle.append(worker)


def _content(source: Any) -> Any:
    return source.content() if isinstance(source, Inline) else source


def _answerable(rows: list[Ready]) -> int:
    """How many rows the model would answer."""
    return sum(isinstance(made, Decoded) for _, made in rows)


def _alike(ready: list[Ready], size: int) -> tuple[list[Ready], list[Ready]]:
    """The oldest row and up to ``size - 1`` that are most like it in length, in their order; and what is left."""
    first = _seconds(ready[0][1])
    places = sorted(range(len(ready)), key=lambda place: (place > 0, abs(_seconds(ready[place][1]) - first), place))
    taken = set(places[:size])
    return (
        [row for place, row in enumerate(ready) if place in taken],
        [row for place, row in enumerate(ready) if place not in taken],
    )


def _seconds(made: Decoded | Exception) -> float:
    """Seconds of a row's media, from which its tokens follow."""
    return sum(clip.duration for clip in made.clips) if isinstance(made, Decoded) else 0.0
