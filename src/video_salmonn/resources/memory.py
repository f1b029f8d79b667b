"""Memory a model needs for a clip: weights, cache and activations, from the configuration alone.

Weights are counted from the model on the meta device. Activations are not guessed: the production modules run on meta
tensors while a dispatch mode adds up the storages that are alive, so the figure can't drift from the code. Stages run
one after the other, hence the peak is weights + cache + the widest stage.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from video_salmonn.errors import ConfigError
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.lengths import media_tokens
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.tower import FRAMES_AT_ONCE, SEGMENTS_AT_ONCE
from video_salmonn.resources.cost import (
    TEXT_TOKENS,
    build_on_meta,
    kv_bytes_per_token,
)
from video_salmonn.resources.memory_devices import device_plan
from video_salmonn.resources.placement import ENCODERS
from video_salmonn.resources.stages import clip_shapes, connector_inputs, encoder_stages

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
QUANTISED = {"int8": 1.0, "int4": 0.5}
"""Bytes of a weight of the language model's layers."""
BLOCK = 64
"""Weights of int4 that share a scale of 8 bits; 256 such scales share one of 32. With int8 a row has one of 32."""
KV_BYTES = {"dynamic": None, "static": None, "fp8": 1}
"""Bytes of an element of the cache; None for those of the dtype."""
RESERVE = 0.1
"""Share kept free: allocator fragments, the device's own context, what is asked for beyond the plan."""


class LiveBytes(TorchDispatchMode):
    """Adds up the bytes of all storages made inside the block that are still alive; ``peak`` is their maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note the storages it made."""
        given = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:
                given.add(storage._cdata)
                self._add(storage)
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.live -= size


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def live_bytes(run: Callable[[], Any]) -> int:
    """Most bytes alive at once among what ``run`` makes (its result included)."""
    with torch.inference_mode(), LiveBytes() as counter:
        run()
    return counter.peak


def weight_bytes(
    model: VideoSalmonnForConditionalGeneration, dtype: str, quantise: str | None = None
) -> dict[str, int]:
    """Bytes of each part's weights.

    Args:
        model: on the meta device.
        dtype: ``fp32`` | ``fp16`` | ``bf16``.
        quantise: ``int8`` | ``int4`` for the layers of the language model (linear weights without embeddings, head
            and adapters), or None.
    """
    sizes: dict[str, int] = {name: 0 for name in ENCODERS if getattr(model.tower, name) is not None}
    sizes |= {"connector": 0, "language_model": 0, "lora": 0}
    for name, size in parameter_bytes(model, dtype, quantise).items():
        first, second = name.split(".")[:2]
        sizes["lora" if first == "language_model" and ".lora_" in name else second if first == "tower" else first] += (
            size
        )
    return sizes


