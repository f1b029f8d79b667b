"""What is trained on: the items of the manifests, as often as a recipe wants each."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from video_salmonn.data.manifest import Item, read_manifest
from video_salmonn.data.media_recipes import is_imagined
from video_salmonn.errors import ConfigError, ManifestError
from video_salmonn.training.recipe import Recipe


def read_items(paths: Sequence[str]) -> list[Item]:
    """Items of several manifests; a video without a stated sound brings its own.

    Raises:
        ManifestError: a manifest has a bad line, or there is no item at all.
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


def as_often(items: Sequence[Item], recipe: Recipe) -> list[Item]:
    """The items as often as a recipe's ``data.shares`` or ``data.repeat`` wants each. Raises ConfigError for none."""
    if not items:
        raise ConfigError("recipe: no item of data.train states words", remedy="set loss=answers, or add words")
    if recipe.data.shares:
        return shared(items, recipe.data.shares, recipe.seed)
    return repeated(items, recipe.data.repeat, recipe.seed) if recipe.data.repeat else list(items)


def repeated(items: Sequence[Item], repeat: Mapping[str, float], seed: int) -> list[Item]:
    """Items as often as ``data.repeat`` says, in their order.

    Args:
        items: of the manifests.
        repeat: how often (0.3: three in ten) by task, or by the beginning of ids where a key has a slash, as in
            ``transcribe/vocabulary``; the longest such beginning decides, then the task.
        seed: decides which of the items are left out, or in once more.

    Raises:
        ConfigError: it gives a number above 0 to a task or beginning that no item has, or leaves nothing.
    """
    chosen: list[Item] = []
    for item, key in zip(items, _keys(items, repeat, "data.repeat")):
        times = repeat.get(key, 1.0)
        whole = int(times)
        extra = random.Random(f"{seed}/repeat/{item.id}").random() < times - whole
        chosen += [item] * (whole + extra)
    if not chosen:
        raise ConfigError("recipe: data.repeat leaves no item", remedy="give some task a number above 0")
    return chosen


def shared(items: Sequence[Item], shares: Mapping[str, float], seed: int) -> list[Item]:
    """Items so often that an epoch of as many consists of tasks as ``data.shares`` says; others are left out.

    Args:
        items: of the manifests.
        shares: by task, or by the beginning of ids, as for :func:`repeated`.
        seed: see there.

    Raises:
        ConfigError: a share above 0 is of a task or beginning that no item has, or no item is left.
    """
    shares = {key: share for key, share in shares.items() if share}
    keys = _keys(items, shares, "data.shares")
    counts = Counter(key for key in keys if key in shares)
    whole, length = sum(shares[key] for key in counts), sum(counts.values())
    times = {key: shares[key] / whole * length / count for key, count in counts.items()}
    return repeated([item for item, key in zip(items, keys) if key in times], times, seed)


def _keys(items: Sequence[Item], named: Mapping[str, float], where: str) -> list[str]:
    """What each item counts as: the longest of the named beginnings of ids that fits it, else its task."""
    beginnings = sorted((key for key in named if "/" in key), key=len, reverse=True)
    found = [next((key for key in beginnings if item.id.startswith(key)), item.task) for item in items]
    unknown = sorted(
        key
        for key, number in named.items()
        if number and key not in found and not ("/" in key and any(item.id.startswith(key) for item in items))
    )
    if unknown:
        raise ConfigError(
            f"recipe: {where} names {unknown}, which no item has",
            remedy="name tasks of data.train, or beginnings of ids with a slash, or give 0 to what is not there",
        )
    return found


def word_items(items: Iterable[Item], *, sight: bool = True, events: bool = True) -> list[Item]:
    """Every sound and picture whose words items state (``words``), once each, for the loss ``words``.

    A sound alone is of the task ``transcribe`` where something is said and ``sound`` where something is heard, a
    picture alone of ``picture``. A talking head is there twice: as sound alone, and with its own moving pictures. What
    is put together of several of them is left out: mixing puts them together anew; but items that state when each is
    seen or heard (``spans``, other than of what is said) are of the task ``series``. The question is the part of the
    words that is asked for, the answer its text.

    Args:
        items: of manifests.
        sight: whether the connector reads pictures; else those of talking heads and pictures alone are left out.
        events: whether it reads sound events; else sounds that are not speech are left out.
    """
    found: dict[str, Item] = {}

    def add(item: Item, task: str, part: str, media: dict[str, Any], name: str = "") -> None:
        stated, spans = item.extra.get("words", {}), item.extra.get("spans", {})
        words = {p: text for p, text in stated.items() if text and (media.get("audio") or p == "seen")}
        series = part != "said" and part in spans
        answer = ", then ".join(name for *_, name in spans[part]) if series else words[part]
        turns = [{"role": "user", "content": part}, {"role": "assistant", "content": answer}]
        key = json.dumps([task, media, str(item.root)], sort_keys=True)
        extra = {"words": words} | ({"spans": spans} if spans else {})
        made = replace(item, id=item.id + name, media=media, task=task, conversation=turns, extra=extra)
        found.setdefault(key, made)

    for item in items:
        words, seen = item.extra.get("words", {}), item.media.get("image", item.media.get("video"))
        if part := next((part for part in item.extra.get("spans", {}) if part != "said"), None):
            if sight if part == "seen" else events:
                # an imagined picture stands still: what is heard beside it is left out
                add(item, "series", part, {"image": seen} if is_imagined(seen) else item.media)
            continue
        sound = {name: value for name, value in item.media.items() if name not in ("image", "video")}
        if item.media.get("audio") is None:
            if sight and isinstance(item.media.get("image"), str) and words.get("seen"):
                add(item, "picture", "seen", item.media)
        elif seen is None and bool(words.get("said")) != bool(words.get("heard")):  # both: the sound is a mix
            if words.get("said"):
                add(item, "transcribe", "said", sound)
            elif events:
                add(item, "sound", "heard", sound)
        elif isinstance(item.media.get("video"), str) and words.get("said"):
            add(item, "transcribe", "said", sound, "#sound")
            if sight:
                add(item, "transcribe", "said", item.media)
    return list(found.values())
