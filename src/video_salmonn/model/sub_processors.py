"""The processor's own parts: frames to pixels, and sound to the inputs of both sound encoders."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoImageProcessor, BatchFeature, FeatureExtractionMixin
from transformers.image_processing_utils import BaseImageProcessor

from video_salmonn.encoders.chunking import Segments, cut
from video_salmonn.errors import ConfigError
from video_salmonn.features.fbank import beats_fbank
from video_salmonn.features.frames import prepare_frames
from video_salmonn.features.logmel import log_mel
from video_salmonn.features.patches import yamnet_patches
from video_salmonn.model.configuration import CLIP_MEAN, CLIP_STD, VideoSalmonnConfig

SAMPLE_RATE = 16_000
_EVENTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"beats": beats_fbank, "yamnet": yamnet_patches}
"""Inputs of the sound-event encoders by their ``model_type``."""


class VideoSalmonnImageProcessor(BaseImageProcessor):
    """Frames and pictures to normalised pixels.

    Args:
        size: ``{"height", "width"}`` of what the vision encoder is given.
        resize: filter for frames, see :mod:`video_salmonn.features.frames`; pictures are resized as PIL does.
        image_mean, image_std: of the channels, for levels from 0 to 1.
        **kwargs: as transformers.
    """

    model_input_names = ("pixel_values",)

    def __init__(
        self,
        size: dict[str, int] | None = None,
        resize: str = "bicubic",
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = dict(size or {"height": 224, "width": 224})
        self.resize = resize
        self.image_mean, self.image_std = list(image_mean), list(image_std)

    @classmethod
    def of(cls, config: VideoSalmonnConfig) -> VideoSalmonnImageProcessor:
        """The one that a model's configuration asks for."""
        media = config.media_config
        size = {"height": int(media.image_size), "width": int(media.image_size)}
        return cls(size, media.resize, media.image_mean, media.image_std)

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        """As :meth:`preprocess`."""
        return self.preprocess(images, *args, **kwargs)

    def preprocess(self, images: Any, *, pictures: bool = False, return_tensors: str = "pt") -> BatchFeature:
        """``pixel_values`` ``(T, 3, H, W)`` float32.

        Args:
            images: frames ``(T, H, W, 3)`` uint8 RGB; or a list of pictures, arrays ``(H, W, 3)`` or of PIL's.
            pictures: resize as PIL does, which is meant for pictures; lists always are.
            return_tensors: ``pt``.
        """
        if return_tensors != "pt":
            raise ConfigError(f"return_tensors is {return_tensors!r}: PyTorch tensors are made", remedy="use pt")
        batches = [images] if isinstance(images, np.ndarray) and images.ndim == 4 else [_picture(one) for one in images]
        pixels = [
            prepare_frames(
                torch.from_numpy(batch),
                (self.size["height"], self.size["width"]),
                how="picture" if pictures or batch is not images else self.resize,  # type: ignore[arg-type]
                mean=tuple(self.image_mean),
                std=tuple(self.image_std),
            )
            for batch in batches
        ]
        return BatchFeature({"pixel_values": torch.cat(pixels)})


