"""Pretrained parts that ship inside installable packages: find them, check them, convert them once.

A part is a set of data files inside installed packages. The packages are located with ``find_spec`` and never
imported (their code has dependencies that nobody here needs); every file must have the one known SHA-256, because the
packages have single maintainers; the converted form is kept in a cache directory and is complete or absent.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from video_salmonn.cache import cache_home
from video_salmonn.checkpoints.shipped import SETUP
from video_salmonn.errors import CheckpointError, MissingPartError
from video_salmonn.files import settle_modes
from video_salmonn.wording import counted

_RECORD = "part.json"


@dataclass(frozen=True)
class PartFile:
    """One data file of an installed package.

    Attributes:
        package: the package's import name.
        path: the file's place inside it.
        size: bytes.
        sha256: hexadecimal digest.
    """

    package: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Part:
    """A pretrained network: where its files come from and how they become safetensors.

    Attributes:
        name: short name, also the cache folder's prefix.
        title: what the network is.
        distributions: the packages to install.
        licence: of the weights.
        files: the data files, in the order ``convert`` expects.
        convert: ``convert(sources, target)`` writes into the existing, empty directory ``target``.
        version: raise it when the converted form changes.
    """

    name: str
    title: str
    distributions: tuple[str, ...]
    licence: str
    files: tuple[PartFile, ...]
    convert: Callable[[list[Path], Path], None]
    version: int = 1

    @property
    def size(self) -> int:
        """Bytes of all source files."""
        return sum(file.size for file in self.files)

    @property
    def key(self) -> str:
        """Changes with any source file and with the conversion."""
        digest = hashlib.sha256("".join(file.sha256 for file in self.files).encode())
        digest.update(str(self.version).encode())
        return digest.hexdigest()[:12]


def locate(file: PartFile) -> Path:
    """The file's path on this machine, without importing its package and without reading the file.

    Raises:
        MissingPartError: the package is not installed, or lacks the file.
    """
    spec = find_spec(file.package)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder) / file.path
        if path.is_file():
            return path
    raise MissingPartError(f"the data file {file.package}/{file.path} is not installed", remedy=SETUP)


def check(file: PartFile) -> Path:
    """Locate the file and check its size and digest.

    Raises:
        MissingPartError: not installed.
        CheckpointError: other content than the known one.
    """
    path = locate(file)
    if path.stat().st_size != file.size:
        raise CheckpointError(f"{path}: {counted(path.stat().st_size, 'byte')}, {file.size} expected", remedy=SETUP)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != file.sha256:
        raise CheckpointError(f"{path}: SHA-256 {digest.hexdigest()[:16]}…, {file.sha256[:16]}… expected", remedy=SETUP)
    return path


def converted(part: Part, home: Path | None = None) -> Path | None:
    """The converted part's directory if it is there, else None. Changes nothing."""
    target = (home or cache_home()) / "parts" / f"{part.name}-{part.key}"
    return target if (target / _RECORD).is_file() else None


def directory(part: Part, home: Path | None = None) -> Path:
    """The converted part's directory; converts at the first call.

    Several processes may call this at once: each converts into a folder of its own and the first to finish renames it
    into place; an interrupted conversion leaves nothing that a later call could mistake for a part.

    Args:
        part: what is wanted.
        home: cache directory, by default :func:`cache_home`.

    Raises:
        MissingPartError: a package is not installed.
        CheckpointError: a file is damaged or not what it should be, or the cache cannot be written.
    """
    ready = converted(part, home)
    if ready is not None:
        return ready
    folder = (home or cache_home()) / "parts"
    target = folder / f"{part.name}-{part.key}"
    sources = [check(file) for file in part.files]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{part.name}-", dir=folder))
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot write converted parts ({error})",
            remedy="set VIDEO_SALMONN_HOME to a folder that can be written",
        ) from error
    try:
        part.convert(sources, work)
        record = {
            "part": part.name,
            "title": part.title,
            "licence": part.licence,
            "sources": {f"{file.package}/{file.path}": file.sha256 for file in part.files},
        }
        (work / _RECORD).write_text(json.dumps(record, indent=2) + "\n")
        settle_modes(work)
        try:
            work.rename(target)
        except OSError:
            if not (target / _RECORD).is_file():  # else another process was first
                raise
    except OSError as error:
        raise CheckpointError(
            f"{target}: cannot write the converted part ({error})",
            remedy="free some space, or set VIDEO_SALMONN_HOME to another folder",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target
