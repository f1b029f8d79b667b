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

NAN = float("nan")
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
        ({"vision_config": None}, "vision is off, but connector.visual_dim is 32"),
        ({"media_config": 5}, "MediaConfig there is int"),
        ({"vision_config": 5}, "vision_config is 5"),
        ({"speech_config": "x"}, "WhisperConfig there is str"),
        ({"speech_config": {"d_model": "x"}}, "whisper: .*d_model"),
        ({"speech_config": MediaConfig()}, "WhisperConfig there is MediaConfig"),
        ({"text_config": MediaConfig()}, "text_config is MediaConfig"),
        ({"vision_config": MediaConfig()}, "vision_config is MediaConfig"),
        ({"text_config": [1]}, "text_config is"),
        ({"lora": 5}, "lora is 5"),
        ({"lora": {"r": 2, "targets": "q_proj"}}, "lora.targets is 'q_proj'"),
        ({"lora": {"r": 2, "targets": ["q_proj"], "alpha": NAN}}, "lora.alpha is nan"),
        ({"adapters": [1]}, r"adapters is \[1\]"),
        ({"generation": "x"}, "generation is 'x'"),
        ({"generation": {"max_new_tokens": "x"}}, "generation.max_new_tokens is 'x'"),
        ({"generation": {"num_beams": 0}}, "generation.num_beams is 0"),
        ({"generation": {"joint_ctc_weight": 2}}, "generation.joint_ctc_weight is 2"),
        ({"diversity_form": "x"}, "diversity_form is 'x'"),
        ({"diversity_weight": NAN}, "diversity_weight is nan"),
        ({"media_token_id": -1}, "media_token_id is -1"),
        ({"words": "x"}, "words is 'x'"),
        ({"word_inputs": 1}, "word_inputs is 1"),
        ({"system": 5}, "system is 5"),
        ({"prompt": "x"}, "prompt is 'x'"),
        ({"conector_config": {}}, "unknown key 'conector_config'"),
        ({"media_token": 3}, "unknown key 'media_token'"),
    ],
)
def test_what_cannot_be_is_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        VideoSalmonnConfig(**{**tiny().to_dict(), **changes})


@pytest.mark.parametrize("part", ["media_config", "audio_config", "connector_config"])
def test_no_setting_of_a_part_is_of_another_type_or_below_its_range(part):
    whole = tiny().to_dict()
    for name in getattr(tiny(), part).own_fields():
        for value in ("x", -1, NAN, {}, "1"):
            with pytest.raises(ConfigError, match=name.partition("_")[0]):
                VideoSalmonnConfig(**{**whole, part: {**whole[part], name: value}})


def test_settings_are_checked_however_they_are_set(tmp_path):
    config = tiny()
    with pytest.raises(ConfigError, match="diversity_form"):
        config.diversity_form = "x"
    config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="prompt"):
        VideoSalmonnConfig.from_pretrained(tmp_path, prompt="x")
    assert VideoSalmonnConfig(**config.to_dict(), written_by="a tool").written_by == "a tool"


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
