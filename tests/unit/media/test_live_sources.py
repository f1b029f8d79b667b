"""Streams as they come: a file at the pace of a clock, a pipe, and what a camera's program is called with."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time

import numpy as np
import pytest

from video_salmonn.errors import ConfigError, EmptyMediaError, MediaError, MissingPartError
from video_salmonn.media import MediaOptions, load_clip
from video_salmonn.media import live as module
from video_salmonn.media.live import Paced, Pipe, camera_arguments, open_live, source_kind

GRID = "examples/grid/swbo8n.mp4"
OPTIONS = MediaOptions(frame_size=(32, 32))


@pytest.fixture(scope="module")
def matroska(tmp_path_factory) -> bytes:
    """The example clip in a container that is read forward."""
    import av

    place = tmp_path_factory.mktemp("pipe") / "clip.mkv"
    with av.open(GRID) as source, av.open(str(place), "w") as made:
        streams = {
            s.index: made.add_stream_from_template(s) for s in (source.streams.video[0], source.streams.audio[0])
        }
        for packet in source.demux(source.streams.video[0], source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    return place.read_bytes()


def joined(stream) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Times and pictures of a stream, and its sound; portions have to follow each other."""
    times, pictures, sounds, at = [], [], [], 0
    for portion in stream:
        times += [t for t, _ in portion.pictures]
        pictures += [p for _, p in portion.pictures]
        if portion.sound is not None:
            assert round(portion.start * 16_000) == at
            at += len(portion.sound)
            sounds.append(portion.sound)
    return times, np.stack(pictures), np.concatenate(sounds)


def test_a_paced_file_is_the_file_and_comes_at_its_pace():
    whole = load_clip(GRID, options=OPTIONS)
    began = time.monotonic()
    times, pictures, sound = joined(Paced(GRID, OPTIONS, speed=8.0))
    assert time.monotonic() - began >= 0.9 * whole.duration / 8
    assert times == whole.frames.times.tolist()
    assert np.array_equal(pictures, whole.frames.frames)
    assert np.array_equal(sound, whole.sound.samples)


