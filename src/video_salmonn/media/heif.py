"""HEIF pictures (HEIC photographs of phones; AVIF where Pillow cannot read it): one upright RGB picture.

A photograph is a grid of coded tiles, put together and turned as the file's ``meta`` box says (ISO/IEC 23008-12).
FFmpeg gives each coded item as a stream of its own and knows nothing of the whole; so the box is read here, and FFmpeg
decodes the tiles. Thumbnails, depth and gain maps are other items of the file and are not looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import IO, Any

import av
import numpy as np
from PIL import Image

from video_salmonn.errors import LimitError, MediaError
from video_salmonn.media.limits import Limits
from video_salmonn.media.opening import open_container
from video_salmonn.media.source import Opened

REMEDY = "Save it as JPEG or PNG first, for instance by exporting or sharing it from the phone's gallery."
_MAX_META = 16 << 20
_MAX_DEPTH = 4
_MAX_TILES = 4096


@dataclass
class _Item:
    """One item of the file: its type, properties in their order, the items it is derived from, where its data are."""

    kind: str = ""
    properties: list[tuple[str, bytes]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    method: int = 0
    extents: list[tuple[int, int]] = field(default_factory=list)


class _Reader:
    """Big-endian numbers, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, size: int) -> int:
        """An unsigned number of ``size`` bytes (0: the number 0)."""
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        found = self._data[self._at : self._at + size]
        if len(found) != size:
            raise ValueError("a box ends too early")
        self._at += size
        return found

    @property
    def rest(self) -> bytes:
        """All that is left."""
        return self._data[self._at :]


def read(opened: Opened, limits: Limits) -> Image.Image:
    """The primary picture of a HEIF file.

    Raises:
        MediaError: it is damaged, or built in a way that is not read here.
        LimitError: more than ``Limits.max_pixels``.
    """
    assert opened.file is not None
    try:
        primary, items, idat = _structure(opened.file)
        picture = _Picture(opened, limits, items, idat)
        return Image.fromarray(picture.decode(primary))
    except MediaError:
        raise
    except (ValueError, IndexError, KeyError, struct.error, OSError, av.error.FFmpegError) as error:
        raise MediaError(opened.name, f"the picture is damaged ({error})", remedy=REMEDY) from error


