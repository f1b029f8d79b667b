"""Bad inputs, one table: what each is, how to make it, and what a user gets.

``python tests/unit/media/bad_inputs.py`` writes the table into ``docs/media.md``; a test checks that it is up to date.
"""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from media_make import click, numbered, tone

from video_salmonn.media import ArraySound, ArrayVideo, Limits, MediaOptions


@dataclass
class Case:
    """``make(folder, made)`` returns a source, or ``(source, keywords of load_clip)``.

    ``gets`` is an error class with ``says`` a pattern of its message; or None, where the clip loads and ``says`` is a
    pattern of ``"seen <status> <detail>; heard <status> <detail>; <warnings> <cuts>"``.
    """

    name: str
    what: str
    make: Callable[..., Any]
    gets: str | None
    says: str
    shown: str = ""
    seconds: float = 20.0
    extra: dict[str, Any] = field(default_factory=dict)


CASES: list[Case] = []


def case(what: str, gets: str | None, says: str, shown: str = "", **extra: Any) -> Callable[[Callable], Callable]:
    def add(make: Callable) -> Callable:
        CASES.append(Case(make.__name__, what, make, gets, says, shown, **extra))
        return make

    return add


def options(**kw: Any) -> dict[str, MediaOptions]:
    return {"options": MediaOptions(**kw)}


