import copy

import pytest
import torch
from torch import nn

from video_salmonn.model.words import SHARPNESS, WordOutputs, openings_of, without_names


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


def test_names_that_frame_after_frame_repeats_are_pauses_and_words_stay():
    logs = torch.full((18, 5), -12.0)
    logs[:, 0] = 0.0
    logs[0::3, 0], logs[0::3, 1] = -2.0, 1.0  # what is seen, in every frame
    logs[4, 2] = logs[8, 2] = logs[9, 3] = 5.0  # what is said
    logs = logs.log_softmax(-1)
    cleaned = without_names(logs, 3)
    assert cleaned.exp().sum(-1).allclose(torch.ones(18))
    assert cleaned[0::3, 1].max() == float("-inf") and cleaned[3, 0].exp() > 0.99
    assert cleaned[1::3].equal(logs[1::3]) and cleaned.argmax(-1)[[4, 8, 9]].tolist() == [2, 2, 3]
    assert without_names(logs[:9], 3).equal(logs[:9])


class Tokenizer:
    """Tokens of a byte-pair tokenizer: "a", "cat" and "s" stand alone, "hats" is "hat" and "s"."""

    texts = ("Ġa", "a", "Ġcat", "cat", "s", "Ġhats", "hat")

    def __call__(self, text, add_special_tokens=False):
        known = {" a": [0], "a": [1], "cat": [3], "hats": [6, 4]}

        class Found:
            input_ids = known[text]

        return Found

    def convert_ids_to_tokens(self, ids):
        return self.texts[ids] if isinstance(ids, int) else [self.texts[i] for i in ids]

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens).replace("Ġ", " ")


def test_an_answers_first_word_has_no_space_before_it():
    assert openings_of(Tokenizer(), [0, 2, 4, 5]) == [1, 3, 4, ~6]
