"""Typed settings of a model's part, in the form of transformers' sub-configurations."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from video_salmonn import typed_fields
from video_salmonn.errors import ConfigError

_OF_TRANSFORMERS = frozenset(
    (
        *("model_type", "torch_dtype", "num_labels", "name_or_path", "_name_or_path", "_commit_hash"),
        *("output_attentions", "attn_implementation", "experts_implementation", "_attn_implementation"),
    )
)
"""Arguments without a field that transformers writes into any configuration."""


class SubConfig(PreTrainedConfig):
    """Settings of one part. Unknown names and values of other types are refused; only its own fields are written.

    Whole numbers are sizes and counts, which begin at 1 unless :attr:`from_zero` names them.
    """

    from_zero: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self, **kwargs: Any) -> None:
        name = self.base_config_key.removesuffix("_config") or type(self).__name__
        unknown = sorted(set(kwargs) - _OF_TRANSFORMERS)
        if unknown:
            raise ConfigError(f"{name}: unknown keys {unknown}", remedy=f"known keys: {sorted(self.own_fields())}")
        types = _types(type(self))
        values = {field: getattr(self, field) for field in self.own_fields()}
        whole = {field: int(field not in self.from_zero) for field, hint in types.items() if hint in (int, int | None)}
        typed_fields.check(f"{name}.", values, types, whole)
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


def _types(kind: type[SubConfig]) -> dict[str, Any]:
    """The type of each of a part's own settings."""
    own = kind.own_fields()
    parts: list[type] = [base for base in kind.__mro__ if issubclass(base, SubConfig) and base is not SubConfig]
    return {name: hint for base in parts[::-1] for name, hint in typed_fields.hints(base).items() if name in own}
