"""Typed settings of a model's part, in the form of transformers' sub-configurations."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from transformers import PreTrainedConfig

from video_salmonn.errors import ConfigError

_OF_TRANSFORMERS = frozenset(
    (
        *("model_type", "torch_dtype", "num_labels", "name_or_path", "_name_or_path", "_commit_hash"),
        *("output_attentions", "attn_implementation", "experts_implementation", "_attn_implementation"),
    )
)
"""Arguments without a field that transformers writes into any configuration."""


class SubConfig(PreTrainedConfig):
    """Settings of one part. Unknown names are refused; only the part's own fields are written."""

    def __post_init__(self, **kwargs: Any) -> None:
        unknown = sorted(set(kwargs) - _OF_TRANSFORMERS)
        if unknown:
            name = self.base_config_key.removesuffix("_config") or type(self).__name__
            raise ConfigError(f"{name}: unknown keys {unknown}", remedy=f"known keys: {sorted(self.own_fields())}")
        super().__post_init__(**kwargs)

    @classmethod
    def own_fields(cls) -> tuple[str, ...]:
        """Names of the part's own settings."""
        common = {field.name for field in fields(PreTrainedConfig)}
        return tuple(field.name for field in fields(cls) if field.name not in common)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form of the part's own settings."""
        values = {name: getattr(self, name) for name in self.own_fields()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
