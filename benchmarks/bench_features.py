"""Log-mel, fbank and frame preparation against the libraries they replace, in times real time.

Sound: 30 s of noise at 16 kHz, alone and as a batch of 8. Pictures: 60 frames of 640 x 360 (30 s at 2 per second).
Each pair is taken in turns. kaldi-native-fbank takes part where it is installed (1.22.3 is the last with 128 bins).

    python benchmarks/bench_features.py [--repeats 7] [--threads 1]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from common import finish, interleaved, median_ratio
from video_salmonn.features.fbank import fbank
from video_salmonn.features.frames import CLIP_MEAN, CLIP_STD, prepare_frames
from video_salmonn.features.logmel import log_mel

SEED = 7
SECONDS = 30


def kaldi_by_transformers() -> Callable[[np.ndarray], Any]:
    kaldi = {"norm": None, "mel_scale": "kaldi", "triangularize_in_mel_space": True}
    filters = mel_filter_bank(257, 128, 20.0, 8000.0, 16_000, **kaldi)
    window = window_function(400, "povey", periodic=False)
    shape = {"frame_length": 400, "hop_length": 160, "fft_length": 512, "power": 2.0, "center": False}
    extra = {"preemphasis": 0.97, "mel_filters": filters, "log_mel": "log", "mel_floor": 1.1920928955078125e-07}
    return lambda wave: spectrogram(wave, window, **shape, **extra, remove_dc_offset=True)


def kaldi_native() -> Callable[[np.ndarray], Any] | None:
    try:
        import kaldi_native_fbank as knf
    except ImportError:
        return None
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 128

    def run(wave: np.ndarray) -> np.ndarray:
        computer = knf.OnlineFbank(options)
        computer.accept_waveform(16_000, wave)
        computer.input_finished()
        return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])

    return run


def pictures_by_pil(frames: np.ndarray) -> torch.Tensor:
    """PIL's bicubic, then scale and normalise: what an image processor without torchvision does."""
    resized = [np.asarray(Image.fromarray(f).resize((224, 224), Image.Resampling.BICUBIC)) for f in frames]
    values = (np.stack(resized).astype(np.float32) / 255 - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
    return torch.from_numpy(values).permute(0, 3, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = np.random.default_rng(SEED)
    waves = (0.1 * generator.standard_normal((8, SECONDS * 16_000))).astype(np.float32)
    batch, loud = torch.from_numpy(waves), waves * np.float32(2**15)
    frames = generator.integers(0, 256, (2 * SECONDS, 360, 640, 3), dtype=np.uint8)
    extractor, spectro, native = WhisperFeatureExtractor(), kaldi_by_transformers(), kaldi_native()

    def extract(waves: list[np.ndarray]) -> Any:
        return extractor(waves, sampling_rate=16_000, return_tensors="pt")

    pairs: list[tuple[str, float, Callable[[], Any], str, Callable[[], Any]]] = [
        (
            "log-mel, 1 clip",
            SECONDS,
            lambda: log_mel(batch[:1], pad_to=480_000),
            "transformers",
            lambda: extract([waves[0]]),
        ),
        (
            "log-mel, 8 clips",
            8 * SECONDS,
            lambda: log_mel(batch, pad_to=480_000),
            "transformers",
            lambda: extract(list(waves)),
        ),
        ("fbank, 1 clip", SECONDS, lambda: fbank(batch[:1] * 2**15), "transformers", lambda: spectro(loud[0])),
        (
            "fbank, 8 clips",
            8 * SECONDS,
            lambda: fbank(batch * 2**15),
            "transformers",
            lambda: [spectro(w) for w in loud],
        ),
        (
            "frames, antialiased",
            SECONDS,
            lambda: prepare_frames(torch.from_numpy(frames)),
            "PIL + numpy",
            lambda: pictures_by_pil(frames),
        ),
        (
            "frames, as released",
            SECONDS,
            lambda: prepare_frames(torch.from_numpy(frames), how="released"),
            "PIL + numpy",
            lambda: pictures_by_pil(frames),
        ),
    ]
    if native is not None:
        pairs.insert(
            4,
            ("fbank, 1 clip", SECONDS, lambda: fbank(batch[:1] * 2**15), "kaldi-native-fbank", lambda: native(loud[0])),
        )
    rows = []
    print(f"{'':22}{'ours':>12}{'other':>12}   x real time, {options.threads} thread(s)")
    for name, length, ours, other, theirs in pairs:
        seconds = interleaved({"ours": ours, "other": theirs}, options.repeats)
        speed = {key: length / median(taken) for key, taken in seconds.items()}
        ratio = median_ratio(seconds, "ours", "other")
        print(f"{name:22}{speed['ours']:12.0f}{speed['other']:12.0f}   {other}, time ratio {ratio:.2f}")
        rows.append({"what": name, "library": other, "x_real_time": speed, "time_ratio": ratio})
    finish("features", {"rows": rows, "seconds_of_media": SECONDS}, threads=options.threads, seed=SEED)


if __name__ == "__main__":
    main()
