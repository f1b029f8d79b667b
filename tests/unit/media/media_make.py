"""Small media files for the tests, written by PyAV: every frame carries its number, sounds carry a click."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 12
SIZE = (96, 64)  # width, height; BITS columns of 8 pixels


def numbered(index: int, size: tuple[int, int] = SIZE, flash: bool = False) -> np.ndarray:
    """A frame whose columns spell ``index`` in black and white (all white for a flash)."""
    width, height = size
    frame = np.full((height, width, 3), 16, np.uint8)
    for bit in range(BITS):
        if index >> bit & 1 or flash:
            frame[:, bit * width // BITS : (bit + 1) * width // BITS] = 235
    return frame


def number(frame: np.ndarray) -> int:
    """Read the number back, from any size."""
    width = frame.shape[1]
    middle = frame[frame.shape[0] // 2 - 1 : frame.shape[0] // 2 + 1].mean(axis=(0, 2))
    centres = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    return sum(1 << bit for bit, x in enumerate(centres) if middle[x] > 128)


def click(seconds: float, rate: int, at: Sequence[float], channels: int = 1) -> np.ndarray:
    """Float sound ``(channels, n)``: a quiet tone with a click of 2 ms at each time."""
    n = round(seconds * rate)
    sound = 0.01 * np.sin(np.arange(n) * 2 * np.pi * 300 / rate)
    for t in at:
        begin = round(t * rate)
        length = max(2, rate // 500)
        sound[begin : begin + length] = 0.9 * np.where(np.arange(length) % 2, -1, 1)[: max(0, n - begin)]
    return np.tile(sound.astype(np.float32), (channels, 1))


def tone(seconds: float, rate: int, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    """Float sound ``(1, n)``."""
    return (level * np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * hz / rate))[None].astype(np.float32)


def write(
    target: Path | io.BytesIO,
    *,
    seconds: float = 4.0,
    fps: float = 25,
    size: tuple[int, int] = SIZE,
    vcodec: str | None = "libx264",
    pix_fmt: str = "yuv420p",
    voptions: dict[str, str] | None = None,
    gop: int = 12,
    times: Sequence[float] | None = None,
    video_at: float = 0.0,
    flash_at: float | None = None,
    acodec: str | None = "aac",
    rate: int = 44_100,
    layout: str = "mono",
    sound: np.ndarray | None = None,
    audio_at: float = 0.0,
    container: str | None = None,
    coptions: dict[str, str] | None = None,
    second_audio: int | None = None,
) -> Path | io.BytesIO:
    """Write one file. ``times`` makes a variable frame rate; ``video_at``/``audio_at`` shift a stream."""
    with av.open(
        target if isinstance(target, io.BytesIO) else str(target), "w", format=container, options=coptions
    ) as out:
        video = audio = other = None
        if vcodec:
            video = out.add_stream(vcodec, rate=Fraction(fps).limit_denominator(1001), options=voptions or {})
            video.width, video.height, video.pix_fmt = *size, pix_fmt
            video.gop_size = gop
            if times is not None:
                video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        if acodec:
            audio = out.add_stream(acodec, rate=rate, layout=layout)
        if second_audio:
            other = out.add_stream(acodec, rate=second_audio, layout="mono")
        base = Fraction(1, 1000) if times is not None else 1 / Fraction(fps).limit_denominator(1001)
        stamps = list(times) if times is not None else [k / fps for k in range(max(1, round(seconds * fps)))]
        packets = []
        if video is not None:
            for index, stamp in enumerate(stamps):
                flash = flash_at is not None and abs(stamp - flash_at) < 0.5 / fps
                picture = numbered(index, size, flash)
                frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pix_fmt)
                frame.pts, frame.time_base = round((stamp + video_at) / base), base
                packets += [(stamp + video_at, p) for p in video.encode(frame)]
            packets += [(stamps[-1] + video_at, p) for p in video.encode(None)]
        for stream, hz in ((audio, rate), (other, second_audio)):
            if stream is None:
                continue
            samples = sound if sound is not None and stream is audio else tone(seconds, hz)
            packets += [
                (t + audio_at, p)
                for t, p in _encoded(stream, samples, hz, layout if stream is audio else "mono", audio_at)
            ]
        for _, packet in sorted(packets, key=lambda item: item[0]):
            out.mux(packet)
    return target


def _encoded(stream, samples: np.ndarray, rate: int, layout: str, at: float) -> list:
    channels = av.AudioLayout(layout).nb_channels
    if len(samples) != channels:
        samples = np.tile(samples[:1], (channels, 1))
    name = stream.codec_context.format.name
    resampler = av.AudioResampler(name, layout, rate)
    step = stream.codec_context.frame_size or 1024
    found = []
    for begin in range(0, samples.shape[1], step):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, begin : begin + step]), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        for ready in resampler.resample(frame):
            ready.pts, ready.time_base = begin + round(at * rate), Fraction(1, rate)
            found += [(begin / rate, p) for p in stream.encode(ready)]
    return found + [(samples.shape[1] / rate, p) for p in stream.encode(None)]


def rotate_header(path: Path, quarter_turns: int, mirror: bool = False) -> None:
    """Patch the display matrix of the video track of an MP4 file: mirrored left-right, then turned clockwise."""
    a, b, c, d = {0: (1, 0, 0, 1), 1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}[quarter_turns % 4]
    if mirror:
        a, b = -a, -b
    matrix_header(path, a, b, c, d)


def matrix_header(path: Path, a: float, b: float, c: float, d: float) -> None:
    """Patch the display matrix of the video track of an MP4 file: ``(x, y)`` is shown at ``(a x + c y, b x + d y)``."""
    fixed = [round(value * 0x10000) & 0xFFFFFFFF for value in (a, b, 0, c, d, 0, 0, 0)] + [0x40000000]
    matrix = b"".join(value.to_bytes(4, "big") for value in fixed)
    data = bytearray(path.read_bytes())
    position = 0
    while (position := data.find(b"tkhd", position + 1)) > 0:
        width = int.from_bytes(data[position + 80 : position + 84], "big")
        if width:
            data[position + 44 : position + 80] = matrix
    path.write_bytes(bytes(data))


def add_cover(path: Path) -> None:
    """Prepend an ID3v2.3 tag with a JPEG cover to an MP3 file."""
    from PIL import Image

    jpeg = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 0, 0)).save(jpeg, "JPEG")
    body = b"\0image/jpeg\0\3\0" + jpeg.getvalue()
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\3\0\0" + size + frame + path.read_bytes())
