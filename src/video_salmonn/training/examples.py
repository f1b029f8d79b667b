"""From manifest items to training examples: features of frozen encoders, by store or made as they are needed."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, read_manifest
from video_salmonn.data.media_keys import MediaKeys
from video_salmonn.data.mixing import SPOKEN_CAPTION, Mixed, MixingConfig, Pools, mix, unmixed
from video_salmonn.errors import ConfigError, EmptyMediaError, ManifestError, MediaError
from video_salmonn.inference.media_store import MediaStore
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.training.variation import Variation, draw, shown_frames


@dataclass(frozen=True)
class Example:
    """One training example.

    Attributes:
        id: of the item.
        features: of its one media item, or None for text alone.
        conversation: turns.
        weight: multiplies its loss.
        rule: how it was mixed.
        task: of the item.
        words: all that is ``said``, ``seen`` and ``heard``, where the item states it.
        variation: how its features are to be varied; None: not at all.
    """

    id: str
    features: MediaFeatures | None
    conversation: list[dict[str, str]]
    weight: float
    rule: str
    task: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    variation: Variation | None = None

    @property
    def frames(self) -> tuple[int, int]:
        """Frames of 0.5 s of picture and of sound, as they will be."""
        return (0, 0) if self.features is None else shown_frames(self.features, self.variation)


class FeatureSource(Protocol):
    """Gives the features of a stream of an item."""

    def sight(self, item: Item) -> MediaFeatures:
        """Visual features of the item."""
        ...

    def sound(self, item: Item) -> MediaFeatures:
        """Sound features of the item."""
        ...

    def frames(self, item: Item) -> int:
        """Frames of 0.5 s of the item's media, 0 where that is not known beforehand."""
        ...


class StoredFeatures:
    """Features that were encoded before: needs neither media libraries nor encoders.

    Args:
        store: the feature store.
        picture_frames: frames a picture without sound is shown for.
        steps_per_frame: A.
    """

    def __init__(self, store: FeatureStore, picture_frames: int, steps_per_frame: int = 25) -> None:
        self.store = store
        self.keys = MediaKeys(store.folder)
        self.picture_frames = picture_frames
        self.steps_per_frame = steps_per_frame

    def _get(self, item: Item, name: str) -> torch.Tensor:
        if name not in self.store:
            raise MediaError(item.id, f"no features {name} in the store", remedy="encode the data set first")
        return self.store[name]

    def sight(self, item: Item) -> MediaFeatures:
        """Visual tokens; slides are put together from their pictures."""
        root = item.root
        recipe: Any = item.media.get("video", item.media.get("image"))
        if isinstance(recipe, dict):
            frames = round(recipe["length"] * 2)
            slides = sorted(recipe["slides"], key=lambda slide: slide["at"])
            rows = []
            for index, slide in enumerate(slides):
                end = slides[index + 1]["at"] if index + 1 < len(slides) else recipe["length"]
                key = self.keys.key(slide["file"], root)
                shown = round(end * 2) - round(slide["at"] * 2)
                rows.append(self._get(item, f"{key}.visual")[:1].expand(shown, -1, -1))
            return MediaFeatures(visual=torch.cat(rows)[:frames])
        visual = self._get(item, f"{self.keys.key(recipe, root)}.visual")
        return MediaFeatures(visual=visual, still_frames=self.picture_frames if "image" in item.media else 0)

    def names(self, item: Item) -> list[str]:
        """Names of the tensors that an item is made of."""
        root, found = item.root, []
        if item.media.get("audio") is not None:
            key = self.keys.key(item.media["audio"], root)
            found += [f"{key}.speech", f"{key}.audio"]
        recipe: Any = item.media.get("video", item.media.get("image"))
        files = [slide["file"] for slide in recipe["slides"]] if isinstance(recipe, dict) else [recipe]
        return found + [f"{self.keys.key(file, root)}.visual" for file in files if file is not None]

    def frames(self, item: Item) -> int:
        """Frames of the item's sound, or else of its pictures; read from the store's headers."""
        root = item.root
        if item.media.get("audio") is not None:
            name = f"{self.keys.key(item.media['audio'], root)}.audio"
            return self.store.shape(name)[0] if name in self.store else 0
        recipe: Any = item.media.get("video")
        if isinstance(recipe, dict):
            return round(recipe["length"] * 2)
        if recipe is not None:
            name = f"{self.keys.key(recipe, root)}.visual"
            return self.store.shape(name)[0] if name in self.store else 0
        return self.picture_frames if "image" in item.media else 0

    def sound(self, item: Item) -> MediaFeatures:
        """Speech and sound-event features, the latter repeated over their frame's steps."""
        key = self.keys.key(item.media["audio"], item.root)
        speech, audio = self._get(item, f"{key}.speech"), self._get(item, f"{key}.audio")
        steps = audio.repeat_interleave(self.steps_per_frame, dim=0)
        return MediaFeatures(speech=speech, audio=steps, sound_frames=audio.shape[0])


