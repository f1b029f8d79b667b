"""The training loop: one stage, on Accelerate, from a laptop to several processes.

Decisions:

* The global batch of every step is a pure function of (seed, step); processes take slices of it. So losses do not
  depend on the number of processes, and a resumed run continues at the same sample, also on another number of them.
* What a pass loses is summed and divided by what counts of the *global* batch (answer tokens, or outputs of the
  connector), so uneven ranks and accumulation weigh everything alike.
* With the strategy ``local`` every process moves its own weights by its own share of the batch, and all take the mean
  of their weights every few steps (local SGD; Stich, 2019). No gradients are exchanged, and processes may share one
  GPU, which one process alone, that prepares examples in Python, keeps waiting.
* Answers are at the end (prompts are padded on the left), so logits are computed for the last positions only.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.distributed.algorithms.model_averaging.utils import average_parameters

from video_salmonn.connector import acting_levels
from video_salmonn.data.manifest import Item
from video_salmonn.errors import TrainingError, VideoSalmonnError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training import checkpointing, resuming, run_folder, sharding
from video_salmonn.training.batching import Batch, PreparedExample, collate, diversity_counts
from video_salmonn.training.examples import ExampleMaker
from video_salmonn.training.loading import Loader, first_of
from video_salmonn.training.logbook import Logbook
from video_salmonn.training.objectives import build_objective
from video_salmonn.training.optimisation import parameter_groups, rate_share
from video_salmonn.training.processes import dropout_seed, stop_signals, without_cudnn_attention
from video_salmonn.training.recipe import Recipe
from video_salmonn.training.starting import prepare_model
from video_salmonn.training.validation import validate

Report = Callable[[dict[str, Any]], None]
MOST_EMPTY = 20  # steps without any usable item, one after another, that end a run


@dataclass(frozen=True)
class Totals:
    """What a step's losses are divided by, over all processes.

    Attributes:
        counted: answer tokens by weight, or outputs of the connector.
        windows: of the diversity loss, a level.
    """

    counted: float
    windows: torch.Tensor


class Trainer:
    """One stage of training.

    Args:
        recipe: what to do, settled (:func:`~video_salmonn.training.processes.settle`).
        model: on the CPU, in float32; trained in place.
        processor: that belongs to it.
        maker: of training examples.
        validation: of validation examples, or None.
        accelerator: that the recipe was settled with.
        worded: items whose words the connector may say; by default the maker's.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: VideoSalmonnForConditionalGeneration,
        processor: VideoSalmonnProcessor,
        maker: ExampleMaker,
        validation: ExampleMaker | None,
        accelerator: Accelerator,
        worded: Sequence[Item] | None = None,
    ) -> None:
        self.recipe, self.accelerator = recipe, accelerator
        self.plain, self.processor, self.maker, self.validation = model, processor, maker, validation
        several = accelerator.num_processes > 1
        self.sharded = recipe.strategy == "fsdp2" and several
        self.apart = recipe.strategy == "local" and several
        """Every process moves its own weights until the next mean."""
        self.trains = prepare_model(model, recipe, accelerator.device)
        """How many numbers train, by entry of ``trainable``."""
        worded = maker.items if worded is None else worded
        self.objective = build_objective(recipe, model, processor, worded, accelerator.device)
        # Ranks of unlike modalities would have gradients for unlike parameters, and their exchanges would not meet.
        # A pass of text alone may have no gradient at all.
        model.touch_connector = self.sharded or not all(item.media for item in maker.items)
        if self.sharded:
            sharding.shard(model, accelerator.device, accelerator.num_processes)
        network = self.objective.network
        groups = parameter_groups(model, recipe)
        optimizer = torch.optim.AdamW(groups, lr=recipe.optim.rate, betas=(0.9, recipe.optim.beta2))
        if self.apart:
            network.to(accelerator.device)
        self.network: torch.nn.Module = network if self.sharded or self.apart else accelerator.prepare(network)
        self.optimizer = accelerator.prepare(optimizer)
        self.logbook: Logbook | None = None
        self.out = Path(recipe.output)
        self.step = 0
        self.best: float | None = None
        self.rules: Counter[str] = Counter()
        self.broken: dict[str, str] = {}
        self.empty = 0
        self.waited = 0.0
        self.asked = False
        """This process was told to stop."""
        self.began = time.monotonic()
        """When the first step of this run began."""
        self.validated: dict[str, Any] = {}
        """Scores of the last validation."""
        self.samples: list[dict[str, Any]] = []
        """Its answers."""
        self.notes: list[str] = []
        """What has changed since the resumed run was started."""
        self.stop = False
        """All processes know that one was told to stop, and do so after the same step."""
        self.over = False
        """All processes know that the recipe's minutes are over for one of them."""

    @cached_property
    def loader(self) -> Loader:
        """Loads the examples of steps; made when the first are asked for."""
        place = self.accelerator.process_index, self.accelerator.num_processes
        return Loader(self.recipe, self.maker, self.objective.prepare, *place)

    # ------------------------------------------------------------------------------------------------- steps

    def train_step(self) -> dict[str, float]:
        """One optimiser step. Returns its losses over the global batch; nothing for a step without any usable item.

        Raises:
            TrainingError: no item of several consecutive steps can be used, or the loss is not finite; names the items.
        """
        self.network.train()
        torch.manual_seed(dropout_seed(self.recipe.seed, self.step, self.accelerator.process_index))
        share = self._set_rates()
        rows = self._load()
        totals = self._totals(rows)
        if totals is None:
            self.step += 1
            return {}
        sums = self._backward(rows, totals)
        norm = self._update(rows)
        self.step += 1
        return self._figures(sums) | {"grad_norm": norm, "lr": self.recipe.optim.rate * share}

    @property
    def spent(self) -> float:
        """Share of the recipe's minutes that is over; 0 where it has no limit."""
        limit = 60 * self.recipe.minutes
        return (time.monotonic() - self.began) / limit if limit else 0.0

    def _set_rates(self) -> float:
        """Give every group the rate of this step; returns its share of the peak."""
        share = rate_share(self.recipe, self.step, self.spent)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        return share

    def _load(self) -> list[PreparedExample]:
        """This process's examples of the step; those that cannot be used are counted."""
        began = time.perf_counter()
        loaded = self.loader.load(self.step, more=self.step + 1 < self.recipe.max_steps)
        self.waited += time.perf_counter() - began
        self.broken |= loaded.broken
        self.rules.update(row.example.rule for row in loaded.rows)
        return loaded.rows

    def _totals(self, rows: Sequence[PreparedExample]) -> Totals | None:
        """What the step's losses are divided by; None where no process has a usable item, which costs no run."""
        own = [sum(row.counted for row in rows), len(rows), self.asked, self.spent >= 1, *self.windows(rows)]
        tensor = torch.tensor(own, dtype=torch.float32, device=self.accelerator.device)
        counts = self.accelerator.reduce(tensor, "sum")
        counted, items, stops, over = counts[:4].tolist()
        self.stop, self.over = self.stop or stops > 0, over > 0
        self.empty = 0 if items else self.empty + 1
        if not items and self.empty < min(MOST_EMPTY, self.recipe.max_steps):
            return None
        if not items or not counted:
            raise TrainingError(
                f"no item of step {self.step + 1} can be used; broken: {first_of(self.broken)}",
                remedy="check the data: video-salmonn data validate MANIFEST --decode",
            )
        return Totals(counted, counts[4:].clamp(min=1))

    def _backward(self, rows: Sequence[PreparedExample], totals: Totals) -> torch.Tensor:
        """Gradients of all passes of the step; returns the parts of its loss in this process: the objective's, then the
        diversity loss."""
        sums = torch.zeros(len(self.objective.shares) + 1, device=self.accelerator.device)
        shares = torch.tensor([*self.objective.shares.values(), self.recipe.diversity_weight], device=sums.device)
        for number, (part, ghost, last) in enumerate(self._passes(rows)):
            batch = self.collate(part)
            if self.sharded:
                sharding.sync_gradients(self.network, last)
            with nullcontext() if last or self.sharded else self.accelerator.no_sync(self.network):
                summed, diverse = self.losses(batch, self.silenced(number))
                parts = torch.stack([*(part / totals.counted for part in summed), (diverse / totals.windows).sum()])
                loss = (parts * shares).sum()
                if ghost:
                    loss, parts = loss * 0.0, parts * 0.0
                if not torch.isfinite(loss):
                    raise TrainingError(
                        f"the loss of step {self.step + 1} is {loss.item()}; items {[r.example.id for r in part]}",
                        remedy="lower the rate, clip harder, or look at these items",
                    )
                self.accelerator.backward(loss * self.accelerator.num_processes)  # data parallelism averages gradients
            sums += parts.detach()
        return sums

    def _passes(self, rows: Sequence[PreparedExample]) -> Iterator[tuple[Sequence[PreparedExample], bool, bool]]:
        """(examples, ghost, last) of each pass of the step. All processes make as many: where another has more
        examples, a ghost joins its collectives without adding anything."""
        size = self.recipe.micro_batch
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        together = self.accelerator.num_processes > 1 and not self.apart
        rounds = max(gather_object([len(parts)])) if together else len(parts)
        for number in range(rounds):
            ghost = number >= len(parts)
            part = (parts[-1] if parts else [self.any_row()]) if ghost else parts[number]
            yield part, ghost, number == rounds - 1

    def _update(self, rows: Sequence[PreparedExample]) -> float:
        """Clip the gradient and move the weights; returns its norm before."""
        clipped = self.accelerator.clip_grad_norm_(self.network.parameters(), self.recipe.optim.clip or math.inf)
        norm = float(sharding.full(clipped))
        if not math.isfinite(norm) and self.accelerator.scaler is None:  # fp16's leaves such a step out by itself
            raise TrainingError(
                f"the gradient of step {self.step + 1} is not finite; items {[row.example.id for row in rows]}",
                remedy="lower the rate, or look at these items; the last checkpoint is from before",
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def average(self) -> None:
        """Give all processes the mean of their weights, where each has moved its own. Optimiser states stay apart."""
        if self.apart:
            everyone = torch.distributed.group.WORLD
            assert everyone is not None
            average_parameters(iter([p for p in self.plain.parameters() if p.requires_grad]), everyone)

    def _figures(self, sums: torch.Tensor) -> dict[str, float]:
        """The loss and its parts, over all processes."""
        values: list[float] = self.accelerator.reduce(sums, "sum").tolist()
        shares = {**self.objective.shares, "diversity": self.recipe.diversity_weight}
        loss = sum(value * share for value, share in zip(values, shares.values()))
        return {"loss": loss} | {f"{name}_loss": value for name, value in zip(shares, values)}

    def collate(self, rows: Sequence[PreparedExample]) -> Batch:
        """A pass's examples on the device."""
        return collate(rows, self.processor, self.accelerator.device, torch.float32)

    def losses(self, batch: Batch, silenced: Collection[int] = ()) -> tuple[list[torch.Tensor], torch.Tensor]:
        """(summed loss of each part of the objective, diversity sums by level), with gradient.

        Args:
            batch: of a pass.
            silenced: levels of the connector that are zero in it.
        """
        with self.accelerator.autocast():
            output = self.network(**batch.inputs, zero_levels=silenced)
        if output.diversity_terms is not None:
            return self.objective.losses(output, batch), output.diversity_terms[0]
        levels = len(acting_levels(len(self.plain.connector.config.levels)))  # text alone has no queries to differ
        return self.objective.losses(output, batch), torch.zeros(levels, device=self.accelerator.device)

    def windows(self, rows: Sequence[PreparedExample]) -> list[int]:
        """What the diversity sums of these examples are divided by, a level."""
        return diversity_counts(rows, self.plain.connector.config, self.recipe.diversity_form)

    def silenced(self, number: int) -> tuple[int, ...]:
        """Which level is zero in a pass of the current step: the same for all processes, and when it is resumed."""
        rng = random.Random(f"{self.recipe.seed}/levels/{self.step}/{number}")
        count = len(self.plain.connector.config.levels)
        return (rng.randrange(count),) if count > 1 and rng.random() < self.recipe.level_dropout else ()

    def any_row(self) -> PreparedExample:
        """Some usable example, for a process that has none of its own in a step."""
        row = self.loader.any_row()
        if row is None:
            raise TrainingError("no item of the data can be used", remedy="check the data with: data validate")
        return row

    # --------------------------------------------------------------------------------------------------- run

    def run(self, report: Report = lambda line: None) -> None:
        """Train to ``max_steps``; log, validate and save on the way; save and return when told to stop.

        Signal handlers and the choice of attention kernels are afterwards as they were.
        """
        with ExitStack() as stack:
            stack.enter_context(stop_signals(self.ask_to_stop))
            stack.enter_context(without_cudnn_attention(self.accelerator.device))
            stack.callback(self.loader.close)
            if self.accelerator.is_main_process:
                self.logbook = Logbook(self.out, self.step, self.recipe.tensorboard)
                stack.callback(self.logbook.close)
                checkpointing.sweep(self.out)
            self._steps(report)
            if self.accelerator.num_processes > 1:
                self.rules = sum(gather_object([self.rules]), Counter())

    def ask_to_stop(self) -> None:
        """End the run after the current step, with a checkpoint."""
        self.asked = True

    def _steps(self, report: Report) -> None:
        """All steps that are left."""
        recipe = self.recipe
        window: list[dict[str, float]] = []
        began = time.perf_counter()
        self.began = time.monotonic()
        while self.step < recipe.max_steps and not self.stop and not self.over:
            window += filter(None, [self.train_step()])
            self.stop = self.stop or (self.asked and self.accelerator.num_processes == 1)
            last = self.stop or self.over or self.step == recipe.max_steps
            if window and ((recipe.log_every and self.step % recipe.log_every == 0) or last):
                self._log(window, (time.perf_counter() - began) / len(window), report)
                window, began = [], time.perf_counter()
            due = recipe.validate_every and (self.step % recipe.validate_every == 0 or last)
            saves = (recipe.save_every and self.step % recipe.save_every == 0) or last
            if due or saves or self.step % recipe.average_every == 0:
                self.average()
            if due and not self.stop:  # who stops a run wants it to end soon
                try:
                    self._validate(report)
                except VideoSalmonnError:  # what was trained is kept, whatever the validation data are
                    self.save()
                    raise
                began = time.perf_counter()
            if saves:
                self.save()

    def _log(self, window: list[dict[str, float]], seconds: float, report: Report) -> None:
        line: dict[str, Any] = {"step": self.step}
        for key in window[0]:
            values = [entry[key] for entry in window]
            mean = values[-1] if key == "lr" else sum(values) / len(values)
            line[key] = mean if math.isfinite(mean) else None
        line["seconds"] = round(seconds, 4)
        line["data_seconds"] = round(self.waited / len(window), 4)
        self.waited = 0.0
        if self.accelerator.num_processes > 1:
            for others in gather_object([self.broken]):
                self.broken |= others
        if self.broken:
            line["broken_items"] = len(self.broken)
        if self.logbook is not None:
            self.logbook.metrics(line)
            if self.broken:
                self.logbook.broken(self.broken)
            report(line)

    def _validate(self, report: Report) -> None:
        """Measure on held-out items; write it down, and save the best."""
        if self.validation is None:
            return
        self.measure()
        if self.logbook is not None:
            line = {"step": self.step, **self.validated}
            self.logbook.metrics(line)
            self.logbook.samples(self.step, self.samples)
            report(line)
        if self.best is None or self.validated["validation_loss"] < self.best:
            self.best = self.validated["validation_loss"]
            self.save(run_folder.BEST)
        self.accelerator.wait_for_everyone()

    def measure(self) -> None:
        """Loss and answers on held-out items, which the processes share out; each measures all where it is sharded.

        :attr:`validated` and :attr:`samples` then hold what was found.
        """
        assert self.validation is not None
        accelerator = self.accelerator
        alike = self.sharded or accelerator.num_processes == 1  # sharded weights are read by all processes together
        rank, world = (0, 1) if alike else (accelerator.process_index, accelerator.num_processes)
        with sharding.whole(self.plain) if self.sharded else nullcontext():
            self.validated, self.samples = validate(
                accelerator.unwrap_model(self.network),
                self.objective,
                self.collate,
                self.validation,
                self.recipe,
                rank,
                world,
                (lambda own: own) if alike else gather_object,
            )

    # ---------------------------------------------------------------------------------------- save and resume

    def save(self, name: str | None = None) -> None:
        """Write a checkpoint, by the main process; shards are gathered from all."""
        if not self.accelerator.is_main_process and not self.sharded:
            return
        scaler = self.accelerator.scaler
        state = {
            "step": self.step,
            "best": self.best,
            "processes": self.accelerator.num_processes,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "broken": self.broken,
            "items": self.maker.digest,
            "held_out": self._held_out(),
        }
        optimizer = None if name else self.optimizer
        tensors = checkpointing.trained_tensors(self.plain)
        moments = None if optimizer is None else checkpointing.optimizer_state(optimizer)
        if self.accelerator.is_main_process:
            checkpointing.save_checkpoint(
                self.out, tensors, moments, state, self.recipe.to_dict(), self.recipe.keep, name
            )

    def resume(self, checkpoint: str | None = None) -> bool:
        """Continue from the newest checkpoint of the output folder, or from ``step-N``; False where there is none.

        :attr:`notes` then says what is not as it was.

        Raises:
            CheckpointError: the checkpoint is damaged, or not there; the remedy names the one before.
            ConfigError: the training items are not those the run was begun with.
        """
        folder = resuming.chosen(self.out, checkpoint)
        if folder is None:
            return False
        state = resuming.whole_state(folder)
        resuming.refuse_other_items(state, self.maker.digest, folder)
        checkpointing.load_trained(self.plain, folder)
        checkpointing.load_optimizer(self.optimizer, folder)
        if self.accelerator.scaler is not None and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.best = int(state["step"]), state.get("best")
        self.broken = dict(state.get("broken", {}))
        self.notes = resuming.changed_keys(run_folder.read_record(folder, "recipe.json"), self.recipe.to_dict())
        if self.best is not None and state.get("held_out", self._held_out()) != self._held_out():
            self.best = None
            self.notes.append("the items of data.validation have changed: the best loss is looked for anew")
        if checkpoint and self.accelerator.is_main_process:
            self.notes += [f"{name}: no longer part of the run" for name in resuming.set_aside(self.out, self.step)]
        self.accelerator.wait_for_everyone()
        return True

    def _held_out(self) -> str | None:
        return None if self.validation is None else self.validation.digest
