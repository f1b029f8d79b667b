"""A recipe's features in one folder, encoded once: with it and the recipe, another machine trains without the media.

A pack is a feature store (:mod:`video_salmonn.data.feature_store`) whose index lists what the manifests name. Training
from it needs neither media files, nor PyAV, nor the time of the encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from video_salmonn.data.feature_index import Failure, FeatureIndex, failure_name, recipe_name
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.data.media_recipes import recipe_key
from video_salmonn.data.mixing import has_sight, has_sound
from video_salmonn.errors import EmptyMediaError, ManifestError, MediaError
from video_salmonn.model.encoder_marks import model_marks
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.training.sources import STREAMS, FeatureSource, wanted


def pack(
    items: Iterable[Item],
    source: FeatureSource,
    model: VideoSalmonnForConditionalGeneration,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float16,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, int]:
    """Encode every sight and sound of ``items`` that the pack lacks. Continues where an earlier call stopped.

    Args:
        items: of manifests.
        source: makes features.
        model: whose encoders they are.
        folder: the pack.
        dtype: that floating features are kept in.
        progress: called with the number done after each.

    Returns:
        counts: ``done``, ``already`` there, ``failed`` (kept as such, so that training counts and names them).

    Raises:
        ConfigError: the folder holds features of other encoders.
        ManifestError: two manifests call different files by one name.
    """
    per_frame = model.connector.config.audio_tokens
    counts = {"done": 0, "already": 0, "failed": 0}
    added = FeatureIndex()
    with FeatureStore(folder, model_marks(model)) as store:
        for item, kind, recipe in _distinct(items):
            try:
                key = added.keys[recipe_name(recipe)] = recipe_key(recipe, item.root)
                if any(f"{key}.{stream}" in store for stream in STREAMS[kind]):
                    counts["already"] += 1
                    continue
                features = source.sight(item) if kind == "sight" else source.sound(item)
                store.put(*_entry(features, kind, key, per_frame, dtype))
                counts["done"] += 1
            except MediaError as error:
                reason = Failure(error.reason, isinstance(error, EmptyMediaError))
                added.failed[failure_name(kind, recipe)] = reason
                counts["failed"] += 1
            progress(counts["done"] + counts["failed"])
        store.add_to_index(added)
    return counts


def _distinct(items: Iterable[Item]) -> Iterator[tuple[Item, str, Any]]:
    """(item, kind, recipe) of every sight and sound once. Raises ManifestError where a name is that of two files."""
    files: dict[str, Path] = {}
    for item in items:
        for kind, there in (("sight", has_sight(item)), ("sound", has_sound(item))):
            if not there:
                continue
            recipe = wanted(item, kind)
            name = failure_name(kind, recipe)
            file = (item.root / str(recipe.get("file", recipe) if isinstance(recipe, dict) else recipe)).resolve()
            seen = name in files
            if files.setdefault(name, file) != file:
                raise ManifestError(
                    f"{files[name]} and {file} have the same name in two manifests",
                    remedy="use absolute paths, or one manifest",
                )
            if not seen:
                yield item, kind, recipe


def _entry(
    features: MediaFeatures, kind: str, key: str, per_frame: int, dtype: torch.dtype
) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    """Tensors and facts as a store keeps them."""
    facts: dict[str, Any] = {"still": True} if features.still_frames else {}
    tensors: dict[str, torch.Tensor] = {}
    if kind == "sound":
        facts["sound_frames"] = features.sound_frames
    for stream in STREAMS[kind]:
        value: torch.Tensor | None = getattr(features, stream)
        if value is None:
            continue
        value = value.detach().cpu().to(dtype)
        if stream == "audio":
            value, facts["audio_repeat"] = _rows(value, per_frame)
        tensors[f"{key}.{stream}"] = value
    return tensors, {key: facts}


def _rows(audio: torch.Tensor, per_frame: int) -> tuple[torch.Tensor, int]:
    """Sound-event features without repetition: rows that repeat under each frame are kept once."""
    if len(audio) % per_frame == 0:
        frames = audio.unflatten(0, (-1, per_frame))
        if bool((frames == frames[:, :1]).all()):
            return frames[:, 0].contiguous(), per_frame
    return audio, 1
