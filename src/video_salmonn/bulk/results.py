"""The file of results: appended and synced as answers come, and continued after any interruption.

Decisions:

* A line is written by one call and synced to the disk with its batch. A line that a killed process left half written is
  cut off when the file is opened again; its row is answered again.
* The ``id`` of a result is made of two digests: of the settings (the model's weights and numerics, the package's
  decisions), and of what the row asks. A row is done when a line has its ``custom_id`` and this id. Another digest
  of settings refuses the file, another digest of the row names the row: nothing mixes silently.
* Names of files need not be valid Unicode, so the ids of rows need not be: here JSON may hold half of a surrogate pair.
* One process writes a file: it holds a lock beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from video_salmonn.bulk.openai_lines import failed
from video_salmonn.errors import ConfigError, ManifestError
from video_salmonn.files import digest, written
from video_salmonn.wording import counted

BEGIN = b'{"id": "batch_req_'
LONGEST_START = 4096
HALF = 12
"""Hexadecimal digits of each half of a result's id."""


def settings_key(settings: Mapping[str, Any]) -> str:
    """Digest of what changes answers and is not part of a row."""
    return digest(dict(settings))[:HALF]


def check_results(path: Path) -> None:
    """Raise ManifestError for a file that a batch did not write, by its first line; nothing is changed in it."""
    if path.is_file() and not os.access(path, os.W_OK):
        raise ManifestError(f"{path}: cannot be written", remedy="correct its permissions, or choose another --out")
    if path.exists() and not path.is_file():
        raise ManifestError(f"{path}: is no regular file", remedy="give the name of a file as --out")
    try:
        with path.open("rb") as stream:
            first = stream.readline(LONGEST_START)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror})", remedy="choose another --out") from error
    if first.strip() and not _begins(first):
        raise ManifestError(f"{path}, line 1: is no result of a batch", remedy="choose another --out")


def _begins(line: bytes) -> bool:
    """Whether a line, which may be cut off anywhere, begins as a result's."""
    return line[: len(BEGIN)] == BEGIN[: len(line)]


class Results:
    """An open file of results.

    Args:
        path: of the file; made where it is missing, with its folder.
        settings: see :func:`settings_key`.
        retry: forget failed rows, so that they are answered again.

    Attributes:
        done: ``custom_id`` of every row that is in the file -> digest of what it asked.
        failures: ids of failed rows in the file.

    Raises:
        ConfigError: the file holds results of other settings, or another process writes it.
        ManifestError: it cannot be read or written, or holds something else.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, retry: bool = False) -> None:
        self.path, self.settings = path, settings_key(settings)
        self.done: dict[str, str] = {}
        self.failures: set[str] = set()
        if path.is_dir():
            raise ManifestError(f"{path}: is a folder", remedy="give the name of a file as --out")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path.with_name(path.name + ".lock"), timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise ConfigError(
                f"{path}: another process is writing it", remedy="wait for it, or give every process its own --out"
            ) from error
        except OSError as error:
            raise self._unwritten(error) from error
        try:
            self._read()
            if retry and self.failures:
                self._forget_failures()
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            self._lock.release()
            raise self._unwritten(error) from error
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._file)
        self._lock.release()

    def name_of(self, row_key: str) -> str:
        """Name of a row's request, which its result line carries."""
        return f"{self.settings}{row_key[:HALF]}"

    def has(self, custom_id: str, row_key: str) -> bool:
        """Whether a row is in the file, answered or failed.

        Raises:
            ConfigError: the file holds a row of this id that asked something else.
        """
        before = self.done.get(custom_id)
        if before is not None and before != row_key[:HALF]:
            raise ConfigError(
                f"{self.path}: row {custom_id!r:.100} asked something else when it was answered",
                remedy="choose another --out, or give the changed row another id",
            )
        return before is not None

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write result lines and sync them to the disk. Raises ManifestError where that fails."""
        lines = list(lines)
        if not lines:
            return
        try:
            for line in lines:
                text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
                data = text.encode("utf-8", "backslashreplace")
                while data:
                    data = data[os.write(self._file, data) :]
                self._note(line)
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritten(error) from error

    def _note(self, line: Mapping[str, Any]) -> None:
        name = str(line["custom_id"])
        self.done[name] = str(line["id"])[-HALF:]
        if failed(line):
            self.failures.add(name)

    def _read(self) -> None:
        """Take up what is in the file; a half-written last line is cut off."""
        if not self.path.is_file():
            return
        whole = 0
        with self.path.open("rb") as stream:
            for number, text in enumerate(stream, 1):
                if not text.endswith(b"\n"):
                    if not _begins(text):  # not cut off: somebody else's file
                        self._take(text, number)
                    break
                whole += len(text)
                if text.strip():
                    self._take(text, number)
        if whole != self.path.stat().st_size:
            with self.path.open("r+b") as stream:
                stream.truncate(whole)

    def _take(self, text: bytes, number: int) -> None:
        where = f"{self.path}, line {number}"
        try:
            line = json.loads(text)
            name, custom = str(line["id"]).removeprefix("batch_req_"), str(line["custom_id"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ManifestError(f"{where}: is not a result of a batch", remedy="choose another --out") from error
        if len(name) != 2 * HALF or name[:HALF] != self.settings:
            raise ConfigError(
                f"{where}: was answered with other settings (another model, other weights, numbers or version)",
                remedy="use the settings of that run, or choose another --out",
            )
        if custom in self.done:
            raise ManifestError(f"{where}: row {custom!r:.100} is there twice", remedy="choose another --out")
        self._note(line)

    def _forget_failures(self) -> None:
        """Write the file anew without failed rows, whole or not at all."""
        with written(self.path) as partial, self.path.open("rb") as before, partial.open("wb") as after:
            for text in before:
                if text.strip() and not failed(json.loads(text)):
                    after.write(text)
            after.flush()
            os.fsync(after.fileno())
        for name in self.failures:
            del self.done[name]
        self.failures.clear()

    def _unwritten(self, error: OSError) -> ManifestError:
        return ManifestError(
            f"{self.path}: cannot be written ({error.strerror or error}); "
            f"{counted(len(self.done), 'row', 'are')} in it",
            remedy="free some space or give another --out; the same command continues",
        )
