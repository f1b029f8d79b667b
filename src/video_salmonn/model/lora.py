"""A linear layer with low-rank adapters (LoRA, Hu et al., ICLR 2022): ``y = W x + Σ scale · B A dropout(x)``.

The layer is our own and not PEFT's. PEFT has to know every method and every kind of layer, which takes long to import,
to build and to call; this model needs one of them. Arithmetic, order of random numbers and names of tensors are PEFT's
(``base_layer``, ``lora_A.<name>``, ``lora_B.<name>``), so that its files and our older runs load unchanged;
``tests/parity/test_lora.py`` compares both bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from video_salmonn import typed_fields
from video_salmonn.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class LoraSettings:
    """Sizes of an adapter.

    Attributes:
        r: rank.
        targets: names of linear layers, whole or their last parts (``q_proj``).
        alpha: the adapter's output is multiplied by ``alpha / r``; None for ``r``.
        dropout: on the adapter's input, while training.
    """

    r: int
    targets: tuple[str, ...]
    alpha: float | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("r", "targets", "alpha", "dropout")}
        typed_fields.check("lora.", given, typed_fields.hints(LoraSettings), {"r": 1})
        object.__setattr__(self, "targets", tuple(self.targets))
        object.__setattr__(self, "alpha", self.r if self.alpha is None else self.alpha)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora.dropout is {self.dropout!r}", remedy="needed: at least 0 and less than 1")

    @classmethod
    def of(cls, values: LoraSettings | Mapping[str, Any]) -> LoraSettings:
        """Settings from a mapping, as configurations store them. Raises ConfigError on other keys."""
        if isinstance(values, LoraSettings):
            return values
        if not isinstance(values, Mapping):
            raise ConfigError(f"lora is {values!r}", remedy="give a mapping of settings: r, targets, alpha, dropout")
        try:
            return cls(**values)
        except TypeError:
            raise ConfigError(
                f"lora: unknown or missing keys in {sorted(values)}",
                remedy="needed: r, targets; known: alpha, dropout",
            ) from None

    @property
    def scale(self) -> float:
        """What the adapter's output is multiplied by."""
        assert self.alpha is not None
        return self.alpha / self.r

    def with_rank(self, rank: int) -> LoraSettings:
        """The same settings with another rank and the same scale."""
        return replace(self, r=rank, alpha=self.scale * rank)

    def targeted(self, name: str) -> bool:
        """Whether a layer with this full name is to carry the adapter."""
        return any(name == target or name.endswith(f".{target}") for target in self.targets)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"r": self.r, "alpha": self.alpha, "dropout": self.dropout, "targets": list(self.targets)}


class LoraLinear(nn.Module):
    """A linear layer that carries adapters by name.

    Args:
        base_layer: ``(..., D)`` -> ``(..., D')``, packed in 8 or 4 bits or not.

    Attributes:
        active: names of the adapters in use; what they give is added up.
        trained_scale: ``alpha / r`` of each adapter.
        scaling: what each adapter's output is multiplied by now.
    """

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_dropout = nn.ModuleDict()
        self.lora_A = nn.ModuleDict()
        self.lora_B = nn.ModuleDict()
        self.trained_scale: dict[str, float] = {}
        self.scaling: dict[str, float] = {}
        self.active: tuple[str, ...] = ()

    @property
    def weight(self) -> torch.Tensor:
        """The linear layer's own, without adapters; some of transformers' models look at its dtype."""
        return self.base_layer.weight

    @property
    def bias(self) -> torch.Tensor | None:
        """The linear layer's own."""
        return self.base_layer.bias

    def add(self, name: str, settings: LoraSettings) -> None:
        """Add an adapter that changes nothing yet, on the layer's device and in its dtype."""
        base, rank = self.base_layer, settings.r
        down, up = nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features, bias=False)
        dropout = nn.Dropout(settings.dropout) if settings.dropout else nn.Identity()
        self.lora_dropout[name] = dropout.train(base.training)
        self.lora_A[name], self.lora_B[name] = down, up
        self.trained_scale[name] = self.scaling[name] = settings.scale
        self.reset(name)
        dtype = base.weight.dtype if base.weight.dtype.is_floating_point else down.weight.dtype
        if (down.weight.device, down.weight.dtype) != (base.weight.device, dtype):
            for half in (down, up):
                half.to(base.weight.device, dtype)

    def reset(self, name: str) -> None:
        """Initialise an adapter: A random, B zero, so that it changes nothing."""
        down, up = self._halves(name)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        nn.init.zeros_(up)

    @torch.no_grad()
    def widen(self, name: str, rank: int) -> None:
        """Give an adapter a larger rank. What it does and its scale stay: the new rows of A are random, the new columns
        of B zero.

        Raises:
            ConfigError: it is wider already.
        """
        down, up = self._halves(name)
        if rank < len(down):
            raise ConfigError(f"adapter {name!r} has the rank {len(down)}, not less", remedy=f"at least {len(down)}")
        wide = nn.Linear(down.shape[1], rank, bias=False), nn.Linear(rank, len(up), bias=False)
        for half, narrow in zip(wide, (down, up)):
            half.to(narrow.device, narrow.dtype).weight.requires_grad_(narrow.requires_grad)
        self.lora_A[name], self.lora_B[name] = wide
        self.reset(name)
        wide[0].weight[: len(down)] = down
        wide[1].weight[:, : up.shape[1]] = up

    def _halves(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """An adapter's A ``(r, D)`` and B ``(D', r)``."""
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        assert isinstance(down, torch.Tensor) and isinstance(up, torch.Tensor)
        return down, up

    def activate(self, names: Sequence[str]) -> None:
        """Use these adapters and no others; they alone are trained."""
        self.active = tuple(names)
        for halves in (self.lora_A, self.lora_B):
            for name, half in halves.items():
                half.requires_grad_(name in self.active)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., D)`` -> ``(..., D')``; the adapters compute in their own dtype."""
        result = self.base_layer(x)
        dtype = result.dtype
        for name in self.active:
            if name in self.lora_A:
                down, up = self.lora_A[name], self.lora_B[name]
                x = x.to(down.weight.dtype)  # type: ignore[arg-type]
                result = result + up(down(self.lora_dropout[name](x))) * self.scaling[name]
        return result.to(dtype)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The linear layer with the active adapters folded into its weight, which is replaced.

        Raises:
            CheckpointError: an adapter holds a number that is not finite.
        """
        for name in self.active:
            if name not in self.lora_A:
                continue
            down, up = self._halves(name)
            dtype = up.dtype
            if up.device.type == "cpu":  # whose products in 16 bits may be slow
                down, up = down.float(), up.float()
            delta = (up @ down * self.scaling[name]).to(dtype)
            weight = self.base_layer.weight + delta.to(self.base_layer.weight.dtype)
            if not torch.isfinite(weight).all():
                raise CheckpointError(f"adapter {name!r}: its weights are not finite", remedy="train or copy it again")
            self.base_layer.weight.data = weight
        return self.base_layer
