"""Small weight files: how far values move, and what is refused."""

from __future__ import annotations

import pytest
import torch

from video_salmonn.checkpoints.compact import SCALE, compact, expand
from video_salmonn.errors import CheckpointError


def test_matrices_come_back_within_half_a_step_of_their_row() -> None:
    torch.manual_seed(0)
    weights = {"w": torch.randn(40, 30) * torch.logspace(-4, 2, 40)[:, None], "b": torch.randn(40)}
    small = compact(weights)
    assert small["w"].dtype == torch.int8
    assert small["b"].dtype == torch.bfloat16
    back = expand(small)
    step = weights["w"].abs().amax(1, keepdim=True) / 127
    assert ((back["w"] - weights["w"]).abs() <= step * 0.5001).all()
    assert (back["b"] - weights["b"]).abs().max() < 0.02
    assert set(back) == set(weights)


def test_zero_rows_stay_zero_and_ordinary_files_pass_through() -> None:
    assert not expand(compact({"w": torch.zeros(2, 3)}))["w"].any()
    plain = {"w": torch.randn(2, 3)}
    assert torch.equal(expand(plain)["w"], plain["w"])


def test_a_lost_scale_is_refused_by_name() -> None:
    small = compact({"layer.w": torch.randn(2, 3)})
    del small["layer.w" + SCALE]
    with pytest.raises(CheckpointError, match=r"layer\.w"):
        expand(small)
