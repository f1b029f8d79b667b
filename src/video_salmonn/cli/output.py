"""What every command shares: exactly one JSON value on stdout, one line for an error, and the exit codes.

Exit codes: 0 done, 1 a check failed, 2 bad input or usage.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console

from video_salmonn.errors import VideoSalmonnError

P = ParamSpec("P")
R = TypeVar("R")

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def emit_json(value: Any) -> None:
    """Print ``value`` as the command's one JSON value (NaN is refused: it is no JSON)."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    # File names need not be valid Unicode; what is not becomes a JSON escape.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stdout.flush()


def fail(error: VideoSalmonnError, *, as_json: bool) -> NoReturn:
    """Report an error the user can act on and exit with 2."""
    if as_json:
        emit_json({"error": error.to_dict()})
    else:
        stderr.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        if error.remedy:
            stderr.print(f"[dim]remedy:[/] {_escape(error.remedy)}", soft_wrap=True)
    raise typer.Exit(2)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command: any :class:`VideoSalmonnError` becomes one clear message instead of a trace.

    The command's own ``as_json`` argument says which form the message takes.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except VideoSalmonnError as error:
            fail(error, as_json=bool(kwargs.get("as_json", False)))

    return wrapped
