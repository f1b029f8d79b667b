"""Files that are written whole or not at all, with the modes the user's umask asks for; digests, and fingerprints.

safetensors (and so everything that saves through it) replaces the file it is given by one that only its owner may read,
and temporary folders are private too. What this package leaves on disk goes through here instead.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from video_salmonn.errors import VideoSalmonnError

if TYPE_CHECKING:
    import torch

CHUNK = 1 << 20
MOST_DIGESTS = 1 << 16
_digests: dict[tuple[str, int, int], str] = {}


# --------------------------------------------------------------------------------------------------------- lines


def numbered_lines(path: Path, error: type[VideoSalmonnError]) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 text file that are not blank, with their numbers from 1 and without their ends.

    Only a line feed ends a line. ``str.splitlines`` also breaks at characters that JSON allows inside a text (U+2028,
    U+0085 …). A byte order mark at the beginning is left out.

    Raises:
        error: the file cannot be read, or is not UTF-8; the message names the file and the line.
    """
    number = 0
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield number, text
    except OSError as failure:
        raise error(f"{path}: cannot be read ({failure.strerror})", remedy="check the path") from failure
    except UnicodeDecodeError as failure:
        byte = failure.object[failure.start]
        raise error(
            f"{path}, line {number}: not UTF-8 text (byte 0x{byte:02x} at column {failure.start + 1})",
            remedy="save the file as UTF-8, for example: iconv -f latin1 -t utf-8 OLD > NEW",
        ) from failure


def json_value(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, with the reason in a few words, for whatever is wrong with it."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise ValueError("not JSON that can be read (nested too deeply)") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (at byte {error.start})") from error
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(f"not JSON that can be read ({error})") from error
    # half of a pair, as an escape or in the bytes that UTF-8 has no right to
    halves = (b"\\ud", b"\xed") if isinstance(text, bytes) else ("\\ud",)
    lowered = text.lower()
    if any(half in lowered for half in halves):  # type: ignore[operator]
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text holds half of a surrogate pair, which is not a character") from error
    return value


