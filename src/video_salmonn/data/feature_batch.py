"""Stored features of clips -> one padded batch for the connector, with augmentation on the features where asked for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

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

    @classmethod
    def of(
        cls,
        speech: torch.Tensor | None = None,
        audio: torch.Tensor | None = None,
        visual: tuple[torch.Tensor, Sequence[int]] | None = None,
        sound_frames: Sequence[int] = (),
    ) -> FeatureBatch:
        """A batch out of padded streams.

        Args:
            speech: ``(B, N, D)``.
            audio: ``(B, N / A, D)``, one row a frame.
            visual: ``(B, T, V, D)`` and the frames of each item.
            sound_frames: of each item.
        """
        sights, frames = visual if visual is not None else (None, ())
        return cls(
            visual=sights,
            speech=speech,
            audio=None if audio is None else audio.repeat_interleave(STEPS_PER_FRAME, dim=1),
            visual_mask=_mask(frames, max(frames)) if sights is not None else None,
            sound_mask=_mask(sound_frames, max(sound_frames)) if sound_frames else None,
        )

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


@dataclass(frozen=True)
class SoundView:
    """How a sound is read from its stored features: pace, place on the frame grid, and what is hidden of it.

    Attributes:
        low, share: ``(S,)``: step i is ``features[low]`` with the ``share`` of the step after it mixed in.
        audio: ``(S / A,)``: which row of the sound events each frame takes.
        hidden: spans of steps that are set to zero.
        band: first and last feature of a band that is set to zero.
    """

    low: NDArray[np.int64]
    share: NDArray[np.float32]
    audio: NDArray[np.int64]
    hidden: tuple[tuple[int, int], ...] = ()
    band: tuple[int, int] = (0, 0)

    @property
    def frames(self) -> int:
        """Frames of 0.5 s."""
        return len(self.audio)


def plain_view(steps: int, rows: int) -> SoundView:
    """A sound as it is: its ``steps`` and the ``rows`` of its sound events, filled up to whole frames with its last."""
    frames = -(-steps // STEPS_PER_FRAME)
    low = np.minimum(np.arange(frames * STEPS_PER_FRAME), steps - 1)
    return SoundView(low, np.zeros(len(low), np.float32), np.minimum(np.arange(frames), max(rows - 1, 0)))


def varied_view(
    steps: int, rows: int, width: int, rng: random.Random, *, masks: int = 2, widest: int = 12
) -> SoundView:
    """A sound at another pace and place, with some of it hidden.

    The pace changes by up to 12 % (linear interpolation); up to 24 steps are put in front, so that words fall on other
    places of their frames; then ``masks`` spans of up to ``widest`` steps of 20 ms, and a band of the speech features,
    are set to zero, as SpecAugment does to spectra.

    Args:
        steps, rows: of the speech features and of the sound events, which follow the new length by nearest neighbour.
        width: of the speech features.
        rng: what decides.
        masks: spans in time per 5 s of sound.
        widest: of a span, in steps.
    """
    pace = rng.uniform(0.88, 1.12)
    paced = max(round(steps * pace), 1)
    lead = rng.randrange(STEPS_PER_FRAME)
    frames = -(-(lead + paced) // STEPS_PER_FRAME)
    place = np.clip(np.arange(frames * STEPS_PER_FRAME) - lead, 0, paced - 1)
    source = np.clip((place + 0.5) * (steps / paced) - 0.5, 0, steps - 1)
    low = np.minimum(source.astype(np.int64), max(steps - 2, 0))
    hidden = []
    for _ in range(round(masks * len(place) / 250 + rng.random() - 0.5)):
        start = rng.randrange(len(place))
        hidden.append((start, start + rng.randint(1, widest)))
    first = rng.randrange(width)
    band = (first, first + rng.randrange(max(width // 16, 1)))
    audio = np.rint(np.linspace(0, max(rows - 1, 0), frames)).astype(np.int64)
    return SoundView(low, (source - low).astype(np.float32), audio, tuple(hidden), band)


def hidden_tokens(count: int, rng: random.Random, hidden: float = 0.25) -> NDArray[np.bool_]:
    """Which of a picture's visual tokens are shown, ``(V,)``: in every other picture all.

    Args:
        count: V.
        rng: what decides.
        hidden: share of the tokens left out, on average, in the others.
    """
    if rng.random() < 0.5:
        return np.ones(count, bool)
    return np.array([rng.random() >= hidden for _ in range(count)])


def joined(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
    """Rows of several tensors in one tensor ``(Σ N, …)``, and where those of each begin."""
    return torch.cat(list(parts)), list(accumulate((len(part) for part in parts[:-1]), initial=0))


def read_sounds(
    speech: tuple[torch.Tensor, Sequence[int]],
    audio: tuple[torch.Tensor, Sequence[int]] | None,
    views: Sequence[SoundView],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Several sounds at once, in a few operations on the device that holds them, however many they are.

    Args:
        speech: rows of all of them ``(Σ N, D)``, and where each begins (:func:`joined`).
        audio: the same for the sound events, or None.
        views: one each.

    Returns:
        speech ``(B, S, D)`` and sound events ``(B, S / A, D_audio)`` or None, float32, zero after a sound's end.
    """
    rows, starts = speech
    device, frames = rows.device, max(view.frames for view in views)
    low = np.zeros((len(views), frames * STEPS_PER_FRAME), np.int64)
    share = np.zeros(low.shape, np.float32)
    shown = np.zeros(low.shape, bool)
    kept = np.ones((len(views), rows.shape[1]), bool)
    picked = np.zeros((len(views), frames), np.int64)
    real = np.zeros((len(views), frames), bool)
    for place, view in enumerate(views):
        length = len(view.low)
        low[place, :length] = view.low + starts[place]
        share[place, :length] = view.share
        shown[place, :length] = True
        for first, last in view.hidden:
            shown[place, first:last] = False
        kept[place, view.band[0] : view.band[1]] = False
        if audio is not None:
            picked[place, : view.frames] = view.audio + audio[1][place]
            real[place, : view.frames] = True
    index = torch.from_numpy(low).to(device, non_blocking=True)
    part = torch.from_numpy(share).to(device, non_blocking=True)[..., None]
    after = rows[(index + (part[..., 0] > 0)).clamp(max=len(rows) - 1)].float()
    found = rows[index].float().lerp(after, part)
    found = found * torch.from_numpy(shown).to(device)[..., None] * torch.from_numpy(kept).to(device)[:, None]
    if audio is None:
        return found, None
    events = audio[0][torch.from_numpy(picked).to(device)].float()
    return found, events * torch.from_numpy(real).to(device)[..., None]
