"""What a command is doing, on stderr, where that is a terminal; nothing anywhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from video_salmonn.cli.output import stderr


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something takes its time, until the block ends."""
    if not stderr.is_terminal:
        yield
        return
    plain = not (stderr.encoding or "").lower().startswith("utf")
    with stderr.status(f"{what} ...", spinner="line" if plain else "dots"):
        yield
