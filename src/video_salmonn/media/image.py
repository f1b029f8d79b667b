"""Picture files: one upright RGB picture, the frames of an animated one, or the crops of the image spotlight.

Pillow rather than FFmpeg reads them: it knows the camera's orientation mark, CMYK and palettes, animated WebP, and
tells the size before it decodes anything. Only HEIF is put together here (:mod:`~video_salmonn.media.heif`).
"""

from __future__ import annotations

import contextlib
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

try:
    from PIL import AvifImagePlugin
except ImportError:  # Pillow before 11.3
    AvifImagePlugin = None  # type: ignore[assignment]

from video_salmonn.errors import EmptyMediaError, LimitError, MediaError
from video_salmonn.media.limits import Limits
from video_salmonn.media.options import MediaOptions
from video_salmonn.media.sampling import spotlight_boxes
from video_salmonn.media.source import Opened, heif_kind

_FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
if AvifImagePlugin is not None and AvifImagePlugin.SUPPORTED:
    _FORMATS += ("AVIF",)
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
}
_UNHURRIED = 0.02
"""Frame times of animations up to this many seconds mean "as fast as you like"; browsers show such frames for 0.1 s."""
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError, TypeError, IndexError, KeyError)
_REMEDY = "Check that the picture is complete; save it again as PNG or JPEG."
_LOCK = threading.Lock()


@contextlib.contextmanager
def open_picture(opened: Opened, limits: Limits) -> Iterator[Image.Image]:
    """Open a picture file and check its size, without decoding it.

    Raises:
        MediaError: Pillow cannot read it.
        LimitError: more than ``Limits.max_pixels``.
    """
    with contextlib.ExitStack() as stack:
        if opened.kind == "image":
            image = opened.array
        else:
            try:
                if _by_ffmpeg(opened):
                    image = opened.array = opened.array or _heif(opened, limits)
                else:
                    image = stack.enter_context(_by_pillow(opened))
            except Image.DecompressionBombError as error:
                claimed = re.search(r"\d+", str(error))
                raise LimitError(
                    opened.name,
                    f"the picture claims {claimed[0] if claimed else 'too many'} pixels",
                    remedy=f"Scale it down to at most {limits.max_pixels} pixels first.",
                ) from None
            except UnidentifiedImageError:
                raise MediaError(opened.name, "is not a readable picture", remedy=_REMEDY) from None
            except MediaError:
                raise
            except _BROKEN as error:
                raise MediaError(opened.name, f"is not a readable picture ({error})", remedy=_REMEDY) from error
        if image.width * image.height > limits.max_pixels:
            raise LimitError(
                opened.name,
                f"the picture is {image.width}x{image.height}, more than the allowed {limits.max_pixels} pixels",
                remedy="Scale it down first, or raise Limits.max_pixels.",
            )
        if not image.width or not image.height:
            raise EmptyMediaError(opened.name, "the picture has no pixels", remedy=_REMEDY)
        yield image


def _by_pillow(opened: Opened) -> Image.Image:
    with _LOCK, warnings.catch_warnings():
        # Pillow's own ceiling is process-wide; ours is checked by the caller, before anything is decoded.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(opened.file, formats=_FORMATS)  # type: ignore[arg-type]


def _by_ffmpeg(opened: Opened) -> bool:
    """Whether this is a picture that Pillow cannot read."""
    assert opened.file is not None
    kind = heif_kind(opened.file.read(4096))
    opened.file.seek(0)
    return kind == "heif" or (kind == "avif" and "AVIF" not in _FORMATS)


def _heif(opened: Opened, limits: Limits) -> Image.Image:
    from video_salmonn.media import heif  # here, so that other pictures need no PyAV

    image = heif.read(opened, limits)
    image.format = "HEIF"
    return image


def is_animated(image: Image.Image) -> bool:
    """Whether the file holds several frames that follow each other in time."""
    return image.format in ("GIF", "WEBP", "PNG", "AVIF") and bool(getattr(image, "is_animated", False))


