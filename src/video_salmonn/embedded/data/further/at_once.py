"""Work on many files at the same time, in their order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def at_once(work: Callable[[Given], Made], given: Iterable[Given], threads: int | None = None) -> Iterator[Made]:
    """What ``work`` makes of each, in order; threads are enough, since decoders and encoders run beside one another.

    Args:
        work: what is done with each.
        given: taken only as fast as it is worked on.
        threads: by default one for each processor.
    """
    threads = threads or os.cpu_count() or 1
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for one in given:
            waiting.append(pool.submit(work, one))
            if len(waiting) > 2 * threads:  # as few files in memory as keep the threads at work
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
