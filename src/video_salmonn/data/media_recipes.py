"""Recipes: how a composed sound or picture strip is made out of files, as plain JSON, and what identifies it.

A **sound recipe** is ``{"length": seconds, "layers": [layer, …]}``. A layer is a source with a place:

- ``{"file": path, "from": s, "to": s}`` (``from``/``to`` optional), or
- ``{"say": text, "engine": "espeak-ng", "voice": "en-us+f3", "rate": 160}``, synthetic speech (also ``flite``), or
- ``{"say": text, "engine": "piper" | "kokoro", "voice": name or {style: weight}, "pace": 1.1}``, a neural
  voice's, or
- ``{"noise": "white" | "pink" | "brown", "seed": n}``, or
- ``{"music": seed}``, made-up music,

each with ``at`` (seconds, default 0), ``gain`` (dB, default 0; relative to the file for files, to full scale for
noise and music), ``level`` (dB relative to full scale that the layer's loudest second is brought to; overrides
``gain``) and ``room`` (seed of a synthetic room response; none by default). Files and synthetic speech may have a
``speed`` (default 1): a factor of their pace, which also raises pitch and formants. Without ``length`` the
sound is as long as its layers; with a length and no layers it is silence.

A **picture recipe** is ``{"length": seconds, "slides": [{"file": path, "at": s}, …]}``: each slide is shown until the
next one. ``{"file": path, "imagine": n, "seed": n}`` is a photograph in whose features the picture encoder's head sees
its name number ``n``; it has features and no pixels. A plain path stands for one file as it is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeGuard

from video_salmonn.errors import MediaError
from video_salmonn.files import digest_file

MediaRecipe = str | dict[str, Any]
"""A path relative to the manifest, or one of the objects above."""


def _file_digest(path: Path) -> str:
    try:
        return digest_file(path)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise MediaError(str(path), f"cannot be read ({reason})", remedy="Check the path and the file.") from error


def _by_content(value: Any, root: Path) -> Any:
    if isinstance(value, dict):
        return {
            key: _file_digest(root / entry) if key == "file" else _by_content(entry, root)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_by_content(entry, root) for entry in value]
    return value


def slides_of(recipe: dict[str, Any]) -> list[tuple[str, int]]:
    """(file, frames of 0.5 s that it is shown for) of each slide of a picture recipe, in the order of their times."""
    slides = sorted(recipe["slides"], key=lambda slide: slide["at"])
    ends = [*(slide["at"] for slide in slides[1:]), recipe["length"]]
    return [(slide["file"], round(end * 2) - round(slide["at"] * 2)) for slide, end in zip(slides, ends)]


def is_imagined(recipe: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a picture is imagined: features of a photograph, moved towards another name."""
    return isinstance(recipe, dict) and "imagine" in recipe


def recipe_key(recipe: MediaRecipe, root: Path) -> str:
    """What identifies the rendered result: the recipe with every file replaced by its content's digest.

    Args:
        recipe: a path relative to ``root``, or a recipe object.
        root: the manifest's folder.
    """
    whole = {"file": recipe} if isinstance(recipe, str) else recipe
    text = json.dumps(_by_content(whole, root), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
