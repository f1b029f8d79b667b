"""CTC warm-up: teach the connector to say words in the language model's own token embeddings, without running it.

For every output token of the connector, ``logits = output · Eᵀ`` over the embeddings E (frozen) of the tokens that
occur in the training transcripts, plus one learned blank; the CTC loss aligns them with the transcript. A connector
warmed up so gives the language model inputs it half understands already, for a small part of the cost of training with
it in the loop. This is ours; the paper starts from weights that were trained on far more data.

Everything random in step n follows from (seed, n): a run that stops and goes on gives the same losses.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from video_salmonn.connector import MultiResolutionCausalQFormer
from video_salmonn.data.feature_batch import ClipFeatures, augment_sound, collate
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.training.run_state import load_prefixed, log_line, read_run, read_weights, save_run


@dataclass(frozen=True)
class Utterance:
    """A transcribed sound in a feature store: ``key`` as given by the encoder stage, ``text`` in plain words."""

    key: str
    text: str


@dataclass(frozen=True)
class WarmupConfig:
    """What a warm-up run does.

    Attributes:
        steps: optimiser steps in all.
        batch: utterances a step.
        rate: peak learning rate of AdamW, reached after ``rise`` steps, then a cosine down to a twentieth.
        rise: warm-up steps of the rate.
        decay: weight decay of matrices.
        clip: bound on the gradient's norm.
        augment: vary the features (:func:`video_salmonn.data.feature_batch.augment_sound`).
        seed: of everything random.
        log_every, validate_every, save_every: steps between these.
    """

    steps: int = 1500
    batch: int = 16
    rate: float = 1e-3
    rise: int = 60
    decay: float = 0.01
    clip: float = 1.0
    augment: bool = True
    seed: int = 0
    log_every: int = 10
    validate_every: int = 100
    save_every: int = 50

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.rate > 0:
            raise ConfigError("warm-up needs steps >= 1, batch >= 1 and rate > 0")


class CtcHead(nn.Module):
    """Connector outputs -> log-probabilities over the training vocabulary and a blank (column 0).

    Args:
        embeddings: ``(vocabulary, D)``, the language model's input embeddings; only the rows used are kept.
        texts: transcripts that the vocabulary is taken from.
        tokenizer: the language model's; texts are tokenised as they stand in an answer, after a space.
    """

    rows: torch.Tensor

    def __init__(self, embeddings: torch.Tensor, texts: Sequence[str], tokenizer: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        used = sorted({token for text in texts for token in self.tokens(text)})
        self.tokens_of_column = used
        self.column_of_token = {token: column for column, token in enumerate(used, 1)}
        self.register_buffer("rows", embeddings[used].float().clone(), persistent=False)
        self.blank = nn.Parameter(torch.zeros(embeddings.shape[1]))
        self.blank_bias = nn.Parameter(torch.zeros(()))

    def tokens(self, text: str) -> list[int]:
        """Token ids of a transcript."""
        ids: list[int] = self.tokenizer(" " + text, add_special_tokens=False).input_ids
        return ids

    def columns(self, text: str) -> list[int] | None:
        """Columns of a transcript's tokens, or None where one is outside the vocabulary."""
        found = [self.column_of_token.get(token, 0) for token in self.tokens(text)]
        return found if found and all(found) else None

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """``(B, L, D)`` -> log-probabilities ``(B, L, columns)``, float32."""
        outputs = outputs.float()
        blank = (outputs @ self.blank + self.blank_bias)[..., None]
        return torch.cat([blank, outputs @ self.rows.T], dim=-1).log_softmax(-1)

    def decode(self, log_probabilities: torch.Tensor, mask: torch.Tensor) -> list[str]:
        """Greedy CTC: best column a step, repeats merged, blanks dropped. ``(B, L, columns)``, ``(B, L)`` -> texts."""
        texts = []
        for best, real in zip(log_probabilities.argmax(-1), mask):
            merged = torch.unique_consecutive(best[real])
            texts.append(self.tokenizer.decode([self.tokens_of_column[int(c) - 1] for c in merged if c > 0]).strip())
        return texts


@torch.no_grad()
def spread_positions(connector: MultiResolutionCausalQFormer, amplitude: float = 0.5) -> None:
    """Start a new connector's position table from sinusoids of 4 to 500 slots.

    BERT's start (normal, 0.02) disappears beside the normalised features, so queries cannot tell early from late until
    the table has grown; alignment is what CTC has to find first. Only for connectors trained from scratch.
    """
    rows, width = connector.positions.shape
    place = torch.arange(rows)[:, None]
    wavelength = torch.logspace(math.log10(4), math.log10(500), width // 2)[None]
    angle = 2 * math.pi * place / wavelength
    table = torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width]
    connector.positions.copy_(amplitude * (table - table.mean(dim=1, keepdim=True)))