def saved(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# ---- files that are not media ----------------------------------------------------------------------------------------


@case("zero bytes", "EmptyMediaError", "zero bytes")
def zero_bytes(folder, made):
    return saved(folder, "empty.mp4", b"")


@case("random bytes named .mp4", "MediaError", "not readable as media")
def random_bytes(folder, made):
    return saved(folder, "noise.mp4", np.random.default_rng(1).bytes(200_000))


@case("a web page named .mp4", "MediaError", "web page")
def html_renamed(folder, made):
    return saved(folder, "page.mp4", b"<!DOCTYPE html><html><body>404 not found</body></html>")


@case("a text file named .wav", "MediaError", "text file")
def text_renamed(folder, made):
    return saved(folder, "notes.wav", b"dear diary,\nno sound today\n" * 50)


@case("an SVG drawing", "MediaError", "XML")
def svg(folder, made):
    return saved(folder, "drawing.svg", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>")


@case("an HLS playlist named .mp4, which points to a local file", "MediaError", "playlist")
def playlist(folder, made):
    lines = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    return saved(folder, "list.mp4", lines.encode())


@case("an ffconcat script, which names other files", "MediaError", "text file")
def ffconcat(folder, made):
    return saved(folder, "script.mp4", f"ffconcat version 1.0\nfile '{made('a.mp4')}'\n".encode())


@case(
    "an ffconcat script with a zero byte in it, so that it does not look like text",
    "MediaError",
    "not readable as media: of no format that is read here",
)
def ffconcat_binary(folder, made):
    return saved(folder, "script.mp4", f"ffconcat version 1.0\nfile '{made('a.mp4')}'\n#\0\n".encode())


@case("a ZIP archive", "MediaError", "not readable as media")
def archive(folder, made):
    return saved(folder, "video.zip", b"PK\3\4\x14\0\0\0\0\0" + bytes(2000))


@case("64 kB of zeros", "MediaError", "not readable as media")
def zeros(folder, made):
    return saved(folder, "zeros.mp4", bytes(65536))


# ---- places ----------------------------------------------------------------------------------------------------------


@case("no such file", "MediaError", "no such file")
def missing(folder, made):
    return folder / "nothing.mp4"


@case("a directory", "MediaError", "is a directory")
def directory(folder, made):
    return folder


@case("a FIFO nobody writes to", "MediaError", "is a named pipe")
def fifo(folder, made):
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


@case("`/dev/zero`", "MediaError", "is a device")
def dev_zero(folder, made):
    return "/dev/zero"


@case("a Unix socket", "MediaError", "cannot be opened|is a socket")
def unix_socket(folder, made):
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # socket paths must be short
        try:
            server.bind("s.mp4")
        finally:
            os.chdir(here)
    return folder / "s.mp4"


@case("a symbolic link to itself", "MediaError", "cannot be opened")
def link_loop(folder, made):
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    return folder / "loop.mp4"


@case("a symbolic link to a video", None, "seen used", "opened like the video")
def link(folder, made):
    (folder / "link.mp4").symlink_to(made("a.mp4"))
    return folder / "link.mp4"


@case("a path with a zero byte", "MediaError", "cannot be opened")
def nul_in_path(folder, made):
    return str(folder / "a\0b.mp4")


@case("a path of 5000 characters", "MediaError", "cannot be opened")
def endless_path(folder, made):
    return str(folder / ("a" * 5000))


@case("an empty path", "MediaError", "no such file")
def empty_path(folder, made):
    return ""


@case("`concat:a.mp4|b.mp4` (FFmpeg's own notation), no such file", "MediaError", "no such file")
def concat_protocol(folder, made):
    return "concat:a.mp4|b.mp4"


@case("`subfile,,start,0,end,0,,:/etc/passwd`", "MediaError", "no such file")
def subfile_protocol(folder, made):
    return "subfile,,start,0,end,0,,:/etc/passwd"


@case("a video whose name is `concat:a|b.mp4`", None, "seen used", "opened as the file of that name")
def concat_name(folder, made):
    return saved(folder, "concat:a|b.mp4", made("a.mp4").read_bytes())


@case("a video whose name begins with `-`", None, "seen used", "opened as the file of that name")
def dash_name(folder, made):
    return saved(folder, "-i.mp4", made("a.mp4").read_bytes())


@case("a video whose name holds `%d` and a line break", None, "seen used", "opened as the file of that name")
def odd_name(folder, made):
    return saved(folder, "a%d\nb.mp4", made("a.mp4").read_bytes())


@case("`http://…`", "LimitError", "only https")
def http_url(folder, made):
    return "http://example.com/a.mp4"


@case("`file:///etc/passwd`", "LimitError", "only https")
def file_url(folder, made):
    return "file:///etc/passwd"


@case("`rtsp://…`, `ftp://…`, `gopher://…`", "LimitError", "only https")
def other_url(folder, made):
    return "rtsp://127.0.0.1/stream"


@case("a path, where paths are switched off (server)", "LimitError", "switched off")
def paths_off(folder, made):
    return made("a.mp4"), options(limits=Limits.server())


@case("a URL, where URLs are switched off (server)", "LimitError", "switched off")
def urls_off(folder, made):
    return "https://example.com/a.mp4", options(limits=Limits.server())


# ---- containers ------------------------------------------------------------------------------------------------------


def boxes(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Top-level boxes of an MP4 file: name to (begin, end)."""
    found, position = {}, 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        found[data[position + 4 : position + 8]] = (position, position + size)
        position += max(8, size)
    return found


@case("an MP4 without its index (moov)", "MediaError", "index \\(moov\\) is missing")
def moov_missing(folder, made):
    data = made("a.mp4").read_bytes()
    begin, end = boxes(data)[b"moov"]
    return saved(folder, "nomoov.mp4", data[:begin] + data[end:])


@case("an MP4 cut in the middle, index at the end", "MediaError", "index \\(moov\\) is missing")
def cut_before_moov(folder, made):
    data = made("a.mp4").read_bytes()
    return saved(folder, "cut.mp4", data[: len(data) // 2])


@case(
    "an MP4 whose index is cut",
    None,
    "seen used.*heard absent no sound stream .of unknown kind: #1.*bytes are missing at its end",
    "what the rest of the index tells, and a warning",
)
def moov_cut(folder, made):
    data = made("a.mp4").read_bytes()
    begin, end = boxes(data)[b"moov"]
    return saved(folder, "cutmoov.mp4", data[: (begin + end) // 2])


@case(
    "an MP4 with the index in front, cut in the middle",
    None,
    "the file ends at|reading stopped",
    "the first part, and a warning where it ends",
)
def tail_missing(folder, made):
    path = made("front.mp4", seconds=10, coptions={"movflags": "faststart"})
    data = path.read_bytes()
    return saved(folder, "tail.mp4", data[: len(data) * 2 // 3])


@case(
    "a Matroska file cut in the middle",
    None,
    "seen used.*the file ends at",
    "the first part, and a warning where it ends",
)
def matroska_cut(folder, made):
    data = made("ten.mkv", seconds=10).read_bytes()
    return saved(folder, "cut.mkv", data[: len(data) * 2 // 3])


@case("an MPEG program stream that begins in the middle", None, "seen used", "used from its first key frame on")
def mpg_middle(folder, made):
    data = made("ten.mpg", seconds=10, vcodec="mpeg1video", acodec="mp2").read_bytes()
    return saved(folder, "late.mpg", data[len(data) // 3 :])


@case(
    "a header that promises ten times the duration",
    None,
    "the file ends at 4.0. s although its header says 40",
    "used; the true length, and a warning",
)
def duration_lies(folder, made):
    data = bytearray(made("lie.mkv", acodec=None).read_bytes())
    at = data.index(b"\x44\x89")  # Duration, a float after one length byte
    width = data[at + 2] & 0x7F
    kind = ">d" if width == 8 else ">f"
    value = struct.unpack_from(kind, data, at + 3)[0]
    struct.pack_into(kind, data, at + 3, value * 10)
    data = data.replace(b"00:00:04.000000000", b"00:00:40.000000000")
    return saved(folder, "lie.mkv", bytes(data))


@case("an MP4 header whose time table claims 10^9 frames", None, "seen used", "the frames that are there")
def billion_frames(folder, made):
    data = bytearray(made("a.mp4", acodec=None).read_bytes())
    struct.pack_into(">I", data, data.index(b"stts") + 12, 1_000_000_000)
    return saved(folder, "billion.mp4", bytes(data))


@case("an MP4 header whose every table claims 10^9 frames", "MediaError", "video stream.*holds no picture")
def billion_everywhere(folder, made):
    data = bytearray(made("a.mp4", acodec=None).read_bytes())
    struct.pack_into(">I", data, data.index(b"stts") + 12, 1_000_000_000)
    struct.pack_into(">II", data, data.index(b"stsz") + 8, 1, 1_000_000_000)
    struct.pack_into(">I", data, data.index(b"stsc") + 16, 1_000_000_000)
    return saved(folder, "billion.mp4", bytes(data))


@case("an AVI header that claims 4 * 10^9 frames", None, "seen used", "the frames that are there")
def avi_billion(folder, made):
    data = bytearray(made("b.avi", vcodec="mpeg4", acodec=None).read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 0xFFFFFFFF)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 0xFFFFFFFF)
    return saved(folder, "billion.avi", bytes(data))


@case("a WAV header that promises 4 GB, with one second behind it", None, "heard used", "the second that is there")
def wav_promises(folder, made):
    data = bytearray(made("one.wav", vcodec=None, acodec="pcm_s16le", rate=16_000, seconds=1).read_bytes())
    struct.pack_into("<I", data, data.index(b"data") + 4, 0xFFFFFFF0)
    struct.pack_into("<I", data, 4, 0xFFFFFFF8)
    return saved(folder, "big.wav", bytes(data))


@case("subtitles only", "EmptyMediaError", "nothing in it can be seen or heard")
def subtitles_only(folder, made):
    return saved(folder, "subs.mkv", matroska_subtitles())


def matroska_subtitles() -> bytes:
    """A Matroska file with one text subtitle and nothing else, written element by element."""

    head = element("1A45DFA3", element("4282", b"matroska") + element("4287", b"\4") + element("4285", b"\2"))
    track = element(
        "AE", element("D7", b"\1") + element("73C5", b"\1") + element("83", b"\x11") + element("86", b"S_TEXT/UTF8")
    )
    block = element("A0", element("A1", b"\x81\0\0\0hello") + element("9B", b"\x03\xe8"))
    body = element("1549A966", element("2AD7B1", b"\x0f\x42\x40")) + element("1654AE6B", track)
    return head + element("18538067", body + element("1F43B675", element("E7", b"\0") + block))


def recode(data: bytes, old: bytes, new: bytes) -> bytes:
    """Give the sample description of an MP4 file another codec name."""
    at = data.index(b"stsd")
    while data.find(old, at, at + 64) < 0:
        at = data.index(b"stsd", at + 1)
    at = data.index(old, at)
    return data[:at] + new + data[at + 4 :]


@case(
    "video in an unknown codec, no sound",
    "MediaError",
    "video stream.*(no decoder|could be decoded|holds no picture)",
)
def unknown_codec(folder, made):
    return saved(folder, "zzzz.mp4", recode(made("a.mp4", acodec=None).read_bytes(), b"avc1", b"zzzz"))


@case(
    "video in an unknown codec, with sound",
    None,
    "seen failed no decoder.*heard used",
    "the sound is used, the picture reported as `failed`",
)
def unknown_codec_with_sound(folder, made):
    return saved(folder, "zzzz.mp4", recode(made("a.mp4").read_bytes(), b"avc1", b"zzzz"))


@case('the same, with `on_corrupt="raise"`', "MediaError", "video stream.*no decoder")
def unknown_codec_strict(folder, made):
    path = saved(folder, "zzzz.mp4", recode(made("a.mp4").read_bytes(), b"avc1", b"zzzz"))
    return path, options(on_corrupt="raise")


@case("encrypted video (`encv`)", "MediaError", "video stream.*(no decoder|could be decoded|no picture)")
def encrypted(folder, made):
    return saved(folder, "drm.mp4", recode(made("a.mp4", acodec=None).read_bytes(), b"avc1", b"encv"))


@case("sound only, asked for the picture", "EmptyMediaError", "video stream.*no video stream")
def audio_as_video(folder, made):
    return made("only.m4a", vcodec=None), options(use_audio=False)


@case("picture only, asked for the sound", "EmptyMediaError", "audio stream.*no sound stream")
def video_as_audio(folder, made):
    return made("a.mp4", acodec=None), options(use_video=False)


@case("a separate sound file that holds no sound", "EmptyMediaError", "no sound stream")
def sound_without_sound(folder, made):
    return made("a.mp4"), {"sound": made("a.mp4", acodec=None), "named": "a.mp4"}


@case("a stream index that does not exist", "MediaError", "stream 7 does not exist")
def no_such_stream(folder, made):
    return made("a.mp4"), options(video_stream=7)


@case("the index of a sound stream, asked for as the picture", "MediaError", "stream 1 is audio, not video")
def wrong_kind_of_stream(folder, made):
    return made("a.mp4"), options(video_stream=1)


@case("a start behind the end", "EmptyMediaError", "start=100 s lies behind its end")
def start_behind_end(folder, made):
    return made("a.mp4"), options(start=100.0)


def damage(data: bytes, kind: bytes, share: tuple[float, float], seed: int = 0) -> bytes:
    """Overwrite a stretch of the media data with noise."""
    begin, end = boxes(data)[b"mdat"]
    low, high = (int(begin + 8 + (end - begin - 8) * part) for part in share)
    return data[:low] + np.random.default_rng(seed).bytes(high - low) + data[high:]


@case(
    "damaged packets in the middle",
    None,
    "seen used.*(packets could not be decoded|picture damaged).*sound",
    "what can be decoded; where and how much was lost",
)
def damaged_middle(folder, made):
    data = made("noisy.mp4", seconds=10, gop=10, sound=click(10, 44_100, [1, 9])).read_bytes()
    return saved(folder, "damaged.mp4", damage(data, b"mdat", (0.4, 0.6)))


@case('the same, with `on_corrupt="raise"`', "MediaError", "(audio|video) stream.*damaged at [\\d.]+ s")
def damaged_strict(folder, made):
    data = made("noisy.mp4", seconds=10, gop=10, sound=click(10, 44_100, [1, 9])).read_bytes()
    return saved(folder, "damaged.mp4", damage(data, b"mdat", (0.4, 0.6))), options(on_corrupt="raise")


@case("every packet damaged", "MediaError", "could be decoded|no picture|no sound")
def all_damaged(folder, made):
    data = made("a.mp4").read_bytes()
    return saved(folder, "ruin.mp4", damage(data, b"mdat", (0.0, 1.0)))


@case("an MP4 with its media data filled with zeros", "MediaError", "could be decoded|no picture|no sound")
def zeroed(folder, made):
    data = made("a.mp4", acodec=None).read_bytes()
    begin, end = boxes(data)[b"mdat"]
    return saved(folder, "zeroed.mp4", data[: begin + 8] + bytes(end - begin - 8) + data[end:])


# ---- sizes -----------------------------------------------------------------------------------------------------------


@case("a video of 1x1 pixels", None, "seen used", "used")
def one_pixel(folder, made):
    return made("dot.mkv", vcodec="ffv1", pix_fmt="bgr0", size=(1, 1), acodec=None)


@case("a video of 0.02 s", None, "seen used", "used: one frame")
def moment(folder, made):
    return made("moment.mp4", seconds=0.02, fps=50, acodec=None)


@case("a video of a single frame, with 3 s of sound", None, "seen used.*heard used", "used")
def single_frame(folder, made):
    return made("still.mkv", times=[0.0], acodec="pcm_s16le", rate=16_000, sound=tone(3, 16_000))


@case("a PNG that claims 65535x65535 pixels", "LimitError", "claims 4294836225 pixels")
def png_bomb(folder, made):
    return saved(folder, "bomb.png", png(65535, 65535))


@case("a PNG that claims 10^9 x 1 pixels", "LimitError", "claims 1000000000 pixels")
def png_wide(folder, made):
    return saved(folder, "wide.png", png(1_000_000_000, 1))


def png(width: int, height: int) -> bytes:
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


@case("a GIF that claims 65535x65535 pixels", "LimitError", "claims 4294836225 pixels")
def gif_bomb(folder, made):
    return saved(
        folder,
        "bomb.gif",
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
    )


@case("a JPEG that claims 65535x65535 pixels", "LimitError", "claims 4294836225 pixels")
def jpeg_bomb(folder, made):
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", data, at, 65535, 65535)
    return saved(folder, "bomb.jpg", bytes(data))


def jpeg() -> bytes:
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(numbered(5)).save(target, "JPEG")
    return target.getvalue()


@case("a Matroska header that claims 16000x16000 pixels", "MediaError", "video stream.*no usable picture size")
def matroska_bomb(folder, made):
    return saved(folder, "wide.mkv", huge_matroska(16000))


@case("a Matroska header that claims 65535x65535 pixels", "MediaError", "video stream.*no usable picture size")
def matroska_bomb_65535(folder, made):
    return saved(folder, "wide.mkv", huge_matroska(65535))


def element(identity: str, body: bytes) -> bytes:
    """A Matroska element."""
    return bytes.fromhex(identity) + (0x10000000 | len(body)).to_bytes(4, "big") + body


def huge_matroska(side: int) -> bytes:
    """A Matroska file of one FFV1 frame whose header claims a huge picture."""
    head = element("1A45DFA3", element("4282", b"matroska") + element("4287", b"\4") + element("4285", b"\2"))
    picture = element("E0", element("B0", side.to_bytes(2, "big")) + element("BA", side.to_bytes(2, "big")))
    numbers = element("D7", b"\1") + element("73C5", b"\1") + element("83", b"\1")
    track = element("AE", numbers + element("86", b"V_FFV1") + picture)
    block = element("A3", b"\x81\0\0\x80" + bytes(400))
    body = element("1549A966", element("2AD7B1", b"\x0f\x42\x40")) + element("1654AE6B", track)
    return head + element("18538067", body + element("1F43B675", element("E7", b"\0") + block))


@case("more pixels than `Limits.max_pixels`", "LimitError", "video stream.*96x64")
def too_many_pixels(folder, made):
    return made("a.mp4"), options(limits=Limits(max_pixels=1000))


@case("a file larger than `Limits.max_bytes`", "LimitError", "more than the allowed")
def too_many_bytes(folder, made):
    return made("a.mp4"), options(limits=Limits(max_bytes=1000))


@case('a clip longer than `max_seconds`, with `on_long="raise"`', "LimitError", "more than the allowed 2 s")
def too_long(folder, made):
    return made("a.mp4"), options(limits=Limits(max_seconds=2, on_long="raise"))


@case("frames that do not fit in `Limits.max_memory`", "LimitError", "of memory")
def too_much_memory(folder, made):
    return made("a.mp4"), options(limits=Limits(max_memory=50_000))


@case("decoding that takes longer than `max_wall_seconds`", "LimitError", "not decoded within")
def too_slow(folder, made):
    return made("long.mp4", seconds=20), options(limits=Limits(max_wall_seconds=1e-4))


@case("a damaged PNG", "MediaError", "damaged|not a readable")
def png_damaged(folder, made):
    return saved(folder, "half.png", png(64, 64))


@case("a JPEG cut in the middle", "MediaError", "damaged|not a readable picture")
def jpeg_cut(folder, made):
    data = jpeg()
    return saved(folder, "half.jpg", data[: len(data) // 2])


# ---- sound values ----------------------------------------------------------------------------------------------------


def float_wav(folder: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    body = samples.astype("<f4").tobytes()
    head = (
        b"RIFF"
        + struct.pack("<I", 36 + len(body))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 3, 1, rate, rate * 4, 4, 32)
    )
    return saved(folder, "s.wav", head + b"data" + struct.pack("<I", len(body)) + body)


@case(
    "NaN in the sound of a file",
    None,
    "heard used.*100 sound samples were NaN",
    "used; those samples are silence, and counted",
)
def sound_nan(folder, made):
    samples = tone(2, 16_000)[0].copy()
    samples[8_000:8_100] = np.nan
    return float_wav(folder, samples)


@case(
    "infinity in the sound of a file",
    None,
    "heard used.*1 sound sample was NaN or infinite",
    "used; those samples are silence, and counted",
)
def sound_inf(folder, made):
    samples = tone(2, 16_000)[0].copy()
    samples[8_000] = np.inf
    return float_wav(folder, samples)


@case("a constant sound", None, "heard silent one constant value, 0.500", "reported as `silent`")
def sound_constant(folder, made):
    return float_wav(folder, np.full(32_000, 0.5))


@case("digital silence", None, "heard silent nothing but silence", "reported as `silent`")
def sound_silence(folder, made):
    return float_wav(folder, np.zeros(32_000))


@case("a sound of one sample at 16 kHz", None, "heard silent one constant value", "reported as `silent`")
def sound_one_sample(folder, made):
    return float_wav(folder, np.array([0.5]))


@case("a sound of one sample at 48 kHz", "EmptyMediaError", "shorter than one sample at 16 kHz")
def sound_one_short_sample(folder, made):
    return float_wav(folder, np.array([0.5]), 48_000)


@case("a WAV header without samples", "MediaError", "audio stream|not readable")
def sound_no_sample(folder, made):
    return float_wav(folder, np.zeros(0))


# ---- arrays and objects ----------------------------------------------------------------------------------------------


@case("frames of another type (float)", "MediaError", "frames must be uint8")
def frames_float(folder, made):
    return ArrayVideo(np.zeros((4, 8, 8, 3)), 2.0)


@case("frames with channels first", "MediaError", "frames must be uint8")
def frames_channels_first(folder, made):
    return ArrayVideo(np.zeros((4, 3, 8, 8), np.uint8), 2.0)


@case("no frame at all", "EmptyMediaError", "empty array")
def frames_none(folder, made):
    return ArrayVideo(np.zeros((0, 8, 8, 3), np.uint8), 2.0)


@case("frames at 0 or NaN frames per second", "MediaError", "fps is")
def frames_fps(folder, made):
    return ArrayVideo(np.zeros((4, 8, 8, 3), np.uint8), float("nan"))


@case("samples that are NaN or infinite, in memory", "MediaError", "NaN or infinite")
def samples_nan(folder, made):
    return ArraySound(np.array([0.0, np.nan, 1.0]), 16_000)


@case("float samples at 16-bit scale", "MediaError", "far outside")
def samples_scale(folder, made):
    return ArraySound(np.array([20_000.0, -20_000.0]), 16_000)


@case("samples at rate 0", "MediaError", "rate is 0")
def samples_rate(folder, made):
    return ArraySound(np.zeros(100, np.float32), 0)


@case("an array of sound without its rate", "MediaError", "a bare array must be a picture")
def bare_array(folder, made):
    return np.zeros(16_000, np.float32)


@case("something else (`None`, a number, a list)", "MediaError", "cannot load media from")
def not_a_source(folder, made):
    return [1, 2, 3]


@case("a file opened in text mode", "MediaError", "text file object")
def text_mode(folder, made):
    return io.StringIO("hello")


class Endless(io.RawIOBase):
    """Never ends and cannot seek."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)

    def seekable(self) -> bool:
        return False


@case("an endless stream object", "LimitError", "sends more than the allowed")
def endless_object(folder, made):
    return Endless(), options(limits=Limits(max_download_bytes=5_000_000))


# ---- the table in the docs -------------------------------------------------------------------------------------------

DOCS = Path(__file__).parents[3] / "docs" / "media.md"
BEGIN, END = "<!-- bad inputs: begin (written by tests/unit/media/bad_inputs.py) -->", "<!-- bad inputs: end -->"


def table() -> str:
    from bad_urls import CASES as URLS

    rows = ["| input | what you get |", "|---|---|"]
    for entry in [*CASES, *URLS]:
        shown = entry.shown
        if entry.gets is not None and not shown and re.fullmatch(r"[\w ()=,./;:-]+", entry.says):
            shown = f"“… {entry.says} …”"  # asserted by the test of this case
        gets = shown if entry.gets is None else f"`{entry.gets}`" + (f": {shown}" if shown else "")
        rows.append(f"| {entry.what.replace('|', '&#124;')} | {gets} |")
    return "\n".join([BEGIN, "", *rows, "", END])


def with_table(text: str) -> str:
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: table(), text, flags=re.DOTALL)


if __name__ == "__main__":
    DOCS.write_text(with_table(DOCS.read_text()))
