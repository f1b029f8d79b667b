"""A linear probe on frozen features: what a simple classifier reads from the same encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F


def linear_probe(
    features: torch.Tensor,
    labels: Sequence[str],
    held_out: torch.Tensor,
    *,
    steps: int = 400,
    rate: float = 0.01,
    decay: float = 1e-3,
    seed: int = 0,
) -> list[str]:
    """Labels of held-out features by multinomial logistic regression on standardised features.

    Args:
        features: ``(n, D)`` float32.
        labels: n names.
        held_out: ``(m, D)``.
        steps: full-batch steps of AdamW.
        rate, decay: of it.
        seed: of the starting weights.

    Returns:
        m names.
    """
    classes = sorted(set(labels))
    mean, scale = features.mean(0), features.std(0).clamp(min=1e-6)
    inputs = (features - mean) / scale
    targets = torch.tensor([classes.index(label) for label in labels])
    generator = torch.Generator().manual_seed(seed)
    weight = (0.01 * torch.randn(len(classes), features.shape[1], generator=generator)).requires_grad_()
    bias = torch.zeros(len(classes), requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], lr=rate, weight_decay=decay)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(inputs @ weight.T + bias, targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        best = (((held_out - mean) / scale) @ weight.T + bias).argmax(1)
    return [classes[int(index)] for index in best]
