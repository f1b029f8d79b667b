"""When each word of an item's speech is said, as a trained model aligns it: ``spans`` for the loss of words.

The times are those of transcripts (:mod:`video_salmonn.inference.alignment`). A connector that is trained from nothing
learns from them much sooner than from CTC alone, which begins with silence everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, read_manifest
from video_salmonn.data.mixing import has_sound
from video_salmonn.errors import ConfigError, ManifestError
from video_salmonn.files import json_lines, write_text
from video_salmonn.inference.alignment import word_times
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.words import BLANK, without_names
from video_salmonn.training.batching import features_on
from video_salmonn.training.sources import StoredFeatures

AT_ONCE = 16
"""Sounds that go through the connector together."""
Spans = list[list[Any]]
"""``[from, to, word]`` of each word, in seconds."""


def without_times(items: Iterable[Item]) -> list[Item]:
    """Those that state what is said in a sound and not yet when."""
    return [
        item
        for item in items
        if item.extra.get("words", {}).get("said") and has_sound(item) and "said" not in item.extra.get("spans", {})
    ]


@torch.inference_mode()
def times_of_words(
    items: Sequence[Item],
    source: StoredFeatures,
    model: VideoSalmonnForConditionalGeneration,
    tokenizer: Any,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Spans]:
    """Align what is said in items with their sounds.

    Args:
        items: of :func:`without_times`; those whose sounds have no features are left out.
        source: of the features.
        model: whose connector says words.
        tokenizer: of its language model.
        progress: gets how many of how many sounds are done.

    Returns:
        by id of an item its spans; a sound with the same words is aligned once.

    Raises:
        ConfigError: the model's connector has no word outputs.
    """
    if model.words is None:
        raise ConfigError("this model's connector says no words", remedy="take a model that was trained with words")
    places = {token: column for column, token in enumerate(model.words.columns.tolist()) if column != BLANK}
    config = model.connector.config
    device, dtype = next((p.device, p.dtype) for p in model.connector.parameters())
    same: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        if source.complete(item):
            heard = [name for name in source.names(item) if name.endswith(".speech")]
            same.setdefault((*heard, item.extra["words"]["said"]), []).append(item)
    found: dict[str, Spans] = {}
    sounds = list(same.values())
    for start in range(0, len(sounds), AT_ONCE):
        part = sounds[start : start + AT_ONCE]
        features = [features_on(source.sound(group[0]), device, dtype) for group in part]
        for group, outputs in zip(part, model.connect_media(features, None).tokens):
            logs = without_names(model.words.log_posteriors(outputs[None])[0], config.tokens_for(1))
            text = group[0].extra["words"]["said"]
            words = word_times(text, logs, tokenizer, places, start=0.0, per_second=config.tokens_per_second)
            spans = [[round(word.start, 2), round(max(word.end, word.start + 0.02), 2), word.text] for word in words]
            found.update({item.id: spans for item in group})
        if progress is not None:
            progress(min(start + AT_ONCE, len(sounds)), len(sounds))
    return found


def state_times(
    manifest: Path,
    features: Path,
    model: VideoSalmonnForConditionalGeneration,
    tokenizer: Any,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, int]:
    """Rewrite a manifest with the times of what is said; returns how many items got them, and how many lack features.

    Raises:
        ConfigError, ManifestError.
    """
    wanted = without_times(read_manifest(manifest))
    times = times_of_words(wanted, StoredFeatures(FeatureStore(features), 1), model, tokenizer, progress)
    rows = []
    for _, row in json_lines(manifest, ManifestError, "data validate names what is wrong"):
        if (spans := times.get(row["id"])) is not None:
            row["spans"] = {**row.get("spans", {}), "said": spans}
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(manifest, "".join(rows))
    return len(times), len(wanted) - len(times)
