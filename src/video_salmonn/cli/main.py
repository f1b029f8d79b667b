"""The table of commands. A command's module is imported only when that command runs, so ``--help`` is instant."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from video_salmonn.cli.examples import add_examples, epilog
from video_salmonn.cli.output import ClickException, json_mode, prepare_streams, report_error

COMMANDS: dict[str, str] = {
    "ask": "Answer a question about a video, a sound or a picture.",
    "batch": "Ask about a folder of files, or answer a file of requests; continues where it was stopped.",
    "chat": "Ask several questions about one file; it is encoded once.",
    "convert": "Make a model directory from the official files of the released 13B model.",
    "doctor": "Check this installation and say what to do about what is missing.",
    "data": "Build, encode and check data sets.",
    "train": "Train a stage from a recipe.",
    "plot": "Draw the curves of a training run.",
    "export": "Write a trained run as a model directory.",
    "setup": "Install the pretrained parts of the embedded default and convert them.",
    "eval": "Run SAVE, score predictions, write reports.",
    "info": "Sizes of a preset or model: parameters, media tokens, FLOPs, bytes.",
    "inspect": "A page or picture of what a model saw and heard of a clip, and what its answer rested on.",
    "live": "Write down or answer what a file in real time, a pipe or a camera says and shows, as it comes.",
    "plan": "Memory a model needs for a clip, part by part, and whether it is here.",
    "serve": "Serve a model over HTTP with OpenAI's routes: chat about media, models, health, metrics.",
    "probe": "What is in a media file, and what of it would be seen and heard.",
    "transcribe": "Write down what is said in a file of any length, with times: text, SRT, WebVTT or JSON.",
    "web": "Open a web page to ask about clips: drop or record one, ask, read the transcript.",
    "verify": "Run this package's modules on golden files and compare.",
}
"""name -> help line. Command ``a-b`` lives in ``cli/a_b.py`` as a Typer app or a function named ``command``."""


class LazyGroup(TyperGroup):
    """A group that imports a command's module on first use."""

    def main(  # type: ignore[override]  # the others are passed on as they are
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        """Run a command. Errors of usage are JSON too where ``--json`` is among the arguments."""
        prepare_streams()
        given = list(sys.argv[1:] if args is None else args)
        if not standalone_mode or "--json" not in given:
            return super().main(args, standalone_mode=standalone_mode, **extra)
        with json_mode():
            try:
                code = super().main(given, standalone_mode=False, **extra)
            except ClickException as error:
                report_error("UsageError", error.format_message(), f"see: {_help_of(error)}", as_json=True)
                code = error.exit_code
            except typer.Abort:
                report_error("Aborted", "interrupted", "", as_json=True)
                code = 1
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import ``cli/<name>.py`` and wrap what it calls ``command`` (a function, or a Typer app of its own)."""
        if cmd_name not in COMMANDS:
            return None
        target = import_module(f"video_salmonn.cli.{cmd_name.replace('-', '_')}").command
        if isinstance(target, typer.Typer):
            group = typer.main.get_command(target)
        else:
            app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
            app.command(name=cmd_name)(target)
            group = typer.main.get_command(app)
        group.name = cmd_name
        add_examples(group, cmd_name)
        return group

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List commands from the table, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _help_of(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context is not None else 'video-salmonn'} --help"


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=epilog(""),
    help="video-SALMONN: ask questions about what a video shows and what it lets you hear.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from video_salmonn.version import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
) -> None:
    """video-SALMONN: ask questions about what a video shows and what it lets you hear."""
    for library in ("bitsandbytes", "torchao"):  # with quantise; they log kernels that are not needed
        logging.getLogger(library).setLevel(logging.ERROR)


def run() -> None:
    """Entry point of the ``video-salmonn`` script."""
    app()
