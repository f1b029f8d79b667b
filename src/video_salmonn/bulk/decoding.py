"""Media of rows decoded ahead, in processes of their own that can be killed, while the model computes."""

from __future__ import annotations

import os
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

    def batches(self, rows: Iterable[Row], size: int) -> Iterator[list[tuple[Row, Decoded | Exception]]]:
        """Rows in batches as they are ready: ``size`` of them where so many are, else those that are there.

        While a batch is being answered the next ones are decoded, so batches are full where the model is what takes
        time. Nothing waits for company where decoding is. A row that fails is handed over with its error.
        """
        coming, size = iter(rows), min(size, self._ahead)
        running: set[Future[Decoded]] = set()
        owner: dict[Future[Decoded], Row] = {}
        ready: deque[tuple[Row, Decoded | Exception]] = deque()
        more = True
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
            if running and not ready:
                done, running = wait(running, return_when=FIRST_COMPLETED)
            else:
                done = {future for future in running if future.done()}
                running -= done
            for future in done:
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                ready.append((owner.pop(future), future.result() if error is None else error))
            if ready:
                yield [ready.popleft() for _ in range(min(size, len(ready)))]

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
