"""The command line as a tree that tests walk: names, parameters, and what is wrong with given arguments."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from functools import cache
from typing import Any

import typer

from video_salmonn.cli.main import app

_REFUSED = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def is_group(command: Any) -> bool:
    """Whether commands stand below this one."""
    return hasattr(command, "list_commands")


@cache
def every_command() -> dict[str, Any]:
    """Full name, such as ``data validate``, -> command; groups included, the whole under the empty name."""
    found: dict[str, Any] = {}

    def walk(command: Any, name: str) -> None:
        found[name] = command
        if is_group(command):
            context = typer.Context(command)
            for inner in command.list_commands(context):
                walk(command.get_command(context, inner), f"{name} {inner}".strip())

    walk(typer.main.get_command(app), "")
    return found


def refused(arguments: list[str]) -> str:
    """What the command line says against ``arguments``; empty where it takes them. Nothing runs."""
    known = every_command()
    name, rest = "", list(arguments)
    while rest and f"{name} {rest[0]}".strip() in known and is_group(known[name]):
        name, rest = f"{name} {rest[0]}".strip(), rest[1:]
    command = known[name]
    if is_group(command) and not getattr(command, "invoke_without_command", False) and rest != ["--help"]:
        return f"no such command: {name} {' '.join(rest[:1])}"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            command.make_context(name, rest)
    except typer.Exit:  # --help and --version
        return ""
    except _REFUSED as error:
        return str(getattr(error, "message", error))
    return ""


def assert_refused_lightly(calls: list[list[str]], heavy: tuple[str, ...]) -> str:
    """Calls of commands that end with exit code 2, each with a remedy, before any ``heavy`` package is imported.

    Returns what they wrote to stderr.
    """
    code = (
        "import sys\nfrom video_salmonn.cli.main import app\n"
        f"for call in {calls!r}:\n"
        "    try: app(call)\n"
        f"    except SystemExit as error: print(*call[:2], error.code, *[m for m in {heavy!r} if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{' '.join(call[:2])} 2" for call in calls], done.stderr
    assert done.stderr.count("remedy:") == len(calls), done.stderr
    return done.stderr
