"""Other people's formats -> items of a manifest: the released schema, LLaVA-style JSON, Hugging Face datasets.

Nothing is left out silently: what cannot become an item is counted in ``Reader.left_out`` by reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.errors import ConfigError, ManifestError, needed
from video_salmonn.files import json_value, numbered_lines

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac")
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
PLACEHOLDERS = ("<image>", "<video>", "<audio>", "<speech>", "<sound>")


@dataclass
class Reader:
    """One source being read.

    Attributes:
        source: a file, or the name of a data set.
        task: of items whose source names none.
        root: folder that relative media paths of the source start from.
        left_out: what could not become an item, by reason.
    """

    source: str
    task: str = "answer"
    root: Path | None = None
    left_out: Counter[str] = field(default_factory=Counter)

    def place(self, name: str) -> str:
        """A media path, absolute, so that the manifest may be anywhere."""
        return str((self.root or Path(self.source).parent).resolve() / name)


def _load(path: Path) -> list[Any]:
    """A JSON list, or JSON lines."""
    lines = list(numbered_lines(path, ManifestError))
    remedy = "give the data set's own JSON file"
    try:
        if lines and lines[0][1].lstrip().startswith("["):
            return list(json_value("\n".join(line for _, line in lines)))
    except ValueError as error:
        raise ManifestError(f"{path}: no JSON list: {error}", remedy=remedy) from error
    return [_value(line, path, number, remedy) for number, line in lines]


def _value(line: str, path: Path, number: int, remedy: str) -> Any:
    try:
        return json_value(line)
    except ValueError as error:
        reason = f"neither a JSON list nor JSON lines: {error}"
        raise ManifestError(f"{path}, line {number}: {reason}", remedy=remedy) from error


def _turns(value: Any, where: str) -> list[dict[str, str]]:
    """``from``/``value`` or ``role``/``content`` turns -> ours; media placeholders are taken out of the text."""
    if not isinstance(value, list):
        raise ManifestError(f"{where}: the conversation is not a list of turns")
    turns = []
    for turn in value:
        speaker = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
        text = turn.get("value", turn.get("content")) if isinstance(turn, dict) else None
        if speaker not in ROLES or not isinstance(text, str):
            raise ManifestError(f"{where}: {str(turn)[:80]!r} is not a turn", remedy='turns are {"from", "value"}')
        for placeholder in PLACEHOLDERS:
            text = text.replace(placeholder, "")
        turns.append({"role": ROLES[speaker], "content": text.strip()})
    return turns


def _usable(turns: list[dict[str, str]], reader: Reader) -> list[dict[str, str]] | None:
    """Turns up to the last answer; None (and counted) where there is no question with an answer."""
    while turns and (turns[-1]["role"] != "assistant" or not turns[-1]["content"]):
        turns = turns[:-1]
    if not any(turn["role"] == "user" for turn in turns):
        reader.left_out["no question with an answer"] += 1
        return None
    return turns


def kind(name: str) -> str:
    """The stream a file belongs to, by its suffix: ``image``, ``audio`` or ``video``."""
    suffix = Path(name).suffix.lower()
    return "image" if suffix in PICTURES else "audio" if suffix in SOUNDS else "video"


def read_released(reader: Reader) -> Iterator[Item]:
    """The released schema (``sft_dataset.py``): ``image_name`` is a file or [picture, sound], ``conversation`` turns.

    A lone video has its sound masked there, so it gets ``"audio": null``; so has a pair whose path holds
    ``only_need_video``.
    """
    for number, entry in enumerate(_load(Path(reader.source)), 1):
        where = f"{reader.source}, item {number}"
        names = entry.get("image_name") if isinstance(entry, dict) else None
        files: list[str] = names if isinstance(names, list) else [names] if names else []
        if len(files) not in (1, 2) or not all(isinstance(file, str) and file for file in files):
            raise ManifestError(f"{where}: image_name must be a file or [picture, sound]")
        turns = _usable(_turns(entry.get("conversation"), where), reader)
        if turns is None:
            continue
        media: dict[str, Any] = {kind(files[0]): reader.place(files[0])}
        if len(files) == 2:
            media["audio"] = None if "only_need_video" in "".join(files) else reader.place(files[1])
        elif "video" in media:
            media["audio"] = None
        yield Item(f"{Path(reader.source).stem}/{number}", media, turns, str(entry.get("task", reader.task)))


def read_llava(reader: Reader) -> Iterator[Item]:
    """LLaVA-style JSON: ``id``, one of ``image``/``video``/``audio``, ``conversations``.

    An item without media is one of text alone, unless its text has a place for some.
    """
    used: Counter[str] = Counter()
    for number, entry in enumerate(_load(Path(reader.source)), 1):
        where = f"{reader.source}, item {number}"
        if not isinstance(entry, dict):
            raise ManifestError(f"{where}: is not a JSON object")
        media = {stream: entry[stream] for stream in ("image", "video", "audio") if entry.get(stream)}
        if not media and any(mark in json.dumps(entry) for mark in PLACEHOLDERS):
            reader.left_out["a place for media, and none"] += 1
            continue
        if not all(isinstance(name, str) for name in media.values()):
            reader.left_out["several pictures in one item"] += 1
            continue
        turns = _usable(_turns(entry.get("conversations", entry.get("conversation")), where), reader)
        if turns is None:
            continue
        name = str(entry.get("id", number))
        used[name] += 1
        name = name if used[name] == 1 else f"{name}#{used[name]}"
        yield Item(
            name, {s: reader.place(file) for s, file in media.items()}, turns, str(entry.get("task", reader.task))
        )


def read_huggingface(reader: Reader) -> Iterator[Item]:
    """A Hugging Face data set: ``NAME_OR_FOLDER[:SPLIT]``, columns ``image``/``video``/``audio`` of *paths*, and either
    ``conversations`` or ``question`` and ``answer``.

    Columns that decode are switched to paths first: media are decoded by this package, from files.

    Raises:
        MissingPartError: the library ``datasets`` is not installed.
    """
    with needed("the library datasets is not installed", remedy="pip install datasets"):
        import datasets
    name, _, split = reader.source.partition(":")
    try:
        here = Path(name)
        loaded = datasets.load_from_disk(name) if here.is_dir() else datasets.load_dataset(name, split=split or "train")
        if isinstance(loaded, datasets.DatasetDict):
            loaded = loaded[split or "train"]
    except (OSError, ValueError, KeyError) as error:
        raise ManifestError(
            f"{reader.source}: cannot be loaded ({error})", remedy="NAME:SPLIT or a saved folder"
        ) from error
    for column, feature in loaded.features.items():
        if hasattr(feature, "decode"):
            loaded = loaded.cast_column(column, type(feature)(decode=False))
    for number, row in enumerate(loaded, 1):
        where = f"{reader.source}, row {number}"
        media = {}
        for stream in ("image", "video", "audio"):
            value = row.get(stream)
            file = value.get("path") if isinstance(value, dict) else value
            if file:
                media[stream] = reader.place(file)
        if not media:
            reader.left_out["no media with a path"] += 1
            continue
        conversation = row.get("conversations", row.get("conversation"))
        if conversation is None:
            pair = (("user", row.get("question")), ("assistant", row.get("answer")))
            conversation = [{"role": role, "content": text} for role, text in pair]
        turns = _usable(_turns(conversation, where), reader)
        if turns is not None:
            yield Item(str(row.get("id", number)), media, turns, str(row.get("task", reader.task)))


FORMATS: dict[str, Callable[[Reader], Iterable[Item]]] = {
    "released": read_released,
    "llava": read_llava,
    "huggingface": read_huggingface,
}
"""Name of a format -> its reader."""


def read(reader: Reader, layout: str) -> Iterable[Item]:
    """Items of a source in a named format. Raises ConfigError for an unknown one."""
    if layout not in FORMATS:
        raise ConfigError(f"format {layout!r} is unknown", remedy=f"formats: {', '.join(FORMATS)}")
    return FORMATS[layout](reader)
