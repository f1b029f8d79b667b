"""transformers' ``quantization_config`` in this package's words.

The layers are packed by :mod:`video_salmonn.resources.quantise`, whatever asks for it. What that does not do is refused
by name. ``from_pretrained`` with transformers' own quantiser is not used. Measured on the embedded model, on a CPU,
with ``llm_int8_skip_modules`` naming everything but the language model's layers:

* int8: it packs the adapters' halves as well (630 layers in place of 210), and the answer about a man who speaks
  becomes "The sound of the wind is a constant reminder …". The weights then take as much memory (231 MB, ours 236 MB);
  while loading it takes 1.0 GB more than before, ours 1.4 GB.
* int4: it stops with an assertion, for the same reason: an adapter's 16 rows cannot be packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.resources.quantise import OUTLIERS

_NEEDED: dict[str, dict[str, Any]] = {
    "int8": {"llm_int8_threshold": OUTLIERS, "llm_int8_has_fp16_weight": False},
    "int4": {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False, "bnb_4bit_quant_storage": "uint8"},
}
"""Settings of transformers' ``BitsAndBytesConfig`` that are followed at these values only."""


def kind_of(config: Any) -> str:
    """``int8`` or ``int4``, from transformers' ``BitsAndBytesConfig`` or its dictionary.

    Raises:
        ConfigError: another method, or a setting that is not followed.
    """
    values = dict(config) if isinstance(config, Mapping) else config.to_dict()
    chosen = [kind for kind, name in (("int8", "load_in_8bit"), ("int4", "load_in_4bit")) if values.get(name)]
    if str(values.get("quant_method", "bitsandbytes")).rpartition(".")[2].lower() not in (
        "bitsandbytes",
        "bits_and_bytes",
    ):
        raise ConfigError(
            f"quantization_config asks for {values['quant_method']}", remedy="give transformers' BitsAndBytesConfig"
        )
    if len(chosen) != 1:
        raise ConfigError("quantization_config asks for no packing", remedy="set load_in_8bit or load_in_4bit")
    (kind,) = chosen
    for name, needed in _NEEDED[kind].items():
        if values.get(name, needed) != needed:
            raise ConfigError(
                f"quantization_config: {name} is {values[name]!r}, which is not followed", remedy=f"use {needed!r}"
            )
    if values.get("llm_int8_skip_modules"):
        raise ConfigError(
            "quantization_config: llm_int8_skip_modules is not followed",
            remedy="leave it out: encoders, connector, adapters, embeddings and head are never packed",
        )
    return kind
