"""Any number of channels: none is lost, and silence is measured before they are mixed."""

from __future__ import annotations

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from media_make import tone

from video_salmonn.media import ArraySound, MediaOptions, load_clip, probe
from video_salmonn.media.audio import SoundTrack
from video_salmonn.media.downmix import floats, weights

RATE = 16_000


def wav(samples: np.ndarray, *, mask: int | None = None, rate: int = RATE, bits: int = 16) -> bytes:
    """A WAV file of ``(n, channels)`` floats; ``mask`` names the places of the channels (None: a plain header)."""
    kind = {8: np.uint8, 16: "<i2", 32: "<i4", 64: "<i8"}[bits]
    scaled = samples.astype(np.float64) * (2 ** (bits - 1) - 1) + (128 if bits == 8 else 0)
    data, count, size = scaled.astype(kind).tobytes(), samples.shape[1], bits // 8
    tag = 1 if mask is None else 0xFFFE
    head = struct.pack("<HHIIHH", tag, count, rate, rate * count * size, count * size, bits)
    if mask is not None:
        head += struct.pack("<HHIH", 22, bits, mask, 1) + bytes.fromhex("000000001000800000aa00389b71")
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def one_live(count: int, channel: int) -> np.ndarray:
    samples = np.zeros((RATE, count), np.float32)
    samples[:, channel] = tone(1, RATE)[0]
    return samples


def pitch(samples: np.ndarray) -> int:
    return int(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 24, 32, 63, 64])
