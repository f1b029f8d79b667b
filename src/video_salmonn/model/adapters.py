"""LoRA on the language model through PEFT: put in, load, choose, scale at test time, merge (§B).

Adapters live inside the language model's modules, so a checkpoint saves and loads them with everything else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.files import write_tensors
from video_salmonn.model.packed import unasked

with unasked():
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from peft.tuners.lora import LoraLayer
    from peft.utils import get_peft_model_state_dict


def lora_config(values: dict[str, Any]) -> LoraConfig:
    """PEFT's configuration from ours (``r``, ``alpha``, ``dropout``, ``targets``). Raises ConfigError on other keys."""
    unknown = sorted(set(values) - {"r", "alpha", "dropout", "targets"})
    if unknown or "r" not in values or "targets" not in values:
        raise ConfigError(f"lora: keys must be r, alpha, dropout, targets; got {sorted(values)}")
    return LoraConfig(
        r=values["r"],
        lora_alpha=values.get("alpha", values["r"]),
        lora_dropout=values.get("dropout", 0.0),
        target_modules=list(values["targets"]),
        bias="none",
        task_type="CAUSAL_LM",
    )


def inject(language_model: nn.Module, values: dict[str, Any], name: str = "default") -> None:
    """Put a fresh adapter into the language model (its other weights are frozen by this)."""
    with warnings.catch_warnings(), unasked():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several adapters are meant
        inject_adapter_in_model(lora_config(values), language_model, adapter_name=name)


def fresh(module: nn.Module) -> list[tuple[LoraLayer, str]]:
    """Adapters whose tensors transformers would initialise: not loaded, not initialised before."""
    found = []
    for _, layer in lora_layers(module):
        for name, up in layer.lora_B.items():
            if not any(getattr(thing, "_is_hf_initialized", False) for thing in (up, up.weight)):
                found.append((layer, name))
    return found


def reset(layers: list[tuple[LoraLayer, str]]) -> None:
    """PEFT's own initialisation: A random, B zero, so that a new adapter changes nothing."""
    for layer, name in layers:
        layer.reset_lora_parameters(name, True)


def lora_layers(module: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    """All layers that carry adapters, with their names."""
    for name, child in module.named_modules():
        if isinstance(child, LoraLayer):
            yield name, child


def names(module: nn.Module) -> list[str]:
    """Names of the adapters that are in."""
    return sorted({name for _, layer in lora_layers(module) for name in layer.lora_A})


def active(module: nn.Module) -> list[str]:
    """Names of the adapters in use."""
    return sorted({name for _, layer in lora_layers(module) for name in layer.active_adapters if name in layer.lora_A})


def _need(module: nn.Module, name: str) -> None:
    if name not in names(module):
        raise ConfigError(f"no adapter {name!r} in this model", remedy=f"adapters: {names(module) or 'none'}")


def activate(module: nn.Module, *active: str) -> None:
    """Use these adapters, and no others; none at all switches LoRA off. Raises ConfigError for an unknown name."""
    for name in active:
        _need(module, name)
    for _, layer in lora_layers(module):
        layer.enable_adapters(bool(active))
        if active:
            layer.set_adapter(list(active))


def set_scale(module: nn.Module, factor: float, name: str = "default") -> None:
    """Scale an adapter's contribution at test time: 1 is as trained, 0 is the base model.

    The released code has the same knob, a test-time ``lora_alpha`` (O:1912-1914): factor = that / the trained alpha.
    """
    _need(module, name)
    for _, layer in lora_layers(module):
        if name in layer.scaling:
            layer.set_scale(name, factor)


@contextmanager
def scaled(module: nn.Module, factor: float | None, name: str = "default") -> Iterator[None]:
    """A block in which an adapter's contribution is scaled (see :func:`set_scale`); None changes nothing."""
    if factor is None:
        yield
        return
    before = {id(layer): layer.scaling.get(name) for _, layer in lora_layers(module)}
    set_scale(module, factor, name)
    try:
        yield
    finally:
        for _, layer in lora_layers(module):
            if before[id(layer)] is not None:
                layer.scaling[name] = before[id(layer)]


def state(module: nn.Module, name: str = "default") -> dict[str, torch.Tensor]:
    """An adapter's tensors under PEFT's file names."""
    _need(module, name)
    return {key: value.contiguous() for key, value in get_peft_model_state_dict(module, adapter_name=name).items()}


def save(module: nn.Module, path: Path, name: str = "default") -> None:
    """Write an adapter as safetensors."""
    write_tensors(path, state(module, name))


def load(module: nn.Module, path: Path, values: dict[str, Any], name: str) -> None:
    """Add an adapter from a safetensors file.

    Raises:
        CheckpointError: tensors are missing, unexpected or of another shape.
    """
    inject(module, values, name)
    try:
        result = set_peft_model_state_dict(module, load_file(path), adapter_name=name)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the adapter does not fit this model ({error})") from error
    missing = [key for key in result.missing_keys if f".{name}." in key]
    if missing or result.unexpected_keys:
        raise CheckpointError(
            f"{path}: adapter tensors missing {missing[:3]}, unexpected {result.unexpected_keys[:3]}",
            remedy="check r and targets against the file's own adapter_config.json",
        )


def merge(module: nn.Module) -> int:
    """Fold the active adapters into the weights and remove them. Returns how many layers were folded."""
    merged = 0
    for name, layer in list(lora_layers(module)):
        layer.merge(safe_merge=True)  # type: ignore[operator]
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, layer.get_base_layer())
        merged += 1
    return merged
