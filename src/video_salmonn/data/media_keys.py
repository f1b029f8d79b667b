"""Which key a recipe's features have in a store: from the store's own list, or from the media files themselves."""

from __future__ import annotations

import json
from pathlib import Path

from filelock import FileLock

from video_salmonn.data.media_recipes import Recipe, recipe_key
from video_salmonn.errors import CheckpointError
from video_salmonn.files import write_json

KEYS = "keys.json"


def key_name(recipe: Recipe) -> str:
    """How a recipe is written in a store's list of keys."""
    return recipe if isinstance(recipe, str) else json.dumps(recipe, sort_keys=True, ensure_ascii=False)


def read_keys(folder: Path) -> dict[str, str]:
    """A feature store's list of recipes and keys. Raises CheckpointError where it is damaged."""
    path = folder / KEYS
    if not path.is_file():
        return {}
    try:
        keys: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: not JSON ({error.msg})", remedy="delete this file and encode again") from error
    return keys


def write_keys(folder: Path, keys: dict[str, str]) -> None:
    """Add to a feature store's list, whole or not at all; several processes may do so at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{KEYS}.lock"):
        known = read_keys(folder)
        if any(known.get(name) != key for name, key in keys.items()):
            write_json(folder / KEYS, known | keys, indent=0)


class MediaKeys:
    """Keys of recipes, remembered.

    With the store's list, features can be used on a machine that does not have the media.

    Args:
        folder: the feature store's.
    """

    def __init__(self, folder: Path) -> None:
        self._listed = read_keys(folder)
        self._found: dict[tuple[str, Path], str] = {}

    def key(self, recipe: Recipe, root: Path) -> str:
        """The recipe's key; its paths are relative to ``root``, the manifest's folder."""
        name = key_name(recipe)
        if name in self._listed:
            return self._listed[name]
        if (name, root) not in self._found:
            self._found[name, root] = recipe_key(recipe, root)
        return self._found[name, root]
