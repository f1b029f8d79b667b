"""Build SAVE-mini: every task of SAVE in its published schema, from held-out open media.

Every source is of the ``test`` split of :mod:`video_salmonn.embedded.data.sources`, the one rule that training splits
follow as well, so no item is in any training split by construction; the builder checks it again. The sources' licences
are written beside the data. Annotations name .wav as the published files do; the sounds lie there as .flac, which the
readers find by their stem. Some (Caltech-101 pictures) allow local tests only: SAVE-mini is built, not handed on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from video_salmonn.embedded.data.sources import Source, read_sources
from video_salmonn.embedded.save_mini import picture_tasks, sound_tasks, speech_tasks
from video_salmonn.embedded.save_mini.builder import Builder
from video_salmonn.errors import ConfigError, EvaluationError
from video_salmonn.evaluation.save import TASK_IDS, task
from video_salmonn.evaluation.save.mini_marker import FILE, NAME
from video_salmonn.wording import counted

VERSION = 1
TASKS: dict[str, Callable[[Builder], int]] = {
    "librispeech": speech_tasks.librispeech,
    "audiocaps": sound_tasks.audiocaps,
    "flickr30k": picture_tasks.flickr30k,
    "textvqa": picture_tasks.textvqa,
    "gqa": picture_tasks.gqa,
    "nextqa": picture_tasks.nextqa,
    "how2": speech_tasks.how2,
    "ego4d_qa": sound_tasks.ego4d_qa,
    "presentation_qa": speech_tasks.presentation_qa,
    "avssd": sound_tasks.avssd,
    "avm": sound_tasks.avm,
    "avsd": speech_tasks.avsd,
    "music_avqa": sound_tasks.music_avqa,
    "lrs2": speech_tasks.lrs2,
}


def build(
    source: Path,
    out: Path,
    *,
    seed: int = 0,
    tasks: Iterable[str] = TASK_IDS,
    most: int | None = None,
    redistributable: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write SAVE-mini into ``out``; returns what ``save-mini.json`` holds.

    Args:
        source: a folder of open media with manifests, as the training data builder reads it.
        out: must not exist or be empty; it appears complete or not at all.
        seed: decides every choice.
        tasks: ids of the tasks to build.
        most: maximum number of items of each sort (a set for tests); None for the tasks' own numbers.
        redistributable: take only sources under CC0, CC BY, CC BY-SA or in the public domain.
        progress: called with the id of every task when it begins.

    Raises:
        ConfigError: if ``out`` is in use.
        ManifestError, MediaError: if the source folder lacks something, naming it.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty", remedy="choose another --out, or remove it")
    partial = out.with_name(f".{out.name}.{os.getpid()}.part")
    by_kind = held_out(read_sources(source, partial), redistributable=redistributable)
    counts: dict[str, int] = {}
    used: dict[str, Source] = {}
    try:
        partial.mkdir(parents=True)
        for name in tasks:
            if progress:
                progress(name)
            builder = Builder(name, partial / name, partial, by_kind, seed, most)
            counts[name] = TASKS[name](builder)
            used |= builder.used
            _check(name, partial, counts[name])
        marker = {
            "name": NAME,
            "version": VERSION,
            "seed": seed,
            "items": sum(counts.values()),
            "counts": counts,
            "sources": {
                name: {"licence": entry.licence, "source": entry.source, "split": entry.split}
                for name, entry in sorted(used.items())
            },
        }
        (partial / FILE).write_text(json.dumps(marker, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return marker


def held_out(sources: Iterable[Source], *, redistributable: bool = False) -> dict[str, list[Source]]:
    """The sources no training split uses, by kind, sorted by id."""
    by_kind: dict[str, list[Source]] = {}
    for source in sorted(sources, key=lambda s: s.id):
        if source.split == "test" and (may_hand_on(source.licence) or not redistributable):
            by_kind.setdefault(source.kind, []).append(source)
    return by_kind


def may_hand_on(licence: str) -> bool:
    """Whether a licence text is one under which the data may be passed on with attribution."""
    named = licence.startswith(("CC0", "CC BY ", "CC BY-SA ", "public domain"))
    return named and "only" not in licence


def _check(name: str, data: Path, count: int) -> None:
    """What was built must load by the task's own reader, complete."""
    entries, located, _ = task(name).load(data)
    if len(entries) != count or located.missing or located.ambiguous:
        lacking = [*located.missing, *located.ambiguous][:1]
        raise EvaluationError(
            f"SAVE-mini, task {name}: {counted(len(entries), 'entry')} of {count} built, lacking {lacking}"
        )