def json_lines(path: Path, error: type[VideoSalmonnError], remedy: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON-lines file with the numbers of their lines; blank lines are skipped.

    Raises:
        error: the file cannot be read, or a line holds no JSON object; the message names file and line.
    """
    for number, text in numbered_lines(path, error):
        try:
            value = json_value(text)
        except ValueError as failure:
            raise error(f"{path}, line {number}: {failure}", remedy=remedy) from failure
        if not isinstance(value, dict):
            raise error(f"{path}, line {number}: is not a JSON object", remedy=remedy)
        yield number, value


def json_file(
    path: Path, error: type[VideoSalmonnError], *, remedy: str = "check the file", absent: str = "check the path"
) -> Any:
    """The value of a JSON file (UTF-8, a byte order mark is allowed).

    Args:
        path: the file.
        error: what is raised for it.
        remedy: what to do about a damaged file.
        absent: what to do about one that is missing or cannot be read.

    Raises:
        error: the file cannot be read or holds no JSON; the message names file and reason.
    """
    try:
        text = path.read_bytes()
    except OSError as failure:
        raise error(f"{path}: cannot be read ({failure.strerror})", remedy=absent) from failure
    try:
        return json_value(text)
    except ValueError as failure:
        raise error(f"{path}: {failure}", remedy=remedy) from failure


def json_object(
    path: Path, error: type[VideoSalmonnError], *, remedy: str = "check the file", absent: str = "check the path"
) -> dict[str, Any]:
    """The object of a JSON file; arguments and errors as for :func:`json_file`, and any other value is an error."""
    value = json_file(path, error, remedy=remedy, absent=absent)
    if not isinstance(value, dict):
        raise error(f"{path}: holds no JSON object", remedy=remedy)
    return value


# ------------------------------------------------------------------------------------------------------- digests


def digest(*parts: Any) -> str:
    """A key from JSON-ready parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def digest_stream(stream: BinaryIO) -> str:
    """SHA-256 of what is left in a binary stream."""
    hasher = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        hasher.update(chunk)
    return hasher.hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file; remembered while size and time of change stay the same."""
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    found = _digests.get(key)
    if found is None:
        with path.open("rb") as stream:
            found = digest_stream(stream)
        if len(_digests) >= MOST_DIGESTS:
            _digests.clear()  # other threads may look for their own meanwhile
        _digests[key] = found
    return found


def is_there(path: Path) -> bool:
    """Whether a path is a file, or one that the system will not show: whoever opens it says why it cannot be read."""
    try:
        return path.is_file()
    except PermissionError:
        return True
    except OSError:  # a name that is too long, a share that went away
        return False


def fingerprint(
    module: torch.nn.Module | Mapping[str, torch.Tensor], *settings: Any, leave_out: tuple[str, ...] = ()
) -> str:
    """Tells a model (or a part of one) from every other: a digest of all weights, their names, and settings.

    Every byte counts: one changed number in one tensor, or two rows that change places, give another fingerprint. The
    device, and whether weights rest in main memory or on the disk, do not matter; the dtype does. About a second for
    each gigabyte or two.

    Args:
        module: whose parameters and buffers are read; or these by name, where no module is built of them.
        *settings: JSON-ready values that belong to it.
        leave_out: prefixes of names that do not count.

    Returns:
        64 hexadecimal digits.
    """
    hasher = hashlib.sha256(digest(*settings).encode())
    tensors = module if isinstance(module, Mapping) else module.state_dict()
    for name, tensor in sorted(tensors.items()):
        if name.startswith(leave_out):
            continue
        if not hasattr(tensor, "is_meta"):  # some packed layers keep words beside their tensors
            hasher.update(f"{name} {tensor!r}\n".encode())
        elif tensor.is_meta and not isinstance(module, Mapping):
            _add(hasher, name, _resting(module, name))
        else:
            _add(hasher, name, tensor)
    return hasher.hexdigest()


def _add(hasher: Any, name: str, tensor: torch.Tensor) -> None:
    import torch

    hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
    rows = tensor.detach().reshape(-1)
    step = max(1, (64 * CHUNK) // max(1, rows.element_size()))
    for start in range(0, len(rows), step):  # a piece at a time: the tensor may be on a card, and large
        hasher.update(rows[start : start + step].contiguous().cpu().view(torch.uint8).numpy())


def _resting(module: torch.nn.Module, name: str) -> torch.Tensor:
    """A tensor that Accelerate keeps elsewhere until it is needed; it hangs at the part that is brought in whole."""
    parts = name.split(".")
    for depth in range(len(parts) - 1, -1, -1):
        hook = getattr(module.get_submodule(".".join(parts[:depth])), "_hf_hook", None)
        weights: Mapping[str, torch.Tensor] | None = getattr(hook, "weights_map", None)
        if weights is not None:
            return weights[".".join(parts[depth:])]
    raise ValueError(f"{name} has no values: a model without weights has no fingerprint")


# ------------------------------------------------------------------------------------------------------- writing


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A block that writes one file, given under another name beside it; at the block's end it takes its place.

    Readers see the old file or the new one. When the block fails, the old one stays. The mode is what the umask asks
    for (that of a file that is there stays), whoever wrote it. A pipe or a device, such as ``/dev/stdout``, is written
    into at the block's end, and stays what it is.

    Raises:
        OSError: it cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder) / "partial"
            partial.touch()
            yield partial
            with partial.open("rb") as made, path.open("wb") as target:
                shutil.copyfileobj(made, target)
        return
    partial = path.with_name(f".{path.name[:200]}.{uuid4().hex[:8]}.part")
    try:
        partial.touch()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # the name that the caller knows
    mode = stat.S_IMODE((path if path.is_file() else partial).stat().st_mode)
    try:
        yield partial
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all (UTF-8). Raises OSError."""
    with written(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, indent: int | None = 2) -> None:
    """Write a JSON file, whole or not at all. Raises OSError."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=indent) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all; tensors may be on any device. Raises OSError, SafetensorError."""
    from safetensors.torch import save_file

    with written(path) as partial:
        values = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(values, partial, metadata=metadata)


def write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder under another name beside it, then move it into place; a failure leaves the old one.

    Everything inside gets the modes the umask asks for, whoever wrote it.

    Raises:
        OSError: it cannot be written; and whatever ``write`` raises.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(f".{target.name}-{uuid4().hex[:8]}")
    work.mkdir()
    try:
        write(work)
        settle_modes(work)
        old = target.with_name(f".{target.name}-old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.replace(old)
        work.replace(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def settle_modes(folder: Path, pattern: str = "") -> None:
    """Give what is inside a folder the modes the umask asks for: files of a name pattern, or all of it and itself."""
    probe = folder / f".{uuid4().hex[:8]}.mode"  # asked of the system: reading the umask would change it for a moment
    probe.touch()
    for_file = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    probe.mkdir()
    for_folder = stat.S_IMODE(probe.stat().st_mode)
    probe.rmdir()
    for path in folder.rglob(pattern or "*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(for_file)
        elif path.is_dir() and not pattern:
            path.chmod(for_folder)
    if not pattern:
        folder.chmod(for_folder)
