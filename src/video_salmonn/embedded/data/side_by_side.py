"""One generator of progress in several processes of its own, each with a share of the work."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for
from queue import Empty
from typing import Any, TypeVar

import torch

from video_salmonn.errors import ConfigError

Share = TypeVar("Share")
Part = TypeVar("Part")
_told: Any = None


def end_with_parent() -> None:
    """In a process of a pool: end it when the process that started it has ended, however that ended.

    A pool that is closed ends its processes. One whose owner was killed leaves them, at work or waiting.
    """
    parent = parent_process()
    assert parent is not None, "called in the process that owns the pool"

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def _begin(told: Any, threads: int) -> None:
    global _told
    _told = told
    end_with_parent()
    torch.set_num_threads(threads)


def _run(work: Callable[[Share], Iterator[Part]], share: Share) -> None:
    for part in work(share):
        _told.put(part)


def side_by_side(
    work: Callable[[Share], Iterator[Part]], shares: Sequence[Share], tell: Callable[[Part], None], wait: float = 0.5
) -> None:
    """Run ``work`` on every share, each in a process of its own, with as many of torch's threads as here.

    Args:
        work: yields what it did, in parts that can be pickled.
        shares: one a process.
        tell: called here with each part, of all processes, as they come.
        wait: seconds after which it is looked whether a process has ended.

    Raises:
        ConfigError: a process was killed, most likely because memory ran out.
        Exception: the first that a process raised; the others come to their end before.
    """
    context = get_context("spawn")
    told = context.Queue()
    with ProcessPoolExecutor(len(shares), context, _begin, (told, torch.get_num_threads())) as pool:
        futures = [pool.submit(_run, work, share) for share in shares]
        ended = False
        while not ended:
            ended = all(future.done() for future in futures)
            try:
                while True:
                    tell(told.get(timeout=wait))
            except Empty:
                continue
        try:
            for future in futures:
                future.result()
        except BrokenProcessPool as error:
            raise ConfigError(
                "one of the processes was killed, most likely because memory ran out",
                remedy="fewer --processes; the same command continues with what is missing",
            ) from error
