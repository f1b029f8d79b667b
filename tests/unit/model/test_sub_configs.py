"""Typed sub-configurations: what is read, refused, written, and known by an earlier version's names."""

import json

import pytest
from transformers import AutoConfig, InstructBlipVisionConfig, WhisperConfig

import video_salmonn
from video_salmonn.connector import ConnectorConfig
from video_salmonn.encoders.beats import BeatsConfig
from video_salmonn.encoders.instructblip import InstructionQFormerConfig
from video_salmonn.errors import ConfigError
from video_salmonn.model.configuration import MediaConfig, VideoSalmonnConfig
from video_salmonn.model.generation import GenerationSettings
from video_salmonn.model.lora import LoraSettings
from video_salmonn.model.presets import PRESETS, preset, tiny

KINDS = {
    "vision_config": InstructBlipVisionConfig,
    "qformer_config": InstructionQFormerConfig,
    "speech_config": WhisperConfig,
    "audio_config": BeatsConfig,
    "connector_config": ConnectorConfig,
    "media_config": MediaConfig,
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_same_after_json_and_after_saving(name, tmp_path):
    config = preset(name)
    again = VideoSalmonnConfig(**json.loads(json.dumps(config.to_dict())))
    config.save_pretrained(tmp_path)
    saved = AutoConfig.from_pretrained(tmp_path)
    assert again.digest() == saved.digest() == config.digest()
    assert saved.encoder_settings() == config.encoder_settings()


def test_parts_are_objects_of_their_own_kinds():
    config = tiny()
    for name, kind in KINDS.items():
        assert type(getattr(config, name)) is kind
        assert name in VideoSalmonnConfig.sub_configs


def test_an_earlier_versions_names_are_read():
    new = tiny()
    values = new.to_dict()
    old = {name: value for name, value in values.items() if name not in KINDS}
    old |= {"connector": new.connector_config.to_dict(), "media": new.media_config.to_dict()}
    old |= {"speech": {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64}}
    old |= {"audio": {"kind": "beats", **new.audio_config.to_dict()}, "instruction_qformer": values["qformer_config"]}
    old |= {"vision": {"kind": "eva", **values["vision_config"]}}
    assert VideoSalmonnConfig(**old).digest() == new.digest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_config": {"model_type": "clip"}}, r"vision\.model_type is 'clip'"),
        ({"audio_config": {"kind": "ear"}}, r"audio\.model_type is 'ear'"),
        ({"connector_config": {"windows": 3}}, r"connector: unknown keys \['windows'\]"),
        ({"media_config": {"fps": 3}}, r"media: unknown keys \['fps'\]"),
        ({"text_config": {"model_type": "none-such"}}, r"text\.model_type"),
        ({"lora": {"r": 2, "targets": ["q_proj"], "rank": 2}}, "lora: unknown or missing keys"),
        ({"adapters": {"music": {"r": 2}}}, "lora: unknown or missing keys"),
        ({"generation": {"beams": 5}}, r"generation: unknown keys \['beams'\]"),
        ({"generation": {"joint_ctc": "maybe"}}, r"generation\.joint_ctc is 'maybe'"),
        ({"vision_config": None}, "vision is off"),
    ],
)
def test_what_cannot_be_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        VideoSalmonnConfig(**{**tiny().to_dict(), **changes})


def test_adapters_and_generation_are_typed_however_they_are_set():
    config = tiny()
    assert config.lora == LoraSettings(r=4, alpha=8, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    config.generation = {"num_beams": 3}
    config.adapters = {"music": {"r": 2, "targets": ["q_proj"]}}
    assert config.generation == GenerationSettings(num_beams=3) and config.generation.own("joint_ctc") == "off"
    assert config.adapters["music"].scale == 1.0
    again = VideoSalmonnConfig(**json.loads(json.dumps(config.to_dict())))
    assert (again.lora, again.adapters, again.generation) == (config.lora, config.adapters, config.generation)
    config.lora = None
    assert VideoSalmonnConfig.from_dict(config.to_dict()).lora is None
    with pytest.raises(ConfigError, match="known keys"):
        config.generation = {"beams": 3}


def test_two_models_share_no_part():
    one = tiny()
    other = VideoSalmonnConfig(**{name: getattr(one, name) for name in ("text_config", *KINDS)})
    other.connector_config.mask_direction = "none"
    other.media_config.spotlight = 2
    assert one.connector_config.mask_direction == "past" and one.media_config.spotlight == 0


def test_the_classes_are_the_packages_own_names():
    for name in video_salmonn.__all__:
        assert getattr(video_salmonn, name) is not None
    assert video_salmonn.VideoSalmonnConfig is VideoSalmonnConfig
