"""Where a model's parts go and in which numbers: devices, packed layers, encoders that leave when they have run.

Spreading and offloading are Accelerate's (``dispatch_model``): a part that rests in main memory or on the disk is
brought to the main device when it is called and released after it. An encoder, the connector and a layer of the
language model are never split. Here is only what decides which part goes where.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import dispatch_model, infer_auto_device_map
from accelerate.utils import check_device_map, get_max_memory
from torch import nn
from transformers import cache_utils

from video_salmonn.errors import ConfigError, MissingPartError
from video_salmonn.resources import quantise as packing
from video_salmonn.resources.device_map import unknown_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration

ENCODERS = ("vision", "instruction_qformer", "speech", "audio")
KV_CACHES: dict[str, dict[str, Any]] = {
    "dynamic": {},
    "static": {"cache_implementation": "static"},
    "fp8": {"cache_implementation": "quantized", "cache_config": {"backend": "fp8"}},
}
"""Caches of keys and values, as options of transformers' ``generate``. Its 4-bit ones stay per-question options: they
need packages of their own, of which one compiles C++ when it is first used."""


@dataclass(frozen=True)
class Placement:
    """Where the parts of a model go, and in which numbers.

    Attributes:
        device: the main device: inputs go there, and what rests elsewhere is brought there to run.
        quantise: ``int8`` | ``int4`` for the language model's layers, or None.
        quantiser: library that packs, or None for the first that is installed.
        device_map: ``auto`` (fill the cards, then main memory), a map from module names to devices (numbers of cards,
            ``cuda:N``, ``cpu``, ``disk``), or None for all on ``device``.
        offload_encoders: encoders rest in main memory (on the disk where the device is the CPU), each is brought to
            the device when it is called and leaves it when it has run.
        kv_cache: ``dynamic``, ``static`` (allocated at once), or ``fp8`` (half of 16 bits).
    """

    device: torch.device
    quantise: str | None = None
    quantiser: str | None = None
    device_map: str | Mapping[str, Any] | None = None
    offload_encoders: bool = False
    kv_cache: str = "dynamic"

    def __post_init__(self) -> None:
        if self.quantise is None and self.quantiser is not None:
            raise ConfigError(f"quantiser is {self.quantiser!r}, but nothing is quantised", remedy="give quantise too")
        if self.quantise is not None:
            packing.choose(self.quantise, self.quantiser)
        if self.kv_cache not in KV_CACHES:
            raise ConfigError(f"kv_cache is {self.kv_cache!r}", remedy=f"use one of: {', '.join(KV_CACHES)}")
        if self.kv_cache == "fp8" and not hasattr(cache_utils, "Fp8QuantizedLayer"):
            raise MissingPartError("this transformers has no fp8 cache", remedy="pip install -U transformers")
        if self.device_map is not None and self.offload_encoders:
            raise ConfigError(
                "offload_encoders and device_map exclude each other",
                remedy='let the map say "tower": "cpu", or leave the map out',
            )

    @property
    def notices(self) -> list[str]:
        """What changes answers, for reports."""
        said = []
        if self.quantise is not None:
            backend = packing.choose(self.quantise, self.quantiser)
            said.append(f"language model in {self.quantise} ({backend}): answers can differ from the stored weights'")
        if self.kv_cache == "fp8":
            said.append("keys and values in fp8: answers can differ from those of a full cache")
        return said


def checked_device(wanted: str | torch.device) -> torch.device:
    """A device, if it is here.

    Raises:
        ConfigError: no such kind of device, or none of it on this machine.
    """
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"device {str(wanted)!r} is unknown", remedy="use cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            built = "" if torch.backends.cuda.is_built() else " (this PyTorch is built without CUDA)"
            raise ConfigError(f"device {device}: no GPU that PyTorch can use here{built}", remedy="use device cpu")
        if (device.index or 0) >= count:
            found = ", ".join(f"cuda:{n}" for n in range(count))
            raise ConfigError(f"device {device}: no such GPU here", remedy=f"use one of: {found}, cpu")
    elif device.type != "cpu":
        try:
            if device.type == "meta":
                raise RuntimeError("it holds no numbers")
            torch.ones(1, device=device)
        except Exception as error:  # each backend has errors of its own
            reason = str(error).split("\n")[0]
            raise ConfigError(f"device {device} cannot be used here ({reason})", remedy="use device cpu") from error
    return device


def atoms(model: VideoSalmonnForConditionalGeneration) -> list[str]:
    """Names of classes that stay whole: encoders, connector, layers of the language model."""
    tower = [getattr(model.tower, name) for name in ENCODERS]
    parts = [type(part).__name__ for part in (*tower, model.connector) if part is not None]
    return sorted({*parts, *(type(layer).__name__ for layer in decoder_layers(model))})


def decoder_layers(model: VideoSalmonnForConditionalGeneration) -> nn.ModuleList:
    """The language model's layers."""
    layers = model.language_model.get_decoder().layers
    assert isinstance(layers, nn.ModuleList)
    return layers


def checked_map(model: VideoSalmonnForConditionalGeneration, given: Mapping[str, Any]) -> dict[str, Any]:
    """A device map that can be used.

    Raises:
        ConfigError: a name or device that is not there, a part without a device, or a name inside a part that stays
            whole.
    """
    made = {name: _device(device) for name, device in given.items()}
    return checked_names(model, made)


