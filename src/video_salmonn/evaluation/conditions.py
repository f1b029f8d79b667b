"""The conditions an item is asked under: as it is, and the baselines that show what a score depends on.

- ``full``: as published.
- ``no_media``: the language model alone; what the question gives away.
- ``frames_only`` / ``sound_only``: one sense switched off; for tasks whose items have both.
- ``shuffled``: another item's media of the same kind; what the media's presence alone changes.
- ``fine_only`` / ``coarse_only``: the other resolution of the connector set to zero (paper, table 5).
- ``whisper``: no condition of the model but another engine, the recogniser its speech encoder was taken from; for
  transcripts.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from video_salmonn.errors import ConfigError
from video_salmonn.evaluation.engine import Request
from video_salmonn.evaluation.item import BenchmarkItem, Media
from video_salmonn.evaluation.save.task import Task

FULL = "full"
WHISPER = "whisper"
LEVELS = ("fine_only", "coarse_only")
BASELINES = ("no_media", "frames_only", "sound_only", "shuffled", WHISPER, *LEVELS)
YES_NO = ("Yes", "No")


def parse_baselines(names: str) -> tuple[str, ...]:
    """Baselines of a comma-separated list; ``all`` for all but the last two, which need a two-level connector.

    Raises:
        ConfigError: on an unknown name.
    """
    wanted: list[str] = []
    for name in filter(None, map(str.strip, names.split(","))):
        wanted += BASELINES[:5] if name == "all" else [name]
    if unknown := [name for name in wanted if name not in BASELINES]:
        raise ConfigError(
            f"no such baseline: {unknown[0]!r}", remedy=f"choose among {', '.join(BASELINES)}, or say all"
        )
    return tuple(dict.fromkeys(wanted))


def inapplicable(condition: str, task: Task, items: Sequence[BenchmarkItem]) -> str:
    """Why a baseline says nothing about these items, or "" if it does."""
    if condition in ("frames_only", "sound_only") and len(task.senses) == 1:
        return f"the task is about {task.senses[0]} alone"
    if condition == "shuffled" and any(len(set(group)) < 2 for group in _groups(items).values()):
        return "there is no other media of the same kind to swap with"
    if condition == WHISPER and task.kind != "speech":
        return "the task asks for no transcript"
    return ""


def requests(
    task: Task, items: Sequence[BenchmarkItem], condition: str, seed: int = 0, *, likelihood: bool = False
) -> list[Request]:
    """One request an item, in order. Depends on the whole list (``shuffled``), so make them before sharding.

    Args:
        task: which.
        items: all of its items.
        condition: :data:`FULL` or one of :data:`BASELINES`.
        seed: of ``shuffled``.
        likelihood: also ask how likely each candidate is, where the task offers choices (or asks yes or no).
    """
    swapped = _swapped(items, seed) if condition == "shuffled" else {}
    out = []
    for item in items:
        media = Media() if condition == "no_media" else swapped.get(item.media, item.media)
        out.append(
            Request(
                media,
                item.prompt,
                task.max_new_tokens,
                use_video=condition != "sound_only" and "picture" in task.senses,
                use_audio=condition != "frames_only" and "sound" in task.senses,
                zero_levels={"fine_only": (1,), "coarse_only": (0,)}.get(condition, ()),
                candidates=_candidates(task, item) if likelihood else (),
            )
        )
    return out


def _candidates(task: Task, item: BenchmarkItem) -> tuple[str, ...]:
    return item.annotation.candidates if task.kind == "choice" else YES_NO if task.kind == "yes_no" else ()


def _kind(media: Media) -> tuple[bool, bool, bool]:
    return media.video is not None, media.image is not None, media.sound is not None


def _groups(items: Sequence[BenchmarkItem]) -> dict[tuple[bool, bool, bool], list[Media]]:
    groups: dict[tuple[bool, bool, bool], list[Media]] = defaultdict(list)
    for item in items:
        groups[_kind(item.media)].append(item.media)
    return groups


def _swapped(items: Sequence[BenchmarkItem], seed: int) -> dict[Media, Media]:
    """Each media's stand-in: the next of its kind in an order drawn by hash, so never itself."""
    out: dict[Media, Media] = {}
    for group in _groups(items).values():
        unique = sorted(set(group), key=lambda media: (_draw(media, seed), str(media)))
        out |= {media: unique[(place + 1) % len(unique)] for place, media in enumerate(unique)}
    return out


def _draw(media: Media, seed: int) -> str:
    names = [path.name if path else "" for path in (media.video, media.image, media.sound)]
    return hashlib.sha256(repr((seed, names, media.start, media.end)).encode()).hexdigest()
