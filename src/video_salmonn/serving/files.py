"""Uploaded files: kept on disk for a time, each key's by itself, under names that this server makes.

A server that ends deletes them. What one left that was killed is deleted by the next that starts on the machine.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from video_salmonn.serving.problems import RequestProblem
from video_salmonn.serving.settings import ServerSettings

PREFIX = "video-salmonn-files-"
LOCK = "held"
"""File of a folder, locked by the process whose folder it is for as long as that lives."""
OLD_SECONDS = 60.0
"""A younger folder is left alone: its process may be about to lock it."""
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")


@dataclass(frozen=True)
class StoredFile:
    """One uploaded file.

    Attributes:
        id: its name for clients, which cannot be guessed.
        owner: whose key it came with.
        filename: as the client called it; never a path here.
        purpose: as the client said.
        size: bytes.
        created: seconds since the epoch.
        path: where its bytes are.
    """

    id: str
    owner: str
    filename: str
    purpose: str
    size: int
    created: float
    path: Path

    def to_dict(self, seconds: float) -> dict[str, Any]:
        """OpenAI's file object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": int(self.created),
            "expires_at": int(self.created + seconds),
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class FileStore:
    """The files of all keys. Any thread may use it.

    Args:
        settings: how many, how large and how long.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        delete_left()
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._held = FileLock(self._folder / LOCK, thread_local=False)
        self._held.acquire(timeout=0)
        self._files: dict[str, StoredFile] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Delete every file."""
        with self._lock:
            self._files.clear()
        self._held.release()
        shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, owner: str, source: IO[bytes], filename: str, purpose: str) -> StoredFile:
        """Keep a copy of a file.

        Raises:
            RequestProblem: it is empty, or the key has as many files or bytes as it may have.
        """
        self._forget_old()
        name = f"file-{secrets.token_hex(16)}"
        path = self._folder / name
        try:
            with path.open("xb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            size = path.stat().st_size
            if not size:
                raise RequestProblem(400, "the uploaded file is empty", param="file")
            kept = StoredFile(name, owner, _plain(filename), purpose, size, time.time(), path)
            with self._lock:
                own = [file for file in self._files.values() if file.owner == owner]
                most = self._settings.max_files_bytes
                if len(own) >= self._settings.max_files or sum(file.size for file in own) + size > most:
                    raise RequestProblem(
                        413,
                        f"a key may keep {self._settings.max_files} files of {most >> 20} MiB in all",
                        remedy="delete some with DELETE /v1/files/ID",
                        param="file",
                    )
                self._files[name] = kept
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return kept

    def get(self, owner: str, name: str) -> StoredFile:
        """A file of this owner.

        Raises:
            RequestProblem: there is none; somebody else's file is none.
        """
        self._forget_old()
        with self._lock:
            found = self._files.get(name)
        if found is None or found.owner != owner:
            raise RequestProblem(404, "no such file", remedy="upload it to /v1/files")
        return found

    def read(self, owner: str, name: str) -> bytes:
        """Bytes of a file. Raises as :meth:`get`."""
        found = self.get(owner, name)
        try:
            return found.path.read_bytes()
        except FileNotFoundError:
            raise RequestProblem(404, "no such file", remedy="upload it to /v1/files") from None

    def all(self, owner: str) -> list[StoredFile]:
        """This owner's files, the newest first."""
        self._forget_old()
        with self._lock:
            return sorted((f for f in self._files.values() if f.owner == owner), key=lambda f: -f.created)

    def delete(self, owner: str, name: str) -> None:
        """Forget a file. Raises as :meth:`get`."""
        found = self.get(owner, name)
        with self._lock:
            self._files.pop(found.id, None)
        found.path.unlink(missing_ok=True)

    def _forget_old(self) -> None:
        oldest = time.time() - self._settings.file_seconds
        with self._lock:
            gone = [file for file in self._files.values() if file.created < oldest]
            for file in gone:
                del self._files[file.id]
        for file in gone:
            file.path.unlink(missing_ok=True)


def delete_left() -> None:
    """Delete the folders of this user's servers that do not live any more."""
    if not hasattr(os, "getuid"):  # a file in use can be told by its lock only where locks end with their process
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            found = folder.lstat()
            own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
            if not own or time.time() - found.st_mtime < OLD_SECONDS:
                continue
            with FileLock(folder / LOCK).acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (OSError, Timeout):
            continue


def _plain(name: str) -> str:
    """A client's file name without folders and control characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable())[:200] or "file"
