"""The two stages of one variant, from nothing, as the recipes of the small model have them but shorter."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from studies.ablations.data import MATCHING, Data
from studies.ablations.variants import Variant

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.files import write_json
from video_salmonn.training.items import read_items, word_items
from video_salmonn.training.recipe import Recipe, load_recipe
from video_salmonn.training.stage import build_trainer
from video_salmonn.training.trainer import Trainer

WORDS, READING = (Path(__file__).with_name(name) for name in ("words.yaml", "reading.yaml"))
"""The small model's recipes as they were when the first line was measured: lines of other days compare."""
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Budget:
    """What every variant gets alike.

    Attributes:
        word_steps: optimiser steps of the stage of words.
        steps: of the stage of reading.
        batch: items a step of reading.
        word_batch: items a step of words.
        micro_batch: items a forward pass of reading, at most.
        word_micro_batch: the same of words.
        rate: peak rate of the connector in the stage of words; other rates are the recipes'.
        limit: held-out items a row, at most.
        model: ``embedded``, or ``tiny`` to try this out.
    """

    word_steps: int
    steps: int
    batch: int
    word_batch: int
    micro_batch: int
    word_micro_batch: int
    rate: float
    limit: int
    model: str = "embedded"


class StoppedError(Exception):
    """The process was told to stop; what was trained is kept, and the same call continues with it."""


@dataclass(frozen=True)
class Trained:
    """A variant after both stages.

    Attributes:
        trainer: of the stage of reading.
        seconds: of each stage, loading included.
        losses: last logged line of each stage.
    """

    trainer: Trainer
    seconds: dict[str, float]
    losses: dict[str, dict[str, float]]


class Account:
    """What a stage took and came to, over all calls that had a part in it.

    Args:
        path: where it is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.seconds: float = known.get("seconds", 0.0)
        self.losses: dict[str, float] = known.get("losses", {})
        self.complete: bool = known.get("complete", False)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """A block whose time is added; the account is written at its end, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
            if self.path.parent.is_dir():
                write_json(self.path, {"seconds": self.seconds, "losses": self.losses, "complete": self.complete})


def words_recipe(variant: Variant, seed: int, budget: Budget, data: Data, features: Path, out: Path) -> Recipe:
    """The stage of words."""
    manifest = data.train(variant.mixing)
    recipe = _common(load_recipe(WORDS, _fixed(manifest, features)), variant, seed, budget, out / "words")
    recipe = replace(recipe, open_branches=True, max_steps=budget.word_steps, batch_size=budget.word_batch)
    recipe.micro_batch = min(budget.word_micro_batch, recipe.batch_size)
    recipe.optim = replace(recipe.optim, rate=budget.rate, warmup_steps=min(60, budget.word_steps))
    recipe.data.shares = _of(recipe.data.shares, word_items(_items(manifest)))
    if variant.mixing == "none":
        recipe.mixing = replace(recipe.mixing, audio_alone=1.0)
    recipe.check()
    return recipe


def reading_recipe(variant: Variant, seed: int, budget: Budget, data: Data, features: Path, out: Path) -> Recipe:
    """The stage of reading, from the connector of the stage of words."""
    manifest = data.train(variant.mixing)
    recipe = _common(load_recipe(READING, _fixed(manifest, features)), variant, seed, budget, out / "reading")
    recipe = replace(recipe, init=str(out / "words"), max_steps=budget.steps, batch_size=budget.batch)
    recipe.micro_batch = min(budget.micro_batch, recipe.batch_size)
    recipe.optim.warmup_steps = min(30, budget.steps // 4)  # of a short stage, not most of it
    repeat = _of(recipe.data.repeat, _items(manifest))
    if variant.mixing == "without swaps":  # as many matching questions as with them
        repeat |= {task: 2 * repeat.get(task, 1.0) for task in _of(dict.fromkeys(MATCHING, 1.0), _items(manifest))}
    recipe.data.repeat = repeat
    if budget.model == "tiny":  # random, so that it learns its words here too
        recipe.trainable = ["connector", "language_model"]
    else:
        recipe.fresh = ["lora"]
    recipe.check()
    return recipe


@lru_cache(maxsize=3)
def _items(manifest: Path) -> list[Item]:
    """The items of a manifest, which does not change while variants run."""
    return read_items([str(manifest)])


def _fixed(manifest: Path, features: Path) -> list[str]:
    return [f"data.train=[{manifest}]", "data.validation=null", f"data.features={features}", "validate_every=0"]


def _common(recipe: Recipe, variant: Variant, seed: int, budget: Budget, out: Path) -> Recipe:
    """What both stages have of a variant: nothing is saved but the end."""
    return replace(
        recipe,
        model=budget.model,
        connector={"dropout": 0.0, **variant.connector},
        diversity_weight=variant.diversity,
        diversity_form=variant.form,
        output=str(out),
        seed=seed,
        log_every=50,
        save_every=0,
    )


def _of(wanted: Mapping[str, float], items: list[Item]) -> dict[str, float]:
    """Those of a recipe's tasks, and beginnings of ids, that some item has."""
    tasks = {item.task for item in items}
    return {
        key: number
        for key, number in wanted.items()
        if key in tasks or ("/" in key and any(item.id.startswith(key) for item in items))
    }


STAGES = {"words": words_recipe, "reading": reading_recipe}
"""In order."""


def train(
    variant: Variant, seed: int, budget: Budget, data: Data, store: FeatureStore, out: Path, report: Report
) -> Trained:
    """Both stages; a run that was told to stop is resumed.

    Args:
        variant: what is changed.
        seed: of weights, order and mixtures.
        budget: steps and sizes.
        data: what is trained on.
        store: of its features.
        out: folder of the two runs.
        report: gets the lines of the metrics.

    Raises:
        StoppedError: by a signal, between two steps.
    """
    kept = {stage: Account(out / stage / "account.json") for stage in STAGES}
    trainer: Trainer | None = None
    for stage, make in STAGES.items():
        account = kept[stage]
        if account.complete and stage == "words":
            continue
        trainer = None  # the model of the stage before is let go of
        with account.timed():
            trainer = build_trainer(make(variant, seed, budget, data, store.folder, out), store)
            trainer.resume()

            def tell(line: dict[str, Any], account: Account = account, stage: str = stage) -> None:
                account.losses = {name: value for name, value in line.items() if name.endswith("loss")}
                report({"stage": stage, **line})

            trainer.run(tell)
            account.complete = trainer.step == trainer.recipe.max_steps
            if torch.cuda.is_available():
                torch.cuda.synchronize()
        if not account.complete:
            raise StoppedError
    assert trainer is not None
    return Trained(
        trainer,
        {stage: round(account.seconds, 1) for stage, account in kept.items()},
        {stage: account.losses for stage, account in kept.items()},
    )
