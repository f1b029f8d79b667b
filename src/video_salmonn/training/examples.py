"""From manifest items to training examples: what is seen and heard, what is asked, and how features are varied."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.data.mixing import SPOKEN_CAPTION, Mixed, MixingConfig, Pools, mix, unmixed
from video_salmonn.errors import EmptyMediaError, MediaError
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.training.imagining import Imaginer
from video_salmonn.training.items import items_digest
from video_salmonn.training.sources import FeatureSource
from video_salmonn.training.variation import Variation, draw, shown_frames

Span = tuple[float, float, str]
"""From, to (seconds), name."""


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
        words: all that is ``said``, ``seen`` and ``heard``, where the items it is made of state it.
        spans: what is ``seen`` and ``heard`` for a part of the time, and when each word is ``said``: (from, to, name),
            in seconds.
        variation: how its features are to be varied; None: not at all.
    """

    id: str
    features: MediaFeatures | None
    conversation: list[dict[str, str]]
    weight: float
    rule: str
    task: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    spans: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    variation: Variation | None = None

    @property
    def frames(self) -> tuple[int, int]:
        """Frames of 0.5 s of picture and of sound, as they will be."""
        return (0, 0) if self.features is None else shown_frames(self.features, self.variation)


TRIES = 4
"""Mixtures tried before an item stays as it is, where what it borrows cannot be used."""


class _BorrowedError(MediaError):
    """Media of another item, borrowed for a mixture, cannot be used."""


@dataclass(eq=False)
class ExampleMaker:
    """Makes example number ``index`` of an epoch, always the same for the same seed.

    Attributes:
        items: of the manifests.
        source: of features.
        mixing: rules.
        seed: of everything random.
        augment: vary the features (:mod:`video_salmonn.training.variation`).
        picture_frames, still_tokens: see there.
        imaginer: makes imagined pictures anew; None takes them as they are stored.
    """

    items: Sequence[Item]
    source: FeatureSource
    mixing: MixingConfig
    seed: int
    augment: bool = False
    picture_frames: Sequence[int] = ()
    still_tokens: tuple[int, int] = (0, 0)
    imaginer: Imaginer | None = None

    @cached_property
    def pools(self) -> Pools:
        """What mixing borrows from. Raises ConfigError where an answer would always be the same."""
        pools = Pools.of(self.items)
        pools.check(self.items, self.mixing)
        return pools

    @property
    def notes(self) -> list[str]:
        """What mixing cannot do with these items."""
        return self.pools.check(self.items, self.mixing)

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
        if self.imaginer is not None and example.features is not None:
            example = replace(example, features=self.imaginer(item, example.features, rng))
        if not self.augment or example.features is None:
            return example
        return replace(example, variation=draw(example.features, rng, self.picture_frames, self.still_tokens))

    def plain(self, index: int) -> Example:
        """The item as it is, without mixing (validation)."""
        item = self.items[index]
        return self._with_what_is_there(item, unmixed(item, self.pools, self.mixing, self.seed))

    def lengths(self) -> list[float]:
        """About how many tokens each item takes; negative for pictures of which a few visual tokens are taken, so that
        what is sorted by length has these together."""
        words = (sum(len(turn["content"]) for turn in item.conversation) for item in self.items)
        tokens = (6 * 0.5 * self.source.frames(item) + length / 4 for item, length in zip(self.items, words))
        few = self.augment and self.still_tokens[0] > 0
        alone = (few and "image" in item.media and item.media.get("audio") is None for item in self.items)
        return [-number if apart else number for number, apart in zip(tokens, alone)]

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
        words = _stated("words", mixed.sight, "seen") | _stated("words", mixed.sound, "said", "heard", "voice")
        spans = _stated("spans", mixed.sight, "seen") | _stated("spans", mixed.sound, "said", "heard")
        return Example(item.id, features, mixed.conversation, item.weight, mixed.rule, item.task, words, spans)


def _stated(field: str, item: Item | None, *parts: str) -> dict[str, Any]:
    """Some parts of what an item states in a field."""
    stated: Mapping[str, Any] = {} if item is None else item.extra.get(field, {})
    return {part: stated[part] for part in parts if stated.get(part)}
