"""Files whose streams do not behave: reset clocks, live recordings, bad interleaving, changes in the middle."""

from __future__ import annotations

import io
import struct
import subprocess
import sys

import av
import numpy as np
import pytest
from bad_inputs import element
from media_make import click, number, numbered, write
from PIL import Image

from video_salmonn.media import MediaOptions, duration, iter_clip, load_clip, probe
from video_salmonn.media.clip import ClipStream

SMALL = MediaOptions(frame_size=(32, 48))


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
def test_clap_and_flash_at_two_seconds_are_at_two_seconds(made, kind):
    """White frame and click both at exactly 2 s: found there, to the frame and to a millisecond."""
    codec = {"mp4": "aac", "mov": "pcm_s16le", "mkv": "flac"}[kind]
    path = made(f"both.{kind}", acodec=codec, rate=48_000, sound=click(4, 48_000, [2.0]), flash_at=2.0)
    clip = load_clip(path, options=MediaOptions(frame_times=25.0))
    flash = next(t for t, frame in zip(clip.frames.times, clip.frames.frames) if number(frame) == 4095)
    loud = np.abs(clip.sound.samples)
    clap = np.argmax(loud > 0.25 * loud.max()) / 16_000
    assert flash == pytest.approx(2.0, abs=1e-9)
    assert clap == pytest.approx(2.0, abs=0.001)
    assert abs(clap - flash) < 0.001


def test_two_recordings_in_one_transport_stream_follow_each_other(made, tmp_path):
    one = made("a.ts", seconds=3).read_bytes()
    path = tmp_path / "two.ts"
    path.write_bytes(one + one)
    clip = load_clip(path)
    assert clip.duration == pytest.approx(6.0, abs=0.15)
    assert [number(f) for f in clip.frames.frames[:6]] == [0, 13, 25, 38, 50, 63]
    assert any("time stamps jump" in w for w in clip.report.warnings)


def test_a_live_recording_has_no_duration_in_its_header(made):
    path = made("live.webm", vcodec="libvpx", acodec="libopus", rate=48_000, coptions={"live": "1"})
    with av.open(str(path)) as container:
        assert container.duration is None
    assert duration(path) == pytest.approx(4.0, abs=0.03)
    assert probe(path).seen.frames == len(load_clip(path).frames) == 8


def test_an_mp3_without_a_header_is_measured(made, tmp_path):
    data = made("x.mp3", vcodec=None, acodec="libmp3lame", seconds=5).read_bytes()
    start = data.index(b"\xff\xfb", data.index(b"Xing") if b"Xing" in data else data.index(b"Info"))
    path = tmp_path / "bare.mp3"
    path.write_bytes(data[start:])
    clip = load_clip(path)
    assert duration(path) == pytest.approx(clip.duration, abs=0.05) and not clip.report.warnings


