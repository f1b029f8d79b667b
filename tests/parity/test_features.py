"""Log-mel, fbank and frames against independent implementations."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from video_salmonn.features.fbank import EPSILON, beats_fbank, fbank, num_frames
from video_salmonn.features.frames import CLIP_MEAN, CLIP_STD, prepare_frames, resize
from video_salmonn.features.logmel import log_mel

LOG_FLOOR = np.log(EPSILON)
"""What digital silence becomes."""


def speechlike(seconds, seed=0, rate=16_000):
    """A gliding harmonic tone under a slow envelope, with noise: something with structure in every band."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    glide = 2 * np.pi * np.cumsum(110 + 60 * np.sin(2 * np.pi * 0.7 * time + seed)) / rate
    tone = sum(np.sin(k * glide) / k for k in range(1, 20))
    sound = 0.1 * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)) + 0.01 * generator.standard_normal(len(time))
    return sound.astype(np.float32)


SOUNDS = {
    "speechlike": lambda: speechlike(3.0),
    "silence": lambda: np.zeros(16_000, np.float32),
    "dc": lambda: np.full(16_000, 0.5, np.float32),
    "clipped": lambda: np.clip(8 * speechlike(2.0, 1), -1, 1),
    "impulse": lambda: np.eye(1, 16_000, 8_000, dtype=np.float32)[0],
    "quiet": lambda: 1e-4 * speechlike(1.0, 2),
    "odd length": lambda: speechlike(1.23456),
}

# ------------------------------------------------------------------------------------------------ log-mel


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("sound", SOUNDS)
def test_log_mel_is_whispers(bins, sound):
    wave = SOUNDS[sound]()
    theirs = WhisperFeatureExtractor(feature_size=bins)(wave, sampling_rate=16_000, return_tensors="pt").input_features
    ours = log_mel(torch.from_numpy(wave)[None], bins, pad_to=480_000)
    assert ours.shape == (1, bins, 3000)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 10.0, 30.0, 31.7])
def test_log_mel_of_any_length(seconds):
    wave = speechlike(seconds)
    extractor = WhisperFeatureExtractor()
    padded = extractor(wave, sampling_rate=16_000, return_tensors="pt").input_features
    torch.testing.assert_close(log_mel(torch.from_numpy(wave)[None], pad_to=480_000), padded, atol=2e-4, rtol=0)
    short = extractor(wave, sampling_rate=16_000, padding=False, truncation=False, return_tensors="pt").input_features
    ours = log_mel(torch.from_numpy(wave)[None])
    assert ours.shape[-1] == len(wave) // 160
    torch.testing.assert_close(ours, short[..., : ours.shape[-1]], atol=2e-4, rtol=0)


