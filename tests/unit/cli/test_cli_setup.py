"""``video-salmonn setup``: what it reports, and that it asks for nothing when everything is there."""

import json
import re
from importlib.resources import files

import pytest
from typer.testing import CliRunner

from video_salmonn.checkpoints.shipped import shipped_model
from video_salmonn.cli import setup_work as setup
from video_salmonn.cli.main import app
from video_salmonn.embedded.assemble import written_model
from video_salmonn.embedded.pretrained import PARTS
from video_salmonn.errors import MissingPartError


def invoke(*arguments):
    return CliRunner().invoke(app, ["setup", *arguments])


def test_check_reports_every_part_and_changes_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEO_SALMONN_HOME", str(tmp_path))
    result = invoke("--check", "--json")
    report = json.loads(result.stdout)
    assert [part["name"] for part in report["parts"]] == list(PARTS)
    assert all(part["licence"] and part["bytes"] > 0 and part["converted"] is None for part in report["parts"])
    assert report["model"] is None and report["ok"] is False and result.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_said(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEO_SALMONN_HOME", str(tmp_path))

    def nowhere(file):
        raise MissingPartError(file.path)

    monkeypatch.setattr(setup, "locate", nowhere)
    result = invoke("--check", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False


def test_requirements_are_pinned_hashed_and_those_of_the_parts():
    text = (files("video_salmonn") / "assets" / "embedded" / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pattern = re.compile(r"([a-z0-9-]+)==[0-9.]+ --hash=sha256:[0-9a-f]{64}")
    names = {pattern.fullmatch(line).group(1) for line in lines}
    assert names == {name for part in PARTS.values() for name in part.distributions}


@pytest.mark.skipif(written_model() is None, reason="the embedded model is not set up: video-salmonn setup")
def test_second_run_installs_nothing(monkeypatch):
    monkeypatch.setattr(setup, "_install", lambda requirements: pytest.fail("nothing is missing"))
    result = invoke("--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert all(part["converted"] for part in report["parts"]) and report["model"] == str(shipped_model())
