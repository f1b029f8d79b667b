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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from video_salmonn.connector import MultiResolutionCausalQFormer
from video_salmonn.data.feature_batch import STEPS_PER_FRAME, ClipFeatures, augment_picture, augment_sound, collate
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
        augment: vary the features (:func:`video_salmonn.data.feature_batch.augment_sound`).
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
    seed: int = 0
    log_every: int = 10
    validate_every: int = 100
    save_every: int = 50

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.rate > 0:
            raise ConfigError("warm-up needs steps >= 1, batch >= 1 and rate > 0")
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


def connect(
    connector: MultiResolutionCausalQFormer, clips: Sequence[ClipFeatures]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips -> outputs ``(B, L, D_llm)`` and the mask of real ones ``(B, L)``; in bfloat16 where that is fast."""
    device = connector.llm_projection.weight.device
    batch = collate(clips).to(device)
    with fast_autocast(device):
        output = connector(**vars(batch))
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
        outputs, mask = connect(connector, clips)
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
            *connect(connector, clips),
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
            the connector has outputs are left out and counted in ``skipped``.
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
        wanted = {part for kind, share in config.shares.items() if share for part in kind.split("+")}
        for utterance in train:
            columns = head.columns_of(utterance.text)
            if columns is None or utterance.tensor not in store or utterance.kind not in wanted:
                continue
            picture = utterance.kind == "picture"
            length = max(PICTURE_FRAMES) * STEPS_PER_FRAME if picture else store.shape(utterance.tensor)[0]
            if self._frames_needed(columns) <= length // STEPS_PER_FRAME:
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

    def _clip(self, kind: str, index: int, rng: random.Random, frames: int) -> tuple[ClipFeatures, Words]:
        """An item's features, varied where the configuration says so, and what they are to say."""
        item, columns = self.train_set[index]
        with_audio = self.connector.config.audio_dim is not None
        shown = max(frames, self._frames_needed(columns)) if item.kind == "picture" else 0
        clip = load_clip(self.store, item, with_audio=with_audio, frames=shown)
        words = {"speech": Words(said=columns), "sound": Words(heard=columns), "picture": Words(seen=columns)}[
            item.kind
        ]
        if self.config.augment:
            clip = augment_picture(clip, rng) if item.kind == "picture" else augment_sound(clip, rng)
        return self._beside(item, clip, words, rng) if "+" in kind else (clip, words)

    def _beside(
        self, item: Utterance, clip: ClipFeatures, words: Words, rng: random.Random
    ) -> tuple[ClipFeatures, Words]:
        """Speech or a sound with the speaker's own moving pictures, or else with a picture that is drawn."""
        if item.sight:
            moving = self.store[f"{item.sight}.visual"].float()
            visual = moving[torch.linspace(0, len(moving) - 1, clip.frames).round().long()]
            return replace(clip, visual=visual), replace(words, seen=self.head.columns_of(item.seen) or ())
        other, name = self.train_set[rng.choice(self.pictures)]
        picture = load_clip(self.store, other, frames=clip.frames)
        if self.config.augment:
            picture = augment_picture(picture, rng)
        return replace(clip, visual=picture.visual), replace(words, seen=name)

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
        frames = rng.choice(PICTURE_FRAMES)
        made = [self._clip(kind, index, rng, frames) for index in indices]
        outputs, mask = connect(self.connector, [clip for clip, _ in made])
        losses = word_losses(self.head, outputs, mask, [words for _, words in made], self.per_frame)
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
