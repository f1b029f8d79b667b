"""A connector that cannot be is refused with a message that names the field."""

import json

import pytest

from video_salmonn.connector import ConnectorConfig, Level
from video_salmonn.errors import ConfigError

REFUSED = [
    ({"levels": ()}, "levels is empty"),
    ({"levels": [{"frames": 10, "queries": 30}, {"frames": 1, "queries": 3}]}, r"ascending.*\[10, 1\]"),
    ({"levels": [(1, 3), (1, 3)]}, "ascending"),
    ({"levels": [(0, 3)]}, "at least one frame"),
    ({"levels": [(1, 0)]}, "at least one query"),
    ({"levels": [(1, 3), (10, 20)]}, "different numbers of queries per frame"),
    ({"levels": [(3, 2)]}, "no whole number of tokens"),
    ({"levels": [{"frame": 1, "queries": 3}]}, "is not a level"),
    ({"levels": [(1, 3, 4)]}, "is not a level"),
    ({"levels": [7]}, "is not a level"),
    ({"levels": [(2.5, 5)]}, "is not a level"),
    ({"visual_dim": None, "speech_dim": None, "audio_dim": None}, "at least one of visual_dim"),
    ({"hidden_size": 770}, "hidden_size 770 is not divisible"),
    ({"num_attention_heads": 7}, "not divisible by num_attention_heads 7"),
    ({"mask_direction": "sideways"}, "mask_direction is 'sideways'"),
    ({"position_rows": 319}, "position_rows 319 is less than the 320 positions"),
    ({"dropout": 1.0}, "dropout 1.0"),
    ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
    ({"frame_seconds": 0}, "frame_seconds 0"),
    ({"visual_tokens": 0}, "visual_tokens"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ConnectorConfig(**changes)


def test_unknown_keys_are_named():
    with pytest.raises(ConfigError, match="'windows'") as caught:
        ConnectorConfig.from_dict({"windows": 3})
    assert "levels" in caught.value.remedy


@pytest.mark.parametrize(
    "config", [ConnectorConfig(), ConnectorConfig(levels=(Level(2, 6), Level(8, 24)), speech_dim=None)]
)
def test_json_round_trip(config):
    assert ConnectorConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_released_sizes():
    config = ConnectorConfig()
    assert (config.joint_dim, config.slots, config.positions_used, config.window_multiple) == (2304, 32, 320, 10)
    assert config.tokens_per_second == 6


@pytest.mark.parametrize(
    ("seconds", "frames"), [(0.0, 1), (0.01, 1), (0.5, 1), (0.51, 2), (23.69, 48), (30.0, 60), (0.1 + 0.2 + 0.2, 1)]
)
def test_frames_for(seconds, frames):
    assert ConnectorConfig().frames_for(seconds) == frames
