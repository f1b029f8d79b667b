"""The warm-up: teach the connector to say words in the language model's own token embeddings, without running it.

What is said is aligned with the outputs by CTC; what is seen and heard is named by certain outputs of every frame
(:mod:`video_salmonn.training.ctc`). Pictures are put beside speech and sounds that have nothing to do with them, new
pairs at every step, so that one clip says both. A connector warmed up so gives the language model words to read, for a
small part of the cost of training with it in the loop. This is ours; the paper starts from weights that were trained on
far more data.

Everything random in step n follows from (seed, n): a run that stops and goes on gives the same losses.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from video_salmonn.connector import MultiResolutionCausalQFormer
from video_salmonn.data.feature_batch import (
    STEPS_PER_FRAME,
    ClipFeatures,
    FeatureBatch,
    collate,
    hidden_tokens,
    plain_view,
    read_sounds,
    varied_view,
)
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.training.ctc import WordHead, Words, best_names, word_losses
from video_salmonn.training.precision import avoid_cudnn_attention, fast_autocast
from video_salmonn.training.run_state import load_prefixed, log_line, read_run, read_weights, save_run

KINDS = ("speech", "sound", "picture", "speech+picture", "sound+picture")
PICTURE_FRAMES = (3, 5, 10, 10, 10)
"""Frames a picture is shown for while training, one of these by chance."""


@dataclass(frozen=True)
class Utterance:
    """A sound or picture in a feature store, and the words for it.

    Attributes:
        key: as given by the encoder stage.
        text: what is said, or the name of what is heard or seen.
        kind: ``speech``, ``sound`` or ``picture``.
        sight: key of the speaker's own moving pictures, or "" without; they are shown instead of another picture.
        seen: name of what these show.
    """

    key: str
    text: str
    kind: str = "speech"
    sight: str = ""
    seen: str = ""

    @property
    def tensor(self) -> str:
        """Name of the features that decide how long it is."""
        return f"{self.key}.{'visual' if self.kind == 'picture' else 'speech'}"


@dataclass(frozen=True)
class WarmupConfig:
    """What a warm-up run does.

    Attributes:
        steps: optimiser steps in all.
        batch: items a step.
        shares: of every 20 steps or so, how many go to each of :data:`KINDS`; kinds without items are left out.
        rate: peak learning rate of AdamW, reached after ``rise`` steps, then a cosine down to a twentieth.
        rise: warm-up steps of the rate.
        decay: weight decay of matrices.
        clip: bound on the gradient's norm.
        augment: vary the features (:func:`video_salmonn.data.feature_batch.varied_view`).
        level_dropout: share of the steps in which one level, drawn, is set to zero, so that each learns to say words
            alone. Without it the coarse level falls silent: the fine one can say everything.
        seed: of everything random.
        log_every, validate_every, save_every: steps between these.
    """

    steps: int = 1500
    batch: int = 16
    shares: dict[str, int] = field(default_factory=lambda: dict(zip(KINDS, (6, 2, 4, 6, 2))))
    rate: float = 1e-3
    rise: int = 60
    decay: float = 0.01
    clip: float = 1.0
    augment: bool = True
    level_dropout: float = 0.0
    seed: int = 0
    log_every: int = 10
    validate_every: int = 100
    save_every: int = 50

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.rate > 0:
            raise ConfigError("warm-up needs steps >= 1, batch >= 1 and rate > 0")
        if not 0 <= self.level_dropout < 1:
            raise ConfigError(f"warm-up level_dropout is {self.level_dropout}", remedy="at least 0 and less than 1")
        if set(self.shares) - set(KINDS) or min(self.shares.values(), default=0) < 0 or not sum(self.shares.values()):
            raise ConfigError(f"warm-up shares are {self.shares}", remedy=f"whole numbers for {KINDS}, not all zero")


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


def load_clip(store: FeatureStore, item: Utterance, *, with_audio: bool = True, frames: int = 10) -> ClipFeatures:
    """The features of one item: a picture shown for so many frames, or speech with, unless the connector has no branch
    for them, the sound events."""
    if item.kind == "picture":
        return ClipFeatures(visual=store[item.tensor][:1].float().expand(frames, -1, -1))
    audio = store[f"{item.key}.audio"].float() if with_audio else None
    return ClipFeatures(speech=store[item.tensor].float(), audio=audio)


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


def kind_cycle(shares: dict[str, int]) -> list[str]:
    """The order in which kinds take steps: each as often as its share, evenly spread."""
    places = [((turn + 0.5) / count, kind) for kind, count in shares.items() for turn in range(count)]
    return [kind for _, kind in sorted(places)]


def learning_rate(config: WarmupConfig, step: int) -> float:
    """The rate of a step (counted from 0): linear rise, then cosine to a twentieth of the peak."""
    if step < config.rise:
        return config.rate * (step + 1) / config.rise
    progress = min((step - config.rise) / max(config.steps - config.rise, 1), 1.0)
    return config.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def say(
    connector: MultiResolutionCausalQFormer, batch: FeatureBatch, zero_levels: Collection[int] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs ``(B, L, D_llm)`` and the mask of real ones ``(B, L)``; in bfloat16 where that is fast."""
    device = connector.llm_projection.weight.device
    with fast_autocast(device):
        output = connector(**vars(batch.to(device)), zero_levels=zero_levels)
    return output.tokens, output.mask


