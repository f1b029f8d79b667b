"""The small model as a directory: written once by ``setup``, loaded like any other."""

import json
import shutil

import pytest
import torch

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny, load_directory, load_model
from video_salmonn.checkpoints.directory import DECODER, has_decoder
from video_salmonn.checkpoints.shipped import ASSETS, RECORD, shipped_key, shipped_model, shipped_place
from video_salmonn.embedded import assemble
from video_salmonn.errors import CheckpointError, MissingPartError
from video_salmonn.files import fingerprint
from video_salmonn.model import adapters
from video_salmonn.model.presets import embedded
from whisper_make import tiny_whisper

needs_parts = pytest.mark.skipif(
    assemble.written_model() is None, reason="the embedded model is not set up: video-salmonn setup"
)


@pytest.fixture
def small(monkeypatch):
    """What is written is a tiny model in the embedded one's place."""
    builds = []
    monkeypatch.setattr(assemble, "build_embedded", lambda *given, **options: builds.append(given) or build_tiny())
    monkeypatch.setattr(assemble, "load_whisper", lambda **options: (*tiny_whisper(), None))
    return builds


def test_a_model_that_is_not_set_up_names_setup(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEO_SALMONN_HOME", str(tmp_path))
    with pytest.raises(MissingPartError, match="not set up") as caught:
        VideoSalmonn.load("embedded")
    assert caught.value.remedy == "video-salmonn setup"
    assert not list(tmp_path.iterdir()), "loading writes nothing"


def test_the_model_is_written_once_and_loads_as_any_directory(small, tmp_path):
    folder = assemble.write_model(tmp_path)
    assert folder == shipped_place(tmp_path) == shipped_model(tmp_path) == assemble.written_model(tmp_path)
    assert assemble.write_model(tmp_path) == folder and len(small) == 1
    assert fingerprint(load_directory(folder)[0]) == fingerprint(build_tiny()[0])
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_decoder_of_the_speech_encoder_lies_beside_the_weights_and_is_added_where_it_is_missing(small, tmp_path):
    folder = assemble.write_model(tmp_path)
    assert has_decoder(folder)
    shutil.rmtree(folder / DECODER)  # as a version before wrote it
    assert assemble.write_model(tmp_path) == folder and has_decoder(folder) and len(small) == 1


def test_other_shipped_weights_are_written_again(small, tmp_path):
    assets = tmp_path / "assets"
    shutil.copytree(ASSETS, assets)
    assert shipped_key(assets) == shipped_key()
    first = assemble.write_model(tmp_path, assets)
    with (assets / "lora.safetensors").open("ab") as stream:
        stream.write(b" ")
    assert assemble.written_model(tmp_path, assets) is None
    assert assemble.write_model(tmp_path, assets) != first and len(small) == 2


def test_other_parts_are_written_again(small, tmp_path):
    folder = assemble.write_model(tmp_path)
    (folder / RECORD).write_text(json.dumps({"parts": {"smollm2-135m": "another"}}))
    assert assemble.written_model(tmp_path) is None
    assert assemble.write_model(tmp_path) == folder == assemble.written_model(tmp_path) and len(small) == 2


def test_a_write_that_fails_leaves_nothing_to_load(small, monkeypatch, tmp_path):
    def full(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(assemble, "write_json", full)
    with pytest.raises(CheckpointError, match="No space left") as caught:
        assemble.write_model(tmp_path)
    assert "VIDEO_SALMONN_HOME" in caught.value.remedy
    assert not list((tmp_path / "models").iterdir())
    with pytest.raises(MissingPartError):
        shipped_model(tmp_path)


def test_a_damaged_model_is_to_be_written_again(small, monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEO_SALMONN_HOME", str(tmp_path))
    folder = assemble.write_model()
    (folder / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="is cut off or not a safetensors file") as caught:
        load_model("embedded")
    assert caught.value.remedy == f"delete {folder}, then: video-salmonn setup"


@needs_parts
def test_the_written_model_is_the_one_made_of_the_parts():
    (made, one), (loaded, other) = assemble.build_embedded(), load_model("embedded")
    assert fingerprint(made) == fingerprint(loaded) and made.dtype == loaded.dtype == torch.float32
    assert made.generation_config.to_dict() == loaded.generation_config.to_dict()
    assert one.tokenizer.chat_template == other.tokenizer.chat_template
    engines = [VideoSalmonn(model, processor, name="x") for model, processor in ((made, one), (loaded, other))]
    sound = (torch.sin(torch.arange(24_000) / 7).numpy(), 16_000)
    scores = [engine.likelihoods(_item(engine, sound), ["a bell", "a dog"]) for engine in engines]
    assert [[one.text for one in found] for found in scores] == [["a bell", "a dog"]] * 2
    logs = [[one.log for one in found] for found in scores]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)  # kernels may add up in another order


@needs_parts
def test_weights_of_a_wider_adapter_are_the_embedded_models_too(tmp_path):
    narrow, processor = assemble.build_embedded()
    wide = tmp_path / "wide"
    shutil.copytree(ASSETS, wide)
    narrow.widen_lora(32)
    adapters.save(narrow.language_model, wide / "lora.safetensors")
    made, _ = assemble.build_embedded(wide)
    assert made.config.lora.r == 32 and made.config.lora.scale == embedded().lora.scale
    ids = processor.tokenizer("What do you hear?", return_tensors="pt").input_ids
    with torch.inference_mode():
        wanted = assemble.build_embedded()[0](input_ids=ids).logits
        assert torch.allclose(made(input_ids=ids).logits, wanted, atol=1e-4)


def _item(engine, sound):
    from video_salmonn.inference.questions import MediaQuestion

    return MediaQuestion("What is heard?", [sound], {})
