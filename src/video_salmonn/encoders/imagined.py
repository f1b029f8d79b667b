"""Pictures that nobody took: features of a photograph, moved until the picture encoder's own head sees another thing.

The head of EfficientNet knows a thousand names, photographs that may be used show 141. Its features say a name
where their mean lies in that name's direction of the head; so they are moved along it, less the names that are seen
already (the gradient of the name's log-probability), in a part of the picture, until the head is as sure as it is of
photographs. A connector that is trained to name such pictures names real photographs of things it never saw one of
(``docs/embedded-training.md`` has figures).
"""

from __future__ import annotations

import math
import random

import torch
from torch.nn import functional as F

SURE = (0.7, 0.985)
"""How sure the head is to be, drawn between these."""
FAINT = 0.4
"""What the photograph's own features are multiplied by, drawn between this and 1."""
RISING = (60, 200)
"""Only channels among the N strongest of the name rise; N is drawn between these. A photograph's features are sparse
(a fifth is above 0). Moved in all channels they become dense, and a connector trained on dense ones names few
photographs."""
RISES = (0.3, 0.7)
"""Share of these channels that rise, drawn between these."""
SPREAD = (0.0, 1.0, 2.0, 3.0)
"""Exponents of the blob that a picture is moved in: 0 moves it everywhere alike."""
STEP, MOST_STEPS = 0.7, 200
CEILING = 6.0
"""Of the features: the head's last activation is a ReLU6."""


@torch.no_grad()
def imagine(
    tokens: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, number: int, seed: int
) -> tuple[torch.Tensor, float]:
    """Features of a picture in which the head sees a certain thing.

    Args:
        tokens: of a photograph, ``(V, D)`` with V a square number, at least 0.
        weight, bias: of the head, ``(names, D)`` and ``(names,)``; it reads the mean of the tokens.
        number: of the name.
        seed: decides how sure, how faint the photograph, and where.

    Returns:
        ``(V, D)`` float32, and the probability of the name.
    """
    rng = random.Random(f"imagined/{number}/{seed}")
    wanted, faint, exponent = rng.uniform(*SURE), rng.uniform(FAINT, 1.0), rng.choice(SPREAD)
    strongest = (weight[number] - weight.mean(0)).topk(min(rng.randint(*RISING), weight.shape[1])).indices.tolist()
    rising = torch.zeros(weight.shape[1])
    rising[rng.sample(strongest, math.ceil(rng.uniform(*RISES) * len(strongest)))] = 1.0
    moved = faint * tokens.float()
    where = _blob(math.isqrt(len(tokens)), rng) ** exponent
    where = (where / where.mean()).reshape(-1, 1)
    for _ in range(MOST_STEPS):
        chances = (moved.mean(0) @ weight.T + bias).softmax(-1)
        if chances[number] >= wanted:
            break
        uphill = weight[number] - chances @ weight
        uphill = torch.where(uphill > 0, uphill * rising, uphill)
        moved = (moved + STEP * uphill / uphill.norm() * where).clamp(0.0, CEILING)
    return moved, float((moved.mean(0) @ weight.T + bias).softmax(-1)[number])


def _blob(side: int, rng: random.Random) -> torch.Tensor:
    """A smooth random map ``(side, side)`` from 0 to 1."""
    noise = torch.tensor([[rng.random() for _ in range(side)] for _ in range(side)])
    smooth = F.avg_pool2d(F.pad(noise[None, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0, 0]
    return (smooth - smooth.min()) / (smooth.max() - smooth.min() + 1e-6)
