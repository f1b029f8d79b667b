"""Writes the media of composed items: slide shows with sound, sounds in a row, words on pictures."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from video_salmonn.errors import MediaError
from video_salmonn.media import MediaOptions, load_clip

RATE = 16_000
SIZE = (320, 240)
"""Width and height of composed videos."""
FRAMES_PER_SECOND = 8
_LEVEL = 10 ** (-20 / 20)

Samples = NDArray[np.float32]
Picture = NDArray[np.uint8]


def read_sound(path: Path, seconds: float | None = None) -> Samples:
    """A file's sound ``(n,)``, 16 kHz mono, its loudest second at -20 dB; at most ``seconds`` of it.

    Raises:
        MediaError: if the file has no sound.
    """
    sound = load_clip(path, options=MediaOptions(use_video=False, end=seconds)).sound
    if sound is None:
        raise MediaError(str(path), "has no sound")
    samples = sound.samples
    loud = max(float(np.sqrt(np.mean(samples[i : i + RATE] ** 2))) for i in range(0, max(len(samples), 1), RATE))
    return np.clip(samples * np.float32(_LEVEL / max(loud, 1e-5)), -1, 1)


def in_a_row(sounds: Sequence[Samples], seconds: float) -> Samples:
    """Sounds one after the other, each in a slot of fixed length in seconds (cut or followed by silence)."""
    slot = round(seconds * RATE)
    out = np.zeros(slot * len(sounds), np.float32)
    for place, sound in enumerate(sounds):
        piece = sound[:slot]
        out[place * slot : place * slot + len(piece)] = piece
    return out


def write_sound(path: Path, samples: Samples) -> None:
    """16-bit mono FLAC at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono", format="s16")
        _encode(container, stream, whole, "s16", 4096)


def _encode(container: Any, stream: Any, samples: NDArray[Any], kind: str, step: int) -> None:
    """Encode mono samples in frames of ``step``; the last one may be shorter."""
    for start in range(0, len(samples), step):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + step], format=kind, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def read_picture(path: Path) -> Picture:
    """A picture fitted into a grey frame of :data:`SIZE`, ``(240, 320, 3)``.

    Raises:
        MediaError: if the file is not a picture.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            fitted = ImageOps.pad(ImageOps.exif_transpose(image).convert("RGB"), SIZE, color=(96, 96, 96))
    except (OSError, UnidentifiedImageError) as error:
        raise MediaError(str(path), f"is not a picture that can be read: {error}") from error
    return np.asarray(fitted)


def write_picture(path: Path, picture: Picture) -> None:
    """JPEG, quality 92."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=92)


def with_word(picture: Picture, word: str) -> Picture:
    """The picture with a word in large black letters on a white sign across its lower part."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture.copy())
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=44)
    left, top, right, bottom = draw.textbbox((0, 0), word, font=font)
    width, height = right - left, bottom - top
    x, y = (SIZE[0] - width) / 2, SIZE[1] - height - 30
    draw.rectangle((x - 14, y - 12, x + width + 14, y + height + 12), fill="white", outline="black", width=3)
    draw.text((x - left, y - top), word, font=font, fill="black")
    return np.asarray(image)


def write_video(path: Path, slides: Sequence[Picture], seconds: float, sound: Samples | None) -> None:
    """Slides of equal length in seconds as MP4 (H.264), with a sound track (AAC) if there is sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.options = {"crf": "23", "threads": "1"}
        audio = container.add_stream("aac", rate=RATE, layout="mono") if sound is not None else None
        for slide in slides:
            for _ in range(round(seconds * FRAMES_PER_SECOND)):
                container.mux(video.encode(av.VideoFrame.from_ndarray(slide, format="rgb24")))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            _encode(container, audio, sound, "fltp", 1024)
