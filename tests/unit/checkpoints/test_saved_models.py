"""Model directories saved by earlier versions load and answer as they did."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.types import Clip, FrameBatch, Heard, MediaReport, Seen, Waveform

FOLDER = Path(__file__).parents[2] / "fixtures" / "saved-model"
EXPECTED = json.loads((FOLDER / "expected.json").read_text("utf-8"))
CONDITIONS = {"all": {}, "no_audio": {"no_audio": True}, "no_video": {"no_video": True}}


def clip():
    """Two seconds: a pattern that no decoder made, and a tone."""
    numbers = np.arange(4 * 28 * 28 * 3, dtype=np.uint64) * 2654435761 % 251
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    return Clip(
        FrameBatch(numbers.astype(np.uint8).reshape(4, 28, 28, 3), np.arange(4) / 2),
        Waveform(tone.astype(np.float32)),
        2.0,
        MediaReport("pattern", 2.0, Seen("used", 0.0, 2.0, 4), Heard("used", 0.0, 2.0)),
    )


def answers(engine):
    """What the engine says to every recorded question, and how likely it holds two answers to be."""
    found = {}
    for question, conditions in EXPECTED.items():
        for name in conditions:
            options = CONDITIONS[name]
            answer = engine.ask(clip(), question, **options)
            item = {"question": question, "media": clip(), **options}
            logs = [one.log for one in engine.likelihoods(item, ["Yes.", "No."])]
            tokens = {key: answer.report[key] for key in ("media_tokens", "prompt_tokens")}
            found.setdefault(question, {})[name] = {"text": answer.text, **tokens, "logs": logs}
    return found


def flat(answers):
    return {(question, name): found for question, rows in answers.items() for name, found in rows.items()}


def check(engine):
    found, wanted = flat(answers(engine)), flat(EXPECTED)
    for key, row in wanted.items():
        assert found[key]["text"] == row["text"], key
        assert [found[key][name] for name in ("media_tokens", "prompt_tokens")] == [
            row[name] for name in ("media_tokens", "prompt_tokens")
        ]
        np.testing.assert_allclose(found[key]["logs"], row["logs"], atol=2e-3)


def test_a_model_of_the_first_format_answers_as_it_did():
    engine = VideoSalmonn.load(FOLDER, dtype="float32")
    check(engine)
    assert engine.model.words.columns.tolist() == [2, 70, 71, 72, 73]


def test_saved_again_it_answers_as_it_did(tmp_path):
    engine = VideoSalmonn.load(FOLDER, dtype="float32")
    engine.model.save_pretrained(tmp_path)
    engine.processor.save_pretrained(tmp_path)
    check(VideoSalmonn.load(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "model.safetensors"])
def test_nothing_of_the_fixture_was_saved_again(name):
    import hashlib

    digests = {
        "config.json": "01d65a2ba70d69af",
        "processor_config.json": "4575acf807cc8d36",
        "model.safetensors": "8728a0b8cf8fa927",
    }
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:16] == digests[name]


def changed(folder, name="config.json", **values):
    """A copy of the saved model with other settings; ``name=None`` for none."""
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    if values:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text("utf-8")) | values), "utf-8")
    return folder


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, number):
    """They made an empty answer without a word."""
    folder = changed(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.startswith("connector.") and tensors[name].is_floating_point())
    tensors[name].view(-1)[0] = number
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"{name} holds NaN or infinite"):
        VideoSalmonn.load(folder).ask(clip(), "What?")


def test_settings_that_cannot_be_are_refused_with_their_file(tmp_path):
    folder = changed(tmp_path / "m", prompt="x")
    with pytest.raises(ConfigError, match=r"m/config\.json: prompt is 'x'"):
        VideoSalmonn.load(folder).ask(clip(), "What?")
    folder = changed(tmp_path / "n")
    (folder / "processor_config.json").unlink()
    with pytest.raises(ConfigError, match=r"n/processor_config\.json: is missing"):
        VideoSalmonn.load(folder).ask(clip(), "What?")
