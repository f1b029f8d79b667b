"""Timelines of single items for a report: what the model saw and heard of the best and the worst ones."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from video_salmonn.errors import ContextError, EvaluationError, MediaError
from video_salmonn.evaluation.item import BenchmarkItem
from video_salmonn.evaluation.predictions import write_atomic
from video_salmonn.evaluation.save import task as task_of
from video_salmonn.evaluation.save.locate import MediaIndex
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.inspection.inspecting import inspect_media
from video_salmonn.inspection.player import player_of
from video_salmonn.inspection.timeline_html import to_html


class Timelines:
    """Draws pages below ``OUT/timelines``.

    Args:
        engine: the model that was evaluated.
        data: the data folder it was evaluated on.
        out: the evaluation's folder.
    """

    def __init__(self, engine: VideoSalmonn, data: Path, out: Path) -> None:
        self.engine, self.out, self.data = engine, out, data
        self.index = MediaIndex(data)
        self._items: dict[str, dict[str, BenchmarkItem]] = {}

    def draw(self, task: str, item: str) -> str:
        """Draw one item; returns the page's path relative to ``OUT``, "" where its media cannot be shown.

        Raises:
            EvaluationError: if the data folder does not have the item.
        """
        found = self._load(task).get(item)
        if found is None:
            raise EvaluationError(
                f"{self.data}: has no item {item!r} of task {task}", remedy="give the folder that was evaluated"
            )
        media = found.media
        source, sound = (media.picture, media.sound) if media.picture else (media.sound, None)
        try:
            timeline = inspect_media(
                self.engine,
                source,
                sound=sound,
                question=found.prompt,
                max_new_tokens=task_of(task).max_new_tokens,
                long="coarse",
                start=media.start,
                end=media.end,
                no_audio="sound" not in task_of(task).senses,
            )
        except (MediaError, ContextError):
            return ""  # the report lists the item as failed, with the reason
        name = f"timelines/{task}/{re.sub(r'[^A-Za-z0-9-]', '_', item)}-{zlib.crc32(item.encode()):08x}.html"
        page = self.out / name
        write_atomic(page, to_html(timeline, player_of(timeline, source, sound, page)).encode())
        return name

    def _load(self, task: str) -> dict[str, BenchmarkItem]:
        if task not in self._items:
            this = task_of(task)
            entries, located, _ = this.load(self.data, self.index)
            self._items[task] = {item.id: item for item in this.items(entries, located)}
        return self._items[task]
