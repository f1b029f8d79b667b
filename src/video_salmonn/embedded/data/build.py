"""Build the embedded manifests: ``train.jsonl``, ``dev.jsonl``, ``test.jsonl`` and a table of what is in them."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from video_salmonn.data.manifest import Item, write_manifest
from video_salmonn.embedded.data.asking.general import read_text
from video_salmonn.embedded.data.asking.registry import QUESTIONS
from video_salmonn.embedded.data.compose import COMPOSERS
from video_salmonn.embedded.data.encode import EncodeJob
from video_salmonn.embedded.data.further.names import read_names, with_names
from video_salmonn.embedded.data.further.sources import read_further
from video_salmonn.embedded.data.plan import DataPlan
from video_salmonn.embedded.data.sources import (
    UNSEEN_CLASSES,
    Source,
    lines_of,
    plain_words,
    read_sentences,
    read_sources,
)
from video_salmonn.embedded.data.spoken import speech_by_the_hour
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.embedded.data.wordnet import choose, read_texts

Texts = tuple[list[str], list[str], list[tuple[str, str]]]
"""Sentences and further ones chosen for their words, for synthetic speech; prompts without media with answers."""
SPLITS = ("train", "dev", "test")
SHARE = {"train": 1.0, "dev": 0.06, "test": 0.15}
"""Composed items of a split, as a share of the training split's number."""
VOCABULARY_WORDS = 60_000
"""Of WordNet's texts, where these are given."""
TEXT = "text/base.jsonl"
"""In a further folder: prompts without media and the language model's own answers."""
UNSEEN_TOO = {"pictures", "teacher_pictures"}
"""Groups that may name the classes that are never trained."""


def _stock(split: str, group: str, sources: list[Source], texts: Texts, seed: int) -> Stock:
    by_kind: dict[str, list[Source]] = {}
    for source in sources:
        if source.split == split and not (source.label in UNSEEN_CLASSES and group not in UNSEEN_TOO):
            by_kind.setdefault(source.kind, []).append(source)
    rng = random.Random(f"{seed}/{split}/{group}")
    sentences, vocabulary, text = texts
    return Stock(
        split, by_kind, sentences if split == "train" else [], rng, vocabulary if split == "train" else [], text
    )


def all_sources(plan: DataPlan, out: Path) -> list[Source]:
    """Sources of all folders, those that :attr:`DataPlan.held_out` names in the test split, each file once."""
    sources = read_sources(plan.folder, out)
    for folder in plan.further:
        sources += read_further(folder, out)
    kept = held_out_media(plan.held_out)
    sources = [
        replace(source, split="test") if Path(source.path).stem in kept or source.id.split(":")[1] in kept else source
        for source in sources
    ]
    names = [name for folder in plan.further for name in read_names(folder)]
    return with_names(sources, names)


def held_out_media(path: Path | None) -> set[str]:
    """Stems of the files that held-out questions are about."""
    if path is None:
        return set()
    found = (row.get(stream) for row in lines_of(path) for stream in ("media", "sound"))
    return {Path(name).stem for name in found if name}


def build_items(plan: DataPlan, out: Path, account: dict[str, Any] | None = None) -> Iterator[Item]:
    """All items of all splits. The same arguments give the same items.

    Args:
        plan: what to build from.
        out: the folder for the manifests.
        account: gets what the synthetic speech brings, as ``speech``.
    """
    sources = all_sources(plan, out)
    spoken = [source for source in sources if source.kind == "speech"]
    held_out = {source.text for source in spoken if source.split != "train"}
    sentences = read_sentences(plan.folder, held_out)
    vocabulary: list[str] = []
    if plan.hours:
        read = (source.text for source in spoken if source.split == "train")
        items, brought = speech_by_the_hour(plan.folder, plan.wordnet, plan.hours, read, held_out, plan.seed)
        if account is not None:
            account["speech"] = brought
        yield from items
    elif plan.wordnet is not None:
        known = [*sentences, *(source.text for source in spoken if source.split == "train")]
        vocabulary = choose(
            [text for text in read_texts(plan.wordnet) if text not in held_out], known, VOCABULARY_WORDS, plan.seed
        )
    paths = [folder / TEXT for folder in plan.further if (folder / TEXT).is_file()]
    texts = (sentences, vocabulary, [pair for path in paths for pair in read_text(path)])
    asked = set() if plan.held_out is None else {plain_words(row["question"]) for row in lines_of(plan.held_out)}
    for split in SPLITS:
        for group, (compose, count) in {**COMPOSERS, **QUESTIONS}.items():
            if plan.hours and group in ("synthetic", "vocabulary"):
                continue
            wanted = round(count * SHARE[split] * plan.scale)
            for item in compose(_stock(split, group, sources, texts, plan.seed), wanted):
                turns = [turn["content"] for turn in item.conversation if turn["role"] == "user"]
                if split == "train" and asked and any(plain_words(turn) in asked for turn in turns):
                    continue
                yield item


def build(plan: DataPlan, out: Path) -> dict[str, Any]:
    """Write the manifests into ``out`` (created); returns the table, which is also written as ``build.json``.

    Args:
        plan: what to build from, checked (:meth:`DataPlan.check`).
        out: the folder.

    Raises:
        ConfigError, ManifestError: something is missing that is named, or a manifest has a damaged line.
    """
    out.mkdir(parents=True, exist_ok=True)
    by_split: dict[str, list[Item]] = {split: [] for split in SPLITS}
    table: dict[str, Any] = {"seed": plan.seed, "scale": plan.scale, "wordnet": plan.wordnet is not None}
    table |= {"further": len(plan.further), "items": {}, "tasks": {}}
    for item in build_items(plan, out, table):
        by_split[item.split].append(item)
    for split, items in by_split.items():
        table["items"][split] = write_manifest(out / f"{split}.jsonl", items)
        table["tasks"][split] = dict(sorted(Counter(item.task for item in items).items()))
    (out / "build.json").write_text(json.dumps(table, indent=2) + "\n")
    return table


def media_files(items: Iterable[Item]) -> list[str]:
    """Every media file of the items once, sorted; paths as in the manifest."""
    found: set[str] = set()
    for item in items:
        for value in item.media.values():
            if isinstance(value, str):
                found.add(value)
            elif isinstance(value, dict):
                parts = (value, *value.get("layers", ()), *value.get("slides", ()))
                found |= {part["file"] for part in parts if "file" in part}
    return sorted(found)


def jobs(items: Iterable[Item]) -> Iterator[EncodeJob]:
    """Everything that must be encoded for ``items``: each sound once, each picture (imagined ones too) or video file
    once."""
    seen: set[str] = set()
    for item in items:
        wanted: list[EncodeJob] = []
        if item.media.get("audio") is not None:  # None: a video whose own sound is not wanted
            wanted.append(EncodeJob("sound", item.media["audio"]))
        for stream in ("image", "video"):
            value = item.media.get(stream)
            if isinstance(value, dict) and "slides" in value:
                wanted += [EncodeJob("visual", slide["file"]) for slide in value["slides"]]
            elif value is not None:
                wanted.append(EncodeJob("visual", value))
        for job in wanted:
            name = job.kind + json.dumps(job.recipe, sort_keys=True)
            if name not in seen:
                seen.add(name)
                yield job