def checked_names(model: VideoSalmonnForConditionalGeneration, given: Mapping[str, Any]) -> dict[str, Any]:
    """A device map whose names fit the model, wherever its devices are.

    Raises:
        ConfigError: a name that is not there, a part without a device, or a name inside a part that stays whole.
    """
    whole, names = set(atoms(model)), dict(model.named_modules())
    for name in given:
        if name not in names:
            raise unknown_module(name)
        above = name.rpartition(".")[0]
        while above:
            if type(names[above]).__name__ in whole:
                raise ConfigError(f"device map: {name!r} would split {above!r}", remedy=f"give a device to {above!r}")
            above = above.rpartition(".")[0]
    try:
        check_device_map(model, dict(given))
    except ValueError as error:
        raise ConfigError(f"device map: {error}", remedy='"" stands for all that is not named otherwise') from error
    return dict(given)


def _device(wanted: Any) -> Any:
    """A device of a map, if it is here."""
    if wanted in ("cpu", "disk"):
        return wanted
    cards = torch.cuda.device_count()
    text = str(wanted).removeprefix("cuda:")
    if isinstance(wanted, bool) or not text.isdigit() or int(text) >= cards:
        raise ConfigError(
            f"device map: no device {wanted!r} here",
            remedy=f"use {', '.join([*(str(n) for n in range(cards)), 'cpu', 'disk'])}",
        )
    return int(text)


def automatic_map(model: VideoSalmonnForConditionalGeneration, reserve: int) -> dict[str, Any]:
    """Parts in their order onto the cards, then into main memory, then to the disk.

    Args:
        model: on the CPU, in the dtype it will run in.
        reserve: bytes kept free on every card for what runs (on the CPU, where there is no card).
    """
    free = get_max_memory()
    free = {place: max(0, size - reserve) if place != "cpu" or len(free) == 1 else size for place, size in free.items()}
    return dict(infer_auto_device_map(model, free, no_split_module_classes=atoms(model)))


def place(
    model: VideoSalmonnForConditionalGeneration, placement: Placement, folder: Path | None = None, reserve: int = 0
) -> VideoSalmonnForConditionalGeneration:
    """Pack, spread and offload a loaded model as asked for.

    Args:
        model: on the CPU.
        placement: what is wanted.
        folder: an empty one, for what rests on the disk.
        reserve: bytes kept free by ``device_map="auto"``.

    Raises:
        ConfigError: the device map cannot be used, or asks for packed layers to be offloaded.
    """
    device_map = placement.device_map
    if device_map == "auto":
        device_map = automatic_map(model, reserve)
    if isinstance(device_map, str):
        raise ConfigError(f"device_map is {device_map!r}", remedy="use auto, or a map from module names to devices")
    if device_map is not None:
        device_map = checked_map(model, device_map)
    if placement.quantise is not None:
        backend = packing.choose(placement.quantise, placement.quantiser)
        places = packed_places(model, placement, device_map)
        packing.quantise(model.language_model, placement.quantise, backend, lambda name: places[name])
    model.generation_config.update(**KV_CACHES[placement.kv_cache])
    if device_map is not None:
        cards = [place for place in device_map.values() if isinstance(place, int)]
        main = torch.device("cuda", cards[0]) if cards else torch.device("cpu")
        _dispatch(model, device_map, main, folder, atoms(model))
        model.main_device = main
        return model
    if not placement.offload_encoders:
        return model.to(placement.device)
    rest = "disk" if placement.device.type == "cpu" else "cpu"
    encoders = {name: rest for name in ENCODERS if getattr(model.tower, name) is not None}
    if encoders:
        _dispatch(model.tower, encoders, placement.device, folder, atoms(model))
    model.connector.to(placement.device)
    model.language_model.to(placement.device)
    model.main_device = placement.device
    return model


def packed_places(
    model: VideoSalmonnForConditionalGeneration, placement: Placement, device_map: Mapping[str, Any] | None
) -> dict[str, torch.device]:
    """Device of every layer that will be packed."""
    places: dict[str, torch.device] = {}
    for name, _ in packing.layers(model.language_model):
        if device_map is None:
            places[name] = placement.device
            continue
        whole = f"language_model.{name}"
        keys = [key for key in device_map if key == "" or whole == key or whole.startswith(key + ".")]
        found = device_map[max(keys, key=len)]
        if found == "disk" or (found == "cpu" and any(isinstance(value, int) for value in device_map.values())):
            raise ConfigError(
                f"device map: {whole} is packed in {placement.quantise} and cannot rest on {found!r}",
                remedy="keep the language model's layers on cards, or leave --quantise out",
            )
        places[name] = torch.device("cpu") if found == "cpu" else torch.device("cuda", found)
    return places


def _dispatch(
    module: nn.Module, places: dict[str, Any], main: torch.device, folder: Path | None, whole: list[str]
) -> None:
    if "disk" in places.values() and folder is None:
        raise ConfigError("a part that rests on the disk needs a folder", remedy="give one, or keep it off the disk")
    with _quiet("accelerate.big_modeling"):  # says that offloaded parts are offloaded
        dispatch_model(
            module,
            places,
            main_device=str(main),  # Accelerate compares with the word "cpu"
            offload_dir=folder,
            skip_keys=list(getattr(module, "_skip_keys_device_placement", None) or []),
            preload_module_classes=whole,
        )


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
