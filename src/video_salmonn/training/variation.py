"""Training features at another pace and place, with parts hidden: drawn item by item, carried out a pass at a time.

What is drawn are a few numbers; the features themselves are read once, where they lie, in a handful of operations a
pass however many items it has. A GPU would otherwise wait for hundreds of small ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray

from video_salmonn.inference.long import stream_frames
from video_salmonn.model.inputs import MediaFeatures

STEPS_PER_FRAME = 25
"""Steps of 20 ms of a sound under a frame of 0.5 s."""


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


@dataclass(frozen=True)
class Variation:
    """What is changed of one item.

    Attributes:
        sound: how its sound is read; None: as it is.
        shown: which visual tokens are shown, ``(V,)``; None for all.
        still_frames: frames a picture without sound is shown for; None: as it is.
        places: of a picture without sound: which of its visual tokens the connector is given, where a pass has nothing
            but such pictures (those of the first one count for all); None for all.
    """

    sound: SoundView | None = None
    shown: NDArray[np.bool_] | None = None
    still_frames: int | None = None
    places: tuple[int, ...] | None = None


def draw(
    features: MediaFeatures,
    rng: random.Random,
    picture_frames: Sequence[int] = (),
    still_tokens: tuple[int, int] = (0, 0),
) -> Variation:
    """A variation. Sound beside moving pictures is left as it is, since both would have to move together.

    Args:
        features: of the item.
        rng: what decides.
        picture_frames: a picture without sound is shown for one of these numbers of frames; empty: as it is.
        still_tokens: how many visual tokens of a picture without sound the connector is given, of how many; 0 for all.
    """
    moving = features.visual is not None and not features.still_frames
    sound = None
    if features.speech is not None and features.audio is not None and not moving:
        steps, width = features.speech.shape
        sound = varied_view(steps, len(features.audio) // STEPS_PER_FRAME, width, rng)
    shown = None
    if features.visual is not None:
        drawn = hidden_tokens(features.visual.shape[1], rng)
        shown = None if drawn.all() else drawn
    still, places = None, None
    if features.visual is not None and features.still_frames and not features.sound_frames:
        if picture_frames:
            still = rng.choice(picture_frames)
        few, whole = still_tokens
        if 0 < few < whole:
            places = tuple(sorted(rng.sample(range(whole), few)))
    return Variation(sound, shown, still, places)


def shown_frames(features: MediaFeatures, variation: Variation | None) -> tuple[int, int]:
    """Frames of 0.5 s of picture and of sound that an item has once it is varied."""
    sight, sound = stream_frames(features, STEPS_PER_FRAME)
    if variation is not None and variation.still_frames is not None:
        return variation.still_frames, sound
    if variation is None or variation.sound is None:
        return sight, sound
    frames = variation.sound.frames
    return frames if features.still_frames else sight, frames


def frame_times(frames: int, variation: Variation | None) -> NDArray[np.float64]:
    """When each frame of 0.5 s begins and ends in the item as it was before it was varied: seconds, ``(frames, 2)``."""
    if variation is None or variation.sound is None:
        begins = np.arange(frames) / 2
        return np.stack([begins, begins + 0.5], 1)
    steps = variation.sound.low[: frames * STEPS_PER_FRAME].reshape(-1, STEPS_PER_FRAME)
    return np.stack([steps[:, 0], steps[:, -1] + 1], 1) / (2 * STEPS_PER_FRAME)


def vary(features: Sequence[MediaFeatures], variations: Sequence[Variation | None]) -> list[MediaFeatures]:
    """Several items' features, varied: those of all sounds together, float32; others as they are."""
    varied = list(features)
    places = [place for place, variation in enumerate(variations) if variation is not None and variation.sound]
    views = [variation.sound for variation in variations if variation is not None and variation.sound is not None]
    if views:
        speech = [features[place].speech for place in places]
        events = [_rows(features[place]) for place in places]
        heard, found = read_sounds(joined([part for part in speech if part is not None]), joined(events), views)
        steps = found.repeat_interleave(STEPS_PER_FRAME, dim=1)
        for row, (place, view) in enumerate(zip(places, views)):
            length = view.frames * STEPS_PER_FRAME
            still = view.frames if features[place].still_frames else 0
            varied[place] = replace(
                features[place],
                speech=heard[row, :length],
                audio=steps[row, :length],
                sound_frames=view.frames,
                still_frames=still,
            )
    for place, variation in enumerate(variations):
        visual = varied[place].visual
        if variation is not None and variation.shown is not None and visual is not None:
            kept = torch.from_numpy(variation.shown).to(visual.device)
            varied[place] = replace(varied[place], visual=visual * kept[:, None])
        if variation is not None and variation.still_frames is not None:
            varied[place] = replace(varied[place], still_frames=variation.still_frames)
    if varied and all(variation is not None and variation.places for variation in variations):
        assert variations[0] is not None
        return [replace(features, places=variations[0].places) for features in varied]
    return varied


def _rows(features: MediaFeatures) -> torch.Tensor:
    """Sound events, one row a frame."""
    assert features.audio is not None
    return features.audio[::STEPS_PER_FRAME]


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
    audio: tuple[torch.Tensor, Sequence[int]],
    views: Sequence[SoundView],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Several sounds at once, in a few operations on the device that holds them, however many they are.

    Args:
        speech: rows of all of them ``(Σ N, D)``, and where each begins (:func:`joined`).
        audio: the same for the sound events.
        views: one each.

    Returns:
        speech ``(B, S, D)`` and sound events ``(B, S / A, D_audio)``, float32, zero after a sound's end.
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
        picked[place, : view.frames] = view.audio + audio[1][place]
        real[place, : view.frames] = True
    index = torch.from_numpy(low).to(device, non_blocking=True)
    part = torch.from_numpy(share).to(device, non_blocking=True)[..., None]
    after = rows[(index + (part[..., 0] > 0)).clamp(max=len(rows) - 1)].float()
    found = rows[index].float().lerp(after, part)
    found = found * torch.from_numpy(shown).to(device)[..., None] * torch.from_numpy(kept).to(device)[:, None]
    events = audio[0][torch.from_numpy(picked).to(device)].float()
    return found, events * torch.from_numpy(real).to(device)[..., None]
