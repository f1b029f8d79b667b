"""Chooses the items, trains without one ingredient after another, and asks each of them the same questions."""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from studies.ablations.data import Data, fingerprint
from studies.ablations.measuring import marks_of
from studies.ablations.results import append_result, comparison, read_results
from studies.ablations.running import commit_of, device_name
from studies.ablations.training import Budget, train
from studies.ablations.variants import Variant
from studies.ingredients.parts import PARTS, ROWS, pool, questions

from video_salmonn.checkpoints.shipped import shipped_weights
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import write_manifest
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
    whole = data_of(work.manifests, "nothing", store, work.out)
    for name in only or PARTS:
        budget = Budget(steps[0], steps[1], 4, 4, 4, 4, 4e-4, 0, model)
        if not PARTS[name].words:
            budget = replace(budget, word_steps=1)
        settings = {"change": {"left_out": name}, "steps": list(steps), "model": model}
        line = {"settings": settings, "data": {"fingerprint": whole.fingerprint}}
        folder = work.out / f"{name}-{seed}-{digest([comparison(line), name])[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        with lock:
            done = {(entry["variant"], entry["seed"], comparison(entry)) for entry in read_results(work.results)}
            if (name, seed, comparison(line)) in done:
                continue
            data = data_of(work.manifests, name, store, work.out)
            say(f"{name}: {data.items}")
            began = time.perf_counter()
            trained = train(
                Variant(PARTS[name].title, diversity=0.0), seed, budget, data, store, folder,
                lambda entry, name=name: say(f"{name}: {json.dumps(entry)}"),
            )  # fmt: skip
            trainer = trained.trainer
            with trainer.accelerator.autocast():
                rows = ask(trainer.plain.eval(), trainer.processor, data.test, store, {"decline_below": 0.0})
            line |= {
                "variant": name, "seed": seed, "rows": rows, "losses": trained.losses, **_where(data),
                "seconds": {**trained.seconds, "all": round(time.perf_counter() - began, 1)},
            }  # fmt: skip
            append_result(work.results, line, work.out / ".results.lock")
            for checkpoints in folder.glob("*/checkpoints"):
                shutil.rmtree(checkpoints)


def ask_shipped(manifests: Path, features: Path, results: Path, say: Say, model: str = "embedded") -> None:
    """Ask the shipped weights, as they are and with each option of decoding off."""
    from video_salmonn import VideoSalmonn

    torch.set_num_threads(1)
    store = FeatureStore(features)
    whole = data_of(manifests, "nothing", store, None)
    held = VideoSalmonn.load(model, dtype=torch.bfloat16 if multiplies_bfloat16("cpu") else torch.float32)
    for name, options in DECODING.items():
        rows = ask(held.model.eval(), held.processor, whole.test, store, options)
        settings = {"change": {"decoding": name}, "weights": shipped_weights()}
        append_result(
            results, {"variant": SHIPPED, "seed": 0, "settings": settings, "rows": rows, **_where(whole)},
            results.with_suffix(".lock"),
        )  # fmt: skip
        say(f"{name}: { {row: round(found['value'], 3) for row, found in rows.items()} }")


def _where(data: Data) -> dict[str, Any]:
    return {
        "data": {"fingerprint": data.fingerprint, "items": data.items, "missing": data.missing},
        "commit": commit_of(ROOT),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name("cpu"),
    }


def data_of(manifests: Path, name: str, store: FeatureStore, out: Path | None) -> Data:
    """The items without an ingredient that there are features for, as manifests of their own below ``out``."""
    source = StoredFeatures(store, 1)
    every, test = (read_items([str(manifests / f"{split}.jsonl")]) for split in ("train", "test"))
    whole = [item for item in every if source.complete(item)]
    kept = [item for item in whole if not PARTS[name].left_out(item)]
    asked = [item for item in test if source.complete(item)]
    if not kept or not asked:
        raise ConfigError(f"{store.folder}: no item of {manifests} has features", remedy="data encode-embedded")
    folder = manifests if out is None else out / f"data-{name}"
    data = Data(
        str(folder),
        fingerprint([*whole, *asked], source),
        {"all": len(kept), "test": len(asked)},
        len(every) + len(test) - len(whole) - len(asked),
    )
    if out is not None:
        write_manifest(data.train("all"), kept)
        write_manifest(data.test, asked)
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
        rows[group.name] = {
            "metric": group.metric,
            "ids": digest([item.id for item in items])[:16],
            "value": round(group.score(items, answers).value, 6),
            "marks": marks_of(group, items, answers),
        }
    model.generation_config = own
    return rows
