"""The diversity loss (paper §3.3, Eq. 6): queries of one window are to say different things.

The released code and the paper differ, and both are kept:

* ``released``: the *mean* cosine over ordered pairs of different queries of a window, on the coarse level only (with
  three levels on the two coarser ones, summed), padding windows included;
* ``paper``: the *sum* over windows and ordered pairs, on every level but the finest. It grows with the clip; λ of the
  two forms therefore differ by orders of magnitude (paper 0.1, released code 0.01 on its mean).
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from video_salmonn.connector.configuration import DiversityForm
from video_salmonn.connector.multi_resolution import ConnectorOutput

EPS = 1e-9  # added to no cosine that matters; guards all-zero rows, as released


def pairwise_cosine(rows: torch.Tensor) -> torch.Tensor:
    """Cosine of every ordered pair of different rows: (G, n, D) -> (G, n, n), the diagonal being zero."""
    rows = F.normalize(rows, dim=-1, eps=EPS)
    cosine = rows @ rows.transpose(-1, -2)
    return cosine - torch.diag_embed(torch.diagonal(cosine, dim1=-2, dim2=-1))


def mean_cosine(rows: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over groups and ordered pairs i != j: (G, n, D) -> scalar; ``mask`` (G,) bool leaves groups out.

    Released ``calc_diversity_loss``. Zero where a group has a single row or no group is left.
    """
    count = rows.shape[1]
    if count < 2:
        return rows.new_zeros(())
    per_group = pairwise_cosine(rows).sum((1, 2)) / (count * (count - 1))
    if mask is None:
        return per_group.mean()
    weights = mask.to(per_group.dtype)
    return (per_group * weights).sum() / weights.sum().clamp(min=1)


def acting_levels(count: int) -> tuple[int, ...]:
    """The levels that the loss acts on: all but the finest, or the only one."""
    return tuple(range(1, count)) if count > 1 else (0,)


def diversity_terms(
    output: ConnectorOutput,
    form: DiversityForm = "released",
    *,
    levels: tuple[int, ...] | None = None,
    skip_padding: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the loss is made of, so that it can be put together over several passes and processes.

    The loss is ``(sums / counts).sum()``; over several passes both are added up first. Windows then weigh alike however
    the items were divided.

    Args:
        output, form, levels, skip_padding: as for :func:`diversity_loss`.

    Returns:
        (sums, counts), each ``(levels acted on,)``, float. ``released``: summed mean cosines of windows, and how many
        these are; ``paper``: summed cosines of pairs, and how many items there are.
    """
    chosen = levels if levels is not None else acting_levels(len(output.levels))
    sums, counts = [], []
    for index in chosen:
        batch, _, queries, _ = output.levels[index].shape
        rows = output.levels[index].flatten(0, 1)
        mask = output.window_masks[index].flatten() if skip_padding else rows.new_ones(len(rows), dtype=torch.bool)
        if queries < 2:
            sums.append(rows.new_zeros((), dtype=torch.float32))
        else:
            cosines = pairwise_cosine(rows).sum((1, 2)).float()
            pairs = queries * (queries - 1) if form == "released" else 1
            sums.append((cosines / pairs * mask).sum())
        counts.append(mask.sum().float() if form == "released" else mask.new_tensor(batch, dtype=torch.float32))
    return torch.stack(sums), torch.stack(counts)


def diversity_loss(
    output: ConnectorOutput,
    form: DiversityForm = "released",
    *,
    levels: tuple[int, ...] | None = None,
    skip_padding: bool = True,
) -> torch.Tensor:
    """The diversity loss of a batch, before λ.

    Args:
        output: what the connector returned.
        form: ``released`` (mean over windows) or ``paper`` (sum over windows and pairs, averaged over the batch's items
            so that λ does not depend on the batch size).
        levels: indices of the levels it acts on; None for all but the finest (the only one, if there is one).
        skip_padding: leave out windows without a real frame (the release counts them in: pass False).

    Returns:
        scalar, float.
    """
    sums, counts = diversity_terms(output, form, levels=levels, skip_padding=skip_padding)
    return (sums / counts.clamp(min=1)).sum()
