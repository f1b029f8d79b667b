"""A model from its name to where it runs: loaded, in the numbers that were asked for, its parts in their places."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from video_salmonn.cache import cache_home
from video_salmonn.checkpoints.assemble import load_model, notices
from video_salmonn.errors import ConfigError
from video_salmonn.files import fingerprint as fingerprint_of
from video_salmonn.inference.questions import parse_numbers
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.resources import quantise as packing
from video_salmonn.resources.arithmetic import slow_numbers
from video_salmonn.resources.memory import memory_plan
from video_salmonn.resources.placement import Placement, checked_device, place
from video_salmonn.resources.quantization_config import kind_of

_LOADING = threading.Lock()
"""Loading switches the initialisation of the whole process off and on: one model at a time."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in its place.

    Attributes:
        model, processor: as loaded.
        notices: what a user of it must know.
        seconds: that it took.
        fingerprint: of the encoders as they were stored; None where it was not asked for.
        resting: the folder of weights that rest on the disk; None for none.
    """

    model: VideoSalmonnForConditionalGeneration
    processor: VideoSalmonnProcessor
    notices: list[str]
    seconds: float
    fingerprint: str | None
    resting: tempfile.TemporaryDirectory[str] | None


def load_in_place(
    name_or_dir: str | Path,
    *,
    device: str | torch.device,
    dtype: torch.dtype | str | None,
    profile: str | None,
    quantise: str | None,
    quantiser: str | None,
    device_map: str | Mapping[str, Any] | None,
    offload_encoders: bool,
    kv_cache: str,
    quantization_config: Any,
    marked: bool,
) -> LoadedModel:
    """Load a model and put its parts where they run; the arguments are those of :meth:`VideoSalmonn.load`.

    Args:
        marked: compute the encoders' fingerprint.

    Raises:
        CheckpointError, MissingPartError, ConfigError.
    """
    start = perf_counter()
    if quantization_config is not None:
        if quantise is not None or dtype in packing.BACKENDS:
            raise ConfigError("quantise and quantization_config were given", remedy="give one of them")
        quantise, quantiser = kind_of(quantization_config), quantiser or "bitsandbytes"
    numbers, packed = parse_numbers(dtype, quantise)
    placement = Placement(checked_device(device), packed, quantiser, device_map, offload_encoders, kv_cache)
    with _LOADING:
        model, processor = load_model(name_or_dir, numbers, profile)
    if dtype in packing.BACKENDS and model.dtype == torch.float32:
        model = model.to(torch.bfloat16)
    fingerprint = fingerprint_of(model.tower) if marked else None
    resting = None
    if offload_encoders or device_map is not None:
        home = cache_home()
        home.mkdir(parents=True, exist_ok=True)  # not where the system keeps temporary files: that may be memory
        resting = tempfile.TemporaryDirectory(prefix="resting-", dir=home)
    room = _room(model) if device_map == "auto" else 0
    place(model, placement, Path(resting.name) if resting else None, room)
    told = [*notices(name_or_dir), *placement.notices, *slow_numbers(model.dtype, device)]
    return LoadedModel(model, processor, told, perf_counter() - start, fingerprint, resting)


def _room(model: VideoSalmonnForConditionalGeneration) -> int:
    """Bytes a card needs beside weights, for a clip of a minute."""
    dtype = {torch.float32: "fp32", torch.float16: "fp16"}.get(model.dtype, "bf16")
    plan = memory_plan(model.config, 60.0, dtype)
    return int(plan["needed"]) - int(plan["weights"]["total"])
