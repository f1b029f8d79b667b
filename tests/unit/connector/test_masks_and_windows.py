"""Block masks written out by hand, and folding."""

import pytest
import torch

from video_salmonn.connector.windows import block_mask, fold_windows, unfold_windows, window_block_mask

PAST = [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
FUTURE = [[1, 1, 1], [0, 1, 1], [0, 0, 1]]


def test_directions_with_one_slot():
    assert block_mask(3, 1, "past").int().tolist() == PAST
    assert block_mask(3, 1, "future").int().tolist() == FUTURE
    assert block_mask(3, 1, "none").all()


def test_slots_of_a_frame_see_each_other():
    assert block_mask(2, 2, "past").int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_the_release_is_triu():
    """Rows are queries, columns keys: ``torch.triu`` lets frame i see j >= i."""
    assert torch.equal(block_mask(4, 1, "future"), torch.ones(4, 4).triu().bool())


def test_padding_is_hidden_as_key_and_no_row_is_empty():
    mask = window_block_mask(torch.tensor([[True, True, False], [False, False, False]]), 1, "past")[:, 0].int()
    assert mask[0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]  # the padding frame sees itself
    assert mask[1].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    future = window_block_mask(torch.tensor([[True, True, False]]), 1, "future")[:, 0].int()
    assert future[0].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_fold_and_unfold():
    values = torch.arange(2 * 6 * 2 * 1).view(2, 6, 2, 1)
    folded = fold_windows(values, 3)
    assert folded.shape == (4, 6, 1)
    assert folded[1].flatten().tolist() == list(range(6, 12))
    assert torch.equal(unfold_windows(folded, 2)[1].flatten(), values[1].flatten())


def test_fold_needs_whole_windows():
    with pytest.raises(ValueError, match="7 frames do not divide into windows of 2"):
        fold_windows(torch.zeros(1, 7, 1, 1), 2)
