"""What travels to another machine: manifests and all their media, in tar files of a bounded size.

Pictures are packed as the encoder sees them, 224 x 224 in WebP, under their own names; everything else as it is.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from video_salmonn.data.manifest import read_manifest
from video_salmonn.embedded.data.build import media_files
from video_salmonn.embedded.data.render import read_frames
from video_salmonn.encoders.efficientnet import SIZE
from video_salmonn.errors import ConfigError, MediaError
from video_salmonn.files import write_text

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
QUALITY = 75
_BLOCK = tarfile.BLOCKSIZE
_END = tarfile.RECORDSIZE

README = """# Media of a data set, packed

{files} files of {splits}, {megabytes} MB in {parts} tar files.
{shrunk} pictures are 224 x 224 in WebP, under their own names.

    mkdir -p data && for part in media-*.tar; do tar xf "$part" -C data; done
    video-salmonn data encode-embedded --manifests data/{manifests} --out features \\
        --device cuda --processes 15 --workers 1

The paths in the manifests are relative, and hold where this is unpacked. A picture's features are kept under a key that
is made of its bytes, so the store's own `index.json` has to travel back with it: it says which key a path has.
"""


class _Parts:
    """Tar files that are filled one after the other."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self.paths: list[Path] = []
        self._tar: tarfile.TarFile | None = None
        self._size = 0

    def add(self, name: str, content: bytes) -> None:
        """A file, under a relative name; without owner and time, so that the same media give the same parts."""
        size = 3 * _BLOCK + -(-len(content) // _BLOCK) * _BLOCK  # a long name takes two blocks more
        if self._tar is None or (self._size + size + _END > self.most and self._size):
            self.close()
            self.paths.append(self.folder / f"media-{len(self.paths):03d}.tar")
            self._tar = tarfile.open(self.paths[-1].with_suffix(".partial"), "w")  # noqa: SIM115 - closed with the part
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content))
        self._size += size

    def close(self) -> None:
        """Finish the part that is being filled, if any."""
        if self._tar is not None:
            self._tar.close()
            self.paths[-1].with_suffix(".partial").replace(self.paths[-1])
        self._tar, self._size = None, 0


def _content(path: Path) -> tuple[bytes, bool]:
    """A file's bytes, and whether they are those of a picture made small."""
    if path.suffix.lower() in PICTURES:
        frames = read_frames(path, SIZE)
        if len(frames) == 1:
            stream = io.BytesIO()
            Image.fromarray(frames[0]).save(stream, "WEBP", quality=QUALITY)
            return stream.getvalue(), True
    try:
        return path.read_bytes(), False
    except OSError as error:
        raise MediaError(str(path), f"cannot be read ({error.strerror})") from error


def pack_media(
    manifests: Path,
    out: Path,
    splits: Iterable[str],
    part_bytes: int,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write manifests and media as ``media-000.tar`` … with a ``README.md``.

    Args:
        manifests: their folder; what they name may lie anywhere, by relative paths.
        out: created; may hold no parts yet.
        splits: manifests to pack.
        part_bytes: largest part, unless one file alone is larger.
        report: called with (done, all) after each file.

    Returns:
        ``files``, ``pictures`` (made small), ``parts``, ``bytes``, ``manifests`` (where they lie when unpacked) and
        ``failed`` (why files were left out).

    Raises:
        ConfigError: parts are there already.
    """
    if any(out.glob("media-*.tar")):
        raise ConfigError(f"{out}: holds packed media already", remedy="another --out, or delete its media-*.tar")
    splits = list(splits)
    items = (item for name in splits for item in read_manifest(manifests / f"{name}.jsonl"))
    folder = manifests.resolve()
    failed: list[str] = []
    media: dict[str, Path] = {}
    for name in media_files(items):
        if Path(name).is_absolute():
            failed.append(f"{name}: an absolute path, which another machine does not have")
        else:
            path = Path(os.path.normpath(folder / name))
            media[str(path)] = path
    root = Path(os.path.commonpath([str(folder), *(str(path.parent) for path in media.values())]))
    out.mkdir(parents=True, exist_ok=True)
    parts, shrunk, packed = _Parts(out, part_bytes), 0, 0
    for name in splits:
        parts.add((folder.relative_to(root) / f"{name}.jsonl").as_posix(), (folder / f"{name}.jsonl").read_bytes())
    for number, path in enumerate(media.values(), 1):
        try:
            content, small = _content(path)
        except MediaError as error:
            failed.append(str(error))
        else:
            parts.add(path.relative_to(root).as_posix(), content)
            packed, shrunk = packed + 1, shrunk + small
        if report is not None:
            report(number, len(media))
    parts.close()
    size = sum(path.stat().st_size for path in parts.paths)
    inside = folder.relative_to(root).as_posix()
    values = {"files": packed, "splits": ", ".join(splits), "megabytes": round(size / 1e6), "parts": len(parts.paths)}
    write_text(out / "README.md", README.format(**values, shrunk=shrunk, manifests=inside))
    counts = {"files": packed, "pictures": shrunk, "parts": len(parts.paths), "bytes": size, "manifests": inside}
    return counts | {"failed": failed}
