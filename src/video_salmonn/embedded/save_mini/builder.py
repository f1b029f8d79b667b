"""What every SAVE-mini task builds with: held-out sources, a generator of its own, a folder, and a record of use."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_salmonn.embedded.data.sources import UNSEEN_CLASSES, Source, by_label
from video_salmonn.errors import EvaluationError


@dataclass(slots=True)
class Builder:
    """Builds one task.

    Attributes:
        task: its id.
        folder: ``OUT/<task>``.
        base: the folder that the sources' paths are relative to.
        sources: held-out sources by kind.
        seed: with the task's id decides every choice.
        most: maximum number of items of each sort, None for the task's own number.
        used: ids of the sources that went into the task.
    """

    task: str
    folder: Path
    base: Path
    sources: dict[str, list[Source]]
    seed: int = 0
    most: int | None = None
    used: dict[str, Source] = field(default_factory=dict)
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(f"save-mini/{self.seed}/{self.task}")

    def many(self, count: int) -> int:
        """``count``, or fewer where a small set is built."""
        return count if self.most is None else min(count, self.most)

    def of(self, kind: str, *, collection: str = "") -> list[Source]:
        """Sources of a kind, in a fixed order.

        Raises:
            EvaluationError: if there is none.
        """
        found = [s for s in self.sources.get(kind, []) if s.id.startswith(collection)]
        if not found:
            raise EvaluationError(f"SAVE-mini, task {self.task}: no held-out source of kind {kind!r} {collection}")
        return found

    def photos(self) -> list[Source]:
        """Photographs of one thing, of classes that training has seen other pictures of, one a class at a time."""
        photos = [s for s in self.of("photo") if s.label not in UNSEEN_CLASSES]
        self.random.shuffle(photos)
        seen: dict[str, int] = {}
        order = []
        for photo in photos:
            seen[photo.label] = seen.get(photo.label, 0) + 1
            order.append((seen[photo.label], photo))
        return [photo for _, photo in sorted(order, key=lambda pair: pair[0])]

    def sounds(self, count: int) -> list[Source]:
        """``count`` sounds, each class as often as any other."""
        own = by_label(self.of("sound"))
        labels = sorted(own)
        for label in labels:
            self.random.shuffle(own[label])
        self.random.shuffle(labels)
        picked = [own[label][turn] for turn in range(count) for label in labels if turn < len(own[label])]
        return picked[:count]

    def use(self, source: Source) -> Path:
        """The source's file; notes that it went into the task."""
        self.used[source.id] = source
        return self.base / source.path

    def copy(self, source: Source, name: str) -> Path:
        """Copy a source's file into the task's folder under ``name``, with its own suffix."""
        path = self.use(source)
        target = self.folder / f"{name}{path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        return target

    def write_json(self, name: str, items: Sequence[dict[str, Any]]) -> int:
        """Write an annotation list; returns its length."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(json.dumps(items, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return len(items)

    def write_csv(self, name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write an annotation table."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
