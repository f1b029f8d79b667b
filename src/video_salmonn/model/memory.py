"""Memory a model needs for a clip: weights, cache and activations, from the configuration alone.

Weights are counted from the model on the meta device. Activations are not guessed: the production modules run on meta
tensors while a dispatch mode adds up the storages that are alive, so the figure can't drift from the code. Stages run
one after the other, hence the peak is weights + cache + the widest stage.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from video_salmonn.encoders.beats import Beats
from video_salmonn.encoders.eva import EvaViT
from video_salmonn.errors import ConfigError
from video_salmonn.features.fbank import num_frames
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.cost import (
    RATE,
    TEXT_TOKENS,
    build_on_meta,
    kv_bytes_per_token,
    media_tokens,
    sight_frames,
    sound_frames,
)
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.tower import FRAMES_AT_ONCE, SEGMENTS_AT_ONCE

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
QUANTISED = {"int8": 1.0, "int4": 0.5}
"""Bytes of a weight of the language model's layers; all else stays in 16 bits."""
SCALE_BYTES = {"int8": 2 / 4096, "int4": 4 / 64}
"""Scales a weight: one of 16 bits a row (about 4096 weights) for int8, one of 32 bits a block of 64 for int4."""
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


def weight_bytes(model: VideoSalmonnForConditionalGeneration, dtype: str) -> dict[str, int]:
    """Bytes of each part's weights.

    Args:
        model: on the meta device.
        dtype: ``fp32`` | ``fp16`` | ``bf16``, or ``int8`` | ``int4`` for the layers of the language model (linear
            weights without embeddings and head; adapters and all other parts are then in 16 bits).
    """
    element = _element(dtype)
    tower, language = model.tower, model.language_model
    parts: dict[str, nn.Module | None] = {
        "vision": tower.vision,
        "instruction_qformer": tower.instruction_qformer,
        "speech": tower.speech,
        "audio": tower.audio,
        "connector": model.connector,
    }
    sizes = {name: element * sum(p.numel() for p in part.parameters()) for name, part in parts.items() if part}
    packed = plain = lora = 0
    for name, parameter in language.named_parameters():
        if ".lora_" in name:
            lora += parameter.numel()
        elif dtype in QUANTISED and parameter.ndim == 2 and ".layers." in name:
            packed += parameter.numel()
        else:
            plain += parameter.numel()
    per_weight = QUANTISED[dtype] + SCALE_BYTES[dtype] if dtype in QUANTISED else 0.0
    return sizes | {"language_model": plain * element + round(packed * per_weight), "lora": lora * element}


def _element(dtype: str) -> int:
    if dtype not in DTYPES and dtype not in QUANTISED:
        known = ", ".join((*DTYPES, *QUANTISED))
        raise ConfigError(f"dtype is {dtype!r}", remedy=f"use one of: {known}")
    return DTYPES.get(dtype, torch.bfloat16).itemsize


