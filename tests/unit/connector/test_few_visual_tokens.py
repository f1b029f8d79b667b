"""Still pictures of which the connector is given some visual tokens: as if the others were not there."""

import pytest
import torch

from .conftest import features, make


def test_all_places_are_the_whole_picture():
    module, visual = make(), features(5, batch=2)["visual"]
    whole = module(visual)
    same = module(visual, places=range(32))
    assert torch.equal(same.tokens, whole.tokens) and torch.equal(same.mask, whole.mask)


def test_few_places_are_a_connector_of_so_many_slots():
    places, frames = [0, 7, 30], 5
    module, visual = make(), features(frames, batch=2)["visual"][:, :, places]
    narrow = make(visual_tokens=3, audio_tokens=3)
    state = module.state_dict()
    rows = [frame * module.config.slots + place for frame in range(frames) for place in places]
    state["positions"] = state["positions"][rows]
    narrow.load_state_dict(state)
    torch.testing.assert_close(module(visual, places=places).tokens, narrow(visual).tokens)


def test_the_cost_falls_and_gradients_reach_only_the_rows_that_are_used():
    module, visual = make(), features(5)["visual"][:, :, [3]]
    module(visual, places=[3]).tokens.sum().backward()
    moved = module.positions.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert moved == [3 + 32 * frame for frame in range(5)]


@pytest.mark.parametrize("places", [[], [3, 3], [4, 2], [0, 32], [-1, 2]])
def test_impossible_places_are_refused(places):
    with pytest.raises(ValueError, match="places"):
        make()(features(5)["visual"][:, :, :2], places=places)


def test_places_are_of_pictures_without_sound():
    given = features(5)
    with pytest.raises(ValueError, match="without sound"):
        make()(given["visual"][:, :, :2], given["speech"], places=[0, 1])
    with pytest.raises(ValueError, match=r"\(B, T, 2, 24\) is needed"):
        make()(given["visual"], places=[0, 1])
