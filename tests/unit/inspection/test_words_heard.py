"""Words of connector outputs: repeats, pauses, parts of words, times."""

import pytest
import torch

from video_salmonn.inference.alignment import LATER
from video_salmonn.inspection.words_heard import WordsHeard, words_heard
from video_salmonn.model.words import WordOutputs

TEXTS = {0: " ...", 1: " set", 2: " heli", 3: "copter", 4: " a"}


class Tokenizer:
    """Five tokens."""

    def decode(self, ids):
        return "".join(TEXTS[i] for i in ids)


def outputs_of(columns):
    """Outputs that point at their tokens' embeddings, and the word outputs that read them."""
    torch.manual_seed(1)
    embeddings = torch.randn(5, 32)
    return embeddings[torch.tensor(columns)] * 3, WordOutputs([0, 1, 2, 3, 4], embeddings)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([0, 1, 1, 0, 4], [("set", 1, 3), ("a", 4, 5)]),
        ([2, 3, 3, 0], [("helicopter", 0, 3)]),
        ([1, 0, 1], [("set", 0, 1), ("set", 2, 3)]),
        ([3, 0, 0], [("copter", 0, 1)]),
        ([0, 0, 0], []),
    ],
)
def test_words_and_times(columns, expected):
    outputs, words = outputs_of(columns)
    found = words_heard(outputs, words, Tokenizer(), per_frame=3, seconds=0.5)
    assert [(w.text, w.start, w.end) for w in found.words] == [(t, a * 0.5, b * 0.5) for t, a, b in expected]
    assert found.text == " ".join(text for text, _, _ in expected)


def test_words_of_an_answer_stand_where_the_outputs_say_them():
    class Speller(Tokenizer):
        def __call__(self, text, add_special_tokens):
            assert not add_special_tokens
            return type("Ids", (), {"input_ids": [token for token, own in TEXTS.items() if own == text]})

    outputs, words = outputs_of([0, 1, 0, 0, 4, 0])
    found = words_heard(outputs, words, Speller(), per_frame=3, seconds=0.5, transcript="set a")
    assert found.answered and found.text == "set a"
    assert [word.start for word in found.words] == pytest.approx([0.5 + LATER, 2.0 + LATER])
    assert found.to_dict()[1]["text"] == "a" and found.words[0].end <= 2.0 + LATER


def test_no_outputs_spell_nothing():
    outputs, words = outputs_of([0])
    assert words_heard(outputs[:0], words, Tokenizer(), per_frame=3, seconds=0.5) == WordsHeard(())
