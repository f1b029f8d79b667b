"""Layers packed in 8 or 4 bits: how to tell one, and the libraries that pack, left alone until somebody asks."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import torch
from torch import nn

LIBRARIES = ("bitsandbytes", "torchao")
IMPORTING = threading.RLock()
"""Held while these libraries are hidden or imported."""


@contextlib.contextmanager
def unasked() -> Iterator[None]:
    """A block in which PEFT finds none of these libraries, unless something has imported them already.

    PEFT imports what is installed, to look whether a layer is packed by it: that takes seconds and prints what these
    libraries have to say about this machine, to users who asked for nothing packed.
    """
    with IMPORTING:
        hidden = [name for name in LIBRARIES if name not in sys.modules]
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
        try:
            yield
        finally:
            for name in hidden:
                del sys.modules[name]
            known = sys.modules.get("peft.import_utils")
            for name in ("is_bnb_available", "is_bnb_4bit_available", "is_torchao_available"):
                if known is not None and hasattr(getattr(known, name, None), "cache_clear"):
                    getattr(known, name).cache_clear()


def packed(module: nn.Module) -> bool:
    """Whether a layer's weight is no ordinary tensor of floating numbers."""
    weight = getattr(module, "weight", None)
    return weight is not None and (not weight.dtype.is_floating_point or type(weight.data) is not torch.Tensor)
