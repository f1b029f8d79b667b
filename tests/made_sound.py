"""Sound that is made in memory."""

from __future__ import annotations

import numpy as np

RATE = 16_000


def noise(seconds, seed=0):
    """(samples, rate) of noise that a random connector makes something else of at every moment."""
    return (np.random.default_rng(seed).normal(0, 0.1, round(RATE * seconds)).astype(np.float32), RATE)
