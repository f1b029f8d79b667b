"""The paper's training sets, from the layout their makers publish to manifests. Media stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from video_salmonn.data.manifest import Item
from video_salmonn.data.prepare import listening, pictures, videos
from video_salmonn.data.prepare.layout import Layout
from video_salmonn.errors import ConfigError

PREPARERS: dict[str, Callable[[Layout], Iterator[Item]]] = {
    "librispeech": listening.librispeech,
    "audiocaps": listening.audiocaps,
    "how2": listening.how2,
    "llava": pictures.llava,
    "ocrvqa": pictures.ocrvqa,
    "textcaps": pictures.textcaps,
    "coco": pictures.coco,
    "spokencoco": pictures.spokencoco,
    "videochat": videos.videochat,
    "nextqa": videos.nextqa,
    "msvd_qa": videos.msvdqa,
    "ego4d": videos.ego4d,
    "avsd": videos.avsd,
}
"""Name of a data set -> what makes its items."""


def prepare(name: str, folder: Path, split: str) -> tuple[Layout, Iterator[Item]]:
    """Items of a data set. Raises ConfigError for an unknown name."""
    if name not in PREPARERS:
        raise ConfigError(f"data set {name!r} is unknown", remedy=f"known: {', '.join(PREPARERS)}")
    layout = Layout(folder, split)
    return layout, PREPARERS[name](layout)


__all__ = ["PREPARERS", "Layout", "prepare"]
