"""The training loop: one stage, on Accelerate, from a laptop to several processes.

Decisions:

* The global batch of every step is a pure function of (seed, step); processes take slices of it. So losses do not
  depend on the number of processes, and a resumed run goes on at the same sample, also on another number of them.
* The cross entropy is summed over answer tokens and divided by the tokens of the *global* batch, so uneven ranks and
  accumulation weigh every token alike.
* Answers stand at the end (prompts are padded on the left), so logits are made for the last positions only.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch.nn import functional as F

from video_salmonn.errors import ContextError, MediaError, TrainingError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.model.prompt import IGNORED
from video_salmonn.training import checkpointing
from video_salmonn.training.batching import Batch, Prepared, collate, prepare
from video_salmonn.training.examples import Example, ExampleMaker, batch_plan
from video_salmonn.training.recipe import Recipe
from video_salmonn.training.validation import validate

Report = Callable[[dict[str, Any]], None]


def select_trainable(model: VideoSalmonnForConditionalGeneration, wanted: Sequence[str]) -> dict[str, int]:
    """Train the parameters whose name holds one of ``wanted``; freeze all others. Returns numbers by part."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in wanted))
        if parameter.requires_grad:
            counts[next(part for part in wanted if part in name)] += parameter.numel()
    if not counts:
        raise TrainingError(f"trainable {list(wanted)} names no parameter", remedy="for example: connector, lora_")
    return dict(counts)


