"""Build the embedded manifests: ``train.jsonl``, ``dev.jsonl``, ``test.jsonl`` and a table of what is in them."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from video_salmonn.data.embedded.compose import COMPOSERS, Stock
from video_salmonn.data.embedded.encode import Job
from video_salmonn.data.embedded.sources import UNSEEN_CLASSES, Source, read_sentences, read_sources
from video_salmonn.data.manifest import Item, write_manifest

SPLITS = ("train", "dev", "test")
SHARE = {"train": 1.0, "dev": 0.06, "test": 0.15}
"""Composed items of a split, as a share of the training split's number."""


def _stock(split: str, group: str, sources: list[Source], sentences: list[str], seed: int) -> Stock:
    by_kind: dict[str, list[Source]] = {}
    for source in sources:
        if source.split == split and not (source.label in UNSEEN_CLASSES and group != "pictures"):
            by_kind.setdefault(source.kind, []).append(source)
    rng = random.Random(f"{seed}/{split}/{group}")
    return Stock(split, by_kind, sentences if split == "train" else [], rng)


def build_items(folder: Path, out: Path, seed: int = 0, scale: float = 1.0) -> Iterator[Item]:
    """All items of all splits. The same arguments give the same items.

    Args:
        folder: the data folder; see :func:`video_salmonn.data.embedded.sources.read_sources`.
        out: where the manifests will stand.
        seed: decides every choice.
        scale: multiplies the number of composed items.
    """
    sources = read_sources(folder, out)
    held_out = {source.text for source in sources if source.kind == "speech" and source.split != "train"}
    sentences = read_sentences(folder, held_out)
    for split in SPLITS:
        for group, (compose, count) in COMPOSERS.items():
            wanted = round(count * SHARE[split] * scale)
            yield from compose(_stock(split, group, sources, sentences, seed), wanted)


def build(folder: Path, out: Path, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    """Write the manifests into ``out`` (created); returns the table, which is also written as ``build.json``."""
    out.mkdir(parents=True, exist_ok=True)
    by_split: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for item in build_items(folder, out, seed, scale):
        by_split[item.split].append(item)
    table: dict[str, Any] = {"seed": seed, "scale": scale, "items": {}, "tasks": {}}
    for split, items in by_split.items():
        table["items"][split] = write_manifest(out / f"{split}.jsonl", items)
        table["tasks"][split] = dict(sorted(Counter(item.task for item in items).items()))
    (out / "build.json").write_text(json.dumps(table, indent=2) + "\n")
    return table


def jobs(items: Iterable[Item]) -> Iterator[Job]:
    """Everything that must be encoded for ``items``: each sound once, each picture or video file once."""
    seen: set[str] = set()
    for item in items:
        wanted: list[Job] = []
        if "audio" in item.media:
            wanted.append(Job("sound", item.media["audio"]))
        for stream in ("image", "video"):
            value = item.media.get(stream)
            if isinstance(value, dict):
                wanted += [Job("visual", slide["file"]) for slide in value["slides"]]
            elif value is not None:
                wanted.append(Job("visual", value))
        for job in wanted:
            name = job.kind + json.dumps(job.recipe, sort_keys=True)
            if name not in seen:
                seen.add(name)
                yield job
