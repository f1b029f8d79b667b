"""Where sound lands on the time axis: jitter, gaps, overlaps, jumps, damage, changes of format."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_salmonn.media import segments
from video_salmonn.media.audio import SoundTrack
from video_salmonn.types import Waveform

RATE = 16_000


def frame(samples: np.ndarray, at: float | None, rate: int = RATE):
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None].astype(np.float32)), "fltp", "mono")
    made.sample_rate, made.time_base = rate, Fraction(1, 1_000_000)
    made.pts = None if at is None else round(at * 1_000_000)
    return made


def ramp(start: float, seconds: float, rate: int = RATE) -> np.ndarray:
    """Samples that tell their own time."""
    return ((start + np.arange(round(seconds * rate)) / rate) / 100).astype(np.float32)


def track(stop: float | None = None, zero: float = 0.0) -> SoundTrack:
    return SoundTrack("audio", "mix", zero, stop)


def finished(sound: SoundTrack) -> np.ndarray:
    sound.finish()
    return sound.take()


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=12), rate=st.sampled_from([8_000, 16_000, 44_100, 48_000])
)
def test_cutting_into_frames_changes_nothing(sizes, rate):
    whole = np.sin(np.arange(sum(sizes)) * 0.05).astype(np.float32)
    one, many, begin = track(), track(), 0
    one.push(frame(whole, 0.0, rate))
    for size in sizes:
        many.push(frame(whole[begin : begin + size], begin / rate, rate))
        begin += size
    a, b = finished(one), finished(many)
    assert len(a) == len(b) == round(len(whole) * RATE / rate)
    assert np.array_equal(a, b)


def test_jitter_of_the_stamps_is_ignored():
    sound, random = track(), np.random.default_rng(0)
    for k in range(50):
        sound.push(frame(ramp(k * 0.1, 0.1), k * 0.1 + random.uniform(-0.02, 0.02) * (k > 0)))
    samples = finished(sound)
    assert np.array_equal(samples, ramp(0, 5.0)) and not sound.gaps and not sound.dropped


def test_a_gap_becomes_silence_and_the_rest_keeps_its_place():
    sound = track()
    sound.push(frame(ramp(0, 1), 0.0))
    sound.push(frame(ramp(1.3, 1), 1.3))
    samples = finished(sound)
    assert len(samples) == round(2.3 * RATE)
    assert (
        np.array_equal(samples[:RATE], ramp(0, 1)) and np.abs(samples[round(1.3 * RATE) :] - ramp(1.3, 1)).max() < 1e-6
    )
    assert not samples[RATE : round(1.3 * RATE)].any()
    assert sound.gaps == [(pytest.approx(1.0), pytest.approx(1.3))]


def test_an_overlap_is_dropped():
    sound = track()
    sound.push(frame(ramp(0, 1), 0.0))
    sound.push(frame(ramp(0.5, 1), 0.5))
    samples = finished(sound)
    assert np.abs(samples - ramp(0, 1.5)).max() < 1e-6 and sound.dropped == pytest.approx(0.5)


def test_steady_drift_is_corrected_within_a_second():
    sound = track()
    for k in range(100):  # the device counts 1 % too slowly
        sound.push(frame(ramp(k * 0.1, 0.1), k * 0.101))
    samples = finished(sound)
    assert len(samples) / RATE == pytest.approx(10.1, abs=0.08)


def test_damage_makes_the_next_stamp_count():
    sound = track()
    sound.push(frame(ramp(0, 1), 0.0))
    sound.damaged()
    sound.push(frame(ramp(1.021, 1), 1.021))
    samples = finished(sound)
    assert len(samples) == round(2.021 * RATE) and samples[round(1.5 * RATE)] == pytest.approx(0.015, abs=1e-5)


@pytest.mark.parametrize("jump", [-50.0, 5000.0])
def test_absurd_jumps_of_the_clock_are_continued(jump):
    sound = track()
    sound.push(frame(ramp(0, 1), 60.0 - 60.0))
    sound.push(frame(ramp(1, 1), 1.0 + jump))
    sound.push(frame(ramp(2, 1), 2.0 + jump))
    samples = finished(sound)
    if jump < 0:  # before the beginning: the clock was reset
        assert np.abs(samples - ramp(0, 3)).max() < 1e-6
    assert len(samples) == 3 * RATE and "time stamps jump" in sound.notes[0]


def test_early_sound_is_trimmed_and_late_sound_preceded_by_silence():
    early = track(zero=0.5)
    early.push(frame(ramp(0, 2), 0.0))
    assert np.abs(finished(early) - ramp(0.5, 1.5)).max() < 1e-6
    late = track()
    late.push(frame(ramp(2, 1), 2.0))
    samples = finished(late)
    assert len(samples) == 3 * RATE and not samples[: 2 * RATE].any() and late.first == pytest.approx(2.0)


def test_a_change_of_rate_in_the_middle():
    sound = track()
    sound.push(frame(ramp(0, 1), 0.0))
    sound.push(frame(ramp(1, 1, 8_000), 1.0, 8_000))
    samples = finished(sound)
    assert len(samples) == 2 * RATE and samples[round(1.5 * RATE)] == pytest.approx(0.015, abs=1e-4)


def test_stop_cuts_to_the_sample():
    sound = track(stop=1.5)
    for k in range(5):
        sound.push(frame(ramp(k, 1), float(k)))
    assert sound.done and len(finished(sound)) == 24_000


def test_pieces_join_to_the_whole():
    sound = track()
    pieces = []
    for k in range(7):
        sound.push(frame(ramp(k, 1), float(k)))
        pieces.append(sound.take(min(sound.samples, k * RATE)))
    pieces.append(finished(sound))
    assert np.array_equal(np.concatenate(pieces), ramp(0, 7))


@pytest.mark.parametrize(
    "seconds,lengths", [(29.99, [29.99]), (30.0, [30.0]), (30.01, [30.0, 0.01]), (65.0, [30, 30, 5])]
)
def test_segments_of_thirty_seconds(seconds, lengths):
    parts = list(segments(Waveform(np.zeros(round(seconds * RATE), np.float32))))
    assert [start for start, _ in parts] == [30.0 * k for k in range(len(lengths))]
    assert [part.seconds for _, part in parts] == pytest.approx(lengths)
