"""Coverage-guided fuzzing of probing and decoding (atheris): no input may crash, hang, or raise anything untyped.

``make fuzz`` runs it for ten minutes; ``python tests/fuzz/fuzz_media.py CORPUS -max_total_time=600`` does the same. The
corpus folder is filled with small files of every format on first use; libFuzzer adds what reaches new code. The Python
code of this package is instrumented; FFmpeg and Pillow are driven through it.
"""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["video_salmonn.media"]):
    from video_salmonn.media import Limits, MediaOptions, load_clip, probe

from video_salmonn.errors import MediaError

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "media"))

import numpy as np
from media_make import click, numbered, write
from PIL import Image

LIMITS = Limits(
    max_bytes=1 << 20, max_pixels=1 << 20, max_seconds=20, max_frames=60, max_memory=64 << 20, max_wall_seconds=8
)
OPTIONS = [
    MediaOptions(limits=LIMITS, frame_size=(32, 32), threads=1),
    MediaOptions(limits=LIMITS, frame_times="released", sound_mode="released", threads=1),
    MediaOptions(limits=LIMITS, frame_times=7.5, start=0.7, end=3.1, scaling="area", threads=1),
    MediaOptions(limits=LIMITS, use_video=False, on_corrupt="raise"),
    MediaOptions(limits=LIMITS, use_audio=False, spotlight=3, frame_size=(16, 24), threads=1),
]


def one_input(data: bytes) -> None:
    """The first byte chooses the options, the rest is the file."""
    if len(data) < 2:
        return
    options, body = OPTIONS[data[0] % len(OPTIONS)], data[1:]
    try:
        report = probe(body, options=options)
        assert report.duration >= 0 and report.duration == report.duration
    except MediaError as error:
        check(error)
    try:
        clip = load_clip(body, options=options)
    except MediaError as error:
        check(error)
        return
    assert clip.frames is not None or clip.sound is not None
    assert 0 <= clip.duration <= 20.6
    if clip.frames is not None:
        assert len(clip.frames) == clip.report.seen.frames > 0
        assert np.isfinite(clip.frames.times).all() and (clip.frames.times >= 0).all()
    if clip.sound is not None:
        assert np.isfinite(clip.sound.samples).all()


def check(error: MediaError) -> None:
    """Every error names the source and the remedy."""
    assert str(error).startswith("<bytes>") and error.remedy, repr(error)


def fill(corpus: Path) -> None:
    """Small files of every format."""
    corpus.mkdir(parents=True, exist_ok=True)
    kinds = {
        "mp4": {}, "mov": {"vcodec": "mpeg4"}, "mkv": {"acodec": "flac"},
        "avi": {"vcodec": "mpeg4", "acodec": "pcm_s16le"}, "mpg": {"vcodec": "mpeg1video", "acodec": "mp2"},
        "webm": {"vcodec": "libvpx", "acodec": "libopus", "rate": 48_000},
        "ts": {}, "wav": {"vcodec": None, "acodec": "pcm_s16le"}, "mp3": {"vcodec": None, "acodec": "libmp3lame"},
        "flac": {"vcodec": None, "acodec": "flac"}, "ogg": {"vcodec": None, "acodec": "libopus", "rate": 48_000},
        "m4a": {"vcodec": None}, "flv": {"vcodec": "flv1", "acodec": "libmp3lame"},
    }  # fmt: skip
    for kind, options in kinds.items():
        path = corpus / f"seed.{kind}"
        rate = options.pop("rate", 16_000 if kind != "flv" else 44_100)
        write(path, seconds=0.6, fps=25, size=(32, 24), rate=rate, sound=click(0.6, rate, [0.3]), **options)
        path.write_bytes(b"\0" + path.read_bytes())
    frames = [Image.fromarray(numbered(k, (24, 16))) for k in (1, 2, 3)]
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        target = io.BytesIO()
        frames[0].save(
            target, kind, **({"save_all": True, "append_images": frames[1:]} if kind in ("WEBP", "GIF") else {})
        )
        (corpus / f"seed.{kind.lower()}").write_bytes(b"\4" + target.getvalue())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    folder = next((Path(a) for a in sys.argv[1:] if not a.startswith("-")), None)
    if folder is not None and not any(folder.glob("seed.*")):
        fill(folder)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
