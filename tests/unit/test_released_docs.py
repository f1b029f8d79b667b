"""The list of differences in docs/released.md is the code's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from video_salmonn.connector import ConnectorConfig
from video_salmonn.model.configuration import MediaConfig, VideoSalmonnConfig
from video_salmonn.model.presets import apply_profile, preset

PAGE = Path(__file__).parents[2] / "docs" / "released.md"


def switches() -> list[str]:
    """First column of the table of differences, names spelled out."""
    table = PAGE.read_text("utf-8").split("| switch | released |")[1].split("\n\n")[0]
    names: list[str] = []
    for row in table.splitlines()[2:]:
        group = ""
        for name in re.findall(r"`([^`]+)`", row.split("|")[1]):
            group = name.rpartition(".")[0] or group
            names.append(name if "." in name or name in ("prompt", "generation") else f"{group}.{name}")
    return names


def flat(config: VideoSalmonnConfig) -> dict[str, Any]:
    values: dict[str, Any] = {"prompt": config.prompt, "generation": config.generation}
    values |= {f"connector.{name}": value for name, value in config.connector_config.to_dict().items()}
    return values | {f"media.{name}": value for name, value in config.media_config.to_dict().items()}


def test_the_docs_list_what_the_profile_switches():
    """On the preset that differs most, every value that `--profile released` changes is a row, and every row is one."""
    own = VideoSalmonnConfig(
        text_config=preset("tiny").text_config,
        vision_config=preset("tiny").vision_config,
        connector_config=ConnectorConfig(llm_dim=64, visual_dim=32, speech_dim=None, audio_dim=None),
        media_config={"segment_seconds": 10.0, "pad_last_segment": False},
        prompt="chat",
    )
    before, after = flat(own), flat(apply_profile(own, "released"))
    assert sorted(switches()) == sorted(name for name in before if before[name] != after[name])


def test_the_docs_give_the_released_presets_values():
    released, new = flat(preset("released-13b")), flat(preset("paper-7b"))
    differs = {name for name in released if released[name] != new[name]}
    sizes = {"connector.llm_dim", "connector.position_rows"}
    assert differs - sizes <= set(switches())


@pytest.mark.parametrize("name", switches())
def test_each_switch_turns_by_itself(name):
    """A configuration with this one value as released, and nothing else changed."""
    base = preset("embedded")
    wanted = flat(preset("released-13b"))[name]
    group, _, key = name.rpartition(".")
    media, connector = base.media_config.to_dict(), base.connector_config.to_dict()
    changed: dict[str, Any] = {"prompt": base.prompt, "generation": base.generation}
    {"media": media, "connector": connector, "": changed}[group][key] = wanted
    made = VideoSalmonnConfig(
        text_config=base.text_config,
        vision_config=base.vision_config,
        speech_config=base.speech_config,
        audio_config=base.audio_config,
        media_config=media,
        connector_config=connector,
        **changed,
    )
    before, after = flat(base), flat(made)
    assert after[name] == wanted
    assert {other for other in before if before[other] != after[other]} <= {name}
    assert set(media) == set(MediaConfig.own_fields())
