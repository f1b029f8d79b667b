"""What a command is doing, on stderr, where that is a terminal; nothing anywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.live import Live
from rich.spinner import Spinner

from video_salmonn.cli.output import stderr


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something takes its time, until the block ends."""
    with _shown(what):
        yield


@contextlib.contextmanager
def counting(what: str, unit: str) -> Iterator[Callable[[float, float | None], None]]:
    """Show how far something has come; the block is given what to call with (done, total or None).

    Args:
        what: is being done.
        unit: what is counted, as it follows a number.
    """
    begun = time.monotonic()
    with _shown(what) as spinner:

        def update(done: float, total: float | None) -> None:
            if spinner is not None:
                spinner.update(text=f"{what}: {rate(done, total, time.monotonic() - begun, unit)}")

        yield update


def rate(done: float, total: float | None, seconds: float, unit: str) -> str:
    """How far something has come, how fast it goes, and how long it will take, as one line.

    Args:
        done, total: in ``unit``; None where the end is not known.
        seconds: since the beginning.
        unit: what is counted, as it follows a number.
    """
    whole = "" if total is None else f" of {total:.0f}"
    text = f"{done:.0f}{whole} {unit}"
    if done <= 0 or seconds <= 0:
        return text
    text += f", {60 * done / seconds:.0f} a minute"
    if total is None or done >= total:
        return text
    left = round((total - done) * seconds / done)
    hours, rest = divmod(left, 3600)
    clock = f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
    return f"{text}, {clock} left"


@contextlib.contextmanager
def _shown(what: str) -> Iterator[Spinner | None]:
    """A spinner with a text; None where it cannot be shown."""
    if not stderr.is_terminal:
        yield None
        return
    if stderr.is_dumb_terminal:  # it cannot take a line back
        stderr.print(f"{what} ...")
        yield None
        return
    plain = not (stderr.encoding or "").lower().startswith("utf")
    spinner = Spinner("line" if plain else "dots", f"{what} ...")
    # shown at once, gone at the end; stdout is the answer's alone
    with Live(
        spinner, console=stderr, refresh_per_second=8, transient=True, redirect_stdout=False, redirect_stderr=False
    ):
        yield spinner
