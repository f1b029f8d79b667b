"""The neural voices in batches, on any device: Piper's and Kokoro's graphs run by torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from video_salmonn.embedded.data.speaking.graph import Graph
from video_salmonn.embedded.data.speaking.jobs import SpeechJob
from video_salmonn.embedded.data.voices import KOKORO, KOKORO_STYLES, PIPER, RATE, STYLES, located

Tensor = torch.Tensor
Sounds = list[NDArray[np.float32]]
"""Samples in [-1, 1] at 16 kHz of each sentence."""


def resampler(old: int, new: int, device: torch.device | str, width: int = 8) -> Callable[[Tensor], Tensor]:
    """A function of samples ``(B, n)`` at ``old`` Hz -> ``(B, m)`` at ``new`` Hz: a windowed sinc."""
    common = math.gcd(old, new)
    old, new = old // common, new // common
    base = min(old, new) * 0.97
    half = math.ceil(width * old / base)
    index = torch.arange(-half, half + old, dtype=torch.float64)[None, None] / old
    time = (torch.arange(0, -new, -1, dtype=torch.float64)[:, None, None] / new + index) * base
    time = time.clamp(-width, width)
    window = torch.cos(time * math.pi / width / 2) ** 2
    kernel = (torch.sinc(time) * window * base / old).float().to(device)

    def run(samples: Tensor) -> Tensor:
        count = math.ceil(new * samples.shape[1] / old)
        found = F.conv1d(F.pad(samples[:, None], (half, half + old)), kernel, stride=old)
        return found.transpose(1, 2).reshape(samples.shape[0], -1)[:, :count]

    return run


def _up(number: int, step: int) -> int:
    """The next multiple: with few shapes, plans for them are kept."""
    return -(-number // step) * step


class BulkPiper:
    """Piper, many sentences at once.

    Args:
        device: where it runs.
        noise: multiplies its noise; 0 speaks every sentence alike.
        path: its ONNX file; by default the installed package's.
    """

    _LENGTHS = "/Clip_output_0"
    _FRAMES = "/ReduceMax_output_0"
    _SAMPLES_A_FRAME = 256
    _OWN_RATE = 22_050

    def __init__(self, device: torch.device | str, noise: float = 1.0, path: Path | None = None) -> None:
        self.device = torch.device(device)
        self.graph = Graph(path or located(PIPER[0]), device, keep=(self._LENGTHS,), noise=noise)
        self.resample = resampler(self._OWN_RATE, RATE, device)

    @torch.inference_mode()
    def speak(self, jobs: Sequence[SpeechJob]) -> Sounds:
        """Some sentences, best of like length: the shorter ones are computed as long as the longest is."""
        lengths = torch.tensor([2 * len(job.ids) + 3 for job in jobs])
        tokens = torch.zeros(len(jobs), _up(int(lengths.max()), 16), dtype=torch.int64)
        for row, job in zip(tokens, jobs):
            row[0], row[2 * len(job.ids) + 2] = 1, 2
            row[2 : 2 * len(job.ids) + 2 : 2] = torch.tensor(job.ids)

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, device=self.device)[:, None, None]

        given = {"input": tokens, "input_lengths": lengths, "scales": torch.tensor([0.667, 1.0, 0.8])}
        found = self.graph.run(
            given,
            {
                self._FRAMES: lambda frames: -(-frames // 32) * 32,
                "/Gather_output_0": column([job.variation for job in jobs]),
                "/Gather_1_output_0": column([1 / job.pace for job in jobs]),
                "/Gather_2_output_0": column([job.rhythm for job in jobs]),
            },
        )
        waves = found[self.graph.outputs[0]][:, 0, 0]
        frames = found[self._LENGTHS].cpu().long()
        return _cut(self.resample(waves), (frames * self._SAMPLES_A_FRAME * RATE // self._OWN_RATE).tolist())


_LASTING, _FIRST, _SECOND = (
    "/encoder/Div_output_0",
    "/encoder/predictor/text_encoder/Concat_4_output_0",
    "/encoder/text_encoder/Transpose_2_output_0",
)
_ALIGNED, _ALIGNED_1 = "/encoder/MatMul_output_0", "/encoder/MatMul_1_output_0"
_GENERATOR = "/decoder/decoder/generator/"


def alike(frames: Sequence[int], most: int, least: float = 0.85) -> list[list[int]]:
    """Places of sentences whose sound is made together, longest first.

    Much silence at a sentence's end would change how loud and how clear the rest is: the network evens out the whole.

    Args:
        frames: of each sentence.
        most: sentences of a group.
        least: shortest sentence of a group, as a share of the longest.
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(frames)), key=lambda place: -frames[place]):
        if groups and len(groups[-1]) < most and frames[place] >= least * frames[groups[-1][0]]:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


