"""The frozen encoders of one system, built from configuration, and the batching that no item notices."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from video_salmonn.encoders.beats import Beats
from video_salmonn.encoders.efficientnet import EfficientNetEncoder, EfficientNetLiteConfig
from video_salmonn.encoders.eva import EvaViT
from video_salmonn.encoders.instructblip import InstructBlipQFormer
from video_salmonn.encoders.whisper import WhisperEncoder
from video_salmonn.encoders.yamnet import YamnetConfig, YamnetEncoder
from video_salmonn.features.fbank import num_frames
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.input_checks import check_media
from video_salmonn.model.inputs import MediaFeatures, MediaInputs

FRAMES_AT_ONCE = 32
"""Frames encoded together: bounds memory for long videos."""
SEGMENTS_AT_ONCE = 8
"""Sound segments encoded together."""
CONVOLVED_AT_ONCE = 2
"""Frames or segments that a convolutional encoder takes together on a processor. Memory of larger activations goes back
to the system and comes anew at every layer, which takes as long as the convolutions; and from some size on, and for one
frame in bfloat16, they are computed in another order, so that a frame's values would depend on how many there are."""
FRAME_SAMPLES = 8_000
"""Samples under a frame of 0.5 s."""


def build_vision(config: PreTrainedConfig) -> nn.Module:
    """The vision encoder of a configuration."""
    return EfficientNetEncoder(config.side) if isinstance(config, EfficientNetLiteConfig) else EvaViT(_own(config))


def build_audio(config: PreTrainedConfig) -> nn.Module:
    """The sound-event encoder of a configuration."""
    return YamnetEncoder(config.steps_per_frame) if isinstance(config, YamnetConfig) else Beats(config)


def _own(config: Any) -> Any:
    """An encoder's own copy of its configuration. Kernels that only a language model has are not asked of it."""
    own = copy.deepcopy(config)
    if own._attn_implementation not in (None, "eager", "sdpa"):
        own._attn_implementation = None
    return own