@torch.inference_mode()
def transcribe(
    connector: MultiResolutionCausalQFormer,
    head: WordHead,
    store: FeatureStore,
    utterances: Sequence[Utterance],
    batch: int = 16,
) -> list[str]:
    """Greedy CTC transcripts, in order; the connector is to be in evaluation mode."""
    with_audio = connector.config.audio_dim is not None
    order = sorted(range(len(utterances)), key=lambda i: (utterances[i].kind, store.shape(utterances[i].tensor)[0]))
    texts = [""] * len(utterances)
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        clips = [load_clip(store, utterances[i], with_audio=with_audio) for i in group]
        outputs, mask = say(connector, collate(clips))
        for index, text in zip(group, head.decode(head(outputs), mask)):
            texts[index] = text
    return texts


@torch.inference_mode()
def name_all(
    connector: MultiResolutionCausalQFormer,
    head: WordHead,
    store: FeatureStore,
    items: Sequence[Utterance],
    names: Sequence[str],
    batch: int = 16,
) -> list[str]:
    """For each sound or picture (all of one kind), which of ``names`` fits its outputs best."""
    candidates = {name: columns for name in names if (columns := head.columns_of(name)) is not None}
    with_audio = connector.config.audio_dim is not None
    found: list[str] = []
    for start in range(0, len(items), batch):
        clips = [load_clip(store, item, with_audio=with_audio) for item in items[start : start + batch]]
        found += best_names(
            head,
            *say(connector, collate(clips)),
            candidates,
            connector.config.tokens_for(1),
            seen=items[0].kind == "picture",
        )
    return found