def badly_interleaved(path, seconds=60, fps=5):
    """A Matroska file with all pictures (motion JPEG) first and then all sound (PCM), written element by element."""

    def block(track: int, body: bytes) -> bytes:
        return element("A3", bytes([0x80 | track]) + b"\0\0\x80" + body)

    def cluster(milliseconds: int, body: bytes) -> bytes:
        return element("1F43B675", element("E7", milliseconds.to_bytes(4, "big")) + body)

    head = element("1A45DFA3", element("4282", b"matroska") + element("4287", b"\4") + element("4285", b"\2"))
    size = element("E0", element("B0", b"\x60") + element("BA", b"\x40"))
    video = element("D7", b"\1") + element("73C5", b"\1") + element("83", b"\1") + element("86", b"V_MJPEG") + size
    form = element("E1", element("B5", struct.pack(">f", 16_000)) + element("9F", b"\1") + element("6264", b"\x10"))
    audio = (
        element("D7", b"\2") + element("73C5", b"\2") + element("83", b"\2") + element("86", b"A_PCM/INT/LIT") + form
    )
    body = element("1549A966", element("2AD7B1", b"\x0f\x42\x40"))
    body += element("1654AE6B", element("AE", video) + element("AE", audio))
    for k in range(seconds * fps):
        jpeg = io.BytesIO()
        Image.fromarray(numbered(k)).save(jpeg, "JPEG")
        body += cluster(k * 1000 // fps, block(1, jpeg.getvalue()))
    sound = (click(seconds, 16_000, [45.0])[0] * 32767).astype("<i2")
    for k in range(seconds):
        body += cluster(k * 1000, block(2, sound[k * 16_000 : (k + 1) * 16_000].tobytes()))
    path.write_bytes(head + element("18538067", body))
    return path


def test_bad_interleaving_loses_nothing_when_there_is_room(tmp_path):
    path = badly_interleaved(tmp_path / "bad.mkv")
    clip = load_clip(path, options=SMALL)
    assert len(clip.frames) == 120 and len(clip.sound.samples) == 60 * 16_000
    assert np.argmax(np.abs(clip.sound.samples)) / 16_000 == pytest.approx(45.0, abs=0.003)
    with iter_clip(path, options=SMALL) as stream:
        assert [len(p.sound.samples) for p in stream] == [480_000, 480_000]


def test_bad_interleaving_in_little_memory_is_reported(tmp_path):
    path = badly_interleaved(tmp_path / "bad.mkv")
    with ClipStream(path, None, SMALL, segment=10.0, hold=50_000) as stream:
        pieces = list(stream)
    assert sum(len(p.frames) for p in pieces if p.frames is not None) == 120
    early = [p for p in pieces if p.sound is None]
    assert len(early) >= 3  # went out without waiting for the sound at the end of the file
    heard = next(p for p in pieces if p.sound is not None)
    assert heard.start == 10.0 * len(early) and len(heard.sound.samples) == 160_000
    assert any("of sound came after their piece" in w for w in stream.report.warnings)
    click_at = np.argmax(np.abs(heard.sound.samples)) / 16_000 + heard.start
    assert click_at == pytest.approx(45.0, abs=0.003)


def test_a_picture_that_changes_size_keeps_the_first_size(made, tmp_path):
    first = made("s1.ts", seconds=1, acodec=None).read_bytes()
    second = made("s2.ts", seconds=1, size=(192, 128), acodec=None, video_at=1.0).read_bytes()
    path = tmp_path / "grow.ts"
    path.write_bytes(first + second)
    clip = load_clip(path)
    assert clip.frames.frames.shape[1:] == (64, 96, 3) and len(clip.frames) >= 3
    assert any("changes size" in w for w in clip.report.warnings)


def test_probe_does_not_wait_for_sound_that_comes_late(made):
    path = made("verylate.mp4", seconds=60, audio_at=40.0, sound=click(4, 44_100, [1.0]))
    report = probe(path)
    assert report.heard.status == "used" and report.heard.start == pytest.approx(40.0, abs=0.1)
    assert report.heard.end == pytest.approx(44.0, abs=0.1) and "not decoded" in report.heard.detail
    assert load_clip(path, options=SMALL).report.heard.start == pytest.approx(report.heard.start, abs=0.1)


def test_two_sound_tracks(tmp_path):
    path = tmp_path / "two.mkv"
    write(path, acodec="flac", rate=16_000, second_audio=48_000, sound=click(4, 16_000, [1.0]))
    clip = load_clip(path, options=MediaOptions(audio_stream=1))
    assert np.abs(clip.sound.samples).max() > 0.7
    other = load_clip(path, options=MediaOptions(audio_stream=2))
    assert np.abs(other.sound.samples).max() == pytest.approx(0.5, abs=0.01)
    assert any(s["index"] == 2 and s["chosen"] for s in other.report.streams)


def test_media_need_no_torch():
    code = "import sys, video_salmonn.media; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