def _sizes(encoder: nn.Module, inputs: torch.Tensor, usual: int) -> list[int]:
    """Of the parts of frames or segments ``(N, …)`` that an encoder takes together."""
    convolves = isinstance(encoder, (EfficientNetEncoder, YamnetEncoder)) and inputs.device.type == "cpu"
    total, at_once = inputs.shape[0], CONVOLVED_AT_ONCE if convolves else usual
    parts = max(total // at_once, 1)
    if convolves:  # the last part is larger: none is of one frame alone
        return [at_once] * (parts - 1) + [total - at_once * (parts - 1)]
    return [min(at_once, total - start) for start in range(0, max(total, 1), at_once)]


class MediaTower(nn.Module):
    """Vision, speech and sound-event encoders; absent ones are None.

    Encoding is done per frame and per segment, so an item's features don't depend on its neighbours in a batch.
    """

    def __init__(self, config: VideoSalmonnConfig) -> None:
        super().__init__()
        vision, qformer, speech, audio = (
            getattr(config, f"{name}_config") for name in ("vision", "qformer", "speech", "audio")
        )
        self.vision = build_vision(vision) if vision else None
        self.instruction_qformer = InstructBlipQFormer(_own(qformer)) if qformer else None
        self.speech = WhisperEncoder(_own(speech)) if speech else None
        self.audio = build_audio(audio) if audio else None
        self.visual_tokens = config.connector_config.visual_tokens
        self.pad_last_segment = config.media_config.pad_last_segment
        self.keep_padding = not config.connector_config.trim_padding
        self.steps_per_frame = config.connector_config.audio_tokens

    def encode_frames(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Frames ``(N, 3, H, W)`` -> patch tokens (EVA) or visual tokens (others) ``(N, P, D)``."""
        assert self.vision is not None
        parts = []
        for frames in pixel_values.split(_sizes(self.vision, pixel_values, FRAMES_AT_ONCE)):
            if isinstance(self.vision, EvaViT):
                parts.append(self.vision(frames).values)
            else:
                parts.append(self.vision(frames[None]).values.unflatten(1, (frames.shape[0], -1))[0])
        return torch.cat(parts)

    def encode_speech(self, log_mel: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """Log-mel segments ``(S, bins, m)`` -> ``(S, m / 2, D)``.

        Whisper has no padding mask. Where short segments are not padded to the full length, segments of equal length
        are encoded together, each as long as it is.
        """
        assert self.speech is not None
        if self.pad_last_segment or len(set(samples.tolist())) == 1:
            return torch.cat([self.speech(part).values for part in log_mel.split(SEGMENTS_AT_ONCE)])
        frames = [-(-int(n) // FRAME_SAMPLES) * 2 * self.steps_per_frame for n in samples]  # log-mel: 100 per second
        values = log_mel.new_zeros(log_mel.shape[0], log_mel.shape[-1] // 2, self.speech.width)
        for length in sorted(set(frames)):
            rows = [i for i, n in enumerate(frames) if n == length]
            values[rows, : length // 2] = self.speech(log_mel[rows, :, :length]).values.to(values.dtype)
        return values

    def encode_audio(self, inputs: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """Sound-event segments -> ``(S, steps, D)``, zeros where there is no real sound.

        BEATs sees exactly the real sound of a segment (the rest is masked and zeroed), as in the released code at
        batch size 1.
        """
        assert self.audio is not None
        parts = []
        sizes = _sizes(self.audio, inputs, SEGMENTS_AT_ONCE)
        for values, real in zip(inputs.split(sizes), samples.split(sizes)):
            if isinstance(self.audio, Beats):
                side = self.audio.config.input_patch_size
                values = values[:, : values.shape[1] // side * side]
                frames = torch.tensor([num_frames(int(n)) // side * side for n in real], device=values.device)
                frames = frames.clamp(min=side, max=values.shape[1])
                mask = torch.arange(values.shape[1], device=values.device)[None] < frames[:, None]
                features = self.audio(values, None if bool(mask.all()) else mask)
                encoded = features.values
                if features.mask is not None:
                    encoded = encoded * features.mask[..., None].to(encoded.dtype)
            else:
                encoded = self.audio(values).values
            parts.append(encoded)
        return torch.cat(parts)

    def encode(self, inputs: MediaInputs) -> list[MediaFeatures]:
        """Encode packed items. Returns one :class:`MediaFeatures` an item, in order.

        Raises:
            ConfigError: the inputs do not fit each other.
        """
        check_media(inputs)
        visual: list[torch.Tensor | None] = []
        counts = [t.tolist() for t in (inputs.frame_counts, inputs.segment_counts) if t is not None]
        items = len(counts[0]) if counts else 0
        if inputs.pixel_values is not None and inputs.frame_counts is not None and self.vision is not None:
            frames = self.encode_frames(inputs.pixel_values)
            sizes = inputs.frame_counts.tolist()
            visual = [part if len(part) else None for part in frames.split(sizes)]
        else:
            visual = [None] * items
        speech: list[torch.Tensor | None] = [None] * items
        audio: list[torch.Tensor | None] = [None] * items
        real = [0] * items
        if inputs.segment_counts is not None and inputs.sound_frames is not None and int(inputs.segment_counts.sum()):
            sizes = inputs.segment_counts.tolist()
            real = inputs.sound_frames.tolist()
            assert inputs.segment_samples is not None
            samples = inputs.segment_samples
            if inputs.log_mel is not None and self.speech is not None:
                speech = self._join(self.encode_speech(inputs.log_mel, samples), sizes, real)
            if inputs.audio_inputs is not None and self.audio is not None:
                audio = self._join(self.encode_audio(inputs.audio_inputs, samples), sizes, real)
        still = [0] * items if inputs.still_frames is None else inputs.still_frames.tolist()
        return [MediaFeatures(*item) for item in zip(visual, speech, audio, real, still)]

    def _join(self, segments: torch.Tensor, sizes: list[int], real: list[int]) -> list[torch.Tensor | None]:
        """Join each item's segments on time, (ΣS, n, D) -> M x (N, D), without the padding unless it is wanted."""
        # BEATs' patches of 160 ms leave a rest: 1496 steps for 30 s, zero-padded to 1500 as released
        padded = F.pad(segments, (0, 0, 0, -segments.shape[1] % self.steps_per_frame))
        joined: list[torch.Tensor | None] = []
        for part, frames in zip(padded.split(sizes), real):
            if not len(part):
                joined.append(None)
                continue
            values = part.flatten(0, 1)
            joined.append(values if self.keep_padding else values[: frames * self.steps_per_frame])
        return joined

    def visual_tokens_of(
        self, features: MediaFeatures, instruction: tuple[torch.Tensor, torch.Tensor] | None
    ) -> torch.Tensor | None:
        """The V visual tokens of one item's frames, ``(T, V, D)``, read in the light of the question where that is so.

        Args:
            instruction: (ids, mask), ``(n,)`` each, or None.
        """
        if features.visual is None:
            return None
        tokens = self._read_question(features.visual, instruction)
        return tokens.repeat(features.still_frames, 1, 1)[: features.still_frames] if features.still_frames else tokens

    def _read_question(
        self, visual: torch.Tensor, instruction: tuple[torch.Tensor, torch.Tensor] | None
    ) -> torch.Tensor:
        if self.instruction_qformer is None:
            return visual
        parts = []
        for patches in visual.split(FRAMES_AT_ONCE):
            ids = mask = None
            if instruction is not None:
                ids, mask = (tensor[None].expand(len(patches), -1) for tensor in instruction)
            parts.append(self.instruction_qformer(patches, ids, mask).values)
        return torch.cat(parts)