def parameter_bytes(
    model: VideoSalmonnForConditionalGeneration, dtype: str, quantise: str | None = None
) -> dict[str, int]:
    """Bytes of every parameter, by its name; as :func:`weight_bytes`."""
    element, sizes = DTYPES[dtype].itemsize, {}
    for name, parameter in model.named_parameters():
        size = element * parameter.numel()
        speaks = name.startswith("language_model.") and ".lora_" not in name
        if quantise is not None and speaks and parameter.ndim == 2 and ".layers." in name:
            blocks = -(-parameter.numel() // BLOCK)
            scales = 4 * parameter.shape[0] if quantise == "int8" else blocks + 4 * -(-blocks // 256)
            size = round(parameter.numel() * QUANTISED[quantise]) + scales
        sizes[name] = size
    return sizes


def _numbers(dtype: str, quantise: str | None, kv_cache: str) -> tuple[str, str | None]:
    """(dtype, kind of packed layers); ``int8`` and ``int4`` as dtype mean these layers and 16 bits for the rest."""
    if dtype in QUANTISED:
        if quantise not in (None, dtype):
            raise ConfigError(f"dtype is {dtype} and quantise is {quantise}", remedy="give one of them")
        dtype, quantise = "bf16", dtype
    for name, value, known in (
        ("dtype", dtype, (*DTYPES, *QUANTISED)),
        ("quantise", quantise, (None, *QUANTISED)),
        ("kv_cache", kv_cache, tuple(KV_BYTES)),
    ):
        if value not in known:
            raise ConfigError(f"{name} is {value!r}", remedy=f"use one of: {', '.join(k for k in known if k)}")
    return dtype, quantise


def activation_bytes(
    model: VideoSalmonnForConditionalGeneration,
    seconds: float,
    dtype: str,
    *,
    rows: int,
    new_tokens: int,
    quantise: str | None = None,
    kv_cache: str = "dynamic",
) -> dict[str, dict[str, int]]:
    """What each stage makes for one clip with picture and sound.

    Args:
        model: on the meta device, in the dtype it computes in.
        seconds: duration of the clip.
        dtype: of that.
        rows: sequences the language model runs at once (beams).
        new_tokens: longest answer.
        quantise: packed layers are unpacked one at a time.
        kv_cache: an ``fp8`` cache is unpacked one layer at a time.

    Returns:
        ``stages``: peak of each stage; ``features``: what the encoders hand on, which stays.
    """
    config, kind = model.config, DTYPES[dtype]
    stages: dict[str, int] = {}
    features: dict[str, int] = {}
    words = TEXT_TOKENS
    if (qformer := model.tower.instruction_qformer) is not None:
        words = min(words, qformer.qformer.config.max_position_embeddings)

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device="meta", dtype=kind)

    encoders = encoder_stages(
        model, seconds, kind, frames_at_once=FRAMES_AT_ONCE, segments_at_once=SEGMENTS_AT_ONCE, words=words
    )
    for stage in encoders:
        stages[stage.name] = live_bytes(stage.run)
        if stage.kept:
            with torch.inference_mode():
                features[stage.name] = round(stage.run().nbytes * stage.times)
    if "vision" in stages:  # all pictures are there while the first ones are encoded
        side = config.media_config.image_size
        stages["vision"] += clip_shapes(config, seconds).frames * 3 * side**2 * kind.itemsize
    inputs = connector_inputs(config, seconds, kind)
    given = sum(tensor.nbytes for tensor in inputs if tensor is not None)
    stages["connector"] = live_bytes(lambda: model.connector(*inputs)) + given
    language, width = model.language_model, config.text_config.hidden_size
    prompt = media_tokens(config, seconds) + TEXT_TOKENS
    embeds = empty(rows, prompt, width)
    reading = live_bytes(lambda: language(inputs_embeds=embeds, logits_to_keep=1, use_cache=True))
    unpacked = 0
    if quantise is not None:
        unpacked = kind.itemsize * max(p.numel() for n, p in language.named_parameters() if ".layers." in n)
    stages["prefill"] = max(0, reading - prompt * rows * kv_bytes_per_token(config, kind.itemsize)) + unpacked
    tokens = (prompt + new_tokens) * rows
    if kv_cache == "fp8":  # one layer's keys and values, in 32 bits and then in the dtype
        unpacked += tokens * kv_bytes_per_token(config, 4 + kind.itemsize) // config.text_config.num_hidden_layers
    stages["decode"] = unpacked
    stages["kv_cache"] = tokens * kv_bytes_per_token(config, KV_BYTES[kv_cache] or kind.itemsize)
    return {"stages": stages, "features": features}


def memory_plan(
    config: VideoSalmonnConfig,
    seconds: float,
    dtype: str = "bf16",
    *,
    quantise: str | None = None,
    offload_encoders: bool = False,
    kv_cache: str = "dynamic",
    beams: int | None = None,
    new_tokens: int | None = None,
    device_map: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What one question about one clip needs.

    Args:
        config: of the model.
        seconds: duration of the clip; what the model's own limits cut is not counted.
        dtype: ``fp32`` | ``fp16`` | ``bf16``, or ``int8`` | ``int4``: these layers, and 16 bits for the rest.
        quantise: ``int8`` | ``int4`` for the language model's layers.
        offload_encoders: an encoder is there only while it runs.
        kv_cache: ``dynamic`` | ``static`` | ``fp8``.
        beams, new_tokens: of the generation; by default the model's own.
        device_map: which module lies on which device; the devices need not be here.

    Returns:
        JSON-ready: ``weights``, ``features`` and ``activations`` in bytes by part, ``kv_cache``, ``resting`` (weights
        of encoders that are elsewhere), ``peak`` (weights that are there, features, and the widest of: an encoder,
        the connector, the language model with its cache), ``needed`` (``peak`` with a reserve of a tenth), and
        ``loading``: main memory that loading takes, since weights pass through it before they are packed or moved.
        With a device map also ``devices``, see :func:`~video_salmonn.resources.memory_devices.device_plan`.

    Raises:
        ConfigError: unknown dtype, quantisation or cache, a map that does not fit the model, or a map together with
            ``offload_encoders``.
    """
    if device_map is not None and offload_encoders:
        raise ConfigError("offload_encoders and device_map exclude each other", remedy="leave one of them out")
    asked = dtype
    dtype, quantise = _numbers(dtype, quantise, kv_cache)
    rows = beams or int(config.generation.num_beams or 1)
    answer = new_tokens or int(config.generation.max_new_tokens or 128)
    model = build_on_meta(config).to(DTYPES[dtype])
    weights = weight_bytes(model, dtype, quantise)
    made = activation_bytes(model, seconds, dtype, rows=rows, new_tokens=answer, quantise=quantise, kv_cache=kv_cache)
    stages = made["stages"]
    cache = stages.pop("kv_cache")
    resting = {name: weights[name] for name in ENCODERS if name in weights} if offload_encoders else {}
    speaking = ("prefill", "decode")
    encoding = max(n + resting.get(name, 0) for name, n in stages.items() if name not in speaking)
    widest = max(encoding, max(stages[name] for name in speaking) + cache)
    peak = sum(weights.values()) - sum(resting.values()) + sum(made["features"].values()) + widest
    kept = sum(made["features"].values())
    devices = {}
    if device_map is not None:
        sizes = parameter_bytes(model, dtype, quantise)
        devices = {"devices": device_plan(model, device_map, sizes, stages, kept, cache, RESERVE)}
    return devices | {
        "dtype": asked,
        "quantise": quantise,
        "offload_encoders": offload_encoders,
        "kv_cache_kind": kv_cache,
        "clip_seconds": seconds,
        "media_tokens": media_tokens(config, seconds),
        "beams": rows,
        "new_tokens": answer,
        "weights": weights | {"total": sum(weights.values())},
        "features": made["features"],
        "kv_cache": cache,
        "activations": stages,
        "resting": sum(resting.values()),
        "loading": sum(weight_bytes(model, dtype).values()),
        "peak": peak,
        "needed": round(peak * (1 + RESERVE)),
    }
