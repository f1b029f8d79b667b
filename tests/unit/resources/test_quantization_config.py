"""transformers' quantization_config asks for what this package packs, or is refused by name."""

import pytest
from transformers import BitsAndBytesConfig

from video_salmonn import VideoSalmonn
from video_salmonn.errors import ConfigError
from video_salmonn.resources.quantization_config import kind_of

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


def test_both_kinds_are_known_as_object_and_as_dictionary():
    for values, kind in (({"load_in_8bit": True}, "int8"), (NF4, "int4")):
        assert kind_of(BitsAndBytesConfig(**values)) == kind_of(values) == kind


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "load_in_8bit"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "bnb_4bit_quant_type"),
        ({**NF4, "bnb_4bit_use_double_quant": True}, "bnb_4bit_use_double_quant"),
        ({"load_in_8bit": True, "llm_int8_threshold": 3.0}, "llm_int8_threshold"),
        ({"load_in_8bit": True, "llm_int8_skip_modules": ["lm_head"]}, "llm_int8_skip_modules"),
        ({"quant_method": "awq", "load_in_8bit": True}, "awq"),
    ],
)
def test_what_is_not_followed_is_refused_by_name(values, named):
    with pytest.raises(ConfigError) as error:
        kind_of(values)
    assert named in f"{error.value} {error.value.remedy}"


def test_it_is_not_given_beside_quantise():
    with pytest.raises(ConfigError, match="quantise and quantization_config"):
        VideoSalmonn.load("tiny", quantise="int8", quantization_config={"load_in_8bit": True})


def test_a_model_is_packed_as_with_quantise():
    pytest.importorskip("bitsandbytes")
    asked = VideoSalmonn.load("tiny", quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    plain = VideoSalmonn.load("tiny", quantise="int8", quantiser="bitsandbytes")
    assert asked.notices == plain.notices and any("int8" in notice for notice in asked.notices)
    options = {"max_new_tokens": 8}
    assert asked.ask(None, "What?", **options).text == plain.ask(None, "What?", **options).text
