"""Ask every held-out question under every meaningful condition; answers are stored, so a stopped run can be resumed.

What the answers depend on (weights, numerics, questions, features) is stored with them; resuming with anything else is
refused.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.data.mixing import MixingConfig
from video_salmonn.embedded.held_out.answers import answer_all, under
from video_salmonn.embedded.held_out.groups import GROUPS, Group
from video_salmonn.errors import ConfigError, EvaluationError
from video_salmonn.evaluation.predictions import mend
from video_salmonn.evaluation.settings import agree_on_settings
from video_salmonn.files import digest, digest_file, fingerprint, json_value, numbered_lines
from video_salmonn.metrics.scored import Scored
from video_salmonn.metrics.yesno import read_yes_no
from video_salmonn.model.encoder_marks import model_marks
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training.examples import Example, ExampleMaker
from video_salmonn.training.items import read_items
from video_salmonn.training.sources import StoredFeatures
from video_salmonn.wording import counted

Report = Callable[[str], None]
ANSWERS = "answers.jsonl"


class HeldOut:
    """The held-out items with their features.

    Args:
        manifest: ``test.jsonl`` (or ``dev.jsonl``) of ``data build-embedded``.
        features: feature store with what the manifest needs, or its folder.
        picture_frames: of the model.
        limit: maximum number of items per group, drawn (:func:`drawn`); None for all.

    Raises:
        ConfigError: no item has features.
    """

    def __init__(
        self, manifest: Path, features: Path | FeatureStore, picture_frames: int, limit: int | None = None
    ) -> None:
        self.manifest = manifest
        self.store = features if isinstance(features, FeatureStore) else FeatureStore(features)
        self.source = StoredFeatures(self.store, picture_frames)
        self.maker = ExampleMaker(read_items([str(manifest)]), self.source, MixingConfig(enabled=False), 0)
        self.places = {item.id: place for place, item in enumerate(self.maker.items) if self.source.complete(item)}
        self.missing = len(self.maker.items) - len(self.places)
        if not self.places:
            raise ConfigError(
                f"{self.store.folder}: no item of {manifest} has features", remedy="data encode-embedded --split"
            )
        self.limit = limit

    def example(self, item: Item) -> Example:
        """An item with its features, read now: a whole split would not fit into a small memory."""
        return self.maker.plain(self.places[item.id])

    def items(self, group: Group, *, limited: bool = True) -> list[Item]:
        """The group's items that have features, in the manifest's order; all of them if not ``limited``."""
        found = [item for item in self.maker.items if group.takes(item) and item.id in self.places]
        return drawn(group, found, self.limit if limited else None)

    def identity(self) -> dict[str, str]:
        """Digests of the questions and of the features they are asked about."""
        hasher = hashlib.sha256()
        for name in sorted(
            {name for item in self.maker.items if item.id in self.places for name in self.source.names(item)}
        ):
            tensor = self.store[name].cpu().contiguous()
            hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
        return {"manifest": digest_file(self.manifest), "features": hasher.hexdigest()}

    def under(self, items: Sequence[Item], condition: str, others: Sequence[Item]) -> list[Example]:
        """Examples under a condition; ``shuffled`` takes the media of one of ``others`` with another answer."""
        made = []
        for item in items:
            other = None
            if condition == "shuffled":
                pool = [entry for entry in others if entry.answer != item.answer]
                other = self.example(random.Random(item.id).choice(pool)) if pool else None
            made.append(under(self.example(item), condition, other))
        return made


def drawn(group: Group, items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most ``limit`` of a group's items, in their order; all for None.

    They are drawn by their ids, not taken at even distances: Yes and No, or hearing and seeing, take turns in the
    manifests, and an even distance would take one of them alone. Of yes/no questions as many with each answer are
    drawn, as far as there are.
    """
    if limit is None or len(items) <= limit:
        return list(items)
    order = sorted(items, key=lambda item: digest(item.id))
    if group.metric == "balanced accuracy":
        halves = [[item for item in order if bool(read_yes_no(item.answer)) == wanted] for wanted in (True, False)]
        fewer, more = sorted(halves, key=len)
        order = fewer[: limit // 2] + more[: limit - min(len(fewer), limit // 2)]
    kept = {item.id for item in order[:limit]}
    return [item for item in items if item.id in kept]


def has_figure(group: Group, items: Sequence[Item]) -> bool:
    """Whether these items make a figure: a balanced accuracy is of Yes and of No items."""
    return group.metric != "balanced accuracy" or len({bool(read_yes_no(item.answer)) for item in items}) == 2


def measure(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    data: HeldOut,
    out: Path,
    *,
    groups: Sequence[Group] = GROUPS,
    only_full: bool = False,
    compared: int | None = None,
    batch: int = 16,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Answers and figures.

    Args:
        model: in evaluation mode.
        processor: that belongs to it.
        data: the items.
        out: folder; ``answers.jsonl`` there is continued if it holds answers of this model to these questions.
        groups: rows of the table.
        only_full: leave out every condition but ``full``.
        compared: maximum number of items per row for conditions other than ``full``, drawn; None for all.
        batch: questions at once.
        report: gets a line after each group and condition.

    Returns:
        ``{group: {"items": n, "compared": m, "metric", "conditions": {name: {"value", "low", "high", "note"?}}}}``;
        ``same_items`` among the conditions is ``full`` on the m items that the others were asked on.

    Raises:
        ConfigError: the folder holds answers of another model, to other questions, or about other features; or the
            features are of other encoders.
    """
    if model.dtype == torch.float32:  # in other numbers the encoders' weights are not those that were stored
        data.store.check(model_marks(model))
    out.mkdir(parents=True, exist_ok=True)
    path = out / ANSWERS
    agree_on_settings(out, settings_of(model, data), [path], resume=True)
    known = read_answers(path)
    results: dict[str, Any] = {}
    for group in groups:
        items = data.items(group)
        if not (items and has_figure(group, items)):
            report(f"{group.name}: {'no figure of Yes or No items alone' if items else 'no items'}")
            continue
        part = drawn(group, items, compared)
        alone = only_full or not has_figure(group, part)
        if alone and not only_full:
            report(f"{group.name}: only full, with {counted(len(part), 'item')} there is no figure to compare")
        conditions = ("full",) if alone else ("full", "no_media", *group.conditions)
        figures: dict[str, Any] = {}
        for condition in conditions:
            wanted = items if condition == "full" else part
            missing = [item for item in wanted if (condition, item.id) not in known]
            if missing:
                answers = answer_all(
                    model,
                    processor,
                    data.under(missing, condition, data.items(group, limited=False)),
                    condition=condition,
                    new_tokens=group.new_tokens,
                    batch=batch,
                )
                append_answers(path, condition, missing, answers)
                known |= {(condition, item.id): answer for item, answer in zip(missing, answers)}
            scored: Scored = group.score(wanted, [known[condition, item.id] for item in wanted])
            figures[condition] = scored.to_dict()
            report(f"{group.name} {condition}: {scored.value:.3f} ({counted(len(wanted), 'item')})")
        if not alone:
            same = group.score(part, [known["full", item.id] for item in part])
            figures["same_items"] = same.to_dict()
        results[group.name] = {
            "items": len(items),
            "compared": len(part),
            "metric": group.metric,
            "conditions": figures,
        }
    return results


def settings_of(model: VideoSalmonnForConditionalGeneration, data: HeldOut) -> dict[str, Any]:
    """What an answer depends on, JSON-ready: the model's weights and numerics, how it answers, what it is asked."""
    device = next(model.connector.parameters()).device.type
    return {
        "weights": fingerprint(model),
        "configuration": model.config.digest(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "autocast": str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else "off",
        "decoding": "greedy",
        **data.identity(),
    }


def read_answers(path: Path) -> dict[tuple[str, str], str]:
    """Answers kept by an earlier run; a torn last line is cut off, so that nothing is appended to it."""
    mend(path)
    known: dict[tuple[str, str], str] = {}
    if path.is_file():
        for _, line in numbered_lines(path, EvaluationError):
            try:
                entry = json_value(line)
            except ValueError:
                continue
            known[entry["condition"], entry["id"]] = entry["answer"]
    return known


def append_answers(path: Path, condition: str, items: Sequence[Item], answers: Sequence[str]) -> None:
    """Keep answers, one JSON line each."""
    with path.open("a", encoding="utf-8") as file:
        for item, answer in zip(items, answers):
            entry = {"condition": condition, "id": item.id, "answer": answer, "reference": item.answer}
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
