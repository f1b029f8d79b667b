"""The one interface of every encoder."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from video_salmonn.types import Features


class Encoder(Protocol):
    """A frozen network that turns prepared inputs into features.

    Attributes:
        width: D of the features it returns.
    """

    width: int

    def __call__(self, inputs: torch.Tensor, *args: Any, **kwargs: Any) -> Features:
        """Encode a batch: (B, …) -> values (B, N, D), mask (B, N) or None, times (N,) or None."""
        ...
