"""What keeps a command's start short."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """A block that imports and loads without Python's search for unreachable objects.

    Millions of objects come into being and hardly any is unreachable, so each of the many searches visits all of them
    for nothing: together nearly a third of the time until a model is loaded. What exists at the end of the block is
    left out of later searches.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def quiet_transformers() -> None:
    """Keep transformers' reports and progress bars out of a command's own output."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
