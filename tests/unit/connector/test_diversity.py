"""The diversity loss in both forms, against values worked out by hand."""

from dataclasses import replace

import pytest
import torch

from video_salmonn.connector import (
    ConnectorOutput,
    Level,
    MultiResolutionCausalQFormer,
    diversity_loss,
    diversity_terms,
)
from video_salmonn.connector.diversity import mean_cosine, pairwise_cosine
from video_salmonn.model.presets import tiny


def output(*levels, masks=None):
    """A connector output that holds nothing but levels (B, W, N, D)."""
    masks = masks or [torch.ones(level.shape[:2], dtype=torch.bool) for level in levels]
    return ConnectorOutput(torch.zeros(1), torch.zeros(1), torch.zeros(1), tuple(levels), tuple(masks))


# three queries: x, x scaled (cosine 1), and one at 60 degrees to both
WINDOW = torch.tensor([[2.0, 0.0], [5.0, 0.0], [0.5, 0.75**0.5]])
# ordered pairs: 2 * (1 + 1/2 + 1/2) = 4, of 6
OPPOSITE = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
# 2 * (-1 + 0 + 0) = -2, of 6: signed, not absolute


def test_pairwise_by_hand():
    expected = torch.tensor([[0, 1, 0.5], [1, 0, 0.5], [0.5, 0.5, 0]])
    torch.testing.assert_close(pairwise_cosine(WINDOW[None])[0], expected)


def test_released_form_is_the_mean_on_the_coarse_level():
    fine = torch.ones(1, 4, 3, 2)
    coarse = torch.stack([WINDOW, OPPOSITE])[None]
    torch.testing.assert_close(diversity_loss(output(fine, coarse)), torch.tensor((4 / 6 - 2 / 6) / 2))


def test_released_form_sums_levels():
    fine, mid, high = torch.ones(1, 4, 3, 2), WINDOW[None, None], OPPOSITE[None, None]
    torch.testing.assert_close(diversity_loss(output(fine, mid, high)), torch.tensor(4 / 6 - 2 / 6))


def test_paper_form_is_the_sum_over_windows_and_pairs():
    fine = torch.ones(1, 4, 3, 2)
    coarse = torch.stack([WINDOW, WINDOW, OPPOSITE])[None]
    torch.testing.assert_close(diversity_loss(output(fine, coarse), "paper"), torch.tensor(4.0 + 4.0 - 2.0))


def test_paper_form_does_not_depend_on_the_batch_size():
    coarse = torch.stack([WINDOW, OPPOSITE])[None]
    one = diversity_loss(output(torch.ones(1, 2, 3, 2), coarse), "paper")
    two = diversity_loss(output(torch.ones(2, 2, 3, 2), coarse.repeat(2, 1, 1, 1)), "paper")
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize(("form", "counted", "skipped"), [("released", 1 / 6, 4 / 6), ("paper", 2.0, 4.0)])
def test_windows_of_padding(form, counted, skipped):
    """The release counts them in; by default they are left out."""
    levels = torch.ones(1, 2, 3, 2), torch.stack([WINDOW, OPPOSITE])[None]
    masks = [torch.ones(1, 2, dtype=torch.bool), torch.tensor([[True, False]])]
    given = output(*levels, masks=masks)
    torch.testing.assert_close(diversity_loss(given, form), torch.tensor(skipped))
    torch.testing.assert_close(diversity_loss(given, form, skip_padding=False), torch.tensor(counted))


def test_passes_put_together_are_one_pass_and_every_window_weighs_alike():
    short, long = torch.stack([WINDOW])[None], torch.stack([OPPOSITE] * 3)[None]
    fine = torch.ones(1, 4, 3, 2)
    parts = [diversity_terms(output(fine, coarse)) for coarse in (short, long)]
    sums, counts = sum(s for s, _ in parts), sum(c for _, c in parts)
    assert counts.tolist() == [4]
    torch.testing.assert_close(
        (sums / counts).sum(), torch.tensor((4 / 6 - 3 * 2 / 6) / 4)
    )  # not the mean of two means
    padded = torch.cat([short, torch.ones(1, 2, 3, 2)], dim=1)
    masks = [torch.ones(2, 4, dtype=torch.bool), torch.tensor([[True, False, False], [True, True, True]])]
    both = diversity_loss(output(fine.repeat(2, 1, 1, 1), torch.cat([padded, long]), masks=masks))
    torch.testing.assert_close(both, (sums / counts).sum())


@pytest.mark.parametrize("attend", [False, True])
@pytest.mark.parametrize("synchronise", [False, True])
@pytest.mark.parametrize("levels", [((1, 3), (10, 30)), ((1, 3), (4, 12), (10, 30)), ((2, 6),)])
def test_windows_are_counted_beforehand_as_the_connector_makes_them(attend, synchronise, levels):
    config = tiny().connector_config
    config = replace(
        config, levels=tuple(Level(*one) for one in levels), synchronise=synchronise, attend_padding=attend
    )
    connector = MultiResolutionCausalQFormer(config).eval()
    for sights, sounds in ((1, 0), (0, 1), (10, 10), (11, 3), (7, 20), (21, 40)):
        visual = torch.randn(1, sights, config.visual_tokens, config.visual_dim) if sights else None
        steps = sounds * config.audio_tokens
        speech, audio = (torch.randn(1, steps, n) if sounds else None for n in (config.speech_dim, config.audio_dim))
        made = connector(visual, speech, audio)
        real = [mask.numel() if attend else int(mask.sum()) for mask in made.window_masks]
        assert list(config.windows_for(config.axis_frames(sights, sounds))) == real


def test_levels_can_be_chosen_and_one_level_counts():
    torch.testing.assert_close(diversity_loss(output(WINDOW[None, None])), torch.tensor(4 / 6))
    both = output(WINDOW[None, None], OPPOSITE[None, None])
    torch.testing.assert_close(diversity_loss(both, levels=(0,)), torch.tensor(4 / 6))


def test_extremes():
    same = torch.ones(1, 2, 5, 3)
    torch.testing.assert_close(diversity_loss(output(same)), torch.tensor(1.0))
    torch.testing.assert_close(diversity_loss(output(torch.eye(4)[None, None])), torch.tensor(0.0))
    assert mean_cosine(torch.randn(3, 1, 4)) == 0
    assert diversity_loss(output(torch.randn(1, 2, 1, 4)), "paper") == 0
    nothing = output(WINDOW[None, None], masks=[torch.zeros(1, 1, dtype=torch.bool)])
    assert diversity_loss(nothing) == 0


def test_zero_rows_have_a_finite_gradient():
    rows = torch.zeros(1, 1, 4, 3, requires_grad=True)
    diversity_loss(output(rows)).backward()
    assert torch.isfinite(rows.grad).all()