@pytest.mark.parametrize("last", [False, True])
def test_sound_on_a_single_channel_of_any_number_is_heard(count, last):
    clip = load_clip(wav(one_live(count, count - 1 if last else count // 2)))
    assert clip.report.heard.status == "used" and pitch(clip.sound.samples) == 440
    assert np.abs(clip.sound.samples).max() > 0.05 / count and len(clip.sound.samples) == RATE


@pytest.mark.parametrize("channel", range(8))
def test_every_channel_of_a_surround_layout_is_heard(channel):
    clip = load_clip(wav(one_live(8, channel), mask=0x63F))  # 7.1
    assert clip.report.streams[0]["layout"] == "7.1"
    assert clip.report.heard.status == "used" and pitch(clip.sound.samples) == 440


@pytest.mark.parametrize("layout", ["mono", "stereo", "2.1", "quad", "5.1", "7.1", "hexadecagonal", "22.2"])
def test_the_mix_of_a_layout_cannot_clip(layout):
    shares = weights(av.AudioLayout(layout))
    assert shares.sum() == pytest.approx(1) and (shares > 0).all() and len(shares) == av.AudioLayout(layout).nb_channels


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_samples_of_every_size_keep_their_scale(bits):
    samples = np.stack([tone(1, RATE, level=0.5)[0], tone(1, RATE, level=0.25)[0]], axis=1)
    heard = load_clip(wav(samples, bits=bits)).sound.samples
    assert np.abs(heard - samples.mean(axis=1)).max() < 2 ** (2 - min(bits, 16))


@pytest.mark.parametrize("kind", sorted(av.audio.frame.format_dtypes))
def test_sample_formats_are_read_as_numpy_reads_them(kind):
    frame = av.AudioFrame(kind, "stereo", 1000)
    for plane in frame.planes:
        plane.update(np.random.default_rng(0).integers(0, 60, plane.buffer_size, np.uint8).tobytes())
    expected = frame.to_ndarray()
    if not frame.format.is_planar:
        expected = expected.reshape(-1, 2).T
    if expected.dtype.kind in "iu":
        expected = (expected.astype(np.float64) - 128 * (expected.dtype == np.uint8)) / 2.0 ** (
            8 * expected.itemsize - 1
        )
    assert np.allclose(floats(frame), expected, atol=1e-7)


def test_opposite_phase_stereo_is_heard_and_reported():
    left = tone(4, RATE)[0]
    for source in (wav(np.stack([left, -left], axis=1)), ArraySound(np.stack([left, -left], axis=1), RATE)):
        clip = load_clip(source)
        assert clip.report.heard.status == "used" and pitch(clip.sound.samples) == 440
        assert np.abs(clip.sound.samples[800:-800]).max() == pytest.approx(0.5, abs=0.01)
        assert [w for w in clip.report.warnings if "opposite polarity" in w and "4.00 s" in w]


@pytest.mark.parametrize("level", [-1.0, -0.9, -0.7])
def test_nearly_opposite_channels_do_not_cancel_either(level):
    left = tone(2, RATE)[0]
    clip = load_clip(wav(np.stack([left, level * left], axis=1)))
    assert np.abs(clip.sound.samples[800:-800]).max() > 0.4


def test_opposite_surround_channels_and_three_phases_are_heard():
    t = np.arange(2 * RATE) / RATE
    three = np.stack([0.5 * np.sin(2 * np.pi * (440 * t + k / 3)) for k in range(3)], axis=1)
    assert np.abs(three.sum(axis=1)).max() < 1e-6
    back = np.zeros((2 * RATE, 6))
    back[:, 4], back[:, 5] = three[:, 0], -three[:, 0]
    for source in (wav(three), wav(back, mask=0x3F)):
        clip = load_clip(source)
        assert clip.report.heard.status == "used" and pitch(clip.sound.samples) == 440


def test_channels_on_opposite_offsets_do_not_cancel_either():
    left = tone(2, RATE, level=0.2)[0]
    clip = load_clip(wav(np.stack([0.5 + left, 0.5 - left], axis=1)))
    assert clip.report.heard.status == "used"
    assert np.ptp(clip.sound.samples[RATE // 2 :]) == pytest.approx(0.4, abs=0.02)


def test_what_is_in_phase_again_is_mixed_plainly_again():
    sound, other = tone(6, RATE)[0], tone(6, RATE)[0]
    other[2 * RATE : 4 * RATE] *= -1
    clip = load_clip(wav(np.stack([sound, other], axis=1)))
    heard = clip.sound.samples
    assert np.abs(heard - sound)[np.r_[800 : 2 * RATE - 100, 4 * RATE + 400 : 6 * RATE - 800]].max() < 1e-3
    seconds = np.abs(heard[: 6 * RATE].reshape(60, -1)).max(axis=1)
    assert seconds.min() > 0.4, seconds
    assert [w for w in clip.report.warnings if "2.00 s" in w]


def test_ordinary_stereo_is_the_mean_of_its_channels():
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(RATE * 2, 1)), rng.normal(size=(RATE * 2, 2))
    samples = (0.05 * (common + own)).astype(np.float32)
    clip = load_clip(ArraySound(samples, RATE))
    assert np.abs(clip.sound.samples - samples.mean(axis=1)).max() < 1e-6 and not clip.report.warnings


def test_channels_that_hold_nothing_or_different_constants_are_silence():
    flat = np.full((RATE, 2), 0.0)
    flat[:, 1] = 0.3
    assert load_clip(wav(flat)).report.heard.status == "silent"
    assert load_clip(wav(-flat)).report.heard.detail == "one constant value, -0.300"
    assert load_clip(wav(np.zeros((RATE, 12)))).report.heard.detail == "nothing but silence"


def test_silence_is_measured_in_the_stretch_asked_for_only():
    samples = np.zeros((20 * RATE, 2), np.float32)
    samples[: 11 * RATE] = tone(11, RATE).T
    clip = load_clip(wav(samples), options=MediaOptions(start=11.5, end=15.0))
    assert clip.report.heard.status == "silent"


def test_the_released_way_says_that_the_other_channels_hold_the_sound():
    clip = load_clip(wav(one_live(2, 1)), options=MediaOptions(sound_mode="released"))
    assert clip.report.heard.status == "silent" and "other channels hold sound" in clip.report.heard.detail
    heard = load_clip(wav(one_live(10, 0)), options=MediaOptions(sound_mode="released"))
    assert heard.report.heard.status == "used" and np.abs(heard.sound.samples).max() == pytest.approx(0.5, abs=0.01)


def test_padding_is_not_taken_for_sound_that_the_header_left_out():
    clip = load_clip(wav(one_live(2, 0)), options=MediaOptions(sound_mode="released"))
    assert clip.sound.seconds == 3.0 and not any("header" in warning for warning in clip.report.warnings)


def test_a_damaged_value_costs_its_own_sample_and_channel():
    samples = np.stack([tone(1, RATE)[0], tone(1, RATE)[0]])
    samples[1, 5000] = np.nan
    frame = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
    frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
    track = SoundTrack("audio", "mix", 0.0, None)
    track.push(frame)
    track.finish()
    heard = track.take()
    assert track.not_finite == 1 and np.isfinite(heard).all()
    assert np.abs(heard - tone(1, RATE)[0])[np.r_[:4990, 5010:15990]].max() < 1e-3


def test_a_change_of_the_number_of_channels_keeps_every_channel():
    sound = SoundTrack("audio", "mix", 0.0, None)
    for k, layout in enumerate(["mono", "5.1", "stereo"]):
        count = av.AudioLayout(layout).nb_channels
        samples = np.zeros((count, RATE), np.float32)
        samples[-1] = tone(1, RATE)[0]
        frame = av.AudioFrame.from_ndarray(samples, "fltp", layout)
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), k * RATE
        sound.push(frame)
    sound.finish()
    heard = sound.take()
    assert len(heard) == 3 * RATE and all(pitch(heard[k * RATE : (k + 1) * RATE]) == 440 for k in range(3))


def test_probe_reads_a_file_of_ten_channels():
    report = probe(wav(one_live(10, 8)))
    assert report.heard.status == "used" and report.streams[0]["channels"] == 10