class Warmup:
    """One run: connector, optimiser and their state on disk.

    Args:
        connector: trained in place.
        head: scores its outputs; stays as it is.
        store: features.
        train: utterances; those with tokens outside the head's vocabulary, without features, or with more tokens than
            the connector has outputs are left out and counted in ``skipped``. One whose own moving pictures have no
            features is speech without them, counted in ``without_sight``.
        config: see :class:`WarmupConfig`.
        out: folder for checkpoints and ``metrics.jsonl``.
        device: where to train.
    """

    def __init__(
        self,
        connector: MultiResolutionCausalQFormer,
        head: WordHead,
        store: FeatureStore,
        train: Sequence[Utterance],
        config: WarmupConfig,
        out: Path,
        device: torch.device | str = "cpu",
    ) -> None:
        self.connector, self.head = connector.to(device), head.to(device)
        self.store, self.config, self.out, self.device = store, config, out, torch.device(device)
        avoid_cudnn_attention(self.device)
        self.step = 0
        self.train_set: list[tuple[Utterance, tuple[int, ...]]] = []
        self.lengths: list[int] = []
        self.per_frame = connector.config.tokens_for(1)
        self.without_sight = 0
        wanted = {part for kind, share in config.shares.items() if share for part in kind.split("+")}
        for utterance in train:
            columns = head.columns_of(utterance.text)
            picture = utterance.kind == "picture"
            missing = utterance.tensor not in store or not (picture or self._has_events(utterance))
            if columns is None or missing or utterance.kind not in wanted:
                continue
            length = max(PICTURE_FRAMES) * STEPS_PER_FRAME if picture else store.shape(utterance.tensor)[0]
            if self._frames_needed(columns) <= length // STEPS_PER_FRAME:
                if utterance.sight and f"{utterance.sight}.visual" not in store:
                    self.without_sight += 1
                    utterance = replace(utterance, sight="", seen="")
                self.train_set.append((utterance, columns))
                self.lengths.append(length)
        self.skipped = len(train) - len(self.train_set)
        if not self.train_set:
            raise ConfigError("warm-up has no utterance with features", remedy="encode the data set first")
        self.pictures = [index for index, (item, _) in enumerate(self.train_set) if item.kind == "picture"]
        self.parameters = list(connector.parameters())
        groups = [
            {"params": [p for p in self.parameters if p.ndim >= 2], "weight_decay": config.decay},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98))
        out.mkdir(parents=True, exist_ok=True)

    def _has_events(self, utterance: Utterance) -> bool:
        """Whether a sound has what the branch of sound events reads, if there is one."""
        return self.connector.config.audio_dim is None or f"{utterance.key}.audio" in self.store

    def _frames_needed(self, columns: Sequence[int]) -> int:
        """Frames of the time axis that have outputs enough for a text."""
        repeats = sum(a == b for a, b in pairwise(columns))
        outputs = (len(columns) + repeats) / 0.88  # the pace may be raised by 12 %
        return math.ceil(outputs / self.per_frame)

    def plan(self) -> Iterator[tuple[str, list[int]]]:
        """Kind and indices of the items of every step from the present one on: kinds in turn, each in its own endless
        order. A kind with pictures beside takes speech (or sounds) in order, and a picture by chance with each."""
        members = {
            kind: [i for i, (item, _) in enumerate(self.train_set) if item.kind == kind.split("+")[0]] for kind in KINDS
        }
        usable = [kind for kind in KINDS if members[kind] and (self.pictures or "+" not in kind)]
        cycle = kind_cycle({kind: share for kind, share in self.config.shares.items() if kind in usable})
        rounds, place = divmod(self.step, len(cycle))
        streams = {}
        for kind in sorted(set(cycle)):
            done = rounds * cycle.count(kind) + cycle[:place].count(kind)
            lengths = [self.lengths[i] for i in members[kind]]
            size, seed = min(self.config.batch, len(lengths)), self.config.seed + KINDS.index(kind)
            streams[kind] = batches(lengths, size, seed, done)
        while True:
            for kind in cycle[place:]:
                yield kind, [members[kind][i] for i in next(streams[kind])]
            place = 0

    def assemble(self, kind: str, indices: Sequence[int], rng: random.Random) -> tuple[FeatureBatch, list[Words]]:
        """A step's features on the device, varied where the configuration says so, and what each item is to say."""
        items, names = zip(*(self.train_set[index] for index in indices))
        said = {"speech": "said", "sound": "heard", "picture": "seen"}[kind.split("+")[0]]
        words = [Words(**{said: columns}) for columns in names]
        if kind == "picture":
            shown = rng.choice(PICTURE_FRAMES)
            frames = [max(shown, self._frames_needed(columns)) for columns in names]
            return FeatureBatch.of(visual=self._sights([item.key for item in items], frames, rng)), words
        speech, audio, frames = self._sounds(items, rng)
        if "+" not in kind:
            return FeatureBatch.of(speech, audio, sound_frames=frames), words
        keys: list[str] = []
        for place, item in enumerate(items):  # the speaker's own moving pictures, or else a picture that is drawn
            other, name = self.train_set[rng.choice(self.pictures)]
            keys.append(item.sight or other.key)
            words[place] = replace(words[place], seen=self.head.columns_of(item.seen) or () if item.sight else name)
        return FeatureBatch.of(speech, audio, self._sights(keys, frames, rng), sound_frames=frames), words

    def _sounds(
        self, items: Sequence[Utterance], rng: random.Random
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[int]]:
        """Speech features, sound events and frames of several sounds."""
        speech = self.store.rows([f"{item.key}.speech" for item in items])
        audio = None
        if self.connector.config.audio_dim is not None:
            audio = self.store.rows([f"{item.key}.audio" for item in items])
        views = []
        for item in items:
            steps = self.store.shape(f"{item.key}.speech")[0]
            rows = 0 if audio is None else self.store.shape(f"{item.key}.audio")[0]
            width = speech[0].shape[1]
            views.append(varied_view(steps, rows, width, rng) if self.config.augment else plain_view(steps, rows))
        return *read_sounds(speech, audio, views), [view.frames for view in views]

    def _sights(
        self, keys: Sequence[str], frames: Sequence[int], rng: random.Random
    ) -> tuple[torch.Tensor, Sequence[int]]:
        """Visual tokens ``(B, T, V, D)``: pictures are repeated, moving ones stretched, to so many frames."""
        names = [f"{key}.visual" for key in keys]
        rows, starts = self.store.rows(names)
        index = np.zeros((len(keys), max(frames)), np.int64)
        kept = np.ones((len(keys), 1, rows.shape[1], 1), bool)
        for place, (name, start, count) in enumerate(zip(names, starts, frames)):
            last = self.store.shape(name)[0] - 1
            index[place, :count] = start + np.rint(np.linspace(0, last, count)).astype(np.int64)
            if self.config.augment:
                kept[place, 0, :, 0] = hidden_tokens(rows.shape[1], rng)
        visual = rows[torch.from_numpy(index).to(rows.device)].float()
        return visual * torch.from_numpy(kept).to(rows.device), frames

    def train_step(self, kind: str, indices: Sequence[int]) -> float:
        """One optimiser step on the given items; returns the loss per output.

        Raises:
            CheckpointError: the loss is not finite; names the items.
        """
        rng = random.Random(f"{self.config.seed}/step/{self.step}")
        torch.manual_seed(rng.getrandbits(40))
        self.connector.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        batch, words = self.assemble(kind, indices, rng)
        levels = len(self.connector.config.levels)
        alone = levels > 1 and rng.random() < self.config.level_dropout
        outputs, mask = say(self.connector, batch, (rng.randrange(levels),) if alone else ())
        losses = word_losses(self.head, outputs, mask, words, self.per_frame)
        loss = losses.sum() / mask.sum()
        if not torch.isfinite(loss):
            names = [self.train_set[index][0].key for index in indices]
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

    def name(self, items: Sequence[Utterance]) -> list[str]:
        """The training names of one kind that fit best."""
        self.connector.eval()
        names = {item.text for item, _ in self.train_set if item.kind == items[0].kind}
        return name_all(self.connector, self.head, self.store, items, sorted(names))

    def save(self) -> None:
        """Write weights, optimiser and step; an interruption leaves the previous save usable."""
        weights = {f"connector.{name}": value for name, value in self.connector.state_dict().items()}
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
        plan = self.plan()
        losses: list[float] = []
        began = time.monotonic()
        while self.step < config.steps:
            losses.append(self.train_step(*next(plan)))
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
