"""LoRA on the language model: put in, load, choose, scale at test time, merge.

Adapters live inside the language model's modules, so a checkpoint saves and loads them with everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.files import write_tensors
from video_salmonn.model.lora import LoraLinear, LoraSettings

_PEFT_PREFIX = "base_model.model."
"""Before the names in files that PEFT itself wrote."""


def _targets(module: nn.Module, settings: LoraSettings) -> dict[str, nn.Linear | LoraLinear]:
    """Layers that the settings name, by their places.

    Raises:
        ConfigError: there is none, or one is not linear.
    """
    layers = dict(module.named_modules())
    carrying = tuple(f"{place}." for place, layer in layers.items() if isinstance(layer, LoraLinear))
    found = {
        place: layer
        for place, layer in layers.items()
        if settings.targeted(place) and not place.startswith(carrying)  # not within a layer that carries adapters
    }
    if not found:
        raise ConfigError(f"lora.targets {list(settings.targets)} name no layer", remedy="e.g. q_proj, v_proj")
    for place, layer in found.items():
        if not isinstance(layer, (nn.Linear, LoraLinear)):
            raise ConfigError(f"lora.targets: {place} is {type(layer).__name__}", remedy="name linear layers")
    return found  # type: ignore[return-value]


def inject(language_model: nn.Module, values: LoraSettings | Mapping[str, Any], name: str = "default") -> None:
    """Put an adapter that changes nothing yet into the language model.

    The first one becomes active, and everything else is frozen; a later one leaves active what was active.

    Raises:
        ConfigError: no layer has a name that the settings target, one is not linear, or the adapter's name is
            impossible.
    """
    settings = LoraSettings.of(values)
    if not name or "." in name or hasattr(nn.ModuleDict, name):
        raise ConfigError(f"an adapter cannot be named {name!r}", remedy="use letters and digits")
    targets = _targets(language_model, settings)
    first = next(lora_layers(language_model), None) is None
    chosen = [name] if first else active(language_model)
    if first:
        language_model.requires_grad_(False)
    for place, layer in targets.items():
        if not isinstance(layer, LoraLinear):
            parent, _, child = place.rpartition(".")
            layer = LoraLinear(layer)
            setattr(language_model.get_submodule(parent), child, layer)
        layer.add(name, settings)
    activate(language_model, *chosen)


def fresh(module: nn.Module) -> list[tuple[LoraLinear, str]]:
    """Adapters whose tensors transformers would initialise: not loaded, not initialised before."""
    found = []
    for _, layer in lora_layers(module):
        for name, up in layer.lora_B.items():
            if not any(getattr(thing, "_is_hf_initialized", False) for thing in (up, up.weight)):
                found.append((layer, name))
    return found


def reset(layers: list[tuple[LoraLinear, str]]) -> None:
    """Initialise adapters so that they change nothing: A random, B zero."""
    for layer, name in layers:
        layer.reset(name)


def widen(module: nn.Module, rank: int, name: str = "default") -> None:
    """Give an adapter a larger rank; what it does stays (:meth:`LoraLinear.widen`).

    Raises:
        ConfigError: there is no such adapter, or it is wider already.
    """
    _need(module, name)
    for _, layer in lora_layers(module):
        if name in layer.lora_A:
            layer.widen(name, rank)


def as_wide(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that were trained, with those of an adapter of a lower rank filled up: A by rows of ``own``, B by zeros,
    so that they do what they did.

    Args:
        state: trained tensors, by name.
        own: tensors of the same names, of a rank that may be larger.
    """
    found = dict(state)
    for name, tensor in state.items():
        there = own.get(name)
        if there is None or there.ndim != 2 or tensor.ndim != 2:
            continue
        if ".lora_A." in name and len(tensor) < len(there):
            found[name] = torch.cat([tensor, there[len(tensor) :].to(tensor)])
        elif ".lora_B." in name and tensor.shape[1] < there.shape[1]:
            found[name] = torch.cat([tensor, tensor.new_zeros(len(tensor), there.shape[1] - tensor.shape[1])], dim=1)
    return found