def describe(image: Image.Image) -> dict[str, Any]:
    """The entry for ``MediaReport.streams``."""
    return {
        "index": 0,
        "kind": "video" if is_animated(image) else "picture",
        "codec": (image.format or "array").lower(),
        "decodable": True,
        "chosen": False,
        "default": True,
        "language": None,
        "width": image.width,
        "height": image.height,
        "pixel_format": image.mode,
    }


def upright_rgb(image: Image.Image, name: str) -> tuple[Image.Image, list[str]]:
    """Decode: turned as the camera says, transparent parts on white, RGB. Also returns notes for the report.

    Raises:
        MediaError: the picture data are damaged.
    """
    notes: list[str] = []
    if image.format == "TIFF" and (pages := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"the file holds {pages} pages; the first is shown")
    try:
        turned = ImageOps.exif_transpose(image)
    except LimitError:
        raise
    except _BROKEN:  # a damaged Exif block must not cost the picture
        turned = image
        notes.append("the picture's Exif data are damaged; its orientation mark was not read")
    try:
        if turned.mode.startswith("I;16") or turned.mode in ("I", "F"):
            values = np.asarray(turned, dtype=np.float64)
            top = 65535.0 if values.max(initial=0) > 255 else 255.0
            turned = Image.fromarray((values.clip(0, top) / top * 255).round().astype(np.uint8))
        if turned.has_transparency_data:
            layer = turned.convert("RGBA")
            if layer.getextrema()[3][0] < 255:  # type: ignore[index, misc]
                notes.append("transparent parts are shown on white")
            white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, layer).convert("RGB"), notes
        return turned.convert("RGB"), notes
    except LimitError:
        raise
    except _BROKEN as error:
        raise MediaError(name, f"the picture is damaged ({error})", remedy=_REMEDY) from error


def still(image: Image.Image, name: str, options: MediaOptions) -> tuple[np.ndarray, list[str]]:
    """One picture as ``uint8 (T, H, W, 3)``: ``T`` is 1, or ``1 + (n-1)^2`` with spotlight ``n``; and notes."""
    spotlight, size = options.spotlight, options.frame_size
    if size is not None and image.format == "JPEG" and not spotlight:
        image.draft("RGB", (size[1] * 2, size[0] * 2))  # decodes at a fraction of the size, still at least twice ours
    rgb, notes = upright_rgb(image, name)
    height, width = size or options.picture_size or (rgb.height, rgb.width)
    boxes = spotlight_boxes(rgb.width, rgb.height, spotlight) if spotlight else [(0, 0, rgb.width, rgb.height)]
    frames = np.empty((len(boxes), height, width, 3), np.uint8)
    for index, box in enumerate(boxes):
        if box[2:] == rgb.size and rgb.size == (width, height) and box[:2] == (0, 0):
            frames[index] = np.asarray(rgb)
        else:
            frames[index] = np.asarray(rgb.crop(box).resize((width, height), _FILTERS[options.scaling]))
    return frames, notes


def animation(image: Image.Image, name: str) -> Iterator[tuple[float, float, np.ndarray]]:
    """Frames of an animated picture as ``(time, duration, uint8 (H, W, 3))``, composed and on white.

    Raises:
        MediaError: a frame is damaged; what came before has been yielded.
    """
    time = 0.0
    try:
        for frame in ImageSequence.Iterator(image):
            layer = frame.convert("RGBA")
            duration = _seconds(frame)
            white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            yield time, duration, np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
            time += duration
    except LimitError:
        raise
    except _BROKEN as error:
        raise MediaError(name, f"the animation is damaged after {time:.2f} s ({error})", remedy=_REMEDY) from error


def animation_seconds(image: Image.Image) -> float:
    """Length of an animated picture, up to where it is damaged."""
    seconds = 0.0
    with contextlib.suppress(*_BROKEN):
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()  # WebP knows the duration only then
            seconds += _seconds(image)
    return seconds


def _seconds(frame: Image.Image) -> float:
    duration = float(frame.info.get("duration") or 0) / 1000
    return duration if duration > _UNHURRIED else 0.1
