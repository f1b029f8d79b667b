"""Encoding with the real encoders: processes change nothing, what is half there is made again, failures are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from video_salmonn.checkpoints.assemble import load_model
from video_salmonn.data.feature_index import FeatureIndex, add_to_index, read_index
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.embedded.data.encode import EncodeJob, FrozenEncoders, encode
from video_salmonn.encoders.efficientnet import EfficientNetEncoder
from video_salmonn.encoders.whisper import WhisperEncoder
from video_salmonn.encoders.yamnet import YamnetEncoder
from video_salmonn.errors import ConfigError, MissingPartError
from video_salmonn.model.encoder_marks import model_marks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def jobs():
    clips = sorted((ROOT / "examples" / "grid").glob("*.mp4"))[:2]
    names = [str(clip.relative_to(ROOT)) for clip in clips]
    recipe = {"layers": [{"file": names[0], "speed": 1.1}, {"noise": "white", "seed": 1, "level": -50}]}
    return [EncodeJob("sound", names[0]), EncodeJob("sound", recipe), EncodeJob("visual", names[1])]


@pytest.fixture(scope="module")
def stores(jobs, tmp_path_factory):
    folders = [tmp_path_factory.mktemp("features") for _ in range(2)]
    try:
        counts = [encode(jobs, ROOT, folder, workers=workers) for folder, workers in zip(folders, (0, 2))]
    except MissingPartError as error:
        pytest.skip(f"the embedded model's parts are not installed: {error}")
    assert counts == [{"done": 3, "already": 0, "failed": 0}] * 2
    return folders


def test_processes_change_nothing(stores):
    alone, helped = (FeatureStore(folder) for folder in stores)
    assert set(alone.names()) == set(helped.names()) and len(alone) == 5
    for key in alone.names():
        assert torch.equal(alone[key], helped[key]), key


def test_the_head_sees_an_imagined_picture_in_its_features(stores, jobs, tmp_path):
    still, panda = str(jobs[2].recipe), 388
    recipe = {"file": still, "imagine": panda, "seed": 5}
    work = [EncodeJob("visual", still), EncodeJob("visual", recipe), EncodeJob("visual", recipe | {"imagine": 1000})]
    assert encode(work, ROOT, tmp_path) == {"done": 2, "already": 0, "failed": 1}
    assert "a number from 0 to 999" in (tmp_path / "failed.txt").read_text()
    store, head = FeatureStore(tmp_path), FrozenEncoders().efficientnet.head
    real, made = (store[f"{store.key(one, ROOT)}.visual"].float() for one in (still, recipe))
    assert made.shape == (1, *real.shape[1:]) and len(real) > 1, "a clip's first frame"
    with torch.inference_mode():
        chances = [head(tokens[0].mean(0)).softmax(-1)[panda] for tokens in (real, made)]
    assert chances[0] < 0.01 and 0.69 < chances[1] < 1


@pytest.mark.slow
def test_encoding_processes_share_out_what_is_missing(stores, jobs, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound at all")
    told: list[tuple[int, int]] = []
    heard: list[float] = []
    work = [*jobs, EncodeJob("sound", str(tmp_path / "broken.wav"))]
    found = encode(work, ROOT, tmp_path, processes=2, progress=lambda *at: told.append(at), heard=heard.append)
    assert found == {"done": 3, "already": 0, "failed": 1} and "broken.wav" in (tmp_path / "failed.txt").read_text()
    assert told == [(number, 4) for number in (1, 2, 3, 4)] and 4 < sum(heard) < 8
    alone, shared = FeatureStore(stores[0]), FeatureStore(tmp_path)
    assert len(shared) == 5 and all(torch.equal(alone[key], shared[key]) for key in alone.names())
    assert set(read_index(stores[0]).keys) < set(read_index(tmp_path).keys)


def test_blocks_filled_up_with_zeros_change_nothing(stores):
    """What a GPU is given: blocks of few sizes."""
    encoders = FrozenEncoders()
    sounds = [np.random.default_rng(seed).standard_normal(48_000).astype(np.float32) * 0.1 for seed in range(3)]
    frames = [np.random.default_rng(9).integers(0, 255, (5, 224, 224, 3), np.uint8)]
    wanted = encoders.sounds(sounds), encoders.pictures(frames)
    sizes: list[int] = []
    encoders.efficientnet.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    encoders.whisper.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    encoders.block = 4
    found = encoders.sounds(sounds), encoders.pictures(frames)
    assert sizes == [4, 4, 1], "three sounds in a block of four, five frames in one of four and one of one"
    for (speech, audio), (wanted_speech, wanted_audio) in zip(found[0], wanted[0]):
        torch.testing.assert_close(speech, wanted_speech, atol=4e-3, rtol=4e-3)
        torch.testing.assert_close(audio, wanted_audio, atol=4e-3, rtol=4e-3)
    torch.testing.assert_close(found[1][0], wanted[1][0], atol=4e-3, rtol=4e-3)


def test_what_is_half_there_is_made_again(stores, jobs, tmp_path):
    whole = FeatureStore(stores[0])
    key = next(name.split(".")[0] for name in whole.names() if name.endswith(".speech"))
    with FeatureStore(tmp_path) as store:
        store.put({f"{key}.speech": whole[f"{key}.speech"]})
    heard: list[float] = []
    found = encode([job for job in jobs if job.kind == "sound"], ROOT, tmp_path, heard=heard.append)
    assert found == {"done": 2, "already": 0, "failed": 0}
    assert 4 < sum(heard) < 8, "seconds of sound that were encoded"
    assert f"{key}.audio" in FeatureStore(tmp_path)


def test_encoders_are_built_once_and_only_where_something_is_left(stores, jobs, tmp_path, monkeypatch):
    built = []
    for kind in (EfficientNetEncoder, WhisperEncoder, YamnetEncoder):

        def build(self, *arguments, kind=kind, whole=kind.__init__):
            built.append(kind.__name__)
            whole(self, *arguments)

        monkeypatch.setattr(kind, "__init__", build)
    for wanted in (["EfficientNetEncoder", "WhisperEncoder", "YamnetEncoder"], []):
        encode(jobs, ROOT, tmp_path)
        assert sorted(built) == wanted
        built.clear()
    assert read_index(tmp_path) == read_index(stores[0]), "made by the same encoders"


def test_media_that_cannot_be_decoded_are_named(stores, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound at all")
    found = encode([EncodeJob("sound", "broken.wav")], tmp_path, tmp_path / "features", workers=1)
    assert found == {"done": 0, "already": 0, "failed": 1}
    assert "broken.wav" in (tmp_path / "features" / "failed.txt").read_text()


def test_a_file_that_is_gone_costs_its_own_features_only(jobs, stores, tmp_path):
    found = encode([EncodeJob("visual", "gone.png"), jobs[0], EncodeJob("sound", "gone.wav")], ROOT, tmp_path)
    assert found == {"done": 1, "already": 0, "failed": 2}
    told = (tmp_path / "failed.txt").read_text()
    assert "gone.png" in told and "gone.wav" in told and "No such file" in told
    assert encode([EncodeJob("visual", "gone.png")], ROOT, tmp_path) == {"done": 0, "already": 0, "failed": 1}


def test_a_store_says_which_encoders_made_it_and_is_refused_by_others(stores, jobs, tmp_path):
    marks = model_marks(load_model("embedded")[0])
    assert read_index(stores[0]).made_by == marks, "the embedded model's own"
    store = FeatureStore(stores[0], marks)
    assert store.facts(store.key(jobs[0].recipe, ROOT)) == {"sound_frames": 7, "audio_repeat": 25}  # 3.008 s
    add_to_index(tmp_path, FeatureIndex({"speech": "another encoder's"}))
    with pytest.raises(ConfigError, match="speech features were made by other encoders"):
        encode(jobs, ROOT, tmp_path)


def test_a_store_of_the_earlier_layout_is_continued(stores, jobs, tmp_path):
    """It had a list of keys and said nothing of its encoders."""
    for shard in stores[0].glob("shard-*"):
        shutil.copy(shard, tmp_path)
    keys = read_index(stores[0]).keys
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    assert len(FeatureStore(tmp_path, {"speech": "anyone's"})) == 5
    assert encode(jobs, ROOT, tmp_path) == {"done": 0, "already": 3, "failed": 0}
    assert read_index(tmp_path) == read_index(stores[0]) and not (tmp_path / "keys.json").exists()
