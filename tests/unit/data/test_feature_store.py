"""The feature store: what goes in comes out, shards are bounded, damage is named."""

import os

import pytest
import torch
from safetensors.torch import load_file

from video_salmonn.data.feature_store import SMALL_SHARDS, FeatureStore, trim
from video_salmonn.errors import CheckpointError


def test_shards_are_bounded_and_readable_while_more_come(tmp_path):
    values = {f"k{i}": torch.randn(10, 5).half() for i in range(7)}
    store = FeatureStore(tmp_path)
    with FeatureStore(tmp_path, shard_bytes=250) as writer:
        for key, value in values.items():
            writer.put({key: value})
    store.refresh()
    assert len(store) == 7 and "k3" in store and "k9" not in store
    assert store.shape("k3") == (10, 5)
    for key, value in values.items():
        assert torch.equal(store[key], value)
    shards = list(tmp_path.glob("*.safetensors"))
    assert len(shards) == 4 and not list(tmp_path.glob("*.partial"))
    with FeatureStore(tmp_path, shard_bytes=250) as writer:
        writer.put({"k9": torch.zeros(1)})
    assert len(list(tmp_path.glob("*.safetensors"))) == 5


def test_tensors_put_together_get_into_one_shard(tmp_path):
    with FeatureStore(tmp_path, shard_bytes=100) as writer:
        writer.put({"a.speech": torch.zeros(20)})
        writer.put({"b.speech": torch.zeros(4), "b.audio": torch.zeros(4)})
    shards = {key: path.name for path in tmp_path.glob("*.safetensors") for key in load_file(path)}
    assert shards["b.speech"] == shards["b.audio"] != shards["a.speech"]


def test_a_processor_is_left_with_the_memory_map(tmp_path):
    with FeatureStore(tmp_path) as writer:
        writer.put({"k": torch.arange(3.0)})
    store = FeatureStore(tmp_path)
    assert not store.hold("cpu") and store["k"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_holds_the_tensors(tmp_path):
    with FeatureStore(tmp_path) as writer:
        writer.put({"k": torch.arange(3.0)})
    store = FeatureStore(tmp_path)
    assert not store.hold("cuda", share=0.0) and store["k"].device.type == "cpu"
    assert store.hold("cuda") and store["k"].device.type == "cuda" and store.shape("k") == (3,)


def test_store_fails_clearly(tmp_path):
    with pytest.raises(CheckpointError, match="no features under missing"):
        FeatureStore(tmp_path)["missing"]
    (tmp_path / "shard-00000.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0garbage")
    with pytest.raises(CheckpointError, match=r"shard-00000\.safetensors: damaged"):
        len(FeatureStore(tmp_path))
    assert len(FeatureStore(tmp_path, disposable=True)) == 0 and not list(tmp_path.glob("*.safetensors"))


def test_facts_stay_with_their_shard(tmp_path):
    with FeatureStore(tmp_path) as writer:
        writer.put({"a.speech": torch.zeros(2)}, {"a": {"sound_frames": 3}})
        writer.put({"a.visual": torch.zeros(2)}, {"a": {"still": True}})
        writer.flush()
        writer.put({"b.visual": torch.zeros(2)})
    store = FeatureStore(tmp_path)
    assert store.facts("a") == {"sound_frames": 3, "still": True} and store.facts("b") == {}


def test_what_is_put_can_be_read_before_it_is_written(tmp_path):
    store = FeatureStore(tmp_path)
    store.put({"a.speech": torch.ones(2)})
    assert "a.speech" in store and store["a.speech"].tolist() == [1.0, 1.0] and not list(tmp_path.iterdir())


def test_a_cache_puts_its_small_shards_together_while_others_read_them(tmp_path):
    reader, writer = FeatureStore(tmp_path, disposable=True), FeatureStore(tmp_path, disposable=True)
    counts = []
    for index in range(3 * SMALL_SHARDS):
        writer.put({f"k{index}.speech": torch.full((3,), float(index))}, {f"k{index}": {"index": index}})
        writer.flush()
        counts.append(len(list(tmp_path.glob("shard-*"))))
        if index == 5:
            assert len(reader) == 6
    assert max(counts) < SMALL_SHARDS and not list(tmp_path.glob("*.partial"))
    reader.refresh()
    for store in (reader, writer, FeatureStore(tmp_path)):
        for index in (0, 5, 70, 3 * SMALL_SHARDS - 1):
            assert store[f"k{index}.speech"].tolist() == [index] * 3 and store.facts(f"k{index}") == {"index": index}


def test_the_shards_used_longest_ago_are_deleted_first(tmp_path):
    for name in "abc":
        with FeatureStore(tmp_path / name, disposable=True) as store:
            store.put({f"{name}.speech": torch.zeros(100)})
    for age, name in enumerate("cab"):
        os.utime(tmp_path / name / "shard-00000.safetensors", (1000 + age, 1000 + age))
    assert FeatureStore(tmp_path / "c", disposable=True)["c.speech"].shape == (100,)  # used now
    assert trim(tmp_path, 1200) and not trim(tmp_path, 1200)
    assert [path.parent.name for path in sorted(tmp_path.rglob("shard-*"))] == ["b", "c"]
