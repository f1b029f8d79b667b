"""Rows of a batch: out of a folder, a glob, our JSON lines, or OpenAI batch lines.

Our lines:

.. code-block:: json

    {"id": "a", "media": "a.mp4", "question": "What is heard?", "max_new_tokens": 40}

``media`` is a path or URL, a list of them, or, as in training manifests, ``{"video": …, "audio": …, "image": …,
"start": …, "end": …}``; ``sound`` takes the place of the media's own sound. ``conversation`` (messages) may stand in
place of ``question``; a last turn of the assistant, which manifests have, is left out. Options are :data:`OPTIONS`. Any
other field is the caller's own and is ignored. Paths are relative to the file's folder.

A line that is not JSON, or an id that comes twice, is refused before anything is answered. Whatever else is wrong with
a line costs that row only.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_salmonn.bulk.openai_lines import is_openai_line, read_openai_line
from video_salmonn.errors import ConfigError, ManifestError, VideoSalmonnError
from video_salmonn.files import digest, is_there, json_lines
from video_salmonn.inference.options import checked
from video_salmonn.model import prompt

if TYPE_CHECKING:
    from video_salmonn.model.processing import Conversation

OPTIONS = (
    *("no_audio", "no_video", "start", "end", "max_new_tokens", "long", "piece_seconds", "joint_ctc", "num_beams"),
    *("do_sample", "temperature", "top_p", "seed", "stop_strings", "decline_below"),
)
"""Options that a line may have."""
LINES = (".jsonl", ".ndjson", ".json")
MEDIA = (
    *(".mp4", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".m4v", ".ts", ".wmv", ".flv", ".3gp", ".ogv"),
    *(".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aiff", ".aif"),
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif"),
)
"""Suffixes of the files that are taken from a folder."""
ONE_A_LINE = "correct the line: one JSON object on each, without a list around them"
MEDIA_FORMS = 'give a path, a list of paths, or {"video": path, …}'
REMEDY = "give a folder, a glob in quotes, a .jsonl file of lines, or a media file"


@dataclass(frozen=True)
class Row:
    """One thing to answer.

    Attributes:
        id: unique in the batch; ``custom_id`` of the result.
        conversation: a question or messages.
        media: what it is about, in order: a path or URL, :class:`~video_salmonn.bulk.openai_lines.Inline` bytes, or a
            pair of picture and sound of these.
        options: see :data:`OPTIONS`.
        problem: why the row cannot be answered, where its line says so.
        named: the media as they were written, for :attr:`key`: where a folder lies is not part of what is asked.
    """

    id: str
    conversation: Conversation
    media: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    problem: VideoSalmonnError | None = None
    named: Any = None

    @property
    def key(self) -> str:
        """A digest of what is asked: the same for the same line, wherever its files lie."""
        return digest(self.conversation, self.named, dict(self.options))


def read_rows(source: str, question: str | None, defaults: Mapping[str, Any] | None = None) -> Iterator[Row]:
    """Rows of an input, in its order.

    Args:
        source: a folder, a glob, a file of lines, or one media file.
        question: for media without a question of their own.
        defaults: options of rows that do not have them.

    Raises:
        ManifestError: there is no such input, a line is not JSON, or an id comes twice.
        ConfigError: media without any question.
    """
    if not source:
        raise ManifestError("the name of the input is empty", remedy=REMEDY)
    path = Path(source)
    if path.is_dir():
        found = sorted(_media_below(path))
        if not found:
            raise ManifestError(f"{source}: no media files in this folder", remedy=REMEDY)
        yield from _files([(one.relative_to(path).as_posix(), one) for one in found], question, defaults or {})
    elif is_there(path) and path.suffix.lower() in LINES:
        yield from _lines(path, question, defaults or {})
    elif is_there(path):
        yield from _files([(source, path)], question, defaults or {})
    elif glob.has_magic(source):
        named = sorted(name for name in glob.glob(source, recursive=True) if Path(name).is_file())  # noqa: PTH207
        if not named:
            raise ManifestError(f"{source}: no file matches", remedy=REMEDY)
        yield from _files([(name, Path(name)) for name in named], question, defaults or {})
    elif path.exists():
        raise ManifestError(f"{source}: is a pipe or a device, which cannot be read twice", remedy="give a file")
    else:
        raise ManifestError(f"{source}: no such file or folder", remedy=REMEDY)


def _media_below(folder: Path) -> Iterator[Path]:
    """Media files in a folder and in those below it; hidden ones are left out, and links to folders are not followed.

    Raises:
        ManifestError: a folder cannot be read.
    """

    def unread(error: OSError) -> None:
        raise ManifestError(
            f"{error.filename}: the folder cannot be read ({error.strerror})",
            remedy="correct its permissions, or give the folders and files that can be read",
        ) from error

    for place, folders, names in os.walk(folder, onerror=unread):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:  # what is no folder: a link that leads nowhere is a row, whose error says so
            if Path(name).suffix.lower() in MEDIA and not name.startswith("."):
                yield Path(place, name)


def _files(found: list[tuple[str, Path]], question: str | None, defaults: Mapping[str, Any]) -> Iterator[Row]:
    if question is None:
        raise ConfigError("files have no question of their own", remedy='give --question "…"')
    prompt.parse(question, 0)
    for name, path in found:
        yield Row(name, question, (str(path),), dict(defaults), named=name)


def _lines(path: Path, question: str | None, defaults: Mapping[str, Any]) -> Iterator[Row]:
    seen: dict[str, int] = {}
    for number, line in json_lines(path, ManifestError, ONE_A_LINE):
        row = _row(line, path.parent, question, defaults)
        if row.id in seen:
            raise ManifestError(
                f"{path}, line {number}: the id {row.id!r:.100} is that of line {seen[row.id]} "
                "(lines without an id have a digest for it)",
                remedy="give every line an id of its own",
            )
        seen[row.id] = number
        yield row


def _row(line: dict[str, Any], folder: Path, question: str | None, defaults: Mapping[str, Any]) -> Row:
    given = line.get("custom_id", line.get("id"))
    name = str(given) if given is not None else digest(line)[:24]
    try:
        if is_openai_line(line):
            conversation, media, options = read_openai_line(line, folder)
        else:
            conversation, media, options = _own_line(line, folder, question)
        options = checked({**defaults, **options})
        prompt.parse(conversation, len(media))
    except VideoSalmonnError as error:
        return Row(name, question or "", problem=error, options={"line": digest(line)})
    named = line["body"] if is_openai_line(line) else [line.get("media"), line.get("sound")]
    return Row(name, conversation, media, options, named=named)


def _own_line(line: dict[str, Any], folder: Path, question: str | None) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    conversation = line.get("conversation") or line.get("question") or question
    if conversation is None:
        raise ConfigError("the line has no question", remedy='add "question", or give --question')
    if isinstance(conversation, list) and conversation and isinstance(conversation[-1], dict):
        conversation = conversation[:-1] if conversation[-1].get("role") == "assistant" else conversation
    options = {name: line[name] for name in OPTIONS if line.get(name) is not None}
    items, sound, named = parts_of(line.get("media"), line.get("sound"))
    options |= named
    places: tuple[Any, ...] = tuple(resolved(item, folder) for item in items)
    if sound is not None:
        heard = resolved(sound, folder)
        places = ((places[0], heard),) if places else (heard,)
    return conversation, places, options


def parts_of(media: Any, sound: Any) -> tuple[list[Any], Any, dict[str, Any]]:
    """Media of a line, their separate sound, and the options that they state where they are an object.

    Raises:
        ConfigError: an object without video, image or audio, what is neither a name nor bytes, or a separate sound
            beside several media.
    """
    options: dict[str, Any] = {}
    if isinstance(media, Mapping):
        options = {name: media[name] for name in ("start", "end") if media.get(name) is not None}
        if "audio" in media and media["audio"] is None:
            options["no_audio"] = True
        shown, heard = media.get("video") or media.get("image"), media.get("audio")
        if not (shown or heard):
            raise ConfigError(f"media is {dict(media)!r}", remedy=MEDIA_FORMS)
        media, sound = (shown, heard) if shown else (heard, sound)
    items = [] if media is None else media if isinstance(media, list) else [media]
    if not all(isinstance(item, (str, bytes)) and item for item in (*items, *([] if sound is None else [sound]))):
        beside = "" if sound is None else f", sound is {sound!r}"
        raise ConfigError(f"media is {media!r}{beside}", remedy=MEDIA_FORMS)
    if sound is not None and len(items) > 1:
        raise ConfigError("a separate sound can go with one media item only", remedy="give one media item")
    return items, sound, options


def resolved(name: str, folder: Path) -> str:
    """A path relative to a folder, as one from here; URLs and absolute paths stay as they are."""
    return name if "://" in name or Path(name).is_absolute() else str(folder / name)


def parse_shards(text: str | None) -> tuple[int, int]:
    """(number from 0, count) of ``i/n``, which counts from 1. Raises ConfigError."""
    if text is None:
        return 0, 1
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise ConfigError(f"shards is {text!r}", remedy="write i/n with 1 <= i <= n, such as 2/8")
    return int(first) - 1, int(count)


def shard(rows: Iterable[Row], number: int, count: int) -> Iterator[Row]:
    """Every ``count``-th row, from ``number`` on."""
    return (row for place, row in enumerate(rows) if place % count == number)
