import copy

import pytest
import torch
from torch import nn

from video_salmonn.model.words import SHARPNESS, WordOutputs


@pytest.fixture
def embeddings():
    torch.manual_seed(0)
    return nn.Embedding(40, 12)


def test_an_output_says_the_token_whose_embedding_it_points_at(embeddings):
    words = WordOutputs([7, 3, 30, 21], embeddings)
    weight = embeddings.weight.detach()
    mean = weight.mean(0)
    outputs = (mean + 3 * (weight[[30, 7, 3]] - mean))[None]
    scores = words(outputs)
    assert scores.argmax(-1).tolist() == [[2, 0, 1]]
    assert torch.allclose(scores.amax(-1), torch.tensor(SHARPNESS))
    assert torch.allclose(words.log_posteriors(outputs).exp().sum(-1), torch.ones(1, 3))


def test_the_embeddings_belong_to_the_language_model_and_are_followed(embeddings):
    words = WordOutputs([7, 3, 30], embeddings)
    assert list(words.state_dict()) == ["columns", "openings"] and not list(words.parameters())
    before = words.rows
    assert words.rows is before
    with torch.no_grad():
        embeddings.weight[3] *= -1
    assert not torch.allclose(words.rows[1], before[1])


def test_columns_come_back_with_the_weights_also_in_another_precision(embeddings):
    saved = WordOutputs([7, 3, 30], embeddings).state_dict()
    words = WordOutputs(3, embeddings)
    words.load_state_dict(saved)
    words.to(torch.bfloat16)
    assert words.columns.tolist() == [7, 3, 30] and words.columns.dtype == torch.int64


def test_a_copy_of_a_model_reads_the_copy_s_embeddings(embeddings):
    model = nn.Module()
    model.embeddings, model.words = embeddings, WordOutputs([7, 3], embeddings)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.embeddings.weight[3] *= -1
    assert not torch.allclose(twin.words.rows, model.words.rows)


def test_gradients_reach_the_outputs_also_after_a_use_without(embeddings):
    words = WordOutputs([7, 3, 30], embeddings)
    with torch.inference_mode():
        words(torch.randn(1, 2, 12))
    outputs = torch.randn(1, 2, 12, requires_grad=True)
    words.log_posteriors(outputs)[..., 1].sum().backward()
    assert outputs.grad.abs().sum() > 0 and embeddings.weight.grad is None


def test_a_reader_expects_the_words_weighted_by_how_likely_they_are(embeddings):
    words = WordOutputs([7, 3, 30], embeddings)
    outputs = torch.randn(2, 4, 12, requires_grad=True)
    expected = words.expectation(outputs)
    by_hand = words.log_posteriors(outputs).exp() @ embeddings.weight.detach()[[7, 3, 30]]
    torch.testing.assert_close(expected, by_hand)
    expected.sum().backward()
    assert outputs.grad.abs().sum() > 0 and embeddings.weight.grad is None