class BulkKokoro:
    """Kokoro, many sentences at once.

    Sentences of one number of tokens go through the text half together, and sentences of like length through the rest,
    where the last (silent) token is lengthened to the longest one's end.

    Args:
        device: where it runs.
        at_once: sentences whose sound is made together; four times as many go through the text half.
    """

    _SAMPLES_A_FRAME = 600
    _OWN_RATE = 24_000

    def __init__(self, device: torch.device | str, at_once: int = 16) -> None:
        self.device, self.at_once = torch.device(device), at_once
        source = b"".join(located(part).read_bytes() for part in KOKORO)
        self.text = Graph(
            source,
            device,
            wanted=(_LASTING, _FIRST, _SECOND),
            replace={
                "/encoder/predictor/text_encoder/Expand_output_0": (
                    ["/encoder/Slice_output_0", "/encoder/predictor/text_encoder/Where_output_0"],
                    lambda style, shape: style[:, None].expand(-1, int(shape[1]), -1),
                )
            },
        )
        window = torch.hann_window(20, periodic=True, dtype=torch.float64).float().to(device)

        def source_spectrum(x: Tensor) -> Tensor:  # harmonics (B, n) -> magnitudes and phases (B, 22, frames)
            frames = F.pad(x[:, None], (10, 10), mode="reflect")[:, 0].unfold(-1, 20, 5) * window
            spectrum = torch.fft.rfft(frames).transpose(1, 2)
            return torch.cat([spectrum.abs(), spectrum.angle()], 1)

        def inverse(x: Tensor, basis: Tensor) -> Tensor:
            return F.conv_transpose1d(x, basis, stride=5)[:, 0, 10:-10] * 4

        basis = "decoder.decoder.generator.stft.istft.stft.inverse_basis"
        self.rest = Graph(
            source,
            device,
            given=(_ALIGNED, _ALIGNED_1, "style"),
            wanted=("audio",),
            replace={
                _GENERATOR + "Concat_3_output_0": ([_GENERATOR + "Squeeze_output_0"], source_spectrum),
                "audio": ([_GENERATOR + "istft/stft/Concat_output_0", basis], inverse),
            },
            constants={"/encoder/Constant_20_output_0": torch.tensor([0, -1])},
        )
        with np.load(located(KOKORO_STYLES)) as tables:
            styles = np.stack([tables[name].reshape(-1, 256) for name in STYLES])
        self.styles = torch.from_numpy(styles).float().to(device)
        self.resample = resampler(self._OWN_RATE, RATE, device)

    def speak(self, jobs: Sequence[SpeechJob]) -> Sounds:
        """Some sentences, best many and of few numbers of tokens."""
        halves: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        for count in sorted({len(job.ids) for job in jobs}):
            places = [place for place, job in enumerate(jobs) if len(job.ids) == count]
            for start in range(0, len(places), 4 * self.at_once):
                group = places[start : start + 4 * self.at_once]
                halves.update(zip(group, zip(*self._text([jobs[place] for place in group]))))
        frames = torch.stack([halves[place][1].sum() for place in range(len(jobs))]).tolist()
        found: dict[int, NDArray[np.float32]] = {}
        for group in alike(frames, self.at_once):
            sounds = self._sound([halves[place] for place in group], [frames[place] for place in group])
            found.update(zip(group, sounds))
        return [found[place] for place in range(len(jobs))]

    @torch.inference_mode()
    def _text(self, jobs: Sequence[SpeechJob]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sentences of L - 2 tokens each -> styles ``(B, 256)``, frames of each token ``(B, L)``, and its two encoded
        forms ``(B, L, 640)`` and ``(B, 512, L)``."""
        count = len(jobs[0].ids)
        tokens = torch.zeros(len(jobs), count + 2, dtype=torch.int64)
        tokens[:, 1:-1] = torch.tensor([job.ids for job in jobs])
        mixes = torch.tensor([job.mix for job in jobs], device=self.device)
        style = mixes @ self.styles[:, min(count, self.styles.shape[1] - 1)]
        speed = torch.tensor([job.pace for job in jobs], device=self.device)[:, None]
        found = self.text.run({"tokens": tokens, "style": style, "speed": speed})
        return style, found[_LASTING].round().clamp(min=1).long(), found[_FIRST], found[_SECOND]

    @torch.inference_mode()
    def _sound(self, halves: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]], frames: Sequence[int]) -> Sounds:
        longest = _up(max(frames), 16)
        first = torch.zeros(len(halves), 640, longest, device=self.device)
        second = torch.zeros(len(halves), 512, longest, device=self.device)
        for place, (_, lasting, a, b) in enumerate(halves):
            lasting = lasting.clone()
            lasting[-1] += longest - frames[place]
            index = torch.repeat_interleave(
                torch.arange(len(lasting), device=self.device), lasting, output_size=longest
            )
            first[place], second[place] = a[index].T, b[:, index]
        style = torch.stack([style for style, *_ in halves])
        waves = self.rest.run({_ALIGNED: first, _ALIGNED_1: second, "style": style})["audio"]
        return _cut(self.resample(waves), [count * self._SAMPLES_A_FRAME * RATE // self._OWN_RATE for count in frames])


def _cut(waves: Tensor, lengths: Sequence[int]) -> Sounds:
    """Waveforms ``(B, n)``, each brought into [-1, 1] if it is louder, then cut to its length."""
    peaks = waves.abs().amax(1, keepdim=True).clamp(min=1.0)
    return [row[:length] for row, length in zip((waves / peaks).cpu().numpy(), lengths)]