def rank_of(state: Mapping[str, torch.Tensor]) -> int:
    """The rank of an adapter among tensors that were trained; 0 where there is none."""
    return next((len(tensor) for name, tensor in state.items() if ".lora_A." in name), 0)


def lora_layers(module: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """All layers that carry adapters, with their names."""
    for name, child in module.named_modules():
        if isinstance(child, LoraLinear):
            yield name, child


def names(module: nn.Module) -> list[str]:
    """Names of the adapters that are in."""
    return sorted({name for _, layer in lora_layers(module) for name in layer.lora_A})


def active(module: nn.Module) -> list[str]:
    """Names of the adapters in use."""
    return sorted({name for _, layer in lora_layers(module) for name in layer.active if name in layer.lora_A})


def _need(module: nn.Module, name: str) -> None:
    if name not in names(module):
        raise ConfigError(f"no adapter {name!r} in this model", remedy=f"adapters: {names(module) or 'none'}")


def activate(module: nn.Module, *active: str) -> None:
    """Use these adapters, and no others; none at all switches LoRA off. Raises ConfigError for an unknown name."""
    for name in active:
        _need(module, name)
    for _, layer in lora_layers(module):
        layer.activate(active)


def set_scale(module: nn.Module, factor: float, name: str = "default") -> None:
    """Scale an adapter's contribution at test time: 1 is as trained, 0 is the base model.

    The released code has the same knob, a test-time ``lora_alpha``: factor = that / the trained alpha.
    """
    _need(module, name)
    for _, layer in lora_layers(module):
        if name in layer.scaling:
            layer.scaling[name] = factor * layer.trained_scale[name]


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
            own = before[id(layer)]
            if own is not None:
                layer.scaling[name] = own


def _tensors(module: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """An adapter's parameters under PEFT's file names, which leave out the adapter's own."""
    halves = (
        (f"{place}.{half}.weight", getattr(layer, half))
        for place, layer in lora_layers(module)
        for half in ("lora_A", "lora_B")
    )
    return {place: half[name].weight for place, half in halves if name in half}


def state(module: nn.Module, name: str = "default") -> dict[str, torch.Tensor]:
    """An adapter's tensors under PEFT's file names."""
    _need(module, name)
    return {place: tensor.detach().contiguous() for place, tensor in _tensors(module, name).items()}


def save(module: nn.Module, path: Path, name: str = "default") -> None:
    """Write an adapter as safetensors."""
    write_tensors(path, state(module, name))


def load(module: nn.Module, path: Path, values: LoraSettings | Mapping[str, Any], name: str) -> None:
    """Add an adapter from a safetensors file, one of :func:`save` or of PEFT's own ``save_pretrained``.

    Raises:
        ConfigError: as :func:`inject`.
        CheckpointError: tensors are missing, unexpected or of another shape; the model stays as it was.
    """
    settings = LoraSettings.of(values)
    given = {place.removeprefix(_PEFT_PREFIX): tensor for place, tensor in load_file(path).items()}
    shapes = {}
    for place, layer in _targets(module, settings).items():
        base = layer.base_layer if isinstance(layer, LoraLinear) else layer
        shapes[f"{place}.lora_A.weight"] = (settings.r, base.in_features)
        shapes[f"{place}.lora_B.weight"] = (base.out_features, settings.r)
    missing, unexpected = sorted(shapes.keys() - given.keys()), sorted(given.keys() - shapes.keys())
    other = [place for place in shapes.keys() & given.keys() if tuple(given[place].shape) != shapes[place]]
    if missing or unexpected or other:
        raise CheckpointError(
            f"{path}: adapter tensors missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape {other[:3]}",
            remedy="check r and targets against the file's own adapter_config.json",
        )
    inject(module, settings, name)
    with torch.no_grad():
        for place, tensor in _tensors(module, name).items():
            tensor.copy_(given[place])


def merge(module: nn.Module) -> int:
    """Fold the active adapters into the weights and remove all. Returns how many layers carried one.

    Raises:
        CheckpointError: a merged weight is not finite.
    """
    merged = 0
    for name, layer in list(lora_layers(module)):
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, layer.merged())
        merged += 1
    return merged
