"""Loops end: an answer that says the same thing over and over is stopped, and said once.

A loop is a phrase of at most :data:`LONGEST` tokens that came ``times`` times in a row, and a short one as often as
makes :data:`TOKENS` tokens in all: laughter, a counted "one one one" and a refrain are not loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria

LONGEST = 48
"""Tokens of the longest phrase that is looked for."""
TOKENS = 24
"""The least that a loop has said: one token 24 times, or six tokens 4 times."""


def looped(ids: Sequence[int], times: int) -> int | None:
    """How many tokens of ``ids`` remain when the loop at their end is said once; None where there is no loop.

    Args:
        ids: tokens of an answer.
        times: how often a phrase has to come in a row; less than 2 for never.
    """
    if times < 2:
        return None
    for length in range(1, min(LONGEST, len(ids) // times) + 1):
        same = 0
        while same < len(ids) - length and ids[-1 - same] == ids[-1 - same - length]:
            same += 1
        if (same + length) // length >= times and same + length >= TOKENS:
            return len(ids) - same
    return None


def settled(ids: Sequence[int]) -> int:
    """How many tokens of ``ids`` stay whatever follows: all but an end that may be the beginning of a loop."""
    least = len(ids)
    for length in range(1, min(LONGEST, len(ids) - 1) + 1):
        place = len(ids)
        while place > length and ids[place - 1] == ids[place - 1 - length]:
            place -= 1
        least = min(least, place)
    return least


class RepeatGuard(StoppingCriteria):
    """Ends rows (under beams: hypotheses) that loop.

    Args:
        times: see :func:`looped`.
    """

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """New tokens ``(R, n)`` -> which rows loop ``(R,)``."""
        tail = input_ids[:, -max(LONGEST * self.times, TOKENS) :].tolist()
        return torch.tensor([looped(row, self.times) is not None for row in tail], device=input_ids.device)
