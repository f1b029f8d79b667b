"""Small pictures of some frames of a clip, in the proportions a viewer knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from video_salmonn import media
from video_salmonn.errors import MediaError
from video_salmonn.media import MediaOptions
from video_salmonn.types import FrameBatch

MOST = 16
"""Most thumbnails of a clip."""
BOX = (120, 200)
"""Largest height and width of a thumbnail in pixels."""
_FIRST = 0.05


@dataclass(frozen=True)
class Thumbnail:
    """A frame: its number, its time in seconds, and its picture, ``uint8 (h, w, 3)``."""

    index: int
    time: float
    picture: np.ndarray


def thumbnails(frames: FrameBatch, source: Any, options: MediaOptions) -> tuple[Thumbnail, ...]:
    """At most ``MOST`` frames, evenly chosen.

    Models squeeze frames to a square, some to very few pixels. The squeezing is undone; where few pixels are left and
    the source can be read again, the pictures are decoded once more in a size fit to be looked at.

    Args:
        frames: what the model was given.
        source: where they came from.
        options: how they were decoded.
    """
    stride = -(-len(frames) // MOST)
    chosen = list(range(0, len(frames), stride))
    height, width = _natural(frames, source, options)
    scale = min(BOX[0] / height, BOX[1] / width, 1.0)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    pictures = {index: frames.frames[index] for index in chosen}
    if min(frames.frames.shape[1:3]) < min(size):
        pictures |= _decoded_again(source, options, size, chosen)
    return tuple(Thumbnail(i, float(frames.times[i]), _resized(pictures[i], size)) for i in chosen)


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def _natural(frames: FrameBatch, source: Any, options: MediaOptions) -> tuple[int, int]:
    """Height and width of the picture before the model's resizing; those it was given if that is unknown."""
    given = frames.frames.shape[1], frames.frames.shape[2]
    resized = options.frame_size or (options.picture_size if given == options.picture_size else None)
    if resized is None or options.spotlight or not _again(source):
        return given
    start = options.start or 0.0
    first = replace(options, use_audio=False, use_video=True, frame_size=None, picture_size=None, end=start + _FIRST)
    try:
        with media.iter_clip(source, options=first) as pieces:
            piece = next(iter(pieces), None)
    except MediaError:  # the pictures were decoded before; only their proportions are missing
        return given
    if piece is None or piece.frames is None:
        return given
    return piece.frames.frames.shape[1], piece.frames.frames.shape[2]


def _decoded_again(
    source: Any, options: MediaOptions, size: tuple[int, int], chosen: list[int]
) -> dict[int, np.ndarray]:
    """The chosen frames, by number; empty where the source cannot be read twice."""
    found: dict[int, np.ndarray] = {}
    if not _again(source):
        return found
    wanted, at = set(chosen), 0
    try:
        with media.iter_clip(source, options=replace(options, use_audio=False, frame_size=size)) as pieces:
            for piece in pieces:
                for frame in () if piece.frames is None else piece.frames.frames:
                    if at in wanted:
                        found[at] = frame.copy()
                    at += 1
    except MediaError:  # damage that the first pass could live with thanks to the sound
        return found
    return found


def _again(source: Any) -> bool:
    """Whether a source gives the same content a second time (a file object or an iterator may not)."""
    return isinstance(source, (str, Path, bytes, np.ndarray, Image.Image))