class _Picture:
    """Decodes items of one file."""

    def __init__(self, opened: Opened, limits: Limits, items: dict[int, _Item], idat: bytes) -> None:
        self._opened = opened
        self._limits = limits
        self._items = items
        self._idat = idat
        self._coded: dict[int, np.ndarray] = {}
        self._visits = 0

    def decode(self, primary: int) -> np.ndarray:
        """``uint8 (H, W, 3)`` of an item."""
        needed: dict[int, None] = {}
        self._check(primary, needed, 0)
        self._coded = self._decoded(list(needed))
        return self._whole(primary)

    def _item(self, number: int) -> _Item:
        if number not in self._items:
            raise ValueError(f"item {number} is missing")
        return self._items[number]

    def _check(self, number: int, needed: dict[int, None], depth: int) -> None:
        """Collect the coded items that an item needs, and check sizes before anything is decoded."""
        item = self._item(number)
        self._visits += 1
        if self._visits > _MAX_TILES:
            raise ValueError(f"it is made of more than {_MAX_TILES} parts")
        for kind, value in item.properties:
            if kind == "ispe":
                width, height = struct.unpack(">II", value[4:12])
                self._check_size(width, height)
        if item.kind in ("hvc1", "hev1", "av01", "avc1"):
            needed[number] = None
        elif item.kind in ("grid", "iden") and item.inputs and depth < _MAX_DEPTH:
            if item.kind == "grid":
                rows, columns, width, height = self._grid(item)
                self._check_size(width, height)
                if rows * columns != len(item.inputs):
                    raise ValueError(f"a grid of {rows}x{columns} with {len(item.inputs)} tiles")
            for part in item.inputs:
                self._check(part, needed, depth + 1)
        else:
            raise MediaError(
                self._opened.name, f"a HEIF picture of a kind that is not read here ({item.kind})", remedy=REMEDY
            )

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._limits.max_pixels:
            raise LimitError(
                self._opened.name,
                f"the picture is {width}x{height}, more than the allowed {self._limits.max_pixels} pixels",
                remedy="Scale it down first, or raise Limits.max_pixels.",
            )

    def _grid(self, item: _Item) -> tuple[int, int, int, int]:
        """Rows, columns, width and height of a grid."""
        data = self._data(item)
        size = ">HH" if not data[1] & 1 else ">II"
        width, height = struct.unpack_from(size, data, 4)
        return data[2] + 1, data[3] + 1, width, height

    def _data(self, item: _Item) -> bytes:
        file, parts = self._opened.file, []
        assert file is not None
        for offset, length in item.extents:
            if length > _MAX_META:
                raise ValueError("a description is too large")
            if item.method == 1:
                parts.append(self._idat[offset : offset + length])
            elif item.method == 0:
                file.seek(offset)
                parts.append(file.read(length))
            else:
                raise ValueError("a description is stored in another item")
        return b"".join(parts)

    def _decoded(self, numbers: list[int]) -> dict[int, np.ndarray]:
        """The first frame of each coded item."""
        found: dict[int, np.ndarray] = {}
        container = open_container(self._opened, self._limits)
        try:
            streams = {stream.id: stream for stream in container.streams if stream.type == "video"}
            if any(number not in streams for number in numbers):
                raise MediaError(self._opened.name, "a HEIF picture whose parts FFmpeg does not find", remedy=REMEDY)
            chosen = [streams[number] for number in numbers]
            for stream in chosen:
                stream.codec_context.thread_count = 1
            for packet in container.demux(chosen):
                self._opened.file.check_time()  # type: ignore[union-attr]
                frames: list[Any] = list(packet.decode())
                for frame in frames:
                    self._check_size(frame.width, frame.height)
                    found.setdefault(packet.stream.id, frame.to_ndarray(format="rgb24"))
        finally:
            container.close()
        if lost := [number for number in numbers if number not in found]:
            raise ValueError(f"{len(lost)} of its {len(numbers)} parts cannot be decoded")
        return found

    def _whole(self, number: int) -> np.ndarray:
        item = self._item(number)
        if number in self._coded:
            array = self._coded[number]
        elif item.kind == "iden":
            array = self._whole(item.inputs[0])
        else:
            array = self._composed(item)
        for kind, value in item.properties:
            if kind == "clap":
                array = _clean_aperture(array, value)
            elif kind == "irot":
                array = np.rot90(array, value[0] & 3)
            elif kind == "imir":
                array = array[:, ::-1] if value[0] & 1 else array[::-1]
        return np.ascontiguousarray(array)

    def _composed(self, item: _Item) -> np.ndarray:
        """The tiles of a grid, row by row, cut to the size of the picture."""
        _, columns, width, height = self._grid(item)
        tile_height, tile_width = self._whole(item.inputs[0]).shape[:2]
        canvas = np.zeros((height, width, 3), np.uint8)
        for index, number in enumerate(item.inputs):
            tile = self._whole(number)
            if tile.shape[:2] != (tile_height, tile_width):
                raise ValueError("tiles of different sizes")
            top, left = index // columns * tile_height, index % columns * tile_width
            place = canvas[top : top + tile_height, left : left + tile_width]
            place[:] = tile[: place.shape[0], : place.shape[1]]
        return canvas


def _clean_aperture(array: np.ndarray, value: bytes) -> np.ndarray:
    """The part of a picture that is to be shown (``clap``)."""
    numbers = struct.unpack(">IIIIiIiI", value[:32])
    width, height, right, down = (Fraction(numbers[k], numbers[k + 1] or 1) for k in range(0, 8, 2))
    left = round(right + (array.shape[1] - width) / 2)
    top = round(down + (array.shape[0] - height) / 2)
    cut = array[max(0, top) : max(0, top) + round(height), max(0, left) : max(0, left) + round(width)]
    return cut if cut.size else array


