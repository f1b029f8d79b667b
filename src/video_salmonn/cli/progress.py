"""What a command is doing, on stderr, where that is a terminal; nothing anywhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.live import Live
from rich.spinner import Spinner

from video_salmonn.cli.output import stderr


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something takes its time, until the block ends."""
    if not stderr.is_terminal:
        yield
        return
    if stderr.is_dumb_terminal:  # it cannot take a line back
        stderr.print(f"{what} ...")
        yield
        return
    plain = not (stderr.encoding or "").lower().startswith("utf")
    spinner = Spinner("line" if plain else "dots", f"{what} ...")
    # shown at once, gone at the end; stdout is the answer's alone
    with Live(
        spinner, console=stderr, refresh_per_second=8, transient=True, redirect_stdout=False, redirect_stderr=False
    ):
        yield
