"""Files of a git repository's newest commit, read without a work tree."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from video_salmonn.errors import ManifestError


class GitFolder:
    """A clone, bare or with a work tree; only what is committed counts.

    Args:
        path: the clone, its ``.git`` folder, or a folder that holds one of them as ``repo``.
        name: ``owner/name`` of the repository, stated as the media's source.

    Raises:
        ManifestError: no repository was found.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        for candidate in (path, path / ".git", path / "repo", path / "repo" / ".git"):
            if (candidate / "HEAD").is_file() and (candidate / "objects").is_dir():
                self.path = candidate
                break
        else:
            raise ManifestError(f"{path}: no git repository", remedy=f"git clone --depth 1 {name}'s repository there")
        self.commit = self._git("rev-parse", "HEAD").decode().strip()
        self.files = self._git("ls-tree", "-r", "-z", "--name-only", "HEAD").decode().strip("\0").split("\0")

    @property
    def source(self) -> str:
        """``owner/name@commit``."""
        return f"{self.name}@{self.commit[:7]}"

    def _git(self, *arguments: str) -> bytes:
        done = subprocess.run(["git", "--git-dir", str(self.path), *arguments], capture_output=True, check=False)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()[:200]
            raise ManifestError(f"{self.path}: git {arguments[0]} failed ({reason})", remedy="clone it again")
        return done.stdout

    def under(self, folder: str, suffix: str) -> list[str]:
        """Names of the files below a folder that end so, sorted."""
        return sorted(name for name in self.files if name.startswith(folder) and name.endswith(suffix))

    def text(self, name: str) -> str:
        """A file as text."""
        return self._git("show", f"HEAD:{name}").decode("utf-8-sig")

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Files by name, with their bytes; those that the clone lacks are left out."""
        command = ["git", "--git-dir", str(self.path), "cat-file", "--batch"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            for name in names:
                process.stdin.write(f"HEAD:{name}\n".encode())
                process.stdin.flush()
                header = process.stdout.readline().split()
                if header[-1] in (b"missing", b"ambiguous"):
                    continue
                data = process.stdout.read(int(header[-1]))
                process.stdout.read(1)
                yield name, data
            process.stdin.close()
