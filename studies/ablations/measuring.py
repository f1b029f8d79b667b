"""What a trained variant answers to held-out questions, with each level zeroed too, and how alike its queries are.

The number of questions is bounded and they are asked in batches, so the time does not depend on the size of the data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from studies.ablations.data import ROWS, Data
from studies.ablations.training import Trained

from video_salmonn.connector.configuration import Level
from video_salmonn.connector.diversity import pairwise_cosine
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.embedded.held_out.answers import answer_all
from video_salmonn.embedded.held_out.groups import GROUPS, Group
from video_salmonn.embedded.held_out.measure import HeldOut
from video_salmonn.files import digest
from video_salmonn.metrics.wer import word_errors
from video_salmonn.metrics.yesno import read_yes_no
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.training.batching import features_on
from video_salmonn.training.examples import Example

ZEROED_ROWS = ("speech", "sounds", "pictures", "events")
"""Rows that are asked again with one level zero."""
COSINE_ITEMS = 32
"""Items, of each of these rows, that the cosine between queries is measured on."""
Marks = list[list[int]]


@dataclass(frozen=True)
class Measured:
    """Figures of one variant, JSON-ready.

    Attributes:
        rows: by group: ``metric``, ``ids`` (a digest of the items, in order), ``marks`` and ``value``.
        zeroed: by the level that is zero, by group: ``marks`` and ``value``, of the same items as in ``rows``.
        cosines: by level: ``mean`` and mean ``absolute`` cosine between the queries of a window.
    """

    rows: dict[str, dict[str, Any]]
    zeroed: dict[str, dict[str, dict[str, Any]]]
    cosines: dict[str, dict[str, float]]


def marks_of(group: Group, items: Sequence[Item], answers: Sequence[str]) -> Marks:
    """What each answer adds to a row's figure, as whole numbers, so that rows can be compared item by item.

    Returns:
        for WER ``[errors, words]``; for balanced accuracy ``[right, 1 if Yes is right else 0]``; else ``[right]``.
    """
    if group.metric == "wer":
        found = [word_errors(item.answer, answer) for item, answer in zip(items, answers)]
        return [[entry.errors, entry.words] for entry in found]
    if group.metric == "balanced accuracy":
        rows = []
        for item, answer in zip(items, answers):
            wanted = bool(read_yes_no(item.answer))
            rows.append([int(read_yes_no(answer) == wanted), int(wanted)])
        return rows
    return [[int(mark)] for mark in group.score(items, answers).items]


def row_of(group: Group, items: Sequence[Item], answers: Sequence[str]) -> dict[str, Any]:
    """A row of a line: ``metric``, ``ids`` (a digest of the items, in order), ``value`` and ``marks``."""
    return {
        "metric": group.metric,
        "ids": digest([item.id for item in items])[:16],
        "value": group.score(items, answers).value,
        "marks": marks_of(group, items, answers),
    }


def level_name(level: Level, frame_seconds: float) -> str:
    """A level by the length of its window, as in ``0.5 s``."""
    return f"{level.frames * frame_seconds:g} s"


def measure(trained: Trained, data: Data, store: FeatureStore, limit: int, batch: int) -> Measured:
    """Ask everything.

    Args:
        trained: the variant.
        data: whose test items are asked about.
        store: of their features.
        limit: items a row, at most.
        batch: questions at once.
    """
    trainer = trained.trainer
    model, processor = trainer.plain.eval(), trainer.processor
    held_out = HeldOut(data.test, store, int(model.config.media_config.picture_frames), limit)
    groups = {group.name: group for group in GROUPS if group.name in ROWS}
    config = model.connector.config
    rows: dict[str, dict[str, Any]] = {}
    zeroed: dict[str, dict[str, dict[str, Any]]] = {}

    def ask(group: Group, items: Sequence[Item], zero: Collection[int]) -> dict[str, Any]:
        examples = held_out.under(items, "full", items)
        answers = answer_all(
            model, processor, examples, new_tokens=group.new_tokens, batch=batch, zero_levels=tuple(zero)
        )
        return row_of(group, items, answers)

    with trainer.accelerator.autocast():
        for name in ROWS:
            items = held_out.items(groups[name])
            if not items:
                continue
            rows[name] = ask(groups[name], items, ())
            if name in ZEROED_ROWS and len(config.levels) > 1:
                for index, level in enumerate(config.levels):
                    of_level = zeroed.setdefault(level_name(level, config.frame_seconds), {})
                    found = ask(groups[name], items, (index,))
                    of_level[name] = {"value": found["value"], "marks": found["marks"]}
        seen = [item for name in ("speech", "pictures") for item in held_out.items(groups[name])[:COSINE_ITEMS]]
        cosines = query_cosines(model, held_out.under(seen, "full", seen), batch)
    return Measured(rows, zeroed, cosines)


@torch.inference_mode()
def query_cosines(
    model: VideoSalmonnForConditionalGeneration, examples: Sequence[Example], batch: int
) -> dict[str, dict[str, float]]:
    """Mean and mean absolute cosine between the queries of a window, by level; windows of padding do not count."""
    config = model.connector.config
    device, dtype = next((p.device, p.dtype) for p in model.connector.parameters())
    sums = torch.zeros(len(config.levels), 3, dtype=torch.float64)
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        features = [features_on(example.features, device, dtype) for example in part if example.features is not None]
        for _, output in model.connect_media(features, None).groups:
            for index, (level, mask) in enumerate(zip(output.levels, output.window_masks)):
                rows = level.flatten(0, 1)[mask.flatten()].float()
                cosine = pairwise_cosine(rows).double()
                pairs = len(rows) * rows.shape[1] * (rows.shape[1] - 1)
                sums[index] += torch.tensor([cosine.sum().item(), cosine.abs().sum().item(), pairs])
    return {
        level_name(level, config.frame_seconds): {
            "mean": float(mean / pairs),
            "absolute": float(absolute / pairs),
        }
        for level, (mean, absolute, pairs) in zip(config.levels, sums)
        if pairs
    }
