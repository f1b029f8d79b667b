"""``video-salmonn warmup`` at full width for a few steps: speech only, grown, exported, resumed."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from video_salmonn.checkpoints.assemble import trained_state
from video_salmonn.cli.main import app
from video_salmonn.data.feature_store import FeatureStore, FeatureWriter
from video_salmonn.data.manifest import Item, write_manifest
from video_salmonn.data.media_keys import MediaKeys, key_name, read_keys, write_keys
from video_salmonn.embedded.parts import converted, locate
from video_salmonn.embedded.pretrained import PARTS
from video_salmonn.embedded.warmup_run import held_out_utterances, new_connector, start_from, utterances, warmed_up
from video_salmonn.errors import CheckpointError, MediaError, MissingPartError


def language_model_is_there():
    part = PARTS["smollm2-135m"]
    try:
        return converted(part) is not None or all(locate(file) for file in part.files)
    except MissingPartError:
        return False


def item(name, text, split):
    turns = [{"role": "user", "content": "Write it down."}, {"role": "assistant", "content": text}]
    return Item(name, {"audio": f"{name}.wav"}, turns, "transcribe", split=split, extra={"words": {"said": text}})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Manifests and features, and no media at all: the store's list of keys stands in for them."""
    folder = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)
    train = [item(f"t{i}", text, "train") for i, text in enumerate(("a red boat", "a green boat", "the boat"))]
    dev = [item("transcribe/librispeech:1", "a red boat", "dev")]
    write_manifest(folder / "train.jsonl", train)
    write_manifest(folder / "dev.jsonl", dev)
    with FeatureWriter(folder / "features") as writer:
        for entry in train + dev:
            writer.put({f"{entry.id[-1]}k.speech": torch.randn(50, 512, generator=generator).half()})
            writer.put({f"{entry.id[-1]}k.audio": torch.randn(2, 1024, generator=generator).half()})
    write_keys(folder / "features", {entry.media["audio"]: f"{entry.id[-1]}k" for entry in train + dev})
    return folder


def run(data, out, *arguments):
    base = ["warmup", "--manifests", str(data), "--features", str(data / "features"), "--out", str(out)]
    result = CliRunner().invoke(app, [*base, "--batch", "2", *arguments])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.skipif(not language_model_is_there(), reason="smollm2-135m is not installed: video-salmonn setup")
def test_speech_first_then_grown_then_exported(data, tmp_path):
    lines = run(data, tmp_path / "speech", "--speech-only", "--steps", "2")
    assert lines[0] == {"utterances": 3, "hours": 0.0, "skipped": 0, "held_out": 1}
    assert lines[-1]["step"] == 2 and lines[-1]["dev_wer"] >= 0 and lines[-1]["loss"] > 0
    lines = run(data, tmp_path / "speech", "--speech-only", "--steps", "3")
    assert [line["step"] for line in lines[1:]] == [3]
    (small,) = run(data, tmp_path / "speech", "--measure", "dev")
    (whole,) = run(data, tmp_path / "speech", "--measure", "dev", "--whole")
    assert (small["connector"], whole["connector"], small["utterances"]) == ("speech", "whole", 1)
    assert (
        small["wer"] == pytest.approx(lines[-1]["dev_wer"], abs=1e-4) and small["low"] is None
    )  # one utterance gives no interval
    packed = tmp_path / "small.safetensors"
    run(data, tmp_path / "speech", "--pack", str(packed))
    assert packed.stat().st_size < 4_000_000
    run(data, tmp_path / "full", "--start", str(packed), "--steps", "1")
    for name in ("speech", "full"):
        state = trained_state(tmp_path / name / "export")
        full = new_connector(0)
        assert set(state) == {f"connector.{key}" for key in full.state_dict()}
        assert (tmp_path / name / "export" / "connector.safetensors").stat().st_size < 18_000_000
    exported = load_file(tmp_path / "full" / "export" / "connector.safetensors")
    whole = warmed_up(tmp_path / "full")["connector.llm_projection.bias"]
    torch.testing.assert_close(exported["llm_projection.bias"].float(), whole, rtol=0.01, atol=1e-6)
    sound = torch.randn(1, 50, 512), torch.zeros(1, 50, 1024)
    small, grown = new_connector(0, speech_only=True), new_connector(0)
    start_from(warmed_up(tmp_path / "speech"), small)
    start_from(warmed_up(tmp_path / "speech"), grown)
    with torch.no_grad():
        wanted = small(None, sound[0]).tokens
        torch.testing.assert_close(grown(None, *sound).tokens, wanted, rtol=0, atol=0.05 * float(wanted.std()))


@pytest.mark.skipif(not language_model_is_there(), reason="smollm2-135m is not installed: video-salmonn setup")
def test_an_ablations_connector_is_trained_and_exported(data, tmp_path):
    changes = '{"levels": [[1, 3]]}'
    run(data, tmp_path / "fine", "--steps", "1", "--connector", changes)
    state = trained_state(tmp_path / "fine" / "export")
    assert not any("level_queries.1" in key for key in state) and "connector.level_queries.0" in state
    result = CliRunner().invoke(
        app,
        ["warmup", "--manifests", "m", "--features", "f", "--out", str(tmp_path / "x"), "--connector", "levels=1"],
    )
    assert result.exit_code == 2 and "no JSON object" in result.output


def test_processes_that_list_keys_at_once_lose_none(tmp_path):
    names = [[f"{writer}-{number}.wav" for number in range(12)] for writer in range(6)]

    def write(own):
        for name in own:
            write_keys(tmp_path, {name: name})

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(write, names))
    assert set(read_keys(tmp_path)) == {name for own in names for name in own}


def test_media_that_are_gone_cost_their_own_utterances(tmp_path):
    talk = item("talk", "a red boat", "train")
    talk = Item(talk.id, talk.media | {"video": "gone.mp4"}, talk.conversation, talk.task, extra=talk.extra)
    gone = item("gone", "a boat", "dev")
    write_keys(tmp_path, {"talk.wav": "one"})
    keys = MediaKeys(tmp_path)
    (talking,) = utterances([talk], keys, tmp_path)
    assert talking.key == "one" and "gone.mp4" in talking.sight, "a name that no features have"
    store = FeatureStore(tmp_path)
    assert [entry.tensor in store for entry in utterances([gone], keys, tmp_path)] == [False]
    assert held_out_utterances([replace(gone, id="transcribe/librispeech:9")], keys, tmp_path, store) == []


def test_warmed_up_fails_clearly(tmp_path):
    with pytest.raises(CheckpointError, match="no run was saved here"):
        warmed_up(tmp_path)
    with pytest.raises(CheckpointError, match="not readable"):
        warmed_up(tmp_path / "none.safetensors")


def test_keys_are_taken_from_the_list_else_from_the_files(tmp_path):
    recipe = {"layers": [{"file": "a.wav", "at": 1.0}]}
    write_keys(tmp_path, {"b.wav": "one"})
    write_keys(tmp_path, {key_name(recipe): "two"})
    keys = MediaKeys(tmp_path)
    assert keys.key("b.wav", tmp_path) == "one" and keys.key({**recipe}, tmp_path) == "two"
    with pytest.raises(MediaError, match=r"a\.wav"):
        keys.key("a.wav", tmp_path)
    (tmp_path / "a.wav").write_bytes(b"x")
    assert len(keys.key("a.wav", tmp_path)) == 24
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"keys\.json"):
        read_keys(tmp_path)
