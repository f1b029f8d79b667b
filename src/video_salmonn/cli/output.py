"""What every command shares: exactly one JSON value on stdout, one line for an error, and the exit codes.

Exit codes: 0 done, 1 a check failed, 2 bad input or usage.

With ``--json`` everything else that would go to stdout, a library's own words among it, goes to stderr. Text is printed
as it is: nothing in a file name, a time or an answer is read as markup or as the name of a symbol; characters that the
terminal's encoding lacks are written in ASCII.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, ParamSpec, TextIO, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from video_salmonn.errors import VideoSalmonnError

P = ParamSpec("P")
R = TypeVar("R")

stdout = Console(highlight=False, markup=False, emoji=False)
stderr = Console(stderr=True, highlight=False, markup=False, emoji=False)
ASCII = {"–": "-", "—": "-", "…": "...", "‘": "'", "’": "'", "“": '"', "”": '"', "·": "-", "×": "x", "→": "->"}
"""What stands for common signs where the terminal has ASCII only; other characters become escapes."""
PLAIN = "video_salmonn.plain"
ClickException: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""Base of errors of usage; Typer brings its own copy of Click in some versions."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lost), error.end


codecs.register_error(PLAIN, _plain)


def prepare_streams() -> None:
    """Let stdout and stderr write every character, whatever their encoding, and stdin read every byte."""
    for stream, errors in ((sys.stdout, PLAIN), (sys.stderr, PLAIN), (sys.stdin, "surrogateescape")):
        if hasattr(stream, "reconfigure"):
            with contextlib.suppress(ValueError, OSError):  # closed, or read from already
                stream.reconfigure(errors=errors)


class _JsonMode:
    """Where the one JSON value goes, and whether it is written."""

    stream: TextIO | None = None
    written = False


@contextlib.contextmanager
def json_mode() -> Iterator[None]:
    """A block whose stdout holds what :func:`emit_json` writes and nothing else."""
    if _JsonMode.stream is not None:
        yield
        return
    _JsonMode.stream, _JsonMode.written = sys.stdout, False
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _JsonMode.stream = None


def emit_json(value: Any) -> None:
    """Print ``value`` as the command's one JSON value (NaN is refused: it is not JSON)."""
    stream = _JsonMode.stream or sys.stdout
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    # File names need not be valid Unicode; what is not becomes a JSON escape.
    text = text.encode("utf-8", "backslashreplace").decode()
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, allow_nan=False)
    _JsonMode.written = True
    stream.write(text + "\n")
    stream.flush()


def emit_json_line(value: Any) -> None:
    """Print ``value`` on a line of its own at once, for commands that print one JSON value a line."""
    stream = _JsonMode.stream or sys.stdout
    _JsonMode.written = True
    stream.write(json.dumps(value, allow_nan=False) + "\n")  # ASCII: any terminal and any reader takes it
    stream.flush()


def styled(text: str, style: str) -> Text:
    """Text in a style, for a part of a line or a cell of a table."""
    return Text(text, style)


def report_error(kind: str, message: str, remedy: str, *, as_json: bool) -> None:
    """An error in the form the command's caller reads; on stderr also where the JSON value is written already."""
    if as_json and not (_JsonMode.stream is not None and _JsonMode.written):
        emit_json({"error": {"type": kind, "message": message, "remedy": remedy}})
        return
    stderr.print(Text.assemble(("error:", "bold red"), f" {message}"), soft_wrap=True)
    if remedy:
        stderr.print(Text.assemble(("remedy:", "dim"), f" {remedy}"), soft_wrap=True)


def fail(error: VideoSalmonnError, *, as_json: bool) -> NoReturn:
    """Report an error the user can act on and exit with 2."""
    report_error(type(error).__name__, str(error), error.remedy, as_json=as_json)
    raise typer.Exit(2)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command: an error becomes one clear message instead of a trace.

    The command's own ``as_json`` argument says which form the message takes. Any :class:`VideoSalmonnError`, and what
    the system refuses (a file that cannot be read or written), exits with 2. Anything else is a fault of this package:
    its trace goes to stderr, and with ``--json`` there is still one JSON value.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        as_json = bool(kwargs.get("as_json", False))
        with json_mode() if as_json else contextlib.nullcontext():
            try:
                return command(*args, **kwargs)
            except VideoSalmonnError as error:
                fail(error, as_json=as_json)
            except BrokenPipeError:
                raise
            except OSError as error:
                if not error.filename and not error.strerror:
                    return _fault(error, as_json)
                where = "" if error.filename is None else f"{error.filename}: "
                report_error(
                    "OSError", f"{where}{error.strerror or error}", "Check the path, its permissions, and free space.",
                    as_json=as_json,
                )  # fmt: skip
                raise typer.Exit(2) from error
            except Exception as error:  # noqa: BLE001 - printed in full, and raised again where no JSON was promised
                return _fault(error, as_json)

    return wrapped


def _fault(error: Exception, as_json: bool) -> NoReturn:
    """An unforeseen error: not hidden, but still one JSON value with --json."""
    if not as_json or isinstance(error, (typer.Exit, typer.Abort, ClickException)):
        raise error
    traceback.print_exc()
    report_error(
        type(error).__name__, str(error) or type(error).__name__, "This is a fault: please report it.", as_json=True
    )
    raise typer.Exit(1) from error
