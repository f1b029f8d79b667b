"""What `--help` shows: a newcomer copies the examples."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from command_line import every_command, refused
from video_salmonn.checkpoints.assemble import model_card, notices
from video_salmonn.cli.examples import EXAMPLES
from video_salmonn.cli.main import app

NAMES = sorted(every_command())


def test_every_command_has_examples_and_no_example_is_of_a_command_that_is_gone():
    assert sorted(EXAMPLES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_the_examples_unbroken(name):
    shown = CliRunner().invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    for call in EXAMPLES[name]:
        assert f"  video-salmonn {call}\n" in shown.stdout


@pytest.mark.parametrize("call", sorted({call for calls in EXAMPLES.values() for call in calls}))
def test_every_example_is_taken_by_the_command_line(call):
    assert refused(shlex.split(call)) == ""


def test_the_notice_about_the_embedded_model_names_a_file_that_is_there():
    assert Path(model_card()).is_file() and model_card() in notices("embedded")[0]
