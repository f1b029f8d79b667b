"""Options of a question: which there are, and one clear error for each that is impossible."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.media.options import switch
from video_salmonn.model.generation import JOINT_CTC, OWN_GENERATION

Options = Mapping[str, Any]
MEDIA_OPTIONS = ("start", "end", "frame_times", "spotlight", "video_stream", "audio_stream", "on_corrupt", "limits")
"""Decoding options a caller may pass with a question; :class:`MediaOptions` checks their values."""
OWN_OPTIONS = (
    *("no_audio", "no_video", "long", "zero_levels", "adapter_scale", "max_new_tokens", "seed", "piece_seconds"),
    *(name for name in OWN_GENERATION if name != "decline_ids"),  # which belong to the model
)
"""Options of the engine itself."""
TAKEN = frozenset(
    ("return_dict_in_generate", "num_return_sequences", "pad_token_id", "max_length", "use_model_defaults")
)
"""Options of ``generate`` that the engine sets, or whose result an answer has no room for."""
OBJECTS = frozenset(("stopping_criteria", "prefix_allowed_tokens_fn"))
LONG = ("error", "segments", "coarse")
MOST_SEED = 2**64 - 1
"""PyTorch's generators take 64 bits."""
MOST_BEAMS = 1024
SAMPLING = {"temperature": 1.0, "top_p": 1.0, "typical_p": 1.0, "min_p": 0.0, "top_k": 0}
"""Options that only sampling reads, and the value at which they do nothing."""
DTYPES = ("float32", "fp32", "bfloat16", "bf16", "float16", "fp16")
PACKED = ("int8", "int4")
KV_CACHES = ("dynamic", "static", "fp8")


@functools.cache
def passed_on() -> frozenset[str]:
    """Options that are passed on to transformers' ``generate``."""
    from transformers import GenerationConfig  # takes seconds: not before it is needed

    return frozenset(name for name in vars(GenerationConfig()) if not name.startswith("_")) - TAKEN


def whole(value: Any, name: str, least: int = 1, most: int | None = None) -> int:
    """A whole number of at least ``least`` and at most ``most``. Raises ConfigError otherwise."""
    good = isinstance(value, Integral) and not isinstance(value, bool)
    if not good or value < least or (most is not None and value > most):
        limit = "" if most is None else f" and at most {most}"
        raise ConfigError(
            f"{name} must be a whole number of at least {least}{limit}, got {value!r}", remedy=f"correct {name}"
        )
    return int(value)


def number(value: Any, name: str, *, low: float, high: float = math.inf, open_low: bool = False) -> float:
    """A finite number in a range. Raises ConfigError otherwise."""
    good = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value > high or value < low or (open_low and value == low):
        bound = f"more than {low:g}" if open_low else f"at least {low:g}"
        limit = "" if math.isinf(high) else f" and at most {high:g}"
        raise ConfigError(f"{name} must be a number of {bound}{limit}, got {value!r}", remedy=f"correct {name}")
    return float(value)


def checked(options: Options) -> dict[str, Any]:
    """The options without those left at None.

    Raises:
        ConfigError: an unknown option, or a value that is impossible; names the option.
    """
    given = {name: value for name, value in options.items() if value is not None}
    foreign = set(given) - {*MEDIA_OPTIONS, *OWN_OPTIONS, "num_beams", *OBJECTS}
    unknown = sorted(foreign - passed_on()) if foreign else []
    if unknown:
        raise ConfigError(
            f"unknown option{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}",
            remedy=f"options: {', '.join(sorted({*MEDIA_OPTIONS, *OWN_OPTIONS}))}, and those of transformers' generate",
        )
    for name, least, most in (
        ("max_new_tokens", 1, None),
        ("num_beams", 1, MOST_BEAMS),
        ("top_k", 0, None),
        ("seed", 0, MOST_SEED),
        ("min_new_tokens", 0, None),
        ("no_repeat_ngram_size", 0, None),
    ):
        if name in given:
            given[name] = whole(given[name], name, least, most)
    if given.get("temperature") == 0:
        raise ConfigError(
            "temperature must be a number of more than 0, got 0",
            remedy="for the likeliest words leave temperature out and sampling off (do_sample=False)",
        )
    for name in ("temperature", "repetition_penalty"):
        if name in given:
            number(given[name], name, low=0, open_low=True)
    for name in ("top_p", "typical_p"):
        if name in given:
            number(given[name], name, low=0, high=1, open_low=True)
    for name in ("min_p", "epsilon_cutoff", "eta_cutoff"):
        if name in given:
            number(given[name], name, low=0, high=1)
    if "length_penalty" in given:
        number(given["length_penalty"], "length_penalty", low=-math.inf)
    if "adapter_scale" in given:
        number(given["adapter_scale"], "adapter_scale", low=0)
    if "joint_ctc_weight" in given:
        number(given["joint_ctc_weight"], "joint_ctc_weight", low=0, high=1)
    if "decline_below" in given:
        number(given["decline_below"], "decline_below", low=0, high=1)
    if given.get("joint_ctc", "off") not in JOINT_CTC:
        raise ConfigError(f"joint_ctc is {given['joint_ctc']!r}", remedy=f"use {', '.join(JOINT_CTC)}")
    if "piece_seconds" in given and given["piece_seconds"] != 0:
        number(given["piece_seconds"], "piece_seconds", low=1)
    if "stop_repeats" in given:
        whole(given["stop_repeats"], "stop_repeats", 0)
    if given.get("long", "error") not in LONG:
        raise ConfigError(f"long is {given['long']!r}", remedy=f"use {', '.join(LONG)}")
    for name in ("no_audio", "no_video"):
        if name in given:
            given[name] = switch(given[name], name)
    if given.get("no_audio") and given.get("no_video"):
        raise ConfigError("no_audio and no_video together leave nothing to look at or listen to", remedy="drop one")
    return given


def check_levels(options: Options, count: int) -> None:
    """Raise ConfigError where ``zero_levels`` names one that the connector does not have; it has ``count``."""
    levels = options.get("zero_levels", ())
    if isinstance(levels, (str, int)) or any(level not in range(count) for level in levels):
        raise ConfigError(
            f"zero_levels is {levels!r}: the connector has levels 0 to {count - 1}", remedy="list some of them"
        )


def generation_options(options: Options) -> dict[str, Any]:
    """Options that are passed on to transformers' ``generate``."""
    passed = passed_on() | OBJECTS
    return {name: value for name, value in options.items() if name in passed and name not in OWN_OPTIONS}


def without_effect(options: Options, sampled: bool) -> list[str]:
    """Sentences on options that change nothing as the answer is decoded.

    Args:
        options: checked ones.
        sampled: whether the model samples where the options leave that open.
    """
    if options.get("do_sample", sampled):
        return []
    idle = [name for name, neutral in SAMPLING.items() if options.get(name, neutral) != neutral]
    return [f"{', '.join(idle)} had no effect: without do_sample=True nothing is drawn"] if idle else []
