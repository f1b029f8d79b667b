"""Talking heads before walls of many colours: still pictures of GRID, whose blue wall is left or painted over.

The corpus has one wall. A model that always says blue would be right about it; so the colour must vary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from video_salmonn.embedded.data.sources import OWN_WALL
from video_salmonn.errors import MediaError

PAINTS: dict[str, tuple[float, float, float]] = {
    "red": (0.0, 0.85, 0.8),
    "orange": (0.08, 0.9, 1.0),
    "yellow": (0.15, 0.85, 1.0),
    "green": (0.33, 0.8, 0.7),
    "purple": (0.78, 0.7, 0.7),
    "pink": (0.92, 0.4, 1.0),
    "brown": (0.07, 0.7, 0.45),
    "white": (0.0, 0.0, 1.15),
    "grey": (0.0, 0.0, 0.6),
    "black": (0.0, 0.0, 0.15),
}
"""Colour -> hue, saturation, brightness relative to the wall's own."""
PAINTED = 3
"""Stills of a clip before a painted wall, beside the one that is as it was."""


def first_frame(path: Path) -> Image.Image:
    """A clip's first picture.

    Raises:
        MediaError: there is none.
    """
    try:
        with av.open(str(path)) as container:
            return next(container.decode(video=0)).to_image()
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise MediaError(str(path), f"has no picture ({error})") from error


def paint(frame: Image.Image, colour: str) -> Image.Image:
    """The frame with its blue wall in another colour; light and shade stay."""
    hsv = np.asarray(frame.convert("HSV"), dtype=np.float32) / np.float32(255)
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    wall = ((hue > 0.44) & (hue < 0.66) & (saturation > 0.35) & (value > 0.2)).astype(np.float32)
    new_hue, new_saturation, brightness = PAINTS[colour]
    shade = np.clip(value / max(float(np.median(value[wall > 0])) if wall.any() else 1.0, 1e-3) * brightness, 0, 1)
    painted = np.stack([np.full_like(hue, new_hue), np.full_like(hue, new_saturation), shade], -1)
    mixed = np.where(wall[..., None] > 0, painted, hsv)
    return Image.fromarray((mixed * 255).astype(np.uint8), mode="HSV").convert("RGB")


def write_walls(clips: list[tuple[str, Path, str]], out: Path, licence: str, source: str) -> list[dict[str, Any]]:
    """A still of each clip as it is, and some before painted walls; returns rows of a manifest.

    Args:
        clips: (id, file, split).
        out: the folder ``images``; pictures go to ``walls``.
        licence, source: of the clips.
    """
    (out / "walls").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number, (name, path, split) in enumerate(clips):
        frame = first_frame(path).resize((256, 204))
        painted = [sorted(PAINTS)[(PAINTED * number + place) % len(PAINTS)] for place in range(PAINTED)]
        for colour in (*painted, OWN_WALL):
            target = out / "walls" / f"{name}_{colour}.jpg"
            if not target.is_file():
                still = frame if colour == OWN_WALL else paint(frame, colour)
                still.save(target, "JPEG", quality=80)
            row = {"id": f"{name}_{colour}", "media": f"walls/{target.name}", "wall": colour, "split": split}
            rows.append(row | {"licence": licence, "source": source})
    return rows