class LiveFeatures:
    """Features made as they are needed, and kept by the media store's cache.

    Args:
        media: decodes and encodes.
    """

    def __init__(self, media: MediaStore) -> None:
        self.media = media

    def _get(self, item: Item, name: str, **options: Any) -> MediaFeatures:
        path = item.root / str(item.media[name])
        span = {k: item.media[k] for k in ("start", "end") if item.media.get(k) is not None}
        if "\0" in str(path):
            raise MediaError(repr(str(path)), "is no file name", remedy="correct the manifest")
        try:
            return self.media.get(str(path), **options, **span).features
        except OSError as error:  # whatever keeps a file from being opened costs its item, not the run
            reason = f"cannot be read ({error.strerror or error})"
            raise MediaError(str(path), reason, remedy="check the path and its permissions") from error

    def frames(self, item: Item) -> int:
        """0: known only once it is decoded."""
        return 0

    def sight(self, item: Item) -> MediaFeatures:
        """Visual features of the item's video or picture."""
        return self._get(item, "video" if "video" in item.media else "image", use_audio=False)

    def sound(self, item: Item) -> MediaFeatures:
        """Sound features of the item's sound file, or of its video's own track."""
        return self._get(item, "audio", use_video=False)


def read_items(paths: Sequence[str]) -> list[Item]:
    """Items of several manifests; a video without a stated sound brings its own.

    Raises:
        ManifestError: a manifest has a bad line, or nothing at all.
    """
    items: list[Item] = []
    for path in paths:
        for item in read_manifest(Path(path)):
            media = dict(item.media)
            if isinstance(media.get("video"), str) and "audio" not in media:
                media["audio"] = media["video"]
            items.append(replace(item, media=media))
    if not items:
        raise ManifestError(f"no items in {', '.join(paths)}", remedy="check data.train")
    return items


def items_digest(items: Iterable[Item]) -> str:
    """A digest of what is trained on, in its order; where the manifests lie does not count."""
    hasher = hashlib.sha256()
    for item in items:
        row = [item.id, item.media, item.conversation, item.task, item.weight, item.extra]
        hasher.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return hasher.hexdigest()


def repeated(items: Sequence[Item], repeat: Mapping[str, float], seed: int) -> list[Item]:
    """Items as often as ``data.repeat`` says, in their order.

    Args:
        items: of the manifests.
        repeat: how often (0.3: three in ten) by task, or by the beginning of ids where a key has a slash, as in
            ``transcribe/vocabulary``; the longest such beginning decides, then the task.
        seed: decides which of the items are left out, or in once more.

    Raises:
        ConfigError: it names a task or beginning that no item has, or leaves nothing.
    """
    tasks, names = {item.task for item in items}, [item.id for item in items]
    beginnings = sorted((key for key in repeat if "/" in key), key=len, reverse=True)
    unknown = sorted(key for key in repeat if key not in tasks and not ("/" in key and _any_begins(names, key)))
    if unknown:
        raise ConfigError(
            f"recipe: data.repeat names {unknown}, which no item has",
            remedy="name tasks of data.train, or beginnings of ids with a slash",
        )
    chosen: list[Item] = []
    for item in items:
        key = next((key for key in beginnings if item.id.startswith(key)), item.task)
        times = repeat.get(key, 1.0)
        whole = int(times)
        extra = random.Random(f"{seed}/repeat/{item.id}").random() < times - whole
        chosen += [item] * (whole + extra)
    if not chosen:
        raise ConfigError("recipe: data.repeat leaves no item", remedy="give some task a number above 0")
    return chosen


def _any_begins(names: Sequence[str], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in names)


TRIES = 4
"""Mixtures tried before an item stays as it is, where what it borrows cannot be used."""


class _BorrowedError(MediaError):
    """Media of another item, borrowed for a mixture, cannot be used."""


