"""The authors' README example as one command: everything but the official files can be tried here."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path

from typer.testing import CliRunner

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.cli import verify
from video_salmonn.cli.main import app

CLIP = Path(__file__).parents[2] / "fixtures" / "media" / "big_buck_bunny_small.mp4"


def run(*arguments):
    result = CliRunner().invoke(app, ["verify", *map(str, arguments), "--device", "cpu", "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_missing_files_are_named(tmp_path):
    code, value = run("some-model", "--released", tmp_path)
    assert code == 2 and value["error"]["type"] == "MediaError"
    assert "4405327307.mp4" in value["error"]["message"] and "authors" in value["error"]["remedy"]


def test_an_answer_is_compared(tmp_path, monkeypatch):
    shutil.copy(CLIP, tmp_path / "4405327307.mp4")
    with wave.open(str(tmp_path / "4405327307.wav"), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(bytes(range(256)) * 125)
    code, value = run(tmp_path / "no-model", "--released", tmp_path)
    assert code == 2 and value["error"]["type"] == "CheckpointError"
    model, processor = build_tiny()
    model.generation_config.max_new_tokens = 4
    model.config.generation = {"max_new_tokens": 4}
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    code, (entry,) = run(tmp_path / "model", "--released", tmp_path)
    assert code == 1 and entry["passed"] is False and entry["media"][0]["heard"]["status"] == "used"
    monkeypatch.setattr(verify, "EXPECTED", entry["answer"])
    code, (again,) = run(tmp_path / "model", "--released", tmp_path)
    assert code == 0 and again["passed"] is True and again["answer"] == entry["answer"]
