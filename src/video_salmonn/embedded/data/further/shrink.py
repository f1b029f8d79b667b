"""Media made small: 16 kHz mono speech in Opus or FLAC, pictures of a few kilobytes, clips as the model sees them."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from PIL import Image, ImageOps

from video_salmonn.errors import MediaError
from video_salmonn.files import written

RATE = 16_000


def _opened(data: bytes) -> InputContainer:
    return cast("InputContainer", av.open(io.BytesIO(data)))


def _sink(path: Path, container: str) -> OutputContainer:
    return av.open(str(path), "w", format=container)


def write_sound(data: bytes, target: Path, bit_rate: int | None = 24_000) -> float:
    """A sound file's bytes -> a 16 kHz mono Ogg Opus file (FLAC where ``bit_rate`` is None); seconds.

    Raises:
        MediaError: the bytes are not a sound.
    """
    container, codec = ("flac", "flac") if bit_rate is None else ("ogg", "libopus")
    try:
        with written(target) as partial, _opened(data) as source, _sink(partial, container) as sink:
            stream = cast("AudioStream", sink.add_stream(codec, rate=RATE))
            stream.layout = "mono"
            if bit_rate is not None:
                stream.bit_rate = bit_rate
            samples = _encode_sound(source, sink, stream, "s16")
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise MediaError(target.name, f"cannot be converted ({error})") from error
    return samples / RATE


def _encode_sound(source: InputContainer, sink: OutputContainer, stream: AudioStream, sample_format: str) -> int:
    """All of a file's sound into a stream; returns the number of samples."""
    size = stream.codec_context.frame_size or None
    resampler = av.AudioResampler(format=sample_format, layout="mono", rate=RATE, frame_size=size)
    samples = 0
    for frame in (*source.decode(source.streams.audio[0]), None):
        if frame is not None:
            frame.pts = None
        for piece in resampler.resample(frame):
            piece.pts = samples
            samples += piece.samples
            sink.mux(stream.encode(piece))
    sink.mux(stream.encode(None))
    return samples


def write_picture(data: bytes, target: Path, side: int = 256, quality: int = 80) -> None:
    """A picture's bytes -> a JPEG whose longer side is at most ``side``, upright.

    Raises:
        MediaError: the bytes are not a picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.draft("RGB", (2 * side, 2 * side))
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        with written(target) as partial:
            picture.save(partial, "JPEG", quality=quality, optimize=True)
    except (OSError, ValueError, SyntaxError) as error:
        raise MediaError(target.name, f"cannot be converted ({error})") from error


def write_clip(data: bytes, target: Path, width: int = 280, height: int = 224, rate: int = 5) -> None:
    """A video's bytes -> an MP4 of few frames a second with 16 kHz mono sound.

    Raises:
        MediaError: the bytes are not a video with sound.
    """
    try:
        with written(target) as partial, _opened(data) as source, _sink(partial, "mp4") as sink:
            video = sink.add_stream("libx264", rate=rate, options={"crf": "28", "preset": "veryfast"})
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            sound = sink.add_stream("aac", rate=RATE)
            sound.layout = "mono"
            sound.bit_rate = 32_000
            shown = 0
            for frame in source.decode(source.streams.video[0]):
                if (frame.time or 0.0) - (source.start_time or 0) / av.time_base < shown / rate - 1e-3:
                    continue
                picture = frame.reformat(width=width, height=height, format="yuv420p")
                picture.pts, picture.time_base = shown, Fraction(1, rate)
                sink.mux(video.encode(picture))
                shown += 1
            sink.mux(video.encode(None))
            with _opened(data) as again:
                _encode_sound(again, sink, sound, "fltp")
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise MediaError(target.name, f"cannot be converted ({error})") from error