def _picture(image: Any) -> np.ndarray:
    """``(1, H, W, 3)`` uint8 of a picture."""
    array = np.array(image.convert("RGB") if hasattr(image, "convert") else image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise ConfigError(f"a picture is {array.dtype} {array.shape}", remedy="give uint8 (height, width, 3)")
    return array[None]


class VideoSalmonnFeatureExtractor(FeatureExtractionMixin):
    """Sound to segments, log-mel for the speech encoder, and the sound-event encoder's inputs.

    Args:
        feature_size: bands of the log-mel; 0 for a model without a speech encoder.
        events: ``beats`` | ``yamnet``, the sound-event encoder; None without one.
        sampling_rate: of the sound, 16,000.
        segment_seconds, pad_last_segment, max_seconds: how sound is cut, see
            :class:`~video_salmonn.model.configuration.MediaConfig`.
        **kwargs: as transformers.
    """

    model_input_names = ("log_mel", "audio_inputs", "segment_counts", "segment_samples", "sound_frames")

    def __init__(
        self,
        feature_size: int = 80,
        events: str | None = None,
        sampling_rate: int = SAMPLE_RATE,
        segment_seconds: float = 30.0,
        pad_last_segment: bool = True,
        max_seconds: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_size = feature_size
        self.events = events
        self.sampling_rate = sampling_rate
        self.segment_seconds = segment_seconds
        self.pad_last_segment = pad_last_segment
        self.max_seconds = max_seconds

    @classmethod
    def of(cls, config: VideoSalmonnConfig) -> VideoSalmonnFeatureExtractor:
        """The one that a model's configuration asks for."""
        media = config.media_config
        return cls(
            media.mel_bins if config.speech_config is not None else 0,
            config.audio_config.model_type if config.audio_config is not None else None,
            SAMPLE_RATE,
            media.segment_seconds,
            media.pad_last_segment,
            media.max_sound_seconds,
        )

    def __call__(self, raw_speech: Any, sampling_rate: int | None = None, return_tensors: str = "pt") -> BatchFeature:
        """Inputs of the sound encoders, packed over the sounds.

        Args:
            raw_speech: one sound ``(n,)`` of floats, or a list of them; None in a list for an item without sound.
            sampling_rate: of the sounds; they are not resampled here.
            return_tensors: ``pt``.

        Returns:
            ``segment_counts`` and ``sound_frames`` ``(M,)``; ``segment_samples`` ``(ΣS,)``, ``log_mel`` and
            ``audio_inputs`` ``(ΣS, …)`` where there is sound, as :class:`~video_salmonn.model.inputs.MediaInputs` says.

        Raises:
            ConfigError: another sampling rate.
        """
        if sampling_rate not in (None, self.sampling_rate) or return_tensors != "pt":
            raise ConfigError(
                f"sampling_rate is {sampling_rate} and return_tensors {return_tensors!r}",
                remedy=f"give sound sampled at {self.sampling_rate} Hz, and pt",
            )
        sounds = raw_speech if isinstance(raw_speech, (list, tuple)) and not _numbers(raw_speech) else [raw_speech]
        cuts = [None if sound is None else self.cut(np.asarray(sound, np.float32)) for sound in sounds]
        return BatchFeature({name: value for name, value in self.inputs(cuts).items() if value is not None})

    def cut(self, samples: np.ndarray) -> Segments:
        """Segments of one sound ``(n,)``."""
        whole = torch.from_numpy(samples)
        if self.max_seconds:
            whole = whole[: round(self.max_seconds * self.sampling_rate)]
        return cut(whole, self.segment_seconds, pad_last=self.pad_last_segment)

    def inputs(self, sounds: Sequence[Segments | None]) -> dict[str, torch.Tensor | None]:
        """What :meth:`__call__` returns, of sounds that are cut; None for what there is nothing of."""
        heard = [sound for sound in sounds if sound is not None]
        mels = [log_mel(sound.waveform, self.feature_size) for sound in heard if self.feature_size]
        events = [_EVENTS[self.events](sound.waveform) for sound in heard if self.events is not None]
        return {
            "log_mel": _stack_segments(mels, -1) if mels else None,
            "audio_inputs": _stack_segments(events, 1) if events else None,
            "segment_counts": torch.tensor([0 if sound is None else len(sound.waveform) for sound in sounds]),
            "segment_samples": torch.cat([sound.lengths for sound in heard]) if heard else None,
            "sound_frames": torch.tensor([0 if sound is None else sound.frames for sound in sounds]),
        }


def _numbers(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, (int, float)) for value in values[:2])


def _stack_segments(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    """Join segments of several items, zero-padded on the time axis ``dim`` to the longest."""
    longest = max(part.shape[dim] for part in parts)
    padded = []
    for part in parts:
        shape = list(part.shape)
        shape[dim] = longest - part.shape[dim]
        padded.append(torch.cat([part, part.new_zeros(shape)], dim=dim) if shape[dim] else part)
    return torch.cat(padded)


with contextlib.suppress(ImportError):  # the oldest transformers supported have this class only beside torchvision
    AutoImageProcessor.register(
        VideoSalmonnConfig,
        image_processor_classes=dict.fromkeys(("torchvision", "pil"), VideoSalmonnImageProcessor),  # it needs neither
        exist_ok=True,
    )
AutoFeatureExtractor.register(VideoSalmonnConfig, VideoSalmonnFeatureExtractor, exist_ok=True)
