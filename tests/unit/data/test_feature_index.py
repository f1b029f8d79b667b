"""A store's index: many writers lose no name, other encoders are refused, earlier layouts are read or refused."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from video_salmonn.data.feature_index import Failure, FeatureIndex, add_to_index, read_index, recipe_name
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.errors import CheckpointError, ConfigError, MediaError


def test_processes_that_list_keys_at_once_lose_none(tmp_path):
    names = [[f"{writer}-{number}.wav" for number in range(12)] for writer in range(6)]

    def write(own):
        for name in own:
            add_to_index(tmp_path, FeatureIndex(keys={name: name}))

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(write, names))
    assert set(read_index(tmp_path).keys) == {name for own in names for name in own}


def test_keys_are_taken_from_the_index_else_from_the_files(tmp_path):
    recipe = {"layers": [{"file": "a.wav", "at": 1.0}]}
    add_to_index(tmp_path, FeatureIndex(keys={"b.wav": "one"}))
    add_to_index(tmp_path, FeatureIndex(keys={recipe_name(recipe): "two"}))
    store = FeatureStore(tmp_path)
    assert store.key("b.wav", tmp_path) == "one" and store.key({**recipe}, tmp_path) == "two"
    with pytest.raises(MediaError, match=r"a\.wav"):
        store.key("a.wav", tmp_path)
    (tmp_path / "a.wav").write_bytes(b"x")
    assert len(store.key("a.wav", tmp_path)) == 24


def test_what_is_written_is_read(tmp_path):
    index = FeatureIndex({"speech": "s"}, {"a": "k"}, {"sound b": Failure("broken", absent=True)})
    add_to_index(tmp_path, index)
    assert read_index(tmp_path) == index
    assert json.loads((tmp_path / "index.json").read_text())["format"] == 1


def test_features_of_other_encoders_are_refused_with_a_remedy(tmp_path):
    with FeatureStore(tmp_path, {"speech": "ours", "audio": "ours"}) as store:
        store.put({"k.speech": torch.zeros(2)})
    for fine in ({}, {"speech": "ours"}, {"speech": "ours", "visual": "never stored"}, None):
        assert len(FeatureStore(tmp_path, fine)) == 1
    with pytest.raises(ConfigError, match="its speech features were made by other encoders") as refused:
        FeatureStore(tmp_path, {"speech": "theirs", "audio": "ours"})
    assert "another folder" in refused.value.remedy
    with pytest.raises(ConfigError, match="its encoders features"):
        FeatureStore(tmp_path, {"encoders": "a cache's"})


def test_two_writers_of_unlike_encoders_do_not_share_a_store(tmp_path):
    first, second = (FeatureStore(tmp_path, {"speech": mark}) for mark in ("one", "two"))
    for store in (first, second):
        store.put({"k.speech": torch.zeros(2)})
    first.flush()
    with pytest.raises(ConfigError, match="other encoders"):
        second.flush()
    assert len(FeatureStore(tmp_path)) == 1


def test_an_embedded_store_of_the_earlier_layout_is_read_and_named_anew(tmp_path):
    save_file({"k.speech": torch.ones(2)}, tmp_path / "shard-00000.safetensors")
    (tmp_path / "keys.json").write_text('{"a.wav": "k"}')
    store = FeatureStore(tmp_path, {"speech": "ours"})
    assert store.key("a.wav", tmp_path) == "k" and store["k.speech"].tolist() == [1.0, 1.0]
    store.add_to_index(FeatureIndex(keys={"b.wav": "l"}))
    assert not (tmp_path / "keys.json").exists()
    assert read_index(tmp_path) == FeatureIndex({"speech": "ours"}, {"a.wav": "k", "b.wav": "l"})


def test_a_pack_of_the_earlier_layout_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "packed.json").write_text('{"encoders": "…", "entries": {}}')
    with pytest.raises(ConfigError, match=r"a pack of an earlier version .*packed\.json") as refused:
        FeatureStore(tmp_path)
    assert "data pack" in refused.value.remedy


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "made_by": 0, "keys": {}, "failed": {}}'])
def test_a_damaged_index_is_named(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index\.json: damaged"):
        read_index(tmp_path)
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        read_index(tmp_path)


def test_the_format_of_a_newer_version_is_refused(tmp_path):
    (tmp_path / "index.json").write_text('{"format": 2}')
    with pytest.raises(CheckpointError, match="format 2 of a feature store is unknown; this version reads 1"):
        read_index(tmp_path)
