"""The language model's layers in 8 or 4 bits. Embeddings, head, adapters, encoders and connector stay as they are.

Layers are packed after loading, one by one on the device where they will run, so any model can be packed, whatever its
files hold. LoRA stays on top of a packed layer, in its own dtype, unmerged: merging would round it to the grid.

* ``int8`` with bitsandbytes: LLM.int8() (Dettmers et al., NeurIPS 2022): rows of weights and of inputs in 8 bits, input
  columns beyond 6.0 apart in 16 bits. With torchao: weights only, one scale a row.
* ``int4`` with bitsandbytes: NF4 in blocks of 64 (Dettmers et al., NeurIPS 2023), computed in the model's dtype.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import cast

import torch
from torch import nn

from video_salmonn.errors import ConfigError, MissingPartError
from video_salmonn.model.packed import packed
from video_salmonn.resources.arithmetic import exact_int8_products

BACKENDS: dict[str, tuple[str, ...]] = {"int8": ("bitsandbytes", "torchao"), "int4": ("bitsandbytes",)}
"""Kinds of numbers, and who can make them; the first that is installed is taken."""
OUTLIERS = 6.0
"""LLM.int8(): columns of the input with larger entries are multiplied in 16 bits."""
REMEDY = 'pip install "video-salmonn[quantise]"'


def choose(kind: str, backend: str | None = None) -> str:
    """The library that packs.

    Args:
        kind: ``int8`` | ``int4``.
        backend: ``bitsandbytes`` | ``torchao``, or None for the first that is installed.

    Raises:
        ConfigError: no such kind, or this library does not offer it.
        MissingPartError: it is not installed.
    """
    if kind not in BACKENDS:
        raise ConfigError(f"quantise is {kind!r}", remedy=f"use one of: {', '.join(BACKENDS)}")
    offered = BACKENDS[kind]
    if backend is not None and backend not in offered:
        raise ConfigError(f"quantiser {backend!r} does not offer {kind}", remedy=f"use {' or '.join(offered)}")
    for name in (backend,) if backend else offered:
        if find_spec(name) is not None:
            return name
    raise MissingPartError(f"{kind} needs {backend or ' or '.join(offered)}, which is not installed", remedy=REMEDY)


def layers(language_model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """What can be packed: linear maps inside the decoder's layers that are not yet, without adapters."""
    for name, module in language_model.named_modules():
        linear = type(module) is nn.Linear and not packed(module)
        if linear and ".layers." in f".{name}" and ".lora_" not in name:
            yield name, module


def quantise(language_model: nn.Module, kind: str, backend: str, place: Callable[[str], torch.device]) -> int:
    """Pack the layers in place.

    Args:
        language_model: in 16 or 32 bits, on any device.
        kind: ``int8`` | ``int4``.
        backend: of :func:`choose`.
        place: device of a layer, from its name inside the language model.

    Returns:
        how many layers were packed.

    Raises:
        ConfigError: the library cannot pack on this device.
        MissingPartError: the library is damaged.
    """
    found = [name for name, _ in layers(language_model)]
    pack = _int8_torchao if backend == "torchao" else _int8 if kind == "int8" else _int4
    try:
        importlib.import_module(backend)
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingPartError(f"{backend} is installed but cannot be imported: {error}", remedy=REMEDY) from error
    for name in found:
        layer = language_model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        parent, _, child = name.rpartition(".")
        try:
            setattr(language_model.get_submodule(parent), child, pack(layer, place(name)))
        except (RuntimeError, NotImplementedError, ImportError) as error:
            raise ConfigError(
                f"{backend} cannot pack {name} in {kind} on {place(name)}: {error}",
                remedy="use another --device, or leave --quantise out",
            ) from error
        del layer
    _give_back()
    return len(found)


def _give_back() -> None:
    """Give the freed 16- or 32-bit layers back to the system: glibc keeps them, and with them what packing saved."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


@cache
def _linear8() -> type[nn.Module]:
    """bitsandbytes' ``Linear8bitLt``, but right where the processor's 8-bit products are not."""
    import bitsandbytes as bnb

    class Linear8(bnb.nn.Linear8bitLt):
        """Weights in 8 bits; inputs too, unless that would be computed wrongly here."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """``(..., D)`` -> ``(..., D')``."""
            if x.device.type != "cpu" or exact_int8_products():
                return super().forward(x)
            rows: torch.Tensor = self.weight.data  # (D', D) int8
            scale = getattr(self.weight, "SCB", None)  # (D',); moved into the state by a pass of the library's own
            largest = cast(torch.Tensor, self.state.SCB if scale is None else scale)
            return nn.functional.linear(x, (rows * (largest / 127.0)[:, None]).to(x.dtype), self.bias)

    return Linear8


def _int8(layer: nn.Linear, device: torch.device) -> nn.Module:
    """LLM.int8()."""
    import bitsandbytes as bnb

    # told at every layer of every pass: inputs go through 16 bits on their way to 8
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    made = _linear8()(
        layer.in_features, layer.out_features, layer.bias is not None, has_fp16_weights=False, threshold=OUTLIERS,
        device="meta",
    )  # fmt: skip
    made.weight = bnb.nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    made.bias = layer.bias
    return made.to(device).eval()


def _int4(layer: nn.Linear, device: torch.device) -> nn.Module:
    """NF4."""
    import bitsandbytes as bnb

    made = bnb.nn.Linear4bit(
        layer.in_features, layer.out_features, layer.bias is not None, compute_dtype=layer.weight.dtype,
        quant_type="nf4", device="meta",
    )  # fmt: skip
    made.weight = bnb.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=made)
    made.bias = layer.bias
    return made.to(device).eval()


def _int8_torchao(layer: nn.Linear, device: torch.device) -> nn.Module:
    """Weights in 8 bits with one scale a row."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    holder = nn.Sequential(layer.requires_grad_(False).to(device))
    quantize_(holder, Int8WeightOnlyConfig())
    return holder[0]
