"""Stored features of clips -> one padded batch for the connector, with augmentation on the features where asked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

STEPS_PER_FRAME = 25


@dataclass(frozen=True)
class ClipFeatures:
    """One clip's features, any of them None.

    Attributes:
        visual: ``(T, V, D_visual)``.
        speech: ``(N, D_speech)``, 25 steps under a frame of 0.5 s, whole frames.
        audio: ``(T, D_audio)``, one row a frame.
    """

    visual: torch.Tensor | None = None
    speech: torch.Tensor | None = None
    audio: torch.Tensor | None = None

    @property
    def frames(self) -> int:
        """Frames of 0.5 s that the longest stream covers."""
        sound = 0 if self.speech is None else -(-self.speech.shape[0] // STEPS_PER_FRAME)
        return max(sound, 0 if self.visual is None else self.visual.shape[0])


@dataclass(frozen=True)
class FeatureBatch:
    """Arguments of the connector's ``forward``; a stream that no clip has is None.

    Attributes:
        visual: ``(B, T, V, D)`` or None.
        speech: ``(B, N, D)`` or None.
        audio: ``(B, N, D)`` or None: rows repeated over their frame's steps.
        visual_mask: ``(B, T)`` bool.
        sound_mask: ``(B, N / A)`` bool.
    """

    visual: torch.Tensor | None
    speech: torch.Tensor | None
    audio: torch.Tensor | None
    visual_mask: torch.Tensor | None
    sound_mask: torch.Tensor | None

    def to(self, device: torch.device | str) -> FeatureBatch:
        """The same batch elsewhere."""
        moved = {name: None if value is None else value.to(device) for name, value in vars(self).items()}
        return FeatureBatch(**moved)


def _pad(rows: Sequence[torch.Tensor | None], length: int) -> torch.Tensor | None:
    present = next((row for row in rows if row is not None), None)
    if present is None:
        return None
    out = torch.zeros(len(rows), length, *present.shape[1:], device=present.device)
    for place, row in enumerate(rows):
        if row is not None:
            out[place, : row.shape[0]] = row
    return out


def _mask(lengths: Sequence[int], longest: int) -> torch.Tensor:
    return torch.arange(longest)[None] < torch.tensor(lengths)[:, None]


def collate(clips: Sequence[ClipFeatures]) -> FeatureBatch:
    """Pad clips to the longest; a clip without a stream has that stream masked out."""
    sound = [0 if clip.speech is None else -(-clip.speech.shape[0] // STEPS_PER_FRAME) for clip in clips]
    seen = [0 if clip.visual is None else clip.visual.shape[0] for clip in clips]
    audio = _pad([clip.audio for clip in clips], max(sound))
    return FeatureBatch(
        visual=_pad([clip.visual for clip in clips], max(seen)),
        speech=_pad([clip.speech for clip in clips], max(sound) * STEPS_PER_FRAME),
        audio=None if audio is None else audio.repeat_interleave(STEPS_PER_FRAME, dim=1),
        visual_mask=_mask(seen, max(seen)) if any(seen) else None,
        sound_mask=_mask(sound, max(sound)) if any(sound) else None,
    )


def augment_sound(clip: ClipFeatures, rng: random.Random, *, masks: int = 2, widest: int = 12) -> ClipFeatures:
    """Vary a sound's features: its pace, where it falls on the frame grid, and what can be heard of it.

    The pace changes by up to 12 % (linear interpolation); up to 24 steps are put in front, so that words fall on other
    places of their frames; then ``masks`` spans of up to ``widest`` steps of 20 ms, and a band of the speech features,
    are set to zero, as SpecAugment does to spectra.

    Args:
        clip: with speech; audio rows follow the new length by nearest neighbour.
        rng: what decides.
        masks: spans in time per 5 s of sound.
        widest: of a span, in steps.
    """
    if clip.speech is None:
        return clip
    speech = clip.speech.float()
    pace = rng.uniform(0.88, 1.12)
    speech = F.interpolate(speech.T[None], size=max(round(len(speech) * pace), 1), mode="linear")[0].T
    lead = rng.randrange(STEPS_PER_FRAME)
    speech = torch.cat([speech[:1].expand(lead, -1), speech]).clone()
    frames = -(-len(speech) // STEPS_PER_FRAME)
    speech = torch.cat([speech, speech[-1:].expand(frames * STEPS_PER_FRAME - len(speech), -1)])
    for _ in range(round(masks * len(speech) / 250 + rng.random() - 0.5)):
        start = rng.randrange(len(speech))
        speech[start : start + rng.randint(1, widest)] = 0.0
    width = speech.shape[1]
    band = rng.randrange(width)
    speech[:, band : band + rng.randrange(width // 16)] = 0.0
    audio = clip.audio
    if audio is not None:
        audio = audio[torch.linspace(0, len(audio) - 1, frames).round().long()]
    return ClipFeatures(clip.visual, speech, audio)


def augment_picture(clip: ClipFeatures, rng: random.Random, *, hidden: float = 0.25) -> ClipFeatures:
    """Hide some of a picture's visual tokens, the same ones in every frame.

    Args:
        clip: with pictures.
        rng: what decides.
        hidden: share of the tokens set to zero, on average, in every other picture.
    """
    if clip.visual is None or rng.random() < 0.5:
        return clip
    drawn = [rng.random() >= hidden for _ in range(clip.visual.shape[1])]
    kept = torch.tensor(drawn, device=clip.visual.device)
    return ClipFeatures(clip.visual * kept[:, None], clip.speech, clip.audio)
