"""The samplers against brute force over all frames at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_salmonn.media.sampling import ReleasedSampler, UniformSampler, count_uniform, half_frame, parse_frame_times


def drive(sampler, times, end):
    found = [sample for index, t in enumerate(times) for sample in sampler.push(t, index)]
    return found + sampler.finish(end)


def grid(gaps):
    return [round(t, 6) for t in np.cumsum([0.0, *gaps])]


@settings(max_examples=300, deadline=None)
@given(
    gaps=st.lists(st.floats(0.004, 3.0), min_size=0, max_size=40),
    rate=st.sampled_from([0.5, 1.0, 2.0, 5.0, 29.97]),
    frame_rate=st.sampled_from([None, 1.0, 24.0, 25.0, 60.0]),
    last=st.floats(0.01, 1.0),
    late=st.sampled_from([0.0, -0.7, 0.3, 2.2]),
)
def test_uniform_is_what_is_on_screen(gaps, rate, frame_rate, last, late):
    times = [t + late for t in grid(gaps)]
    end, half = times[-1] + last, half_frame(frame_rate)
    if end <= 0:
        return
    expected, k = [], 0
    while k == 0 or k / rate + half < end:
        t = k / rate
        before = [i for i, x in enumerate(times) if x <= t + half]
        expected.append((t, before[-1] if before else 0))
        k += 1
    assert drive(UniformSampler(rate, frame_rate, None), times, end) == expected


@settings(max_examples=200, deadline=None)
@given(count=st.integers(1, 400), fps=st.sampled_from([1, 10, 23.976, 24, 25, 29.97, 30, 60, 120]))
def test_the_count_is_known_beforehand(count, fps):
    times = [k / fps for k in range(count)]
    for rate in (1.0, 2.0, 4.0):
        assert len(drive(UniformSampler(rate, fps, None), times, count / fps)) == count_uniform(count / fps, rate, fps)


@settings(max_examples=300, deadline=None)
@given(count=st.integers(1, 300), fps=st.sampled_from([5, 12.5, 24, 25, 30, 59.94]))
def test_released_is_first_and_last_of_each_second(count, fps):
    times = [k / fps for k in range(count)]
    end = count / fps
    seconds = max(1, math.ceil(end - 1e-4))
    expected = []
    for second in range(seconds):
        start = second if second + 1 <= end + 1e-4 else max(0.0, end - 1)
        inside = [i for i, t in enumerate(times) if start <= t < second + 1]
        expected += [(times[inside[0]], inside[0]), (times[inside[-1]], inside[-1])]
    assert drive(ReleasedSampler(None), times, end) == expected


@pytest.mark.parametrize("stop,frames", [(None, 10), (3.0, 6), (2.75, 6), (2.5, 5), (0.001, 0)])
def test_stop_ends_uniform(stop, frames):
    assert len(drive(UniformSampler(2.0, 25.0, stop), [k / 25 for k in range(125)], 5.0)) == frames


def test_released_skips_and_counts_seconds_without_frames():
    sampler = ReleasedSampler(None)
    assert drive(sampler, [0.0, 0.5, 3.2, 3.9], 4.0) == [(0.0, 0), (0.5, 1), (3.2, 2), (3.9, 3)]
    assert sampler.empty_seconds == 2


def test_names_of_strategies():
    assert parse_frame_times("uniform") == ("uniform", 2.0) and parse_frame_times("released") == ("released", 2.0)
    assert parse_frame_times(5) == ("uniform", 5.0)
