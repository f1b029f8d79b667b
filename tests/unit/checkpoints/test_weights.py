"""Weights mapped from their files give the same model as ``from_pretrained``, in every respect that is used."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from video_salmonn.checkpoints import weights
from video_salmonn.checkpoints.assemble import build_tiny, load_directory
from video_salmonn.checkpoints.weights import load_weights
from video_salmonn.errors import CheckpointError
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration as Model


def saved(folder, dtype=torch.float32, **options):
    model, processor = build_tiny()
    model.add_lora("other", {"r": 2, "alpha": 4, "targets": ["v_proj"]})
    model.set_words([6, 9, 12])
    model.generation_config.num_beams = 3
    model.to(dtype).save_pretrained(folder, **options)
    processor.save_pretrained(folder)
    return folder


def both(folder, dtype=None):
    ours = load_weights(folder, VideoSalmonnConfig.from_pretrained(folder), dtype)[0]
    theirs = Model.from_pretrained(folder, config=VideoSalmonnConfig.from_pretrained(folder), dtype=dtype or "auto")
    return ours, theirs


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
def test_the_same_as_from_pretrained(tmp_path, stored, dtype):
    ours, theirs = both(saved(tmp_path, stored), dtype)
    for kind in ("parameters", "buffers"):
        mine, other = (dict(getattr(model, f"named_{kind}")(remove_duplicate=False)) for model in (ours, theirs))
        assert mine.keys() == other.keys() and len(mine) >= 5
        for name, tensor in mine.items():
            assert tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]), name
            assert tensor.requires_grad == other[name].requires_grad, name
    assert ours.generation_config.to_dict() == theirs.generation_config.to_dict()
    assert ours.generation_config.num_beams == 3
    assert ours.config.to_dict() == theirs.config.to_dict() and ours.dtype == theirs.dtype
    assert [type(m) for m in ours.modules()] == [type(m) for m in theirs.modules()]


def test_nothing_is_copied(tmp_path, monkeypatch):
    folder = saved(tmp_path)
    monkeypatch.setattr(Model, "from_pretrained", None)
    read = {}
    monkeypatch.setattr(weights, "load_file", lambda file: read.setdefault(file, load_file(file)))
    model, _ = load_weights(folder, VideoSalmonnConfig.from_pretrained(folder))
    (tensors,) = read.values()
    for name, tensor in model.state_dict().items():
        if name in tensors:
            assert tensor.data_ptr() == tensors[name].data_ptr(), name


def test_weights_in_several_files(tmp_path, monkeypatch):
    folder = saved(tmp_path, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    monkeypatch.setattr(Model, "from_pretrained", None)
    model, _ = load_weights(folder, VideoSalmonnConfig.from_pretrained(folder))
    assert model.connector.llm_projection.weight.isfinite().all()


@pytest.mark.parametrize("damage", ["missing", "unexpected", "shape"])
def test_what_does_not_fit_is_refused_as_before(tmp_path, damage):
    folder = saved(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    name = "connector.llm_projection.weight"
    if damage == "missing":
        del tensors[name]
    elif damage == "unexpected":
        tensors["connector.nonsense"] = torch.zeros(2)
    else:
        tensors[name] = torch.zeros(3, 3)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing|without a place|cannot be loaded"):
        load_directory(folder)
