"""Options of a question: which there are, and one clear error for each that is impossible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig

from video_salmonn.errors import ConfigError

Options = Mapping[str, Any]
MEDIA_OPTIONS = ("start", "end", "frame_times", "spotlight", "video_stream", "audio_stream", "on_corrupt", "limits")
"""Decoding options a caller may pass with a question; :class:`MediaOptions` checks their values."""
OWN_OPTIONS = ("no_audio", "no_video", "long", "zero_levels", "adapter_scale", "max_new_tokens", "seed")
"""Options of the engine itself."""
TAKEN = frozenset(
    ("return_dict_in_generate", "num_return_sequences", "pad_token_id", "max_length", "use_model_defaults")
)
"""Options of ``generate`` that the engine sets, or whose result an answer has no room for."""
PASSED_ON = frozenset(name for name in vars(GenerationConfig()) if not name.startswith("_")) - TAKEN
OBJECTS = frozenset(("stopping_criteria", "prefix_allowed_tokens_fn"))
LONG = ("error", "segments", "coarse")


def whole(value: Any, name: str, least: int = 1) -> int:
    """A whole number of at least ``least``. Raises ConfigError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return value


def number(value: Any, name: str, *, low: float, high: float = math.inf, open_low: bool = False) -> float:
    """A finite number in a range. Raises ConfigError otherwise."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value > high or value < low or (open_low and value == low):
        bound = f"more than {low:g}" if open_low else f"at least {low:g}"
        limit = "" if math.isinf(high) else f" and at most {high:g}"
        raise ConfigError(f"{name} must be a number of {bound}{limit}, got {value!r}")
    return float(value)


def checked(options: Options) -> dict[str, Any]:
    """The options without those left at None.

    Raises:
        ConfigError: an option nobody knows, or a value that is impossible; names the option.
    """
    given = {name: value for name, value in options.items() if value is not None}
    known = {*MEDIA_OPTIONS, *OWN_OPTIONS, *PASSED_ON, *OBJECTS}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigError(
            f"unknown option{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}",
            remedy=f"options: {', '.join(sorted({*MEDIA_OPTIONS, *OWN_OPTIONS}))}, and those of transformers' generate",
        )
    for name in ("max_new_tokens", "num_beams"):
        if name in given:
            whole(given[name], name)
    for name in ("top_k", "seed", "min_new_tokens", "no_repeat_ngram_size"):
        if name in given:
            whole(given[name], name, 0)
    for name in ("temperature", "repetition_penalty"):
        if name in given:
            number(given[name], name, low=0, open_low=True)
    if "top_p" in given:
        number(given["top_p"], "top_p", low=0, high=1, open_low=True)
    if "length_penalty" in given:
        number(given["length_penalty"], "length_penalty", low=-math.inf)
    if "adapter_scale" in given:
        number(given["adapter_scale"], "adapter_scale", low=0)
    if given.get("long", "error") not in LONG:
        raise ConfigError(f"long is {given['long']!r}", remedy=f"use {', '.join(LONG)}")
    if given.get("no_audio") and given.get("no_video"):
        raise ConfigError("no_audio and no_video together leave nothing to look at or listen to", remedy="drop one")
    return given


def generation_options(options: Options) -> dict[str, Any]:
    """Options that go on to transformers' ``generate``."""
    return {name: value for name, value in options.items() if name in PASSED_ON | OBJECTS and name not in OWN_OPTIONS}