def _structure(file: IO[bytes] | Any) -> tuple[int, dict[int, _Item], bytes]:
    """Number of the primary item, all items, and the data that lie in the ``meta`` box itself."""
    boxes = dict(_boxes(_meta(file)[4:]))
    items: dict[int, _Item] = {}
    pitm = _Reader(boxes["pitm"])
    primary = pitm.number(2 if pitm.number(4) >> 24 == 0 else 4)
    _read_infos(boxes["iinf"], items)
    _read_references(boxes.get("iref", b""), items)
    _read_properties(boxes.get("iprp", b""), items)
    _read_locations(boxes.get("iloc", b""), items)
    return primary, items, boxes.get("idat", b"")


def _meta(file: IO[bytes] | Any) -> bytes:
    """The contents of the ``meta`` box of the file."""
    position = 0
    for _ in range(64):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            break
        size, start = int.from_bytes(header[:4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(header[8:], "big"), 16
        if header[4:8] == b"meta":
            file.seek(position + start)
            length = min(size - start, _MAX_META) if size else _MAX_META
            return bytes(file.read(max(0, length)))
        if size < 8:
            break
        position += size
    raise ValueError("no description of the picture")


def _boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Type and contents of the boxes that follow each other in ``data``."""
    position = 0
    while position + 8 <= len(data):
        size, start = int.from_bytes(data[position : position + 4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        if size == 0:
            size = len(data) - position
        if size < start:
            raise ValueError("a box without a size")
        yield data[position + 4 : position + 8].decode("latin-1"), data[position + start : position + size]
        position += size


def _read_infos(data: bytes, items: dict[int, _Item]) -> None:
    reader = _Reader(data)
    reader.number(2 if not reader.number(4) >> 24 else 4)
    for kind, value in _boxes(reader.rest):
        entry = _Reader(value)
        version = entry.number(4) >> 24
        if kind == "infe" and version >= 2:
            number = entry.number(2 if version == 2 else 4)
            entry.number(2)
            items.setdefault(number, _Item()).kind = entry.take(4).decode("latin-1")


def _read_references(data: bytes, items: dict[int, _Item]) -> None:
    if not data:
        return
    reader = _Reader(data)
    size = 2 if not reader.number(4) >> 24 else 4
    for kind, value in _boxes(reader.rest):
        if kind == "dimg":
            entry = _Reader(value)
            number = entry.number(size)
            items.setdefault(number, _Item()).inputs = [entry.number(size) for _ in range(entry.number(2))]


def _read_properties(data: bytes, items: dict[int, _Item]) -> None:
    boxes = list(_boxes(data))
    known = [entry for kind, value in boxes if kind == "ipco" for entry in _boxes(value)]
    for kind, value in boxes:
        if kind != "ipma":
            continue
        reader = _Reader(value)
        head = reader.number(4)
        for _ in range(reader.number(4)):
            item = items.setdefault(reader.number(2 if not head >> 24 else 4), _Item())
            for _ in range(reader.number(1)):
                index = reader.number(2) & 0x7FFF if head & 1 else reader.number(1) & 0x7F
                if 0 < index <= len(known):
                    item.properties.append(known[index - 1])


def _read_locations(data: bytes, items: dict[int, _Item]) -> None:
    if not data:
        return
    reader = _Reader(data)
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(reader.number(2 if version < 2 else 4)):
        item = items.setdefault(reader.number(2 if version < 2 else 4), _Item())
        if version:
            item.method = reader.number(2) & 15
        reader.number(2)
        base = reader.number(base_size)
        for _ in range(reader.number(2)):
            if version:
                reader.number(index_size)
            offset = base + reader.number(offset_size)
            item.extents.append((offset, reader.number(length_size)))
