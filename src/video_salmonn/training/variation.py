"""Training features at another pace and place, with parts hidden: drawn item by item, carried out a pass at a time.

What is drawn are a few numbers; the features themselves are read once, where they lie, in a handful of operations a
pass however many items it has. A GPU would otherwise wait for hundreds of small ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from video_salmonn.data.feature_batch import STEPS_PER_FRAME, SoundView, hidden_tokens, joined, read_sounds, varied_view
from video_salmonn.inference.long import stream_frames
from video_salmonn.model.inputs import MediaFeatures


@dataclass(frozen=True)
class Variation:
    """What is changed of one item.

    Attributes:
        sound: how its sound is read; None: as it is.
        shown: which visual tokens are shown, ``(V,)``; None for all.
    """

    sound: SoundView | None = None
    shown: NDArray[np.bool_] | None = None


def draw(features: MediaFeatures, rng: random.Random) -> Variation:
    """A variation. Sound beside moving pictures is left as it is, since both would have to move together.

    Args:
        features: of the item.
        rng: what decides.
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
    return Variation(sound, shown)


def shown_frames(features: MediaFeatures, variation: Variation | None) -> tuple[int, int]:
    """Frames of 0.5 s of picture and of sound that an item has once it is varied."""
    sight, sound = stream_frames(features, STEPS_PER_FRAME)
    if variation is None or variation.sound is None:
        return sight, sound
    frames = variation.sound.frames
    return frames if features.still_frames else sight, frames


def vary(features: Sequence[MediaFeatures], variations: Sequence[Variation | None]) -> list[MediaFeatures]:
    """Several items' features, varied: those of all sounds together, float32; others as they are."""
    varied = list(features)
    places = [place for place, variation in enumerate(variations) if variation is not None and variation.sound]
    views = [variation.sound for variation in variations if variation is not None and variation.sound is not None]
    if views:
        speech = [features[place].speech for place in places]
        events = [_rows(features[place]) for place in places]
        heard, found = read_sounds(joined([part for part in speech if part is not None]), joined(events), views)
        assert found is not None
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
    return varied


def _rows(features: MediaFeatures) -> torch.Tensor:
    """Sound events, one row a frame."""
    assert features.audio is not None
    return features.audio[::STEPS_PER_FRAME]
