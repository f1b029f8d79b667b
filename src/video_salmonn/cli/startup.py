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


@contextmanager
def without_scipy() -> Iterator[None]:
    """A block in which transformers does not import SciPy for the losses of object detectors.

    Nothing here computes them. Importing SciPy, where it is installed (scikit-learn needs it), takes some tenths of a
    second.
    """
    from transformers import utils

    found = utils.is_scipy_available
    utils.is_scipy_available = lambda: False
    try:
        yield
    finally:
        utils.is_scipy_available = found


def quiet_transformers() -> None:
    """Keep transformers' reports and progress bars out of a command's own output."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
