"""What transformers calls the cache of keys and values: ``past_key_values`` up to 5.23, ``cache`` since 5.24."""

from __future__ import annotations

from typing import Any

from transformers.modeling_outputs import ModelOutput

CACHE = "cache" if hasattr(ModelOutput, "past_key_values") else "past_key_values"
"""Name of the argument of ``forward`` and of the field of its output."""


def cache_of(output: Any) -> Any:
    """The cache in a model's output, or None."""
    return getattr(output, CACHE)
