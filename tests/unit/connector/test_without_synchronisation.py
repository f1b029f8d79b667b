"""The ablation without synchronisation: streams follow each other, and everything else stays as it is."""

import pytest
import torch

from video_salmonn.connector.synchronise import synchronise

from .conftest import features, make
from .test_padding_and_batching import MIXES, TOLERANCE, batch_of, single, tokens


def test_no_frame_holds_both_and_sound_begins_where_the_items_own_picture_ends() -> None:
    visual, sound = torch.ones(2, 5, 2, 3), torch.full((2, 4, 2, 6), 2.0)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    heard = torch.tensor([[True, True, True, False], [True] * 4])
    out = synchronise(
        visual,
        [sound],
        slots=2,
        multiple=3,
        absent_widths=(3, 6),
        visual_mask=mask,
        sound_mask=heard,
        side_by_side=False,
    )
    assert out.values.shape == (2, 9, 2, 9) and out.length == 9
    seen, listened = (part.abs().sum((2, 3)) > 0 for part in (out.values[..., :3], out.values[..., 3:]))
    assert seen.tolist() == [[True] * 5 + [False] * 4, [True] * 2 + [False] * 7]
    assert listened.tolist() == [[False] * 5 + [True] * 3 + [False], [False] * 2 + [True] * 4 + [False] * 3]
    assert torch.equal(out.frame_mask, seen | listened)


@pytest.mark.parametrize("items", MIXES)
def test_a_batch_gives_each_item_what_it_gets_alone(items) -> None:
    connector = make(synchronise=False)
    inputs, alone = batch_of(items)
    with torch.inference_mode():
        together = connector(**inputs)
        for row, ((sight, sound), own) in enumerate(zip(items, alone)):
            expected = tokens(connector(**single(own, sight, sound)))
            assert len(expected) == connector.config.tokens_for(sight + sound)
            torch.testing.assert_close(tokens(together, row), expected, atol=TOLERANCE, rtol=0)


def test_one_modality_alone_is_what_it_is_with_synchronisation() -> None:
    apart, aligned = make(synchronise=False), make()
    apart.load_state_dict(aligned.state_dict())  # the weights of one fit the other
    inputs = features(7)
    with torch.inference_mode():
        for part in ({"visual": inputs["visual"]}, {"speech": inputs["speech"], "audio": inputs["audio"]}):
            assert torch.equal(apart(**part).tokens, aligned(**part).tokens)
        assert apart(**inputs).tokens.shape[1] == 15 * 3 and aligned(**inputs).tokens.shape[1] == 10 * 3


def test_a_modality_switched_off_leaves_no_gap() -> None:
    connector = make(synchronise=False)
    inputs = features(5)
    with torch.inference_mode():
        off = connector(**inputs, modality_mask=torch.tensor([[0, 1]]))
        alone = connector(speech=inputs["speech"], audio=inputs["audio"])
    torch.testing.assert_close(tokens(off), tokens(alone), atol=TOLERANCE, rtol=0)
