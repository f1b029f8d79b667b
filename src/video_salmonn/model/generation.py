"""Options of generation that transformers does not know. Light: no framework is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from video_salmonn import typed_fields
from video_salmonn.errors import ConfigError

JOINT_CTC = ("off", "auto", "on")
"""Values of the option ``joint_ctc``."""
OWN_GENERATION: dict[str, Any] = {
    "joint_ctc": "off",
    "joint_ctc_weight": 0.5,
    "stop_repeats": 0,
    "decline_below": 0.0,
    "decline_ids": None,
}
"""The options, with their defaults; a model's ``generation`` may set them.

- ``joint_ctc``: decode transcripts jointly with the connector's CTC (:mod:`video_salmonn.model.joint_decoding`):
  ``auto`` for questions that ask for the words that are spoken, ``on`` for every question about sound, or ``off``.
- ``joint_ctc_weight``: of CTC's log-probabilities; the language model's have the rest.
- ``stop_repeats``: a phrase that comes this many times in a row ends the answer (:mod:`video_salmonn.model.repeats`);
  0 for never.
- ``decline_below``: an answer about media is declined where one of its first tokens has a probability below this
  (:mod:`video_salmonn.model.declining`); 0 for never. Transcripts are not declined.
- ``decline_ids``: tokens of the answer that takes its place, without the one that ends it.
"""

_LEAST = {
    **dict.fromkeys(("max_new_tokens", "max_length", "num_beams"), 1),
    **dict.fromkeys(("min_new_tokens", "min_length", "max_time", "temperature", "top_k", "top_p", "min_p"), 0),
    **dict.fromkeys(
        ("repetition_penalty", "no_repeat_ngram_size", "joint_ctc_weight", "stop_repeats", "decline_below"), 0
    ),
}
"""The smallest numbers that mean anything."""


@dataclass(frozen=True)
class GenerationSettings:
    """What a model generates with unless it is asked otherwise; None leaves an option at transformers' default.

    Attributes:
        max_new_tokens, min_new_tokens, max_length, min_length, max_time, stop_strings, early_stopping, num_beams,
            do_sample, temperature, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff, repetition_penalty,
            length_penalty, no_repeat_ngram_size, bad_words_ids, suppress_tokens, bos_token_id, eos_token_id,
            pad_token_id: as in transformers' ``GenerationConfig``.
        joint_ctc, joint_ctc_weight, stop_repeats, decline_below, decline_ids: see :data:`OWN_GENERATION`.
    """

    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    max_length: int | None = None
    min_length: int | None = None
    max_time: float | None = None
    stop_strings: str | list[str] | None = None
    early_stopping: bool | str | None = None
    num_beams: int | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    repetition_penalty: float | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    bad_words_ids: list[list[int]] | None = None
    suppress_tokens: list[int] | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    joint_ctc: str | None = None
    joint_ctc_weight: float | None = None
    stop_repeats: int | None = None
    decline_below: float | None = None
    decline_ids: list[int] | None = None

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        typed_fields.check("generation.", given, typed_fields.hints(GenerationSettings), _LEAST)
        for name in ("joint_ctc_weight", "decline_below"):
            if (given[name] or 0) > 1:
                raise ConfigError(f"generation.{name} is {given[name]!r}", remedy="needed: 0 to 1")
        if self.joint_ctc not in (None, *JOINT_CTC):
            raise ConfigError(f"generation.joint_ctc is {self.joint_ctc!r}", remedy=f"use {', '.join(JOINT_CTC)}")

    @classmethod
    def of(cls, values: GenerationSettings | Mapping[str, Any] | None) -> GenerationSettings:
        """Settings from a mapping, as configurations store them. Raises ConfigError on unknown keys."""
        if isinstance(values, GenerationSettings):
            return values
        if values is not None and not isinstance(values, Mapping):
            raise ConfigError(f"generation is {values!r}", remedy="give a mapping of settings")
        given = dict(values or {})
        known = [field.name for field in fields(cls)]
        unknown = sorted(given.keys() - set(known))
        if unknown:
            raise ConfigError(f"generation: unknown keys {unknown}", remedy=f"known keys: {', '.join(known)}")
        return cls(**given)

    def own(self, name: str) -> Any:
        """One of :data:`OWN_GENERATION`, its default where it is not set."""
        value = getattr(self, name)
        return OWN_GENERATION[name] if value is None else value

    def to_dict(self) -> dict[str, Any]:
        """What is set, JSON-ready."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}
