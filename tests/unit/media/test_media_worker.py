"""Decoding in processes: the same clips, in order; a crash, a hang or a greedy file costs that file alone."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from video_salmonn.errors import ConfigError, EmptyMediaError, LimitError, MediaError
from video_salmonn.media import Limits, MediaOptions, load_clip, load_many
from video_salmonn.media.worker import _BOOT, _LENGTH, Worker

SMALL = MediaOptions(frame_size=(32, 32))


def same(a, b) -> None:
    assert np.array_equal(a.frames.frames, b.frames.frames) and np.array_equal(a.frames.times, b.frames.times)
    assert np.array_equal(a.sound.samples, b.sound.samples)
    assert a.report == b.report and a.duration == b.duration


def test_load_many_gives_what_load_clip_gives_in_order(made, tmp_path):
    (tmp_path / "empty.mp4").touch()
    first, second = made("a.mp4"), made("b.mp4", seconds=2)
    items = [first, tmp_path / "empty.mp4", second.read_bytes(), (second, first), first]
    results = list(load_many(items, workers=2, options=SMALL))
    same(results[0], load_clip(first, options=SMALL))
    assert isinstance(results[1], EmptyMediaError) and "empty.mp4" in str(results[1]) and results[1].remedy
    same(results[2], load_clip(second.read_bytes(), options=SMALL))
    same(results[3], load_clip(second, sound=first, options=SMALL))
    same(results[4], results[0])


def test_load_many_does_not_run_ahead(made):
    path, taken = made("a.mp4"), []

    def items():
        for index in range(20):
            taken.append(index)
            yield path

    results = load_many(items(), workers=1, options=SMALL)
    next(results)
    assert len(taken) <= 3
    results.close()


def test_typed_errors_cross_the_process(made):
    with Worker() as worker, pytest.raises(LimitError) as caught:
        worker.load(made("a.mp4"), options=MediaOptions(limits=Limits(max_pixels=10)))
    assert caught.value.stream == "video" and caught.value.source.endswith("a.mp4")


def signalled(worker: Worker, number: int) -> threading.Timer:
    timer = threading.Timer(0.1, lambda: os.kill(worker._process.pid, number))
    timer.start()
    return timer


SLOW = MediaOptions(frame_times=240.0, frame_size=(720, 1280))


def test_a_crash_costs_that_file_alone(made):
    with Worker() as worker:
        worker.load(made("a.mp4"), options=SMALL)
        timer = signalled(worker, signal.SIGSEGV)
        with pytest.raises(MediaError, match=r"its decoding process died \(signal 11\)") as caught:
            worker.load(made("a.mp4"), options=SLOW)
        timer.join()
        assert str(made("a.mp4")) in str(caught.value) and caught.value.remedy
        assert len(worker.load(made("a.mp4"), options=SMALL).frames) == 8


def test_a_hang_is_ended(made):
    with Worker() as worker:
        worker.load(made("a.mp4"), options=SMALL)  # the time to start the process is not what is tested
        worker._timeout = 1.0
        timer = signalled(worker, signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(MediaError, match="not decoded within 1 s; its process was stopped"):
            worker.load(made("a.mp4"), options=SLOW)
        timer.join()
        assert time.monotonic() - begun < 10
        worker._timeout = None
        assert len(worker.load(made("a.mp4"), options=SMALL).frames) == 8


@pytest.mark.skipif(not os.path.exists("/proc"), reason="address space limits are Linux's")
def test_a_greedy_file_is_ended(made):
    huge = MediaOptions(frame_size=(8192, 8192), limits=Limits(max_memory=1 << 40))
    with Worker(memory=3 << 29, timeout=60) as worker:
        with pytest.raises(MediaError, match=r"not enough memory|process died"):
            worker.load(made("a.mp4"), options=huge)
        assert len(worker.load(made("a.mp4"), options=SMALL).frames) == 8


def test_ctrl_c_reaches_whoever_asked_and_leaves_the_process_at_work(made):
    with Worker() as worker:
        worker.load(made("a.mp4"), options=SMALL)
        os.kill(worker._process.pid, signal.SIGINT)  # a terminal sends it to every process in front
        assert len(worker.load(made("a.mp4"), options=SMALL).frames) == 8


@pytest.mark.parametrize("asked", [b"", b"half", b"whole"])
def test_a_process_whose_caller_died_ends_without_a_word(made, asked):
    command = [sys.executable, "-c", _BOOT, json.dumps(sys.path), "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        request = pickle.dumps((str(made("a.mp4")), None, SMALL, "a.mp4"))
        data = _LENGTH.pack(len(request)) + request
        process.stdout.close()  # nobody reads the answer
        process.stdin.write({b"": b"", b"half": data[:20], b"whole": data}[asked])
        process.stdin.close()
        assert process.stderr.read() == b"" and process.wait(60) == 0


def test_workers_must_be_positive():
    with pytest.raises(ConfigError):
        next(load_many([], workers=0))
