"""HEIF pictures as phones write them: HEVC tiles, a grid of them, turned and mirrored by properties."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import av
import numpy as np

Colour = tuple[int, int, int]
CORNERS: tuple[Colour, ...] = ((220, 30, 30), (30, 220, 30), (30, 30, 220), (250, 250, 250))
"""Red, green, blue, white: the tiles of a picture of 2x2."""


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def full(kind: bytes, version: int, flags: int, body: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags) + body)


def tile(picture: np.ndarray) -> tuple[bytes, bytes]:
    """One HEVC key frame: its configuration (``hvcC``) and its data."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as out:
        options = {"x265-params": "log-level=none:keyint=1:info=0:pools=none", "preset": "ultrafast"}
        stream = out.add_stream("libx265", rate=1, options=options)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt, stream.codec_tag = "yuv420p", "hvc1"
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts = 0
        out.mux([*stream.encode(frame), *stream.encode(None)])
    data = target.getvalue()
    parts = []
    for name in (b"hvcC", b"mdat"):
        at = data.index(name)
        parts.append(data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")])
    return parts[0], parts[1]


def heic(
    *,
    colours: Sequence[Colour] = CORNERS,
    columns: int = 2,
    size: int = 64,
    shown: tuple[int, int] | None = None,
    turned: int = 0,
    mirrored: int | None = None,
    kind: bytes = b"grid",
    thumbnail: bool = False,
    brand: bytes = b"heic",
) -> bytes:
    """A picture of ``columns`` tiles a row (a single item if there is one colour).

    Args:
        shown: (width, height) of the whole, less than the tiles' to cut it.
        turned: quarter turns against the clock (``irot``).
        mirrored: ``imir``: 0 exchanges top and bottom, 1 left and right.
        kind: type of the item that joins the tiles.
        thumbnail: put a small grey picture in front, as phones do.
    """
    pictures = [np.full((size, size, 3), colour, np.uint8) for colour in colours]
    if thumbnail:
        pictures.insert(0, np.full((size, size, 3), 128, np.uint8))
    tiles = [tile(picture) for picture in pictures]
    count, first = len(tiles), 2 if thumbnail else 1
    own = list(range(first, count + 1))
    single = len(own) == 1
    primary = own[0] if single else count + 1
    rows = len(own) // columns or 1
    width, height = shown or (columns * size, rows * size)
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    handler = full(b"hdlr", 0, 0, bytes(4) + b"pict" + bytes(13))
    types = [b"hvc1"] * count + ([] if single else [kind])
    infos = b"".join(
        full(b"infe", 2, int(index < count and not single), struct.pack(">HH", index + 1, 0) + name + b"\0")
        for index, name in enumerate(types)
    )
    references = b""
    if not single:
        numbers = b"".join(struct.pack(">H", number) for number in own)
        references += box(b"dimg", struct.pack(">HH", primary, len(own)) + numbers)
    if thumbnail:
        references += box(b"thmb", struct.pack(">HHH", 1, 1, primary))
    extra = [box(b"irot", bytes([turned]))] if turned else []
    extra += [] if mirrored is None else [box(b"imir", bytes([mirrored]))]
    sizes = [(size, size), (width, height)]
    properties = [
        box(b"hvcC", tiles[0][0]),
        *(full(b"ispe", 0, 0, struct.pack(">II", *pair)) for pair in sizes),
        *extra,
    ]
    turning = bytes(0x80 | 4 + index for index in range(len(extra)))
    links = []
    for number in range(1, count + 1):
        props = bytes([0x81, 2]) + (turning if number == primary else b"")
        links.append(struct.pack(">HB", number, len(props)) + props)
    if not single:
        links.append(struct.pack(">HB", primary, 1 + len(turning)) + b"\3" + turning)
    ipma = full(b"ipma", 0, 0, struct.pack(">I", len(links)) + b"".join(links))

    def meta(base: int) -> bytes:
        places, offset = struct.pack(">BBH", 0x44, 0, len(types)), base
        for index, (_, data) in enumerate(tiles):
            places += struct.pack(">HHHHII", index + 1, 0, 0, 1, offset, len(data))
            offset += len(data)
        if not single:
            places += struct.pack(">HHHHII", primary, 1, 0, 1, 0, len(grid))
        parts = [
            handler,
            full(b"pitm", 0, 0, struct.pack(">H", primary)),
            full(b"iloc", 1, 0, places),
            full(b"iinf", 0, 0, struct.pack(">H", len(types)) + infos),
            full(b"iref", 0, 0, references) if references else b"",
            box(b"iprp", box(b"ipco", b"".join(properties)) + ipma),
            box(b"idat", grid),
        ]
        return full(b"meta", 0, 0, b"".join(parts))

    head = box(b"ftyp", brand + bytes(4) + b"mif1" + brand)
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", b"".join(data for _, data in tiles))
