"""One clip's sound varied by itself, as a batch's sounds are together."""

from __future__ import annotations

import random

from video_salmonn.data.feature_batch import ClipFeatures, joined, read_sounds, varied_view


def augment_sound(clip: ClipFeatures, rng: random.Random) -> ClipFeatures:
    view = varied_view(len(clip.speech), len(clip.audio), clip.speech.shape[1], rng)
    speech, audio = read_sounds(joined([clip.speech]), joined([clip.audio]), [view])
    return ClipFeatures(clip.visual, speech[0], audio[0])
