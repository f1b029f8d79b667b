"""The training loop: one stage, on Accelerate, from a laptop to several processes.

Decisions:

* The global batch of every step is a pure function of (seed, step); processes take slices of it. So losses do not
  depend on the number of processes, and a resumed run goes on at the same sample, also on another number of them.
* The cross entropy is summed over answer tokens and divided by the tokens of the *global* batch, so uneven ranks and
  accumulation weigh every token alike.
* Answers stand at the end (prompts are padded on the left), so logits are made for the last positions only.
"""

from __future__ import annotations

import math
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.nn import functional as F

from video_salmonn.connector import acting_levels
from video_salmonn.errors import ConfigError, TrainingError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.model.prompt import IGNORED
from video_salmonn.model.words import openings_of
from video_salmonn.training import checkpointing, resuming, sharding
from video_salmonn.training.auxiliary import WordAuxiliary
from video_salmonn.training.batching import Batch, Prepared, collate, diversity_counts
from video_salmonn.training.examples import ExampleMaker
from video_salmonn.training.loading import Loader, first_of
from video_salmonn.training.logbook import Logbook
from video_salmonn.training.optimisation import parameter_groups, rate_share, select_trainable
from video_salmonn.training.precision import avoid_cudnn_attention, settle
from video_salmonn.training.processes import build_accelerator, dropout_seed
from video_salmonn.training.recipe import Recipe
from video_salmonn.training.rehearsal import rehearse
from video_salmonn.training.validation import validate

Report = Callable[[dict[str, Any]], None]
MOST_EMPTY = 20  # steps without any usable item, one after another, that end a run