def load_clip(store: FeatureStore, key: str, *, with_audio: bool = True) -> ClipFeatures:
    """The speech features of one sound, and its sound-event features unless the connector has no branch for them."""
    audio = store[f"{key}.audio"].float() if with_audio else None
    return ClipFeatures(speech=store[f"{key}.speech"].float(), audio=audio)


def batches(lengths: Sequence[int], batch: int, seed: int, step: int) -> Iterator[list[int]]:
    """Endless batches of item indices from ``step`` on, grouped by length; a pure function of its arguments.

    Every epoch is a new shuffle; stretches of 32 batches are sorted by length, cut, and shuffled again.
    """
    per_epoch = max(len(lengths) // batch, 1)
    epoch, place = divmod(step, per_epoch)
    while True:
        rng = random.Random(f"{seed}/{epoch}")
        order = list(range(len(lengths)))
        rng.shuffle(order)
        plan: list[list[int]] = []
        for start in range(0, len(order), 32 * batch):
            stretch = sorted(order[start : start + 32 * batch], key=lambda index: lengths[index])
            plan += [stretch[i : i + batch] for i in range(0, len(stretch), batch)]
        plan = [group for group in plan if len(group) == batch] or [order]
        rng.shuffle(plan)
        yield from plan[place:per_epoch]
        epoch, place = epoch + 1, 0


def learning_rate(config: WarmupConfig, step: int) -> float:
    """The rate of a step (counted from 0): linear rise, then cosine to a twentieth of the peak."""
    if step < config.rise:
        return config.rate * (step + 1) / config.rise
    progress = min((step - config.rise) / max(config.steps - config.rise, 1), 1.0)
    return config.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def connect(
    connector: MultiResolutionCausalQFormer, head: CtcHead, clips: Sequence[ClipFeatures]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips -> CTC log-probabilities ``(B, L, columns)`` and the mask of real outputs ``(B, L)``; bf16 inside."""
    device = connector.llm_projection.weight.device
    batch = collate(clips).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        output = connector(**vars(batch))
    return head(output.tokens), output.mask


@torch.inference_mode()
def transcribe(
    connector: MultiResolutionCausalQFormer,
    head: CtcHead,
    store: FeatureStore,
    utterances: Sequence[Utterance],
    batch: int = 16,
) -> list[str]:
    """Greedy CTC transcripts, in order; the connector is to be in evaluation mode."""
    with_audio = connector.config.audio_dim is not None
    order = sorted(range(len(utterances)), key=lambda i: store.shape(f"{utterances[i].key}.speech")[0])
    texts = [""] * len(utterances)
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        clips = [load_clip(store, utterances[i].key, with_audio=with_audio) for i in group]
        for index, text in zip(group, head.decode(*connect(connector, head, clips))):
            texts[index] = text
    return texts


class Warmup:
    """One run: connector, head, optimiser and their state on disk.

    Args:
        connector: trained in place.
        head: its blank is trained too.
        store: features.
        train: utterances; those with tokens outside the head's vocabulary, without features, or with more tokens than
            the connector has outputs are left out and counted in ``skipped``.
        config: see :class:`WarmupConfig`.
        out: folder for checkpoints and ``metrics.jsonl``.
        device: where to train.
    """

    def __init__(
        self,
        connector: MultiResolutionCausalQFormer,
        head: CtcHead,
        store: FeatureStore,
        train: Sequence[Utterance],
        config: WarmupConfig,
        out: Path,
        device: torch.device | str = "cpu",
    ) -> None:
        self.connector, self.head = connector.to(device), head.to(device)
        self.store, self.config, self.out, self.device = store, config, out, torch.device(device)
        self.step = 0
        self.train_set: list[tuple[str, list[int]]] = []
        self.lengths: list[int] = []
        for utterance in train:
            columns = head.columns(utterance.text)
            if columns is None or f"{utterance.key}.speech" not in store:
                continue
            length = store.shape(f"{utterance.key}.speech")[0]
            if self._fits(columns, length):
                self.train_set.append((utterance.key, columns))
                self.lengths.append(length)
        self.skipped = len(train) - len(self.train_set)
        if not self.train_set:
            raise ConfigError("warm-up has no utterance with features", remedy="encode the data set first")
        self.parameters = [*connector.parameters(), *head.parameters()]
        groups = [
            {"params": [p for p in self.parameters if p.ndim >= 2], "weight_decay": config.decay},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98))
        out.mkdir(parents=True, exist_ok=True)

    def _fits(self, columns: list[int], steps: int) -> bool:
        outputs = self.connector.config.tokens_for(-(-steps // 25))
        repeats = sum(a == b for a, b in pairwise(columns))
        return len(columns) + repeats <= outputs * 0.88  # the pace may be raised by 12 %

    def train_step(self, indices: Sequence[int]) -> float:
        """One optimiser step on the given items; returns the loss per target token.

        Raises:
            CheckpointError: the loss is not finite; names the items.
        """
        rng = random.Random(f"{self.config.seed}/step/{self.step}")
        torch.manual_seed(rng.getrandbits(40))
        self.connector.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        with_audio = self.connector.config.audio_dim is not None
        clips = [load_clip(self.store, self.train_set[index][0], with_audio=with_audio) for index in indices]
        if self.config.augment:
            clips = [augment_sound(clip, rng) for clip in clips]
        log_probabilities, mask = connect(self.connector, self.head, clips)
        targets = [torch.tensor(self.train_set[index][1]) for index in indices]
        sizes = torch.tensor([len(target) for target in targets])
        total = F.ctc_loss(
            log_probabilities.transpose(0, 1),
            torch.cat(targets).to(self.device),
            mask.sum(1),
            sizes,
            reduction="sum",
            zero_infinity=True,
        )
        loss = total / int(sizes.sum())
        if not torch.isfinite(loss):
            names = [self.train_set[index][0] for index in indices]
            raise CheckpointError(f"the loss of step {self.step} is {loss.item()}; items {names}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        self.step += 1
        return float(loss.detach())

    def transcribe(self, utterances: Sequence[Utterance]) -> list[str]:
        """Greedy CTC transcripts, in order."""
        self.connector.eval()
        return transcribe(self.connector, self.head, self.store, utterances)

    def save(self) -> None:
        """Write weights, optimiser and step; an interruption leaves the previous save usable."""
        weights = {f"connector.{name}": value for name, value in self.connector.state_dict().items()}
        weights |= {f"head.{name}": value for name, value in self.head.state_dict().items()}
        save_run(self.out, self.step, weights, self.optimizer, asdict(self.config))

    def resume(self) -> bool:
        """Go on from ``out``; False where nothing was saved.

        Raises:
            CheckpointError: the saved weights are missing or of another shape.
        """
        saved = read_run(self.out)
        if saved is None:
            return False
        self.step, weights, optimizer = saved
        self._take(weights)
        self.optimizer.load_state_dict(optimizer)
        return True

    def load(self, path: Path) -> None:
        """Start from the weights of another run's checkpoint. Raises CheckpointError where they do not fit."""
        self._take(read_weights(path))

    def _take(self, weights: dict[str, torch.Tensor]) -> None:
        load_prefixed(self.connector, weights, "connector.")
        load_prefixed(self.head, weights, "head.")

    def run(
        self,
        validate: Callable[[], dict[str, float]] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        report: Callable[[dict[str, Any]], None] = lambda line: None,
    ) -> None:
        """Train up to ``config.steps``; writes ``metrics.jsonl``, saves on the way, at the end and when told to stop.

        Args:
            validate: gives measures, written to the metrics.
            should_stop: asked after every step (a signal handler sets it).
            report: gets every line of the metrics.
        """
        config = self.config
        plan = batches(self.lengths, config.batch, config.seed, self.step)
        losses: list[float] = []
        began = time.monotonic()
        while self.step < config.steps:
            losses.append(self.train_step(next(plan)))
            last, stop = self.step == config.steps, should_stop()
            line: dict[str, Any] = {}
            if self.step % config.log_every == 0 or last:
                rate = learning_rate(config, self.step - 1)
                line = {"step": self.step, "loss": sum(losses) / len(losses), "lr": rate}
                line["seconds"] = round((time.monotonic() - began) / len(losses), 3)
                losses, began = [], time.monotonic()
            if self.step % config.save_every == 0 or last or stop:
                self.save()
            if validate is not None and (self.step % config.validate_every == 0 or last):
                line |= {"step": self.step} | validate()
                began = time.monotonic()
            if line:
                log_line(self.out, line)
                report(line)
            if stop:
                return
