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
from video_salmonn.data.embedded.wordnet import choose, read_texts
from video_salmonn.data.manifest import Item, write_manifest

Texts = tuple[list[str], list[str]]
"""(sentences, further sentences chosen for their words) for synthetic speech."""
SPLITS = ("train", "dev", "test")
SHARE = {"train": 1.0, "dev": 0.06, "test": 0.15}
"""Composed items of a split, as a share of the training split's number."""


VOCABULARY_WORDS = 60_000
"""Of WordNet's texts, where these are given."""


def _stock(split: str, group: str, sources: list[Source], texts: Texts, seed: int) -> Stock:
    by_kind: dict[str, list[Source]] = {}
    for source in sources:
        if source.split == split and not (source.label in UNSEEN_CLASSES and group != "pictures"):
            by_kind.setdefault(source.kind, []).append(source)
    rng = random.Random(f"{seed}/{split}/{group}")
    sentences, vocabulary = texts if split == "train" else ([], [])
    return Stock(split, by_kind, sentences, rng, vocabulary)


def build_items(
    folder: Path, out: Path, seed: int = 0, scale: float = 1.0, wordnet: Path | None = None
) -> Iterator[Item]:
    """All items of all splits. The same arguments give the same items.

    Args:
        folder: the data folder; see :func:`video_salmonn.data.embedded.sources.read_sources`.
        out: where the manifests will stand.
        seed: decides every choice.
        scale: multiplies the number of composed items.
        wordnet: WordNet's folder, to widen the vocabulary (:mod:`video_salmonn.data.embedded.wordnet`); None without.
    """
    sources = read_sources(folder, out)
    spoken = [source for source in sources if source.kind == "speech"]
    held_out = {source.text for source in spoken if source.split != "train"}
    sentences = read_sentences(folder, held_out)
    vocabulary: list[str] = []
    if wordnet is not None:
        known = [*sentences, *(source.text for source in spoken if source.split == "train")]
        vocabulary = choose(
            [text for text in read_texts(wordnet) if text not in held_out], known, VOCABULARY_WORDS, seed
        )
    for split in SPLITS:
        for group, (compose, count) in COMPOSERS.items():
            wanted = round(count * SHARE[split] * scale)
            yield from compose(_stock(split, group, sources, (sentences, vocabulary), seed), wanted)


def build(folder: Path, out: Path, seed: int = 0, scale: float = 1.0, wordnet: Path | None = None) -> dict[str, Any]:
    """Write the manifests into ``out`` (created); returns the table, which is also written as ``build.json``."""
    out.mkdir(parents=True, exist_ok=True)
    by_split: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for item in build_items(folder, out, seed, scale, wordnet):
        by_split[item.split].append(item)
    table: dict[str, Any] = {"seed": seed, "scale": scale, "wordnet": wordnet is not None, "items": {}, "tasks": {}}
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
