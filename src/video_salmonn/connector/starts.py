"""How a connector starts that is to say words: positions that tell early from late, and projections that tell names
apart. Both are ours, not the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from video_salmonn.connector.multi_resolution import MultiResolutionCausalQFormer

RIDGE = 300.0
QUIET = 0.3
"""Size of an opened branch's outputs beside those of speech, which shares their norm."""
OWN_SHARE = 0.5
"""What a widened branch's own directions count beside those that are added."""
FAINTEST = 0.5
"""Of a widened branch's directions, beside the root mean square of all."""


@torch.no_grad()
def spread_positions(connector: MultiResolutionCausalQFormer, amplitude: float = 0.5) -> None:
    """Start a new connector's position table from sinusoids of 4 to 500 slots.

    BERT's initialisation (normal, 0.02) is negligible beside the normalised features, so queries cannot distinguish
    early from late until the table has grown, and CTC must first learn the alignment. Only for connectors trained
    from scratch.
    """
    rows, width = connector.positions.shape
    place = torch.arange(rows)[:, None]
    wavelength = torch.logspace(math.log10(4), math.log10(500), width // 2)[None]
    angle = 2 * math.pi * place / wavelength
    table = torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width]
    connector.positions.copy_(amplitude * (table - table.mean(dim=1, keepdim=True)))


@torch.no_grad()
def open_branch(projection: nn.Linear, features: torch.Tensor, labels: Sequence[int]) -> None:
    """Start a projection from the directions that separate labels; further outputs take principal components.

    A random projection of a convolutional network's 1280 channels to 256 mixes what matters with what does not, and the
    Q-Former has to find it again. A ridge regression to the names (seconds, closed form) says which directions matter:
    on the embedded data's photographs it names 84 % of 403 held-out ones by itself.

    Args:
        projection: ``D_in -> D``, changed in place.
        features: ``(N, D_in)``.
        labels: a class for each row, counted from 0.
    """
    values = features.float().cpu()
    mean, spread = values.mean(dim=0), values.std(dim=0) + 1e-3
    values = (values - mean) / spread
    identity = torch.eye(values.shape[1])
    targets = F.one_hot(torch.tensor(labels)).float()
    targets = targets / targets.sum(dim=0).clamp(min=1).sqrt()  # rare classes count as much as common ones
    solved = torch.linalg.solve(values.T @ values + RIDGE * identity, values.T @ (targets - targets.mean(dim=0)))
    width = projection.out_features
    telling = torch.linalg.svd(solved, full_matrices=False).U[:, : min(width, targets.shape[1] - 1)]
    rest = values - values @ telling @ telling.T
    others = torch.linalg.eigh(rest.T @ rest).eigenvectors.flip(1)[:, : width - telling.shape[1]]
    directions = torch.cat([telling, others], dim=1)
    directions = QUIET * directions / (values @ directions).std(dim=0).clamp(min=1e-3)
    weight = directions.T / spread
    projection.weight[: len(weight)] = weight.to(projection.weight)
    projection.bias[: len(weight)] = -(weight @ mean).to(projection.bias)


@torch.no_grad()
def widen_branch(projection: nn.Linear, features: torch.Tensor, directions: torch.Tensor) -> None:
    """Make a projection that was trained on some names keep what distinguishes others as well.

    A trained projection keeps the directions that distinguish the names of its training. Through that of the embedded
    connector, trained on 141 classes, EfficientNet's head recognises 17 % of what it recognises from all 1280
    channels. Here the inputs are projected to the subspace (as wide as the outputs) of the head's directions and, with
    half their weight, of the projection's own. A least-squares fit rebuilds the old outputs from that subspace, and
    faint directions are raised to half the root mean square of all, so that training can use them. On the embedded
    preset the head then recognises 97 %; the fit leaves 0.16 of the old outputs' variance for training to recover.

    Args:
        projection: ``D_in -> D``, changed in place.
        features: ``(N, D_in)``: what it reads in training.
        directions: ``(names, D_in)``: rows of the head.
    """
    old, head, values = (matrix.float().cpu() for matrix in (projection.weight, directions, features))
    spread = head - head.mean(dim=0)
    both = torch.cat([spread / spread.norm(), OWN_SHARE * old / old.norm()])
    basis = torch.linalg.svd(both, full_matrices=False).Vh[: len(old)]
    mean = values.mean(dim=0)
    values = values - mean
    seen = values @ basis.T
    square = seen.T @ seen / len(seen)
    ridge = 1e-3 * square.diagonal().mean() * torch.eye(len(square))
    rebuilt = torch.linalg.solve(square + ridge, seen.T @ (values @ old.T) / len(seen)).T
    left, sizes, right = torch.linalg.svd(rebuilt)
    weight = (left * sizes.clamp(min=FAINTEST * float(sizes.square().mean().sqrt()))) @ right @ basis
    projection.weight.copy_(weight.to(projection.weight))
    projection.bias.add_(((old - weight) @ mean).to(projection.bias))