class ExampleMaker:
    """Makes example number ``index`` of an epoch, always the same for the same seed.

    Args:
        items: of the manifests.
        source: of features.
        mixing: rules.
        seed: of everything random.
        augment: vary the features (:mod:`video_salmonn.training.variation`).
    """

    def __init__(
        self,
        items: Sequence[Item],
        source: FeatureSource,
        mixing: MixingConfig,
        seed: int,
        *,
        augment: bool = False,
    ) -> None:
        self.items = list(items)
        self.source = source
        self.mixing = mixing
        self.seed = seed
        self.augment = augment
        self.pools = Pools.of(self.items)
        self.notes = self.pools.check(self.items, mixing)
        """What mixing cannot do with these items."""

    @cached_property
    def digest(self) -> str:
        """Tells these items from others (:func:`items_digest`)."""
        return items_digest(self.items)

    def make(self, index: int, epoch: int) -> Example:
        """One example. Raises MediaError where its own media cannot be used.

        What is borrowed and cannot be used is replaced, so that a bad item costs one item.
        """
        item = self.items[index]
        rng = random.Random(f"{self.seed}/{epoch}/{index}")
        example: Example | None = None
        for _ in range(TRIES):
            mixed = mix(item, self.pools, self.mixing, rng)
            try:
                example = self._with_what_is_there(item, mixed)
                break
            except _BorrowedError:
                continue
        if example is None:
            example = self._with_what_is_there(item, unmixed(item, self.pools, self.mixing, self.seed))
        if not self.augment or example.features is None:
            return example
        return replace(example, variation=draw(example.features, rng))

    def plain(self, index: int) -> Example:
        """The item as it is, without mixing (validation)."""
        item = self.items[index]
        return self._with_what_is_there(item, unmixed(item, self.pools, self.mixing, self.seed))

    def lengths(self) -> list[float]:
        """About how many tokens each item takes."""
        words = (sum(len(turn["content"]) for turn in item.conversation) for item in self.items)
        return [6 * 0.5 * self.source.frames(item) + characters / 4 for item, characters in zip(self.items, words)]

    def _with_what_is_there(self, item: Item, mixed: Mixed) -> Example:
        """A video that was thought to bring its own sound and has none is shown alone, with its own question."""
        try:
            return self.assemble(item, mixed)
        except EmptyMediaError:
            own = "video" in item.media and item.media.get("audio") == item.media["video"]
            if mixed.sound is not item or not own or item.answer == SPOKEN_CAPTION:
                raise
            alone = unmixed(item, self.pools, self.mixing, self.seed).conversation
            return self.assemble(item, Mixed(mixed.sight, None, alone, "no sound track"))

    def _features(self, kind: str, of: Item | None, item: Item) -> MediaFeatures | None:
        if of is None:
            return None
        try:
            return self.source.sight(of) if kind == "sight" else self.source.sound(of)
        except MediaError as error:
            if of is item:
                raise
            raise _BorrowedError(error.source, f"borrowed for {item.id}: {error.reason}") from error

    def assemble(self, item: Item, mixed: Mixed) -> Example:
        """Join the features that a mixed example is made of."""
        sight, sound = self._features("sight", mixed.sight, item), self._features("sound", mixed.sound, item)
        features = sight
        if sound is not None:
            features = sound
            if sight is not None:
                still = sound.sound_frames if sight.still_frames else 0
                features = replace(sound, visual=sight.visual, still_frames=still)
        return Example(
            item.id, features, mixed.conversation, item.weight, mixed.rule, item.task, item.extra.get("words", {})
        )


class BatchPlan:
    """Which items an optimiser step takes: a pure function, so a resumed run goes on at the same sample.

    An epoch is a permutation; its last batch is filled up from the next epoch's.

    Args:
        count: items.
        batch: items a step.
        seed: of the shuffles.
        lengths: of the items, in any unit, to put items of like length into one batch; None not to.
        group: batches in a stretch that is sorted by length before it is cut.
    """

    def __init__(
        self, count: int, batch: int, seed: int, lengths: Sequence[float] | None = None, group: int = 0
    ) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self.lengths, self.group = (lengths, group) if group else (None, 0)
        self._orders: dict[int, list[int]] = {}

    def __call__(self, step: int) -> list[tuple[int, int]]:
        """(epoch, item index) of each place in a step counted from 0; a step may reach into the next epoch."""
        first = step * self.batch
        places = [divmod(position, self.count) for position in range(first, first + self.batch)]
        return [(epoch, self._order(epoch)[place]) for epoch, place in places]

    def _order(self, epoch: int) -> list[int]:
        if epoch not in self._orders:
            if len(self._orders) > 1:
                self._orders.pop(min(self._orders))
            rng = random.Random(f"{self.seed}/order/{epoch}")
            order = list(range(self.count))
            rng.shuffle(order)
            self._orders[epoch] = order if self.lengths is None else self._grouped(order, epoch, self.lengths, rng)
        return self._orders[epoch]

    def _grouped(self, order: list[int], epoch: int, lengths: Sequence[float], rng: random.Random) -> list[int]:
        """The order in batches of like length; batches begin where steps do, also in the middle of an epoch."""
        head = -epoch * self.count % self.batch
        stretch = self.batch * self.group
        batches: list[list[int]] = []
        for start in range(head, self.count, stretch):
            near = sorted(order[start : start + stretch], key=lambda index: lengths[index])
            batches += [near[i : i + self.batch] for i in range(0, len(near), self.batch)]
        last = [batches.pop()] if batches and len(batches[-1]) < self.batch else []
        rng.shuffle(batches)
        return order[:head] + [index for batch in batches + last for index in batch]
