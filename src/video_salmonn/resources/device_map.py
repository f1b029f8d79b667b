"""Device maps as the command line has them, read without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.files import json_value

PARTS = ("tower", "connector", "language_model", "words")
"""Of a model: what the names of a map begin with."""


def parse_device_map(text: str | None) -> str | dict[str, Any] | None:
    """A device map as the command line has it: ``auto``, JSON, or a JSON file.

    Raises:
        ConfigError: it is none of these, or names what is no part of any model.
    """
    if text is None or text == "auto":
        return text
    try:
        found = json_value(text if text.lstrip().startswith("{") else Path(text).read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"device map {text!r} is neither auto nor JSON nor a JSON file ({error})",
            remedy='for example: auto, or {"tower": 0, "connector": 0, "language_model": 1}',
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"device map {text!r} is not a JSON object", remedy='give {"module name": device, …}')
    for name in found:
        if name.partition(".")[0] not in ("", *PARTS):
            raise unknown_module(name)
    return found


def unknown_module(name: str) -> ConfigError:
    """The error for a name that no module of a model has."""
    return ConfigError(f"device map: no module {name!r}", remedy="for example tower.vision, language_model")