def test_log_mel_batched_is_single():
    waves = torch.stack([torch.from_numpy(speechlike(2.0, seed)) for seed in range(3)])
    waves[1] *= 0.01  # the floor is each item's own
    together = log_mel(waves)
    for row in range(3):
        torch.testing.assert_close(together[row : row + 1], log_mel(waves[row : row + 1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 200])
def test_log_mel_of_too_little_fails(samples):
    with pytest.raises(ValueError, match="at least"):
        log_mel(torch.zeros(1, samples))


# -------------------------------------------------------------------------------------------------- fbank


def reference_fbank(wave):
    """The library's spectrogram in float64, set up as Kaldi's: an implementation that shares no line with ours."""
    filters = mel_filter_bank(
        257, 128, 20.0, 8000.0, 16_000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    return spectrogram(
        wave.astype(np.float64),
        window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.1920928955078125e-07,
        remove_dc_offset=True,
        dtype=np.float64,
    ).T


@pytest.mark.parametrize("sound", SOUNDS)
def test_fbank_is_kaldis(sound):
    wave = SOUNDS[sound]() * 2.0**15
    ours = fbank(torch.from_numpy(wave)[None])[0]
    theirs = torch.from_numpy(reference_fbank(wave))
    assert ours.shape == theirs.shape == (num_frames(len(wave)), 128)
    assert torch.isfinite(ours).all()
    loud = theirs > LOG_FLOOR + 18  # where float32's own rounding noise is not the signal
    torch.testing.assert_close(ours.double()[loud], theirs[loud], atol=5e-3, rtol=0)
    # in energy, which is what rounding disturbs, every band agrees to a few millionths of the frame's largest
    largest = theirs.exp().amax(1, keepdim=True).clamp(min=1.0)
    assert ((ours.double().exp() - theirs.exp()).abs() / largest).max() < 5e-6


def test_fbank_of_speechlike_sound_is_close_after_normalisation():
    wave = speechlike(5.0)
    theirs = (torch.from_numpy(reference_fbank(wave * 2.0**15)) - 15.41663) / (2 * 6.55582)
    torch.testing.assert_close(beats_fbank(torch.from_numpy(wave)[None])[0].double(), theirs, atol=1e-4, rtol=0)


def test_digital_silence_is_the_floor():
    assert pytest.approx(-15.942385) == LOG_FLOOR
    silence = fbank(torch.zeros(2, 8000))
    torch.testing.assert_close(silence, torch.full_like(silence, LOG_FLOOR))
    constant = fbank(torch.full((1, 8000), 12_345.0))  # the mean of a window is removed first
    torch.testing.assert_close(constant, torch.full_like(constant, LOG_FLOOR))


def test_fbank_batched_is_single():
    waves = torch.stack([torch.from_numpy(speechlike(1.0, seed)) for seed in range(3)]) * 2.0**15
    together = fbank(waves)
    for row in range(3):
        torch.testing.assert_close(together[row], fbank(waves[row : row + 1])[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("samples", "frames"), [(399, 0), (400, 1), (559, 1), (560, 2), (480_000, 2998)])
def test_frames_of_samples(samples, frames):
    assert num_frames(samples) == frames
    if frames == 0:
        with pytest.raises(ValueError, match="less than one window"):
            fbank(torch.zeros(1, samples))
    elif frames < 10:
        assert fbank(torch.zeros(1, samples)).shape[1] == frames


# ------------------------------------------------------------------------------------------------- frames


def picture(height, width, seed=0, low=0, high=255):
    """Smooth colour with sharp edges and text-like noise, between two levels."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    colour = np.stack([x / width, y / height, 0.5 + 0.4 * np.sin(x / 9) * np.cos(y / 7)], -1)
    colour[height // 4 : height // 2, width // 3 : width // 2] = (1, 0, 0)
    colour[height - height // 5 :] = generator.integers(0, 2, (height // 5, width, 1))
    return (low + (high - low) * colour).round().astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(360, 640), (240, 320), (480, 272), (100, 90), (224, 224)])
@pytest.mark.parametrize(("low", "high", "most"), [(50, 205, 2), (0, 255, 32)])
def test_resize_is_pils(height, width, low, high, most):
    """On whole levels, the way frames are prepared on the CPU: PIL's own rounding.

    Which pass comes first may differ, and with it where the overshoot of a hard black-and-white edge is cut.
    """
    pixels = picture(height, width, low=low, high=high)
    theirs = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC)).astype(int)
    ours = resize(torch.from_numpy(pixels).permute(2, 0, 1)[None], (224, 224))[0].permute(1, 2, 0).numpy()
    difference = np.abs(ours - theirs)
    assert difference.max() <= most
    assert difference.mean() < 0.8
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    prepared = prepare_frames(torch.from_numpy(pixels)[None])[0].permute(1, 2, 0)
    torch.testing.assert_close(prepared, (torch.from_numpy(ours) / 255 - mean) / std, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(360, 640), (240, 320), (480, 272), (100, 90), (224, 224)])
@pytest.mark.parametrize(("low", "high", "most", "mean"), [(50, 205, 1.1, 0.35), (0, 255, 32.0, 1.0)])
def test_resize_in_floats_is_near(height, width, low, high, most, mean):
    """Where floats are resized (on other devices): PIL rounds, and cuts overshoot, between its two passes.

    Where a hard black-and-white edge overshoots, its cut shows; away from the ends of the range only rounding does.
    """
    pixels = picture(height, width, low=low, high=high)
    theirs = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC)).astype(np.float32)
    ours = resize(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255, (224, 224))[0].permute(1, 2, 0).numpy() * 255
    difference = np.abs(ours - theirs)
    assert difference.max() <= most  # of 255 levels
    assert difference.mean() <= mean
    assert ours.min() >= 0
    assert ours.max() <= 255.001


def test_released_resize_is_plain_bicubic():
    """The released video path: no antialiasing, no clamp, normalised with CLIP's mean and deviation."""
    frames = torch.from_numpy(np.stack([picture(300, 400, seed) for seed in range(2)]))
    ours = prepare_frames(frames, how="released")
    floats = frames.permute(0, 3, 1, 2).float() / 255
    plain = F.interpolate(floats, size=(224, 224), mode="bicubic", align_corners=False)
    mean, std = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)
    torch.testing.assert_close(ours, (plain - mean) / std, atol=1e-6, rtol=0)
    assert plain.max() > 1  # bicubic overshoots, and the release keeps it
    assert (prepare_frames(frames) - ours).abs().max() > 0.1


def test_normalisation_by_hand():
    white = prepare_frames(torch.full((1, 10, 10, 3), 255, dtype=torch.uint8))
    expected = [(1 - 0.48145466) / 0.26862954, (1 - 0.4578275) / 0.26130258, (1 - 0.40821073) / 0.27577711]
    torch.testing.assert_close(white.amax((0, 2, 3)), torch.tensor(expected), atol=1e-5, rtol=0)
    assert white.shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    "frames", [torch.zeros(1, 4, 4, 3), torch.zeros(4, 4, 3).byte(), torch.zeros(1, 3, 4, 4).byte()]
)
def test_frames_of_another_kind_fail(frames):
    with pytest.raises(ValueError, match="uint8"):
        prepare_frames(frames)
