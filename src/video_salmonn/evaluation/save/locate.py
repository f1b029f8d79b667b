"""Where the media of an annotation file are on this machine: by mapping, by path, by search.

Order, and the first that decides wins:

1. ``DATA/<task>.paths.json``, an object from the name in the annotation file to a path (relative to DATA);
2. the name under DATA, under ``DATA/<task>``, or beside the annotation file;
3. the only file below DATA whose path ends with the name; of several, the only one below a folder called ``<task>``;
4. the only file below DATA with that file name, whatever folder the annotation puts it in.

A name that fits several files is *ambiguous*: reported, never guessed.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.item import Annotation, Media
from video_salmonn.evaluation.save.annotations import MEDIA_SUFFIXES
from video_salmonn.files import is_there, json_object

_OTHER_SOUND = (".wav", ".flac", ".mp3", ".opus", ".ogg", ".m4a")


@dataclass(slots=True)
class Located:
    """What :func:`locate` found for a task's entries.

    Attributes:
        media: found media, by entry id.
        notes: by entry id, which file replaces which.
        missing: (entry id, names that were not found).
        ambiguous: (entry id, names that fit several files).
    """

    media: dict[str, Media] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: list[tuple[str, str]] = field(default_factory=list)
    ambiguous: list[tuple[str, str]] = field(default_factory=list)


class Ambiguous(Exception):
    """A name fits several files; the message lists them."""


class MediaIndex:
    """The media files below a folder, walked once.

    Args:
        root: the folder; links to folders are followed, each real folder once.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise EvaluationError(f"{root}: no such folder", remedy="give the folder that holds the SAVE data")
        self.root = root
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        visited: set[str] = set()
        for folder, folders, files in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            folders.sort()
            for name in sorted(files):
                if Path(name).suffix.lower() in MEDIA_SUFFIXES:
                    self._by_name[name].append(Path(folder) / name)

    def __len__(self) -> int:
        return sum(map(len, self._by_name.values()))

    def find(self, name: str, task: str, beside: Path | None = None) -> Path | None:
        """The file that ``name`` means for ``task``, or None.

        Raises:
            Ambiguous: if several files fit equally well.
        """
        for folder in (self.root, self.root / task, beside):
            if folder is not None and is_there(folder / name):
                return folder / name
        wanted = Path(name).parts
        named = self._by_name.get(Path(name).name, [])
        for fitting in ([p for p in named if p.parts[-len(wanted) :] == wanted], named):
            below = [path for path in fitting if task in path.relative_to(self.root).parts[:-1]]
            for group in (fitting, below):
                if len(group) == 1:
                    return group[0]
            if fitting:
                raise Ambiguous(f"{name} (fits {', '.join(str(p.relative_to(self.root)) for p in fitting[:3])} …)")
        return None


class Finder:
    """Finds one task's media: the mapping file first, then the index."""

    def __init__(self, index: MediaIndex, task: str, beside: Path | None = None) -> None:
        self.index, self.task, self.beside = index, task, beside
        self.mapping: dict[str, str] = {}
        file = index.root / f"{task}.paths.json"
        if file.is_file():
            loaded = json_object(file, EvaluationError)
            if not all(isinstance(value, str) for value in loaded.values()):
                raise EvaluationError(f"{file}: must be a JSON object from names to paths")
            self.mapping = loaded

    def find(self, name: str) -> Path | None:
        """The file for a name; a mapped name must exist."""
        if name in self.mapping:
            path = self.index.root / self.mapping[name]
            return path if is_there(path) else None
        return self.index.find(name, self.task, self.beside)

    def find_sound(self, name: str) -> Path | None:
        """The file for a sound, also under another sound suffix (test sets are often re-encoded)."""
        names = [name, *(str(Path(name).with_suffix(s)) for s in _OTHER_SOUND if s != Path(name).suffix)]
        return next((path for path in map(self.find, names) if path), None)


def locate(entries: Iterable[Annotation], finder: Finder) -> Located:
    """Find the media of every entry; nothing is opened."""
    out = Located()
    for entry in entries:
        try:
            media, notes, missing = _locate(entry, finder)
        except Ambiguous as error:
            out.ambiguous.append((entry.id, str(error)))
            continue
        if missing:
            out.missing.append((entry.id, ", ".join(missing)))
            continue
        out.media[entry.id] = media
        if notes:
            out.notes[entry.id] = notes
    return out


def _locate(entry: Annotation, finder: Finder) -> tuple[Media, tuple[str, ...], list[str]]:
    names, notes, missing = entry.names, [], []
    video = finder.find(names.video) if names.video else None
    image = finder.find(names.image) if names.image else None
    sounds = (names.sound, *names.also) if names.sound else ()
    sound = next((path for path in map(finder.find_sound, sounds) if path), None)
    start = end = None
    if names.video and not video and names.whole and names.span and (video := finder.find(names.whole)):
        start, end = names.span
        notes.append(f"{names.video} is missing: {start} s to {end} s of {names.whole} are used")
        # The sound file of the clip belongs to the clip's own time axis, so the recording's track goes with it.
        return Media(video, image, None, start, end), tuple(notes), []
    if names.video and not video:
        missing.append(names.video)
    if names.image and not image:
        missing.append(names.image)
    if names.sound and not sound:
        if names.own_sound and video:
            notes.append(f"{names.sound} is missing: the video's own sound is used")
        else:
            missing.append(names.sound)
    return Media(video, image, sound, start, end), tuple(notes), missing
