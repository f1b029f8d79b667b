"""Foreign weight files, read lazily and safely: safetensors and torch pickles, one file or a folder of shards.

Decisions in this file:

- Names, shapes and dtypes are known from headers; a tensor's numbers are read when asked for. Pickles are opened with
  ``weights_only=True`` (a file that would run code is refused) and mapped into memory, so opening costs no memory.
- :meth:`TensorFile.release` gives mapped pages back, so that a long conversion holds one shard and not the files.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from video_salmonn.checkpoints.released.names import BUFFERS
from video_salmonn.errors import CheckpointError
from video_salmonn.files import json_object

WRAPPERS = ("model", "module", "state_dict")
"""Keys under which training scripts put the tensors."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_UNREADABLE = (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError)


@dataclass(frozen=True)
class Ref:
    """A tensor in a file, known by its header.

    Attributes:
        file: that holds it.
        name: in that file.
        shape, dtype: of the tensor.
    """

    file: TensorFile
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | str

    @property
    def nbytes(self) -> int:
        """Bytes of the stored numbers."""
        size = self.dtype.itemsize if isinstance(self.dtype, torch.dtype) else 1
        return size * torch.Size(self.shape).numel()

    def meta(self) -> torch.Tensor:
        """A tensor of this shape without numbers."""
        dtype = self.dtype if isinstance(self.dtype, torch.dtype) else torch.uint8
        return torch.empty(self.shape, dtype=dtype, device="meta")

    def load(self) -> torch.Tensor:
        """The numbers."""
        return self.file.tensor(self.name)

    def __str__(self) -> str:
        return f"tensor {self.name!r} {self.shape} of {self.file.path}"


class TensorFile:
    """One weight file.

    Args:
        path: a ``.safetensors`` file, or a torch pickle of any extension.

    Raises:
        CheckpointError: on first use, where the file is missing, damaged, holds code, or holds no tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._handle: Any = None
        self._state: Mapping[str, torch.Tensor] | None = None
        self._extras: dict[str, Any] = {}

    def _refuse(self, reason: object, remedy: str = "download the file again and compare its size") -> CheckpointError:
        return CheckpointError(f"{self.path}: {reason}", remedy=remedy)

    @cached_property
    def is_safetensors(self) -> bool:
        """Whether it is safetensors, by its extension."""
        return self.path.suffix == ".safetensors"

    @cached_property
    def refs(self) -> dict[str, Ref]:
        """Every tensor by its name."""
        if not self.path.is_file():
            raise self._refuse("no such file", "give the path of the downloaded file")
        if self.is_safetensors:
            return self._safetensors_refs()
        state = self._pickle()
        return {name: Ref(self, name, tuple(t.shape), t.dtype) for name, t in state.items()}

    @property
    def extras(self) -> dict[str, Any]:
        """What a pickle holds beside the tensors (BEATs' ``cfg``)."""
        if not self.is_safetensors:
            self._pickle()
        return self._extras

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor's numbers. Raises CheckpointError where they cannot be read."""
        if not self.is_safetensors:
            return self._pickle()[name].detach()
        try:
            if self._handle is None:
                self._handle = safe_open(self.path, framework="pt")
            return self._handle.get_tensor(name)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise self._refuse(f"tensor {name!r} cannot be read ({error})") from error

    def release(self) -> None:
        """Forget everything that was read; the next use opens the file again."""
        self._handle, self._state = None, None

    def sha256(self) -> str:
        """Hexadecimal digest of the whole file."""
        digest = hashlib.sha256()
        with self.path.open("rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
        return digest.hexdigest()

    def _safetensors_refs(self) -> dict[str, Ref]:
        try:
            with safe_open(self.path, framework="pt") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                return {
                    name: Ref(self, name, tuple(s.get_shape()), _DTYPES.get(s.get_dtype(), s.get_dtype()))
                    for name, s in slices.items()
                }
        except (SafetensorError, OSError) as error:
            raise self._refuse(f"not readable as safetensors ({error})") from error

    def _pickle(self) -> Mapping[str, torch.Tensor]:
        if self._state is None:
            self._state, self._extras = self._unwrap(self._read_pickle())
        return self._state

    def _read_pickle(self) -> Any:
        mapped = zipfile.is_zipfile(self.path)
        if not mapped:
            note = f"{self.path.name}: written in torch's old format, which can only be read as a whole into memory"
            self.notes = [note]
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            raise self._refuse(
                f"holds more than tensors and is refused, since reading it could run code ({_first_line(error)})",
                "use the official file; if it is, save its state dict alone with torch.save and give that",
            ) from error
        except _UNREADABLE as error:
            raise self._refuse(f"not readable as a torch file ({_first_line(error)})") from error

    def _unwrap(self, value: Any) -> tuple[Mapping[str, torch.Tensor], dict[str, Any]]:
        """The pickled state dict, and the other entries of the file."""
        extras: dict[str, Any] = {}
        if isinstance(value, Mapping) and not _all_tensors(value):
            key = next((k for k in WRAPPERS if isinstance(value.get(k), Mapping)), None)
            if key is not None:
                extras = {str(k): v for k, v in value.items() if k != key}
                value = value[key]
        if not isinstance(value, Mapping) or not value:
            raise self._refuse(f"holds no tensors by name but a {type(value).__name__}", "give the checkpoint file")
        for name, tensor in value.items():
            if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
                raise self._refuse(f"entry {name!r} is not a tensor but a {type(tensor).__name__}")
        return value, extras


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _all_tensors(values: Mapping[Any, Any]) -> bool:
    return bool(values) and all(isinstance(v, torch.Tensor) for v in values.values())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file. Raises CheckpointError where there is none."""
    again = "download the folder again"
    return json_object(path, CheckpointError, remedy=again, absent=again)


def folder_files(folder: Path) -> list[TensorFile]:
    """Weight files of a Hugging Face model folder: safetensors where there are, else pickles; one or sharded.

    Raises:
        CheckpointError: there are none, a shard is missing, or shards and index disagree.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _sharded(folder, index)
        if (folder / name).is_file():
            return [TensorFile(folder / name)]
    raise CheckpointError(
        f"{folder}: no weights here (model.safetensors, pytorch_model.bin, or their index)",
        remedy="give the model's folder as downloaded, with config.json and all weight files",
    )


def _sharded(folder: Path, index: Path) -> list[TensorFile]:
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise CheckpointError(f"{index}: has no weight_map", remedy="download the folder again")
    files = {name: TensorFile(folder / name) for name in sorted(set(listed.values()))}
    for name, place in listed.items():
        if name not in files[place].refs:
            raise CheckpointError(
                f"{folder / place}: tensor {name!r} is missing, which {index.name} lists", remedy="download it again"
            )
    for place, file in files.items():
        for name in file.refs:
            if listed.get(name) != place and name.rsplit(".", 1)[-1] not in BUFFERS:
                raise CheckpointError(f"{file.path}: tensor {name!r} is not listed for it in {index.name}")
    return list(files.values())


def all_refs(files: list[TensorFile]) -> dict[str, Ref]:
    """Tensors of several files together."""
    return {name: ref for file in files for name, ref in file.refs.items()}