class Forward(io.RawIOBase):
    """What a program writes: it cannot seek and gives what is there."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self):
        return True

    def read(self, size=-1):
        return self._file.read(min(size, 4096))


def test_a_pipe_gives_what_the_file_gives(matroska):
    whole = load_clip(matroska, options=OPTIONS)
    closed = []
    times, pictures, sound = joined(Pipe(Forward(matroska), "pipe", OPTIONS, lambda: closed.append(True)))
    assert times == whole.frames.times.tolist()
    assert np.array_equal(pictures, whole.frames.frames)
    assert np.array_equal(sound, whole.sound.samples)
    assert closed == [True]


def test_a_named_pipe_is_read(matroska, tmp_path):
    place = str(tmp_path / "fifo")
    os.mkfifo(place)
    assert source_kind(place) == "pipe"
    writer = threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(matroska), daemon=True)
    writer.start()
    only_sound = MediaOptions(use_video=False)
    portions = list(open_live(place, only_sound))
    assert sum(len(p.sound) for p in portions) == len(load_clip(matroska, options=only_sound).sound.samples)
    assert not any(p.pictures for p in portions)


def test_a_pipe_is_left_without_being_read_to_its_end(matroska):
    class Endless(Forward):
        def read(self, size=-1):
            return self._file.read(min(size, 4096)) or b"\0" * 16

    stream = iter(Pipe(Endless(matroska), "pipe", OPTIONS))
    assert next(stream).sound is not None
    stream.close()
    time.sleep(0.5)
    assert not [thread for thread in threading.enumerate() if thread.name == "pipe"]


@pytest.mark.parametrize(
    ("data", "message", "remedy"),
    [
        (b"", "cannot be read as it comes: it ended before any data arrived", "the program that writes"),
        (b"no media " * 900, "cannot be read as it comes", "Matroska"),
    ],
)
def test_what_is_no_stream_is_refused(data, message, remedy):
    with pytest.raises(MediaError, match=message) as error:
        list(Pipe(Forward(data), "pipe", OPTIONS))
    assert remedy in error.value.remedy


def test_a_terminal_and_a_closed_stdin_are_no_streams(monkeypatch):
    leader, follower = os.openpty()
    with os.fdopen(leader), os.fdopen(follower) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(ConfigError, match="is a terminal"):
            open_live("-", OPTIONS)
    monkeypatch.setattr(sys, "stdin", None)  # so it is in Python where a shell closed it
    with pytest.raises(ConfigError, match="is closed"):
        open_live("-", OPTIONS)


def test_a_stream_without_what_is_wanted_is_refused():
    with open("examples/helicopter.flac", "rb") as file, pytest.raises(EmptyMediaError, match="has no picture"):
        list(Pipe(Forward(file.read()), "pipe", MediaOptions(use_audio=False)))


@pytest.mark.parametrize(
    ("source", "options", "more", "message"),
    [
        ("-", OPTIONS, {"speed": 2.0}, "speed is for files"),
        ("camera", MediaOptions(start=1.0), {}, "start is for files"),
        (GRID, OPTIONS, {"microphone": "default"}, "microphone is for cameras"),
    ],
)
def test_options_that_a_source_does_not_have_are_refused(source, options, more, message):
    with pytest.raises(ConfigError, match=message) as error:
        open_live(source, options, **more)
    assert error.value.remedy


# --------------------------------------------------------------------------------------------------------- cameras


@pytest.mark.parametrize(
    ("platform", "source", "expected"),
    [
        ("linux", "camera", "-f v4l2 -i /dev/video0 -thread_queue_size 1024 -f alsa -i mic"),
        ("linux", "/dev/video2", "-f v4l2 -i /dev/video2"),
        ("darwin", "camera:1", "-f avfoundation -i 1:none"),
        ("win32", "camera:Webcam", "-f dshow -i video=Webcam"),
    ],
)
def test_a_camera_is_read_by_the_devices_of_its_platform(platform, source, expected):
    found = " ".join(camera_arguments(source, "mic", OPTIONS, platform))
    assert expected in found and found.endswith("-f nut -")
    assert "mic" not in " ".join(camera_arguments(source, None, OPTIONS, platform))


@pytest.mark.parametrize(("platform", "source"), [("win32", "camera"), ("plan9", "camera")])
def test_a_camera_that_is_not_named_or_known_is_refused(platform, source):
    with pytest.raises(ConfigError) as error:
        camera_arguments(source, None, OPTIONS, platform)
    assert error.value.remedy


def test_a_camera_needs_ffmpeg(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(MissingPartError, match="ffmpeg"):
        open_live("camera", OPTIONS)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the program ffmpeg is not installed")
def test_what_a_cameras_program_writes_is_read(monkeypatch):
    """The program's own test picture and tone in place of devices."""
    devices = "-loglevel error -f lavfi -i testsrc=size=64x48:rate=25:duration=3 -f lavfi -i sine=duration=3"
    coded = "-r 10 -c:v mjpeg -q:v 3 -c:a pcm_s16le -flush_packets 1 -f nut -"
    monkeypatch.setattr(module, "camera_arguments", lambda *_: [*devices.split(), *coded.split()])
    times, pictures, sound = joined(open_live("camera", OPTIONS, microphone="default"))
    assert times[:6] == [k / 2 for k in range(6)] and pictures.shape[1:] == (32, 32, 3)
    assert abs(len(sound) - 48_000) < 1600 and np.abs(sound).max() > 0.05


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the program ffmpeg is not installed")
def test_a_camera_that_is_not_there_is_one_clear_error():
    with pytest.raises(MediaError, match="cannot be read as it comes"):
        list(open_live("/dev/video97", OPTIONS))