class Trainer:
    """One stage of training.

    Args:
        recipe: what to do.
        model: on the CPU; trained in place.
        processor: that belongs to it.
        maker: of training examples.
        validation: of validation examples, or None.
        accelerator: by default one of the recipe's precision.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: VideoSalmonnForConditionalGeneration,
        processor: VideoSalmonnProcessor,
        maker: ExampleMaker,
        validation: ExampleMaker | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.recipe = recipe = settle(recipe)
        self.accelerator = accelerator or build_accelerator(recipe)
        recipe.check(self.accelerator.num_processes)
        avoid_cudnn_attention(self.accelerator.device)
        self.processor, self.maker, self.validation = processor, maker, validation
        model.config.diversity_form = recipe.diversity_form
        model.config.diversity_weight = recipe.diversity_weight
        self.trains = select_trainable(model, recipe.trainable)
        if recipe.frozen_precision == "bf16":
            for parameter in model.language_model.parameters():
                parameter.data = parameter.data if parameter.requires_grad else parameter.data.bfloat16()
        if recipe.gradient_checkpointing:
            # transformers 5.23 renamed it and warns about the old name
            renamed = hasattr(model, "activation_checkpointing_enable")
            name = "activation_checkpointing_enable" if renamed else "gradient_checkpointing_enable"
            getattr(model, name)({"use_reentrant": False})
        eager = recipe.precision == "bf16" and self.accelerator.device.type == "cpu"
        if recipe.attention != "auto" or eager:
            model.language_model.set_attn_implementation("eager" if recipe.attention == "auto" else recipe.attention)
        self.words: WordAuxiliary | None = None
        if recipe.word_weight:
            self.words = WordAuxiliary(model, processor, maker, self.accelerator.device)
            columns = self.words.head.tokens_of_column
            model.set_words(columns, openings_of(processor.tokenizer, columns))
        if model.config.word_inputs and model.words is None:
            raise ConfigError(
                "recipe: word_inputs needs to know which words", remedy="give word_weight, or init with words"
            )
        self.levels = len(acting_levels(len(model.connector.config.levels)))
        self.context = int(model.config.text_config.max_position_embeddings)
        self.sharded = recipe.strategy == "fsdp2" and self.accelerator.num_processes > 1
        # Ranks of unlike modalities would have gradients for unlike parameters, and their exchanges would not meet.
        # A pass of text alone may have no gradient at all.
        model.touch_connector = self.sharded or not all(item.media for item in maker.items)
        if self.sharded:
            sharding.shard(model, self.accelerator.device, self.accelerator.num_processes)
        optimizer = torch.optim.AdamW(
            parameter_groups(model, recipe), lr=recipe.optim.rate, betas=(0.9, recipe.optim.beta2)
        )
        self.model: torch.nn.Module = model if self.sharded else self.accelerator.prepare(model)
        self.optimizer = self.accelerator.prepare(optimizer)
        self.plain: VideoSalmonnForConditionalGeneration = self.accelerator.unwrap_model(self.model)
        engine = self.accelerator
        self.loader = Loader(recipe, maker, processor, self.context, engine.process_index, engine.num_processes)
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
        self.validated: dict[str, Any] = {}
        """Scores of the last validation."""
        self.samples: list[dict[str, Any]] = []
        """Its answers."""
        self.notes: list[str] = []
        """What is not as it was when the run that goes on was begun."""
        self.stop = False
        """All processes know that one was told to stop, and do so after the same step."""

    # ------------------------------------------------------------------------------------------------- steps

    def losses(self, batch: Batch, silenced: Collection[int] = ()) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(weighted sum of token cross entropies, diversity sums by level, summed word loss), with gradient.

        Args:
            batch: of a pass.
            silenced: levels of the connector that are zero in it.
        """
        with self.accelerator.autocast():
            output = self.model(**batch.inputs, zero_levels=silenced, use_cache=False)
        logits, labels = output.logits[:, :-1].float(), batch.targets
        tokens = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
        summed = (tokens.view_as(labels).sum(dim=1) * batch.weights).sum()
        nothing = summed.new_zeros(self.levels)  # text alone has no queries to differ
        diversity = output.diversity_terms[0] if output.diversity_terms is not None else nothing
        worded = summed.new_zeros(())
        if self.words is not None and output.media_tokens is not None:
            worded = self.words(batch.with_media, output.media_tokens)
        return summed, diversity, worded

    def train_step(self) -> dict[str, float]:
        """One optimiser step. Returns its losses over the global batch; nothing for a step without any usable item.

        Raises:
            TrainingError: no item of so many steps can be used, or the loss is not finite; names the items.
        """
        recipe, accelerator = self.recipe, self.accelerator
        self.model.train()
        torch.manual_seed(dropout_seed(recipe.seed, self.step, accelerator.process_index))
        share = rate_share(recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        began = time.perf_counter()
        loaded = self.loader.load(self.step, more=self.step + 1 < recipe.max_steps)
        self.waited += time.perf_counter() - began
        rows = loaded.rows
        self.broken |= loaded.broken
        self.rules.update(row.example.rule for row in rows)
        own = [sum(row.answer_tokens * row.example.weight for row in rows), len(rows), self.asked]
        own += diversity_counts(rows, self.plain.connector.config, recipe.diversity_form)
        counts = accelerator.reduce(torch.tensor(own, dtype=torch.float32, device=accelerator.device), "sum")
        tokens, items, stops = counts[:3].tolist()
        windows = counts[3:].clamp(min=1)
        self.stop = self.stop or stops > 0
        self.empty = 0 if items else self.empty + 1
        if not items and self.empty < min(MOST_EMPTY, recipe.max_steps):  # a file that cannot be used costs no run
            self.step += 1
            return {}
        if not items or not tokens:
            raise TrainingError(
                f"no item of step {self.step + 1} can be used; broken: {first_of(self.broken)}",
                remedy="check the data: video-salmonn data validate MANIFEST --decode",
            )
        micro = [rows[i : i + recipe.micro_batch] for i in range(0, len(rows), recipe.micro_batch)]
        rounds = max(gather_object([len(micro)])) if accelerator.num_processes > 1 else len(micro)
        sums = torch.zeros(3, device=accelerator.device)
        for number in range(rounds):
            last = number == rounds - 1
            ghost = number >= len(micro)  # another process has more: join its collectives without adding anything
            part = (micro[-1] if micro else [self.any_row()]) if ghost else micro[number]
            batch = collate(part, self.processor, accelerator.device, torch.float32)
            if self.sharded:
                sharding.sync_gradients(self.model, last)
            with nullcontext() if last or self.sharded else accelerator.no_sync(self.model):
                summed, diverse, worded = self.losses(batch, self.silenced(number))
                diversity = (diverse / windows).sum()
                loss = summed / tokens + recipe.diversity_weight * diversity
                loss = loss + recipe.word_weight * worded / tokens
                if ghost:
                    loss, summed, diversity, worded = loss * 0.0, summed * 0.0, diversity * 0.0, worded * 0.0
                if not torch.isfinite(loss):
                    raise TrainingError(
                        f"the loss of step {self.step + 1} is {loss.item()}; items {batch.ids}",
                        remedy="lower the rate, clip harder, or look at these items",
                    )
                accelerator.backward(loss * accelerator.num_processes)  # data parallelism averages gradients
            sums += torch.stack([summed.detach(), diversity.detach() * tokens, worded.detach()])
        clipped = accelerator.clip_grad_norm_(self.model.parameters(), recipe.optim.clip or math.inf)
        norm = float(sharding.full(clipped))
        if not math.isfinite(norm) and accelerator.scaler is None:  # fp16's scaler leaves such a step out by itself
            raise TrainingError(
                f"the gradient of step {self.step + 1} is not finite; items {[row.example.id for row in rows]}",
                remedy="lower the rate, or look at these items; the last checkpoint is from before",
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        language, diversity_share, worded_share = (accelerator.reduce(sums, "sum") / tokens).tolist()
        return {
            "loss": language + recipe.diversity_weight * diversity_share + recipe.word_weight * worded_share,
            "language_loss": language,
            "diversity_loss": diversity_share,
            **({"word_loss": worded_share} if self.words is not None else {}),
            "grad_norm": norm,
            "lr": recipe.optim.rate * share,
        }

    def silenced(self, number: int) -> tuple[int, ...]:
        """Which level is zero in a pass of the step at hand: the same for all processes, and when it is resumed."""
        rng = random.Random(f"{self.recipe.seed}/levels/{self.step}/{number}")
        count = len(self.plain.connector.config.levels)
        return (rng.randrange(count),) if count > 1 and rng.random() < self.recipe.level_dropout else ()

    def any_row(self) -> Prepared:
        """Some usable example, for a process that has none of its own in a step."""
        row = self.loader.any_row()
        if row is None:
            raise TrainingError("no item of the data can be used", remedy="check the data with: data validate")
        return row

    # --------------------------------------------------------------------------------------------------- run

    def run(self, report: Report = lambda line: None) -> None:
        """Train to ``max_steps``; log, validate and save on the way; save and return when told to stop."""
        recipe = self.recipe
        if self.accelerator.is_main_process:
            self.logbook = Logbook(self.out, self.step, recipe.tensorboard)
            checkpointing.sweep(self.out)
        restore = self._catch_signals()
        window: list[dict[str, float]] = []
        began = time.perf_counter()
        try:
            while self.step < recipe.max_steps and not self.stop:
                window += filter(None, [self.train_step()])
                self.stop = self.stop or (self.asked and self.accelerator.num_processes == 1)
                last = self.stop or self.step == recipe.max_steps
                if window and ((recipe.log_every and self.step % recipe.log_every == 0) or last):
                    self._log(window, (time.perf_counter() - began) / len(window), report)
                    window, began = [], time.perf_counter()
                due = recipe.validate_every and (self.step % recipe.validate_every == 0 or last)
                if due and not self.stop:  # who stops a run wants it to end soon
                    self._validate(report)
                    began = time.perf_counter()
                if (recipe.save_every and self.step % recipe.save_every == 0) or last:
                    self.save()
            if self.accelerator.num_processes > 1:
                self.rules = sum(gather_object([self.rules]), Counter())
        finally:
            self.loader.close()
            if self.logbook is not None:
                self.logbook.close()
            for number, handler in restore.items():
                signal.signal(number, handler)

    def _catch_signals(self) -> dict[int, Any]:
        """SIGTERM and SIGINT end the run after the step at hand, with a checkpoint."""

        def ask_to_stop(number: int, frame: Any) -> None:
            self.asked = True

        try:
            return {n: signal.signal(n, ask_to_stop) for n in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # not the main thread
            return {}

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
        """Loss and answers on held-out items, which the processes share out; each measures all where it is sharded."""
        if self.validation is None:
            return
        engine = self.accelerator
        alike = self.sharded or engine.num_processes == 1  # sharded weights are read by all processes together
        rank, world = (0, 1) if alike else (engine.process_index, engine.num_processes)
        with sharding.whole(self.plain) if self.sharded else nullcontext():
            scores, samples = validate(
                self.plain,
                self.processor,
                self.validation,
                self.recipe,
                engine.device,
                self.context,
                rank,
                world,
                (lambda own: own) if alike else gather_object,
            )
        self.validated, self.samples = scores, samples
        if self.logbook is not None:
            line = {"step": self.step, **scores}
            self.logbook.metrics(line)
            self.logbook.samples(self.step, samples)
            report(line)
        if self.best is None or scores["validation_loss"] < self.best:
            self.best = scores["validation_loss"]
            self.save(checkpointing.BEST)
        engine.wait_for_everyone()

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
        """Go on from the newest checkpoint of the output folder, or from ``step-N``; False where there is none.

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
        self.notes = resuming.changed_keys(checkpointing.read_record(folder, "recipe.json"), self.recipe.to_dict())
        if self.best is not None and state.get("held_out", self._held_out()) != self._held_out():
            self.best = None
            self.notes.append("the items of data.validation have changed: the best loss is looked for anew")
        if checkpoint and self.accelerator.is_main_process:
            self.notes += [f"{name}: no longer part of the run" for name in resuming.set_aside(self.out, self.step)]
        self.accelerator.wait_for_everyone()
        return True

    def _held_out(self) -> str | None:
        return None if self.validation is None else self.validation.digest

    def dry_run(self) -> dict[str, Any]:
        """What would happen: parts that train, memory, steps; and one batch, loaded and run."""
        return rehearse(self)
