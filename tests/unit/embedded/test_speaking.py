"""Speaking manifests in bulk: what is spoken, what is left out, what a batch changes, what a fault costs."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, write_manifest
from video_salmonn.embedded.data.speaking.bulk import BulkKokoro, BulkPiper, alike, resampler
from video_salmonn.embedded.data.speaking.jobs import SpeechJob, neural_layers, read_jobs, speech_job, write_jobs
from video_salmonn.embedded.data.speaking.run import batches, share, speak_all
from video_salmonn.embedded.data.voices import (
    SPEECH_FOLDER,
    missing_voice_files,
    neural_layer,
    say,
    speech_key,
)
from video_salmonn.errors import ManifestError, MissingPartError

needs_voices = pytest.mark.skipif(bool(missing_voice_files()), reason="no voices: video-salmonn setup --voices")
TEXTS = ("good morning", "the quick brown fox jumps over the lazy dog", "a red boat")


def job(number, engine="piper", length=5):
    mix = (1.0, 0.0, 0.0, 0.0, 0.0) if engine == "kokoro" else ()
    return SpeechJob(f"{number:024x}", engine, tuple(range(10, 10 + length)), mix)


def layer(text, engine="piper", **changes):
    return neural_layer(text, engine, random.Random(text)) | changes


def item(number, *layers):
    turns = [{"role": "user", "content": "Write it down."}, {"role": "assistant", "content": "x"}]
    return Item(f"i{number}", {"audio": {"layers": list(layers)}}, turns, "transcribe", split="train")


def test_each_distinct_sentence_of_a_neural_voice_is_spoken_once():
    one, two = layer("one"), layer("two", "kokoro")
    other = {"say": "one", "engine": "flite", "voice": "slt"}
    items = [item(0, one | {"at": 1.0, "level": -20}, other), item(1, two, one, {"file": "a.wav"}), item(2)]
    items.append(replace(items[0], media={"audio": "plain.wav"}))
    found = list(neural_layers(items))
    assert [speech_key(entry) for entry in found] == [speech_key(one), speech_key(two)]


def test_parts_share_the_sentences_and_batches_are_of_one_voice_and_like_length():
    jobs = [job(i, ("piper", "kokoro")[i % 2], 3 + i % 7) for i in range(40)]
    parts = [share(jobs, part, 3) for part in range(3)]
    assert sorted(entry.key for part in parts for entry in part) == [entry.key for entry in jobs]
    groups = list(batches(jobs, {"piper": 6, "kokoro": 3}))
    assert sum(map(len, groups)) == 40 and all(len({entry.engine for entry in group}) == 1 for group in groups)
    lengths = [len(entry.ids) for group in groups for entry in group if entry.engine == "piper"]
    assert lengths == sorted(lengths, reverse=True)


def test_a_list_of_sentences_travels(tmp_path):
    jobs = [job(1), job(2, "kokoro"), replace(job(3), pace=0.9, variation=0.5, rhythm=0.7)]
    assert write_jobs(tmp_path / "jobs.jsonl", jobs) == 3
    assert list(read_jobs(tmp_path / "jobs.jsonl")) == jobs
    good = (tmp_path / "jobs.jsonl").read_text().splitlines()
    for bad in ("{", "3", '{"key": "k"}', good[1].replace("kokoro", "espeak-ng"), good[1].replace("[1.0", "[1.0, 2.0")):
        (tmp_path / "bad.jsonl").write_text(f"{good[0]}\n{bad}\n")
        with pytest.raises(ManifestError, match=r"bad\.jsonl, line 2"):
            list(read_jobs(tmp_path / "bad.jsonl"))


def test_resampling_keeps_a_tone_and_its_place():
    time = torch.arange(22_050) / 22_050
    found = resampler(22_050, 16_000, "cpu")(torch.sin(2 * torch.pi * 440 * time)[None])[0]
    wanted = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)
    assert found.shape == (16_000,)
    torch.testing.assert_close(found[100:-100], wanted[100:-100], atol=2e-3, rtol=0)
    high = torch.sin(2 * torch.pi * 10_000 * time)[None]
    assert resampler(22_050, 16_000, "cpu")(high)[0, 100:-100].abs().max() < 0.01, "no folding back"


def test_a_short_sentence_is_not_drowned_in_a_long_ones_silence():
    assert alike([10, 100, 90, 80, 95, 9], 16) == [[1, 4, 2], [3], [0, 5]]
    assert alike([5, 5, 5], 2) == [[0, 1], [2]] and alike([], 4) == []


def test_a_batch_that_fails_is_halved_until_what_fails_stands_alone(tmp_path, monkeypatch):
    asked = []

    def speak(self, group):
        asked.append(len(group))
        if any(entry.ids[0] == 99 for entry in group) or len(group) > 4:
            raise RuntimeError("not enough memory\nsecond line")
        return [np.full(1600, 0.5, np.float32) for _ in group]

    monkeypatch.setattr("video_salmonn.embedded.data.speaking.run._Torch.speak", speak)
    jobs = [job(i) for i in range(8)]
    jobs[5] = replace(jobs[5], ids=(99, 1))
    account = speak_all(jobs, tmp_path, batch=8, interpret=True)
    assert account.spoken == 7 and account.failed == {jobs[5].key: "not enough memory"}
    assert asked[0] == 8 and account.seconds == pytest.approx(0.7)
    store = FeatureStore(tmp_path)
    assert len(store) == 7 and store[jobs[0].key].dtype == torch.int16
    again = speak_all(jobs, tmp_path, batch=8, interpret=True)
    assert (again.already, again.spoken, len(again.failed)) == (7, 0, 1)

    def gone(self, group):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr("video_salmonn.embedded.data.speaking.run._Torch.speak", gone)
    with pytest.raises(RuntimeError, match="CUDA error"):
        speak_all(jobs, tmp_path / "other", interpret=True)


def test_a_missing_voice_ends_the_run(tmp_path, monkeypatch):
    def speak(self, group):
        raise MissingPartError("the data file joe/voice.onnx is not installed", remedy="video-salmonn setup --voices")

    monkeypatch.setattr("video_salmonn.embedded.data.speaking.run._Torch.speak", speak)
    with pytest.raises(MissingPartError, match="joe"):
        speak_all([job(1), job(2)], tmp_path, interpret=True)


def loudness(samples):
    return np.log10(
        np.array([np.square(samples[at : at + 800]).mean() for at in range(0, len(samples) - 800, 800)]) + 1e-6
    )


@needs_voices
@pytest.mark.slow
def test_piper_by_torch_says_what_it_says_by_onnxruntime():
    from video_salmonn.embedded.data.render import resampled
    from video_salmonn.embedded.data.voices import speak_ids

    jobs = [replace(speech_job(layer(text)), variation=0.0, rhythm=0.0) for text in TEXTS]
    voice = BulkPiper("cpu", noise=0.0)
    together = voice.speak(jobs)
    for entry, found in zip(jobs, together):
        samples, rate = speak_ids("piper", list(entry.ids), [], entry.pace, 0.0, 0.0, 0)
        wanted = resampled(samples, rate)
        cut = np.flatnonzero(np.abs(found) > 0.01)
        found = found[max(0, cut[0] - 480) : cut[-1] + 480]
        assert abs(len(found) - len(wanted)) < 400
        count = min(len(found), len(wanted))
        assert np.corrcoef(loudness(found[:count]), loudness(wanted[:count]))[0, 1] > 0.98


@needs_voices
@pytest.mark.slow
def test_kokoro_by_torch_is_as_long_and_as_loud_as_by_onnxruntime():
    from video_salmonn.embedded.data.render import resampled
    from video_salmonn.embedded.data.voices import speak_ids

    jobs = [speech_job(layer(text, "kokoro")) for text in (TEXTS[1], TEXTS[1] + " again")]
    for entry, found in zip(jobs, BulkKokoro("cpu").speak(jobs)):
        samples, rate = speak_ids("kokoro", list(entry.ids), list(entry.mix), entry.pace, 0.0, 0.0, 0)
        wanted = resampled(samples, rate)
        spans = [np.ptp(np.flatnonzero(np.abs(sound) > 0.05)) for sound in (found, wanted)]
        assert abs(spans[0] / spans[1] - 1) < 0.06, "activations are not rounded to 8 bits here"
        assert abs(loudness(found).max() - loudness(wanted).max()) < 0.3


@needs_voices
@pytest.mark.slow
def test_the_command_speaks_manifests_into_the_folder_that_encoding_reads(tmp_path, monkeypatch):
    monkeypatch.setenv(SPEECH_FOLDER, str(tmp_path / "speech"))
    one, two = layer(TEXTS[0]), layer(TEXTS[2], "kokoro")
    write_manifest(tmp_path / "train.jsonl", [item(0, one), item(1, two), item(2, layer(""))])
    base = ["data", "speak-embedded", "--manifests", str(tmp_path), "--split", "train", "--json"]
    result = CliRunner().invoke(app, [*base, "--parts", "1/2"])
    assert result.exit_code == 1, "a sentence in which nothing can be spoken is told"
    first = json.loads(result.stdout)
    assert first["spoken"] == 1 and first["already"] == 0
    result = CliRunner().invoke(app, base)
    second = json.loads(result.stdout)
    assert (second["spoken"], second["already"], second["failed"]) == (1, 1, 1)
    assert "nothing in it can be spoken" in (tmp_path / "speech" / "failed.txt").read_text()
    samples, rate = say(one)
    assert rate == 16_000 and 0.3 < len(samples) / rate < 3 and np.abs(samples).max() > 0.05
    listed = tmp_path / "jobs.jsonl"
    result = CliRunner().invoke(app, [*base, "--write-jobs", str(listed)])
    assert json.loads(result.stdout)["sentences"] == 2 and len(list(read_jobs(listed))) == 2
    command = ["data", "speak-embedded", "--jobs", str(listed), "--json"]
    assert json.loads(CliRunner().invoke(app, command).stdout)["already"] == 2


def test_the_command_says_what_it_needs(tmp_path):
    for arguments, said in (
        ([], "--manifests"),
        (["--manifests", str(tmp_path)], "no train.jsonl"),
        (["--manifests", str(tmp_path), "--parts", "3/2"], "--parts"),
        (["--jobs", str(tmp_path / "none.jsonl")], "none.jsonl"),
        (["--jobs", "a", "--manifests", "b"], "one of"),
    ):
        result = CliRunner().invoke(app, ["data", "speak-embedded", *arguments])
        assert result.exit_code == 2 and said in result.output, arguments