def parameter_groups(model: torch.nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """AdamW groups: by rate, matrices with weight decay and vectors without."""
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = next((r for part, r in recipe.optim.rates.items() if part in name), recipe.optim.rate)
        groups.setdefault((rate, parameter.ndim >= 2), []).append(parameter)
    return [
        {"params": params, "lr": rate, "peak": rate, "weight_decay": recipe.optim.weight_decay if decays else 0.0}
        for (rate, decays), params in groups.items()
    ]


def rate_share(recipe: Recipe, step: int) -> float:
    """Share of the peak rate at a step (from 0): linear rise, cosine to ``min_rate``."""
    optim = recipe.optim
    if step < optim.warmup_steps:
        return (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, recipe.max_steps - optim.warmup_steps)
    return optim.min_rate + (1 - optim.min_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


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
        self.recipe = recipe
        self.accelerator = accelerator or build_accelerator(recipe)
        recipe.check(self.accelerator.num_processes)
        self.processor, self.maker, self.validation = processor, maker, validation
        model.config.diversity_form = recipe.diversity_form
        model.config.diversity_weight = recipe.diversity_weight
        self.trains = select_trainable(model, recipe.trainable)
        if recipe.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.context = int(model.config.text_config.max_position_embeddings)
        optimizer = torch.optim.AdamW(
            parameter_groups(model, recipe), lr=recipe.optim.rate, betas=(0.9, recipe.optim.beta2)
        )
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.plain: VideoSalmonnForConditionalGeneration = self.accelerator.unwrap_model(self.model)
        self.out = Path(recipe.output)
        self.step = 0
        self.best: float | None = None
        self.rules: Counter[str] = Counter()
        self.broken: dict[str, str] = {}
        self.stop = False

    # ------------------------------------------------------------------------------------------------- steps

    def examples(self, step: int) -> list[Prepared]:
        """This process's examples of a step; items that cannot be used are counted, named and left out.

        Raises:
            MediaError, ContextError: where the recipe says ``on_broken: raise``.
        """
        epoch, indices = batch_plan(len(self.maker.items), self.recipe.batch_size, self.recipe.seed, step)
        mine = indices[self.accelerator.process_index :: self.accelerator.num_processes]
        rows = []
        for index in mine:
            try:
                example = self.maker.make(index, epoch)
                rows.append(prepare(example, self.processor, self.context))
                self.rules[example.rule] += 1
            except (MediaError, ContextError) as error:
                if self.recipe.data.on_broken == "raise":
                    raise
                self.broken[self.maker.items[index].id] = str(error)
        return sorted(rows, key=lambda row: row.length)  # neighbours of like length share a pass: little padding

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(weighted sum of token cross entropies, diversity loss) of a batch, both with gradient."""
        instruction = batch.instruction or (None, None)
        output = self.model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            media_features=batch.features or None,
            instruction_ids=instruction[0],
            instruction_mask=instruction[1],
            logits_to_keep=batch.answer_span,
            use_cache=False,
        )
        logits = output.logits[:, :-1].float()
        labels = batch.labels[:, -batch.answer_span + 1 :]
        tokens = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
        summed = (tokens.view_as(labels).sum(dim=1) * batch.weights).sum()
        diversity = output.diversity_loss if output.diversity_loss is not None else summed.new_zeros(())
        return summed, diversity

    def train_step(self) -> dict[str, float]:
        """One optimiser step. Returns its losses over the global batch.

        Raises:
            TrainingError: no item can be used, or the loss is not finite; names the items.
        """
        recipe, accelerator = self.recipe, self.accelerator
        self.model.train()
        seed = hash((recipe.seed, self.step, accelerator.process_index)) & 0x7FFFFFFF
        torch.manual_seed(seed)
        share = rate_share(recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        rows = self.examples(self.step)
        counts = torch.tensor(
            [sum(row.answer_tokens * row.example.weight for row in rows), float(len(rows))], device=accelerator.device
        )
        tokens, items = accelerator.reduce(counts, "sum").tolist()
        if not items or not tokens:
            names = list(self.broken)[:5]
            raise TrainingError(f"no item of step {self.step + 1} can be used; broken items: {names}")
        micro = [rows[i : i + recipe.micro_batch] for i in range(0, len(rows), recipe.micro_batch)]
        rounds = max(gather_object([len(micro)])) if accelerator.num_processes > 1 else len(micro)
        sums = torch.zeros(2, device=accelerator.device)
        for number in range(rounds):
            last = number == rounds - 1
            ghost = number >= len(micro)  # another process has more: join its collectives without adding anything
            part = (micro[-1] if micro else [self._any_row()]) if ghost else micro[number]
            batch = collate(part, self.processor, accelerator.device, torch.float32)
            with nullcontext() if last else accelerator.no_sync(self.model):
                summed, diversity = self.losses(batch)
                share_of_batch = len(part) / items
                loss = summed / tokens + recipe.diversity_weight * diversity * share_of_batch
                if ghost:
                    loss, summed, diversity = loss * 0.0, summed * 0.0, diversity * 0.0
                if not torch.isfinite(loss):
                    raise TrainingError(
                        f"the loss of step {self.step + 1} is {loss.item()}; items {batch.ids}",
                        remedy="lower the rate, clip harder, or look at these items",
                    )
                accelerator.backward(loss * accelerator.num_processes)  # data parallelism averages gradients
            sums += torch.stack([summed.detach(), diversity.detach() * share_of_batch * tokens])
        norm = math.nan
        if recipe.optim.clip:
            norm = float(accelerator.clip_grad_norm_(self.model.parameters(), recipe.optim.clip))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        language, diverse = (accelerator.reduce(sums, "sum") / tokens).tolist()
        return {
            "loss": language + recipe.diversity_weight * diverse,
            "language_loss": language,
            "diversity_loss": diverse,
            "grad_norm": norm,
            "lr": recipe.optim.rate * share,
        }

    def _any_row(self) -> Prepared:
        """Some usable example, for a process that has none of its own in a step."""
        for index in range(len(self.maker.items)):
            try:
                return prepare(self.maker.plain(index), self.processor, self.context)
            except (MediaError, ContextError):
                continue
        raise TrainingError("no item of the data can be used", remedy="check the data with: data validate")

    # --------------------------------------------------------------------------------------------------- run

    def run(self, report: Report = lambda line: None) -> None:
        """Train to ``max_steps``; log, validate and save on the way; save and return when told to stop."""
        recipe = self.recipe
        self.out.mkdir(parents=True, exist_ok=True)
        restore = self._catch_signals()
        window: list[dict[str, float]] = []
        began = time.perf_counter()
        try:
            while self.step < recipe.max_steps and not self.stop:
                window.append(self.train_step())
                last = self.step == recipe.max_steps
                if (recipe.log_every and self.step % recipe.log_every == 0) or last:
                    self._log(window, (time.perf_counter() - began) / len(window), report)
                    window, began = [], time.perf_counter()
                if recipe.validate_every and (self.step % recipe.validate_every == 0 or last):
                    self._validate(report)
                    began = time.perf_counter()
                if (recipe.save_every and self.step % recipe.save_every == 0) or last or self.stop:
                    self.save()
        finally:
            for number, handler in restore.items():
                signal.signal(number, handler)

    def _catch_signals(self) -> dict[int, Any]:
        """SIGTERM and SIGINT end the run after the step at hand, with a checkpoint."""

        def ask_to_stop(number: int, frame: Any) -> None:
            self.stop = True

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
        if self.broken:
            line["broken_items"] = len(self.broken)
        self._write(line, report)

    def _write(self, line: dict[str, Any], report: Report) -> None:
        if not self.accelerator.is_main_process:
            return
        with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        if self.broken:
            text = "".join(f"{name}\t{reason}\n" for name, reason in self.broken.items())
            (self.out / "broken.tsv").write_text(text, encoding="utf-8")
        report(line)

    def _validate(self, report: Report) -> None:
        if self.validation is None or not self.accelerator.is_main_process:
            self.accelerator.wait_for_everyone()
            return
        scores, samples = validate(
            self.plain, self.processor, self.validation, self.recipe, self.accelerator.device, self.context
        )
        self._write({"step": self.step, **scores}, report)
        with (self.out / "samples.jsonl").open("a", encoding="utf-8") as stream:
            for sample in samples:
                stream.write(json.dumps({"step": self.step, **sample}, ensure_ascii=False) + "\n")
        if self.best is None or scores["validation_loss"] < self.best:
            self.best = scores["validation_loss"]
            self.save(checkpointing.BEST)
        self.accelerator.wait_for_everyone()

    # ---------------------------------------------------------------------------------------- save and resume

    def save(self, name: str | None = None) -> None:
        """Write a checkpoint (by the main process)."""
        if not self.accelerator.is_main_process:
            return
        state = {"step": self.step, "best": self.best, "processes": self.accelerator.num_processes}
        optimizer = None if name else self.optimizer
        checkpointing.save_checkpoint(
            self.out, self.plain, optimizer, state, self.recipe.to_dict(), self.recipe.keep, name
        )

    def resume(self) -> bool:
        """Go on from the newest checkpoint of the output folder; False where there is none."""
        folder = checkpointing.last_checkpoint(self.out)
        if folder is None:
            return False
        state = checkpointing.read_state(folder)
        checkpointing.load_trained(self.plain, folder)
        checkpointing.load_optimizer(self.optimizer, folder)
        self.step, self.best = int(state["step"]), state.get("best")
        return True

    def dry_run(self) -> dict[str, Any]:
        """What would happen: parts that train, memory, steps; and one batch, loaded and run."""
        rows = self.examples(0)
        batch = collate(rows[: self.recipe.micro_batch], self.processor, self.accelerator.device, torch.float32)
        with torch.no_grad():
            summed, diversity = self.losses(batch)
        trained = sum(self.trains.values())
        weights = sum(p.numel() * p.element_size() for p in self.plain.parameters())
        return {
            "items": len(self.maker.items),
            "epochs": round(self.recipe.max_steps * self.recipe.batch_size / len(self.maker.items), 2),
            "steps": self.recipe.max_steps,
            "trainable": self.trains,
            "frozen": sum(p.numel() for p in self.plain.parameters()) - trained,
            "bytes": {"weights": weights, "gradients": trained * 4, "optimizer": trained * 8},
            "first_batch": {
                "items": batch.ids,
                "tokens": list(batch.input_ids.shape),
                "loss": float(summed) / max(1, int((batch.labels != IGNORED).sum())),
                "diversity_loss": float(diversity),
            },
            "broken": self.broken,
            "disk_free": checkpointing.disk_free(self.out),
        }


def build_accelerator(recipe: Recipe) -> Accelerator:
    """Accelerate's engine for a recipe; processes and devices come from the launcher."""
    # A rank whose batch lacks a modality leaves that branch of the connector without gradient.
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    return Accelerator(mixed_precision=recipe.precision, cpu=not torch.cuda.is_available(), kwargs_handlers=handlers)


__all__ = ["Example", "Trainer", "build_accelerator", "parameter_groups", "rate_share", "select_trainable"]
