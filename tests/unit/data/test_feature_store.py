"""The feature store: what goes in comes out, shards are bounded, damage is named."""

import pytest
import torch
from safetensors.torch import load_file

from video_salmonn.data.feature_store import FeatureStore, FeatureWriter
from video_salmonn.errors import CheckpointError


def test_shards_are_bounded_and_readable_while_more_come(tmp_path):
    values = {f"k{i}": torch.randn(10, 5).half() for i in range(7)}
    store = FeatureStore(tmp_path)
    with FeatureWriter(tmp_path, shard_bytes=250) as writer:
        for key, value in values.items():
            writer.put({key: value})
    store.refresh()
    assert len(store) == 7 and "k3" in store and "k9" not in store
    assert store.shape("k3") == (10, 5)
    for key, value in values.items():
        assert torch.equal(store[key], value)
    shards = list(tmp_path.glob("*.safetensors"))
    assert len(shards) == 4 and not list(tmp_path.glob("*.partial"))
    with FeatureWriter(tmp_path, shard_bytes=250) as writer:
        writer.put({"k9": torch.zeros(1)})
    assert len(list(tmp_path.glob("*.safetensors"))) == 5


def test_tensors_put_together_get_into_one_shard(tmp_path):
    with FeatureWriter(tmp_path, shard_bytes=100) as writer:
        writer.put({"a.speech": torch.zeros(20)})
        writer.put({"b.speech": torch.zeros(4), "b.audio": torch.zeros(4)})
        assert writer.pending_bytes == 32
    shards = {key: path.name for path in tmp_path.glob("*.safetensors") for key in load_file(path)}
    assert shards["b.speech"] == shards["b.audio"] != shards["a.speech"]


def test_a_processor_is_left_with_the_memory_map(tmp_path):
    with FeatureWriter(tmp_path) as writer:
        writer.put({"k": torch.arange(3.0)})
    store = FeatureStore(tmp_path)
    assert not store.hold("cpu") and store["k"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_holds_the_tensors(tmp_path):
    with FeatureWriter(tmp_path) as writer:
        writer.put({"k": torch.arange(3.0)})
    store = FeatureStore(tmp_path)
    assert not store.hold("cuda", share=0.0) and store["k"].device.type == "cpu"
    assert store.hold("cuda") and store["k"].device.type == "cuda" and store.shape("k") == (3,)


def test_store_fails_clearly(tmp_path):
    with pytest.raises(CheckpointError, match="no features under missing"):
        FeatureStore(tmp_path)["missing"]
    (tmp_path / "shard-00000.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0garbage")
    with pytest.raises(CheckpointError, match=r"shard-00000\.safetensors: damaged"):
        FeatureStore(tmp_path)
