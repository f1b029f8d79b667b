"""The memory plan of a model spread by a device map: what each device holds and needs.

Nothing is loaded and the devices need not be here. As Accelerate's ``dispatch_model`` does it: a part on a card runs
there; a part that rests in main memory (beside cards) or on the disk comes to the main device when it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.resources.placement import ENCODERS, checked_names, decoder_layers

SPEAKING = ("prefill", "decode")


def named_device(wanted: Any) -> str:
    """``cpu``, ``disk`` or ``cuda:N``.

    Raises:
        ConfigError: it is none of these.
    """
    text = str(wanted).removeprefix("cuda:")
    if wanted in ("cpu", "disk"):
        return str(wanted)
    if isinstance(wanted, bool) or not text.isdigit():
        raise ConfigError(f"device map: {wanted!r} is not a device", remedy="use 0, 1 … for cards, cpu or disk")
    return f"cuda:{int(text)}"


def device_plan(
    model: VideoSalmonnForConditionalGeneration,
    device_map: Mapping[str, Any],
    sizes: Mapping[str, int],
    stages: Mapping[str, int],
    features: int,
    cache: int,
    reserve: float,
) -> dict[str, dict[str, int]]:
    """Bytes by device.

    Args:
        model: on the meta device.
        device_map: module name -> card number, ``cuda:N``, ``cpu`` or ``disk``; "" for what is not named otherwise.
        sizes: bytes of every parameter, by its name.
        stages: what each stage makes while it runs.
        features: bytes the encoders hand on.
        cache: bytes of all keys and values.
        reserve: share kept free.

    Returns:
        device -> ``weights`` that lie there, ``running`` (what is made or brought there) and ``needed``.

    Raises:
        ConfigError: a module that is not there, would be split, or has no device.
    """
    places = {name: named_device(device) for name, device in checked_names(model, device_map).items()}

    def place(name: str) -> str:
        keys = [key for key in places if key == "" or name == key or name.startswith(key + ".")]
        return places[max(keys, key=len)]

    cards = sorted({device for device in places.values() if device.startswith("cuda")}, key=lambda d: int(d[5:]))
    main = next((device for device in places.values() if device.startswith("cuda")), "cpu")
    weights: dict[str, int] = dict.fromkeys([main, *cards], 0)
    visiting: dict[str, int] = {}  # parts that come to the main device when they run
    layers = {id(layer): name for name, layer in model.named_modules() if layer in set(decoder_layers(model))}
    wholes = [f"tower.{name}" for name in ENCODERS] + ["connector", *layers.values()]
    for name, size in sizes.items():
        device = place(name)
        weights[device] = weights.get(device, 0) + size
        if device == "disk" or (device == "cpu" and main != "cpu"):
            whole = next((part for part in wholes if name.startswith(part + ".")), name)
            visiting[whole] = visiting.get(whole, 0) + size

    def runs(part: str) -> str:
        device = place(part)
        return device if device.startswith("cuda") or (device == "cpu" and main == "cpu") else main

    running: dict[str, int] = dict.fromkeys(weights, 0)
    homes = {name: runs(f"tower.{name}" if name in ENCODERS else name) for name in stages if name not in SPEAKING}
    for name, device in homes.items():
        running[device] = max(running[device], stages[name])
    speaking = [runs(name) for name in layers.values()]
    for device in set(speaking):
        held = cache * speaking.count(device) // len(speaking)
        running[device] = max(running[device], max(stages[name] for name in SPEAKING) + held)
    running[main] += features + max(visiting.values(), default=0)
    return {
        device: {
            "weights": weights[device],
            "running": running[device],
            "needed": round((weights[device] + running[device]) * (1 if device == "disk" else 1 + reserve)),
        }
        for device in weights
    }
