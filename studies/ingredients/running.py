"""Chooses the items, trains without one ingredient after another, and asks each of them the same questions."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from studies.ablations.data import Data, fingerprint
from studies.ablations.measuring import row_of
from studies.ablations.results import append_result, comparison, read_results
from studies.ablations.running import commit_of, locked, provenance
from studies.ablations.training import Budget, train
from studies.ablations.variants import Variant
from studies.ingredients.parts import PARTS, ROWS, pool, questions

from video_salmonn.checkpoints.shipped import shipped_weights
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, write_manifest
from video_salmonn.embedded.held_out.answers import answer_all
from video_salmonn.embedded.held_out.groups import GROUPS
from video_salmonn.embedded.held_out.measure import HeldOut
from video_salmonn.errors import ConfigError
from video_salmonn.files import digest
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.resources.arithmetic import multiplies_bfloat16
from video_salmonn.training.items import read_items
from video_salmonn.training.sources import StoredFeatures

ROOT = Path(__file__).parents[2]
Say = Callable[[str], None]
DECODING: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "no joint CTC": {"joint_ctc": "off"},
    "no guard against loops": {"stop_repeats": 0},
    "no declining": {"decline_below": 0.0},
}
"""Options of generation that the shipped weights are asked without."""
SHIPPED = "shipped"


def choose(data: Path, manifests: Path, limit: int) -> dict[str, int]:
    """Write the manifests of the short trainings; returns numbers of items."""
    chosen = {
        "train": pool(read_items([str(data / "train.jsonl")])),
        "test": questions(read_items([str(data / "test.jsonl")]), limit),
    }
    return {split: write_manifest(manifests / f"{split}.jsonl", items) for split, items in chosen.items()}


@dataclass(frozen=True)
class Work:
    """Where it happens: folders of the manifests, of the features and of the runs, and the results file."""

    manifests: Path
    features: Path
    out: Path
    results: Path


def run(work: Work, only: Sequence[str] | None, seed: int, steps: tuple[int, int], model: str, say: Say) -> None:
    """Train and ask what has no line yet; several processes may do so at once.

    Args:
        work: where.
        only: ingredients; all for None.
        seed: of weights and order.
        steps: of the stage of words, and of reading.
        model: ``embedded`` or ``tiny``.
        say: gets the lines of the metrics.

    Raises:
        ConfigError: no such ingredient.
    """
    torch.set_num_threads(1)
    for name in only or ():
        if name not in PARTS:
            raise ConfigError(f"no such ingredient: {name!r}", remedy=f"one of {', '.join(PARTS)}")
    store = FeatureStore(work.features)
    store.hold("cpu", 0.4)
    material = read_material(work.manifests, store)
    alike = {"settings": {"steps": list(steps), "model": model}, "data": {"fingerprint": material.fingerprint}}
    for name in only or PARTS:
        folder = work.out / f"{name}-{seed}-{digest([comparison(alike), name])[:8]}"
        if (lock := locked(folder)) is None:
            continue
        with lock:
            done = {(entry["variant"], entry["seed"], comparison(entry)) for entry in read_results(work.results)}
            if (name, seed, comparison(alike)) not in done:
                line = _trained(material, name, seed, steps, model, store, work.out, folder, say)
                append_result(work.results, line, work.out / ".results.lock")
                for checkpoints in folder.glob("*/checkpoints"):
                    shutil.rmtree(checkpoints)


def _trained(
    material: Material, name: str, seed: int, steps: tuple[int, int], model: str, store: FeatureStore, out: Path,
    folder: Path, say: Say,
) -> dict[str, Any]:  # fmt: skip
    """The line of one ingredient: trained without it, then asked."""
    data = without(material, name, out)
    say(f"{name}: {data.items}")
    began = time.perf_counter()
    trained = train(
        Variant(PARTS[name].title, diversity=0.0),
        seed,
        Budget(steps[0] if PARTS[name].words else 1, steps[1], 4, 4, 4, 4, 4e-4, 0, model),
        data,
        store,
        folder,
        lambda entry: say(f"{name}: {json.dumps(entry)}"),
    )
    trainer = trained.trainer
    with trainer.accelerator.autocast():
        rows = ask(trainer.plain.eval(), trainer.processor, data.test, store, {"decline_below": 0.0})
    return {
        "settings": {"change": {"left_out": name}, "steps": list(steps), "model": model},
        **provenance(data, commit_of(ROOT), "cpu"),
        "variant": name,
        "seed": seed,
        "rows": rows,
        "losses": trained.losses,
        "seconds": {**trained.seconds, "all": round(time.perf_counter() - began, 1)},
    }


def ask_shipped(manifests: Path, features: Path, results: Path, say: Say, model: str = "embedded") -> None:
    """Ask the shipped weights, as they are and with each option of decoding off."""
    from video_salmonn import VideoSalmonn

    torch.set_num_threads(1)
    store = FeatureStore(features)
    data = read_material(manifests, store).data(manifests, "nothing")
    held = VideoSalmonn.load(model, dtype=torch.bfloat16 if multiplies_bfloat16("cpu") else torch.float32)
    for name, options in DECODING.items():
        rows = ask(held.model.eval(), held.processor, data.test, store, options)
        line = {
            "variant": SHIPPED,
            "seed": 0,
            "settings": {"change": {"decoding": name}, "weights": shipped_weights()},
            "rows": rows,
            **provenance(data, commit_of(ROOT), "cpu"),
        }
        append_result(results, line, results.with_suffix(".lock"))
        say(f"{name}: { {row: round(found['value'], 3) for row, found in rows.items()} }")


@dataclass(frozen=True)
class Material:
    """The items that there are features for, what they are called by together, and how many have none."""

    train: list[Item]
    test: list[Item]
    fingerprint: str
    missing: int

    def left(self, name: str) -> list[Item]:
        """What is trained on without an ingredient."""
        return [item for item in self.train if not PARTS[name].left_out(item)]

    def data(self, folder: Path, name: str) -> Data:
        """As the trainings know it, with manifests in ``folder``."""
        items = {"all": len(self.left(name)), "test": len(self.test)}
        return Data(str(folder), self.fingerprint, items, self.missing)


def read_material(manifests: Path, store: FeatureStore) -> Material:
    """Read the manifests.

    Raises:
        ConfigError: no item of one has features.
    """
    source = StoredFeatures(store, 1)
    every = {split: read_items([str(manifests / f"{split}.jsonl")]) for split in ("train", "test")}
    train, test = ([item for item in items if source.complete(item)] for items in every.values())
    if not train or not test:
        raise ConfigError(f"{store.folder}: no item of {manifests} has features", remedy="data encode-embedded")
    missing = sum(map(len, every.values())) - len(train) - len(test)
    return Material(train, test, fingerprint([*train, *test], source), missing)


def without(material: Material, name: str, out: Path) -> Data:
    """Write the manifests without an ingredient, below ``out``.

    Raises:
        ConfigError: nothing is left.
    """
    kept = material.left(name)
    if not kept:
        raise ConfigError(f"without {PARTS[name].title} no item with features is left", remedy="data encode-embedded")
    data = material.data(out / f"data-{name}", name)
    write_manifest(data.train("all"), kept)
    write_manifest(data.test, material.test)
    return data


def ask(
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    test: Path,
    store: FeatureStore,
    options: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """Every row: ``metric``, ``ids``, ``value`` and ``marks``.

    Args:
        model: in evaluation mode.
        processor: that belongs to it.
        test: manifest of the held-out items.
        store: of their features.
        options: of generation, in place of the model's own.
    """
    held_out = HeldOut(test, store, int(model.config.media_config.picture_frames))
    own = model.generation_config
    model.generation_config = copy.deepcopy(own)
    for name, value in options.items():
        setattr(model.generation_config, name, value)
    rows: dict[str, dict[str, Any]] = {}
    for group in GROUPS:
        items = held_out.items(group) if group.name in ROWS else []
        if not items:
            continue
        examples = held_out.under(items, "full", items)
        answers = answer_all(model, processor, examples, new_tokens=group.new_tokens, batch=16)
        rows[group.name] = row_of(group, items, answers)
    model.generation_config = own
    return rows
