"""Checking a manifest: every line read, every file looked for and, if wanted, decoded. No error hides another."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from video_salmonn.data.manifest import STREAMS, Item, parse_line
from video_salmonn.data.readers import kind
from video_salmonn.errors import ManifestError, MediaError
from video_salmonn.files import numbered_lines
from video_salmonn.types import Clip

TIMEOUT = 600.0
"""Seconds that decoding one file may take."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a manifest.

    Attributes:
        line: number of the (first) line concerned, from 1; 0 for the manifest as a whole.
        file: media file as the line names it, or empty where the line itself is bad.
        reason: what is wrong.
    """

    line: int
    file: str
    reason: str


@dataclass
class ManifestAccount:
    """What was checked.

    Attributes:
        manifest: path.
        items: good lines.
        tasks: items by task.
        files: different media files named.
        decoded: of these, how many were decoded.
        seconds: length of the videos and sounds among these.
        problems: what is wrong.
        warnings: what training would live with, but its owner should know.
    """

    manifest: str
    items: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    files: int = 0
    decoded: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; ``ok`` is true where there is no problem."""
        return {"ok": not self.problems, **asdict(self), "tasks": dict(self.tasks)}


@dataclass
class _Use:
    """How a manifest uses one file: in which line first, for which streams, up to which latest start and end."""

    name: str
    line: int
    sight: bool = False
    sound: bool = False
    start: float = 0.0
    end: float = 0.0


def check_manifest(path: Path, *, decode: bool = False, workers: int = 2) -> ManifestAccount:
    """Check every line of a manifest and every file it names.

    Args:
        path: the manifest.
        decode: decode every file once, whole, each in a process that can be killed.
        workers: such processes.

    Raises:
        ManifestError: the manifest itself cannot be read.
    """
    account = ManifestAccount(str(path))
    uses: dict[Path, _Use] = {}
    seen: dict[str, int] = {}
    for number, text in numbered_lines(path, ManifestError):
        try:
            item = parse_line(text, path, number)
        except ManifestError as error:
            account.problems.append(Problem(number, "", str(error).partition(f"line {number}: ")[2] or str(error)))
            continue
        if item.id in seen:
            account.problems.append(Problem(number, "", f"id {item.id!r} was used in line {seen[item.id]}"))
            continue
        seen[item.id] = number
        account.items += 1
        account.tasks[item.task] += 1
        _collect(item, number, path.parent, uses)
    if not seen and not account.problems:
        account.problems.append(Problem(0, "", "no items in it"))
    account.files = len(uses)
    there: dict[Path, _Use] = {}
    for file, use in uses.items():
        reason = _unusable(file)
        if reason:
            account.problems.append(Problem(use.line, use.name, reason))
        else:
            there[file] = use
    if decode:
        _decode(there, account, workers)
    account.problems.sort(key=lambda problem: (problem.line, problem.file))
    return account


def _unusable(file: Path) -> str:
    """Why a file cannot be used, as far as that can be seen without decoding; empty if it can."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:  # a loop of links, a folder that may not be entered, a name too long
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if not stat.S_ISREG(status.st_mode):
        return "is a folder, not a file" if stat.S_ISDIR(status.st_mode) else "is a pipe or device, not a file"
    if not os.access(file, os.R_OK):
        return "cannot be read (Permission denied)"
    return "" if status.st_size else "holds zero bytes"


def _collect(item: Item, line: int, root: Path, uses: dict[Path, _Use]) -> None:
    """Note the files of an item, those inside recipes too."""
    start, end = float(item.media.get("start") or 0.0), float(item.media.get("end") or 0.0)
    for stream in STREAMS:
        value = item.media.get(stream)
        plain = isinstance(value, str)
        for name in [str(value)] if plain else _inside(value):
            use = uses.setdefault(root / name, _Use(name, line))
            if plain:
                use.sight |= stream != "audio"
                use.sound |= stream == "audio"
                use.start, use.end = max(use.start, start), max(use.end, end)


def _inside(value: Any) -> Iterator[str]:
    """Files that a recipe names."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if key == "file" and isinstance(entry, str):
                yield entry
            else:
                yield from _inside(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _inside(entry)


def _decode(uses: dict[Path, _Use], account: ManifestAccount, workers: int) -> None:
    from video_salmonn.media import MediaOptions, load_many  # here, so that checking lines needs no media library

    options = MediaOptions(frame_size=(32, 32), threads=1)  # small frames: only number and damage matter
    clips = load_many([str(file) for file in uses], workers=workers, options=options, timeout=TIMEOUT)
    for use, clip in zip(uses.values(), clips):
        account.decoded += 1
        if isinstance(clip, MediaError):
            account.problems.append(Problem(use.line, use.name, clip.reason))
            continue
        account.seconds += 0.0 if kind(use.name) == "image" else clip.duration
        account.problems += [Problem(use.line, use.name, reason) for reason in _lacks(use, clip)]
        notes = list(clip.report.warnings)
        if use.end > clip.duration + 1.0:
            notes.append(f"an item ends at {use.end:g} s, the file at {clip.duration:.2f} s")
        account.warnings += [Problem(use.line, use.name, note) for note in notes]
    account.seconds = round(account.seconds, 3)


def _lacks(use: _Use, clip: Clip) -> Iterator[str]:
    """What an item wants of the file and does not get."""
    seen, heard = clip.report.seen, clip.report.heard
    if use.sight and seen.status in ("absent", "failed"):
        yield f"no picture: {seen.detail or seen.status}"
    if use.sound and heard.status in ("absent", "failed"):
        yield f"no sound: {heard.detail or heard.status}"
    elif heard.status == "failed":
        yield f"its sound cannot be decoded: {heard.detail}"
    if use.start and use.start >= clip.duration:
        yield f"an item starts at {use.start:g} s, the file ends at {clip.duration:.2f} s"
