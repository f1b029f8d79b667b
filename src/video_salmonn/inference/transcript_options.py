"""Options of transcripts and live sessions that are judged without a model: nothing here imports PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.inference.options import checked

DECODERS = ("model", "whisper")
TASKS = ("transcribe", "translate")
STRETCH = 300.0
"""Longest stretch in seconds that is in memory at once."""
SHORTEST_LOOK_AHEAD = 2.0
"""Seconds that a stretch needs at least: words have to be understood in their context."""
DECODING = ("limits", "audio_stream", "on_corrupt")
"""Decoding options that may be given."""
GENERATION = ("joint_ctc", "joint_ctc_weight", "num_beams", "adapter_scale", "stop_repeats")
"""Options of the language model that may be given, for ``decoder="model"``."""


def check_transcript(
    decoder: str,
    task: str = "transcribe",
    *,
    language: str | None = None,
    whisper: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Raise for options of a transcript that are unknown, impossible, or without effect.

    Args:
        decoder, task, language, whisper: as for :func:`video_salmonn.inference.transcribe.transcribe`.
        options: :data:`DECODING` and :data:`GENERATION`.

    Raises:
        ConfigError: naming the option.
    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    if decoder not in DECODERS:
        raise ConfigError(f"decoder is {decoder!r}", remedy=f"use one of: {', '.join(DECODERS)}")
    if task not in TASKS:
        raise ConfigError(f"task is {task!r}", remedy=f"use one of: {', '.join(TASKS)}")
    if task == "translate" and decoder != "whisper":
        raise ConfigError("the decoder model does not translate", remedy="use decoder whisper")
    if unknown := sorted(set(given) - {*DECODING, *GENERATION}):
        raise ConfigError(
            f"transcribe has no option {', '.join(unknown)}",
            remedy=f"options: {', '.join((*DECODING, *GENERATION))}",
        )
    of_whisper = {"language": language, "whisper": whisper}
    idle = [name for name, value in of_whisper.items() if value is not None] if decoder != "whisper" else []
    idle += sorted(set(given) & set(GENERATION)) if decoder == "whisper" else []
    if idle:
        raise ConfigError(
            f"{', '.join(idle)} has no effect with decoder {decoder}", remedy="leave it out, or use the other decoder"
        )
    if language is not None:
        language_code(language)
    checked(given)


def language_code(language: str) -> str:
    """Code of a language by its code or English name, as Whisper has them. Raises ConfigError for any other."""
    from transformers.models.whisper.tokenization_whisper import (
        LANGUAGES,
        TO_LANGUAGE_CODE,
    )  # PyTorch does not come along

    code = language.lower().strip()
    code = TO_LANGUAGE_CODE.get(code, code)
    if code not in LANGUAGES:
        raise unknown_language(language)
    return code


def unknown_language(language: str) -> ConfigError:
    """The error for a language that Whisper, or this Whisper, does not know."""
    return ConfigError(f"language {language!r} is unknown to Whisper", remedy="give a code such as en, de, fr")


def checked_look_ahead(seconds: float | None) -> float:
    """Seconds of sound that a text may depend on; None for the most. Raises ConfigError where too few or too many."""
    if seconds is None:
        return STRETCH
    if not SHORTEST_LOOK_AHEAD <= seconds <= STRETCH:
        raise ConfigError(f"look_ahead is {seconds:g} s", remedy=f"give {SHORTEST_LOOK_AHEAD:g} to {STRETCH:g} seconds")
    return float(seconds)


def check_spans(answers: bool, every: float | None, context: float | None) -> None:
    """Raise unless the spans of a live session's answers are seconds, and only given where there are answers.

    Args:
        answers: whether something is asked.
        every, context: as for :class:`video_salmonn.inference.live.LiveSession`.

    Raises:
        ConfigError: naming the option.
    """
    for name, value in (("every", every), ("context", context)):
        if value is None:
            continue
        if not answers:
            raise ConfigError(f"{name} has no effect without a question", remedy="leave it out, or give a question")
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value:g} s", remedy="give a number of seconds above 0")
