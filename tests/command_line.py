"""The command line as a tree that tests walk: names, parameters, and what is wrong with given arguments."""

from __future__ import annotations

import contextlib
import io
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