def activation_bytes(
    model: VideoSalmonnForConditionalGeneration, seconds: float, dtype: str, *, rows: int, new_tokens: int
) -> dict[str, dict[str, int]]:
    """What each stage makes for one clip with picture and sound.

    Args:
        model: on the meta device, in the dtype it computes in.
        seconds: duration of the clip.
        dtype: as asked for; quantised weights are unpacked one at a time while a prompt is read.
        rows: sequences the language model runs at once (beams).
        new_tokens: longest answer.

    Returns:
        ``stages``: peak of each stage; ``features``: what the encoders hand on, which stays.
    """
    config, tower, sizes = model.config, model.tower, model.config.connector_config
    kind = DTYPES.get(dtype, torch.bfloat16)
    stages: dict[str, int] = {}
    features: dict[str, int] = {}

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(*shape, device="meta", dtype=kind)

    def held(name: str, run: Callable[[], torch.Tensor], times: float) -> None:
        with torch.inference_mode():
            features[name] = round(run().nbytes * times)

    frames = sight_frames(config, seconds)
    heard = sound_frames(config, min(seconds, config.media["max_seconds"] or seconds))
    segment = round(config.media["segment_seconds"] * RATE)
    segments = max(1, -(-round(heard * sizes.frame_seconds * RATE) // segment))
    if (vision := tower.vision) is not None:
        side, at_once = config.media["image_size"], min(frames, FRAMES_AT_ONCE)
        pixels = empty(at_once, 3, side, side)
        see = (lambda: vision(pixels).values) if isinstance(vision, EvaViT) else (lambda: vision(pixels[None]).values)
        stages["vision"] = live_bytes(see) + frames * pixels[0].nbytes
        held("vision", see, frames / at_once)
    if (qformer := tower.instruction_qformer) is not None:
        patches = (config.media["image_size"] // config.vision["patch_size"]) ** 2 + 1
        grid = empty(min(frames, FRAMES_AT_ONCE), patches, config.vision["hidden_size"])
        words = min(TEXT_TOKENS, qformer.qformer.config.max_position_embeddings)
        ids = torch.zeros(len(grid), words, dtype=torch.long, device="meta")
        stages["instruction_qformer"] = live_bytes(lambda: qformer(grid, ids).values)
    now = min(segments, SEGMENTS_AT_ONCE)
    if (speech := tower.speech) is not None:
        mel = empty(now, config.media["mel_bins"], segment // 160)
        stages["speech"] = live_bytes(lambda: speech(mel).values)
        held("speech", lambda: speech(mel).values, segments / now)
    if (audio := tower.audio) is not None:
        if isinstance(audio, Beats):
            sound = empty(now, num_frames(segment) // 16 * 16, audio.config.num_mel_bins)
        else:
            sound = empty(now, segment // 8000, 96, 64)
        stages["audio"] = live_bytes(lambda: audio(sound).values)
        held("audio", lambda: audio(sound).values, segments / now)
    whole = -(-max(frames, heard) // sizes.window_multiple) * sizes.window_multiple
    steps = whole * sizes.audio_tokens
    stages["connector"] = live_bytes(
        lambda: model.connector(
            empty(1, whole, sizes.visual_tokens, sizes.visual_dim) if sizes.visual_dim else None,
            empty(1, steps, sizes.speech_dim) if sizes.speech_dim else None,
            empty(1, steps, sizes.audio_dim) if sizes.audio_dim else None,
        )
    )
    language, width = model.language_model, config.text_config.hidden_size
    prompt = media_tokens(config, seconds) + TEXT_TOKENS
    embeds = empty(rows, prompt, width)
    reading = live_bytes(lambda: language(inputs_embeds=embeds, logits_to_keep=1, use_cache=True))
    if dtype in QUANTISED:
        reading += 2 * max(p.numel() for n, p in language.named_parameters() if ".layers." in n)
    cached = prompt * rows * kv_bytes_per_token(config, kind.itemsize)
    stages["prefill"] = max(0, reading - cached)
    stages["kv_cache"] = cached + new_tokens * rows * kv_bytes_per_token(config, kind.itemsize)
    return {"stages": stages, "features": features}


def memory_plan(
    config: VideoSalmonnConfig,
    seconds: float,
    dtype: str = "bf16",
    *,
    beams: int | None = None,
    new_tokens: int | None = None,
) -> dict[str, Any]:
    """What one question about one clip needs.

    Args:
        config: of the model.
        seconds: duration of the clip; what the model's own limits cut is not counted.
        dtype: ``fp32`` | ``fp16`` | ``bf16`` | ``int8`` | ``int4``.
        beams, new_tokens: of the generation; by default the model's own.

    Returns:
        JSON-ready: ``weights``, ``features`` and ``activations`` in bytes by part, ``kv_cache``, ``peak`` (weights,
        features, and the widest of: an encoder, the connector, the language model with its cache), and ``needed``
        (``peak`` with a reserve of a tenth).

    Raises:
        ConfigError: unknown dtype.
    """
    _element(dtype)
    rows = beams or int(config.generation.get("num_beams") or 1)
    answer = new_tokens or int(config.generation.get("max_new_tokens") or 128)
    model = build_on_meta(config).to(DTYPES.get(dtype, torch.bfloat16))
    weights = weight_bytes(model, dtype)
    made = activation_bytes(model, seconds, dtype, rows=rows, new_tokens=answer)
    stages = made["stages"]
    cache = stages.pop("kv_cache")
    widest = max(max(n for name, n in stages.items() if name != "prefill"), stages["prefill"] + cache)
    peak = sum(weights.values()) + sum(made["features"].values()) + widest
    return {
        "dtype": dtype,
        "clip_seconds": seconds,
        "media_tokens": media_tokens(config, seconds),
        "beams": rows,
        "new_tokens": answer,
        "weights": weights | {"total": sum(weights.values())},
        "features": made["features"],
        "kv_cache": cache,
        "activations": stages,
        "peak": peak,
        "needed": round(peak * (1 + RESERVE)),
    }
