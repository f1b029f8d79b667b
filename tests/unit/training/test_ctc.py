"""Words in a connector's outputs: CTC with names, greedy decoding, the best name, and what an item may state."""

from types import SimpleNamespace

import pytest
import torch

from video_salmonn.training.ctc import NAME_WEIGHT, WordHead, Words, best_names, word_losses
from video_salmonn.training.words import words_for

BLANK = 5
WORDS = ["red", "green", "blue", "stone", "river", "cloud"]


class WordTokenizer:
    """One token a word; ids 10, 11, …"""

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens and text.startswith(" ")
        return SimpleNamespace(input_ids=[10 + WORDS.index(word) for word in text.split()])

    def decode(self, ids):
        return "".join(" " + WORDS[i - 10] for i in ids)


def new_head(texts, width=24):
    embeddings = torch.randn(20, width, generator=torch.Generator().manual_seed(1))
    return WordHead(embeddings, texts, WordTokenizer(), BLANK)


def test_decode_merges_repeats_and_drops_blanks():
    head = new_head(["red green", "green red"])
    best = torch.tensor([[1, 1, 0, 1, 2, 2, 0, 2]])
    scores = torch.nn.functional.one_hot(best, 3).float()
    assert head.decode(scores, torch.ones(1, 8, dtype=torch.bool)) == ["red red green green"]
    assert head.decode(scores, torch.tensor([[True] * 3 + [False] * 5])) == ["red"]
    assert head.columns_of("blue") is None and head.columns_of("red green") == (1, 2)


def outputs_for(head, columns, length=1.0):
    """Outputs that are the embeddings of the given columns."""
    return (head.mean + length * head.radius * head.rows[torch.tensor(columns)])[None]


def test_words_take_turns_in_the_outputs_of_a_frame():
    words = Words(seen=(4, 5), heard=(6,))
    assert words.names(9, 3) == [4, 6, 0, 5, 6, 0, 4, 6, 0]
    assert Words(said=(1, 2)).names(4, 3) == [0, 0, 0, 0]


def test_outputs_that_are_the_words_lose_nearly_nothing():
    head = new_head([" ".join(WORDS)], width=576)
    said, seen, heard = head.columns_of("red green"), head.columns_of("blue stone"), head.columns_of("river")
    right = {
        Words(said=said): [0, *said, 0, 0, 0],
        Words(seen=seen, heard=heard): [seen[0], heard[0], 0, seen[1], heard[0], 0],
        Words(said=said, seen=seen): [seen[0], said[0], 0, seen[1], said[1], 0],  # names where speech leaves room
        Words(said=said, heard=heard): [said[0], heard[0], 0, said[1], heard[0], 0],
    }
    mask = torch.ones(1, 6, dtype=torch.bool)
    for words, columns in right.items():
        outputs = outputs_for(head, columns)
        loss = float(word_losses(head, outputs, mask, [words], 3))
        assert loss < 0.05, words
        wrong = outputs_for(head, columns[::-1] if words.said else [0] * 6)
        assert float(word_losses(head, wrong, mask, [words], 3)) > 3 * NAME_WEIGHT
        longer = float(word_losses(head, outputs_for(head, columns, 1.5), mask, [words], 3))
        assert longer == pytest.approx(loss + 0.1 * 6 * 0.25, abs=0.01)  # the length of a word is wanted, too


def test_word_losses_of_a_batch_are_those_of_single_items():
    head = new_head([" ".join(WORDS)])
    generator = torch.Generator().manual_seed(3)
    lengths, width = [9, 6, 3, 12], 12
    outputs = torch.randn(4, width, 24, generator=generator)
    words = [
        Words(said=head.columns_of("red green blue")),
        Words(seen=head.columns_of("stone"), said=head.columns_of("stone red")),
        Words(heard=head.columns_of("river")),
        Words(seen=head.columns_of("cloud red"), complete=False),
    ]
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    together = word_losses(head, outputs, mask, words, 3)
    for i, length in enumerate(lengths):
        alone = word_losses(head, outputs[i : i + 1, :length], mask[i : i + 1, :length], words[i : i + 1], 3)
        assert float(alone) == pytest.approx(float(together[i]), rel=1e-5)
    changed = outputs.clone()
    changed[~mask] = 7.0
    torch.testing.assert_close(word_losses(head, changed, mask, words, 3), together)


def test_a_head_of_all_words_in_a_sample_loses_what_the_whole_head_loses():
    head = new_head([" ".join(WORDS)])
    outputs = torch.randn(2, 6, 24, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 6, dtype=torch.bool)
    words = [
        Words(said=head.columns_of("cloud red"), said_at=((1, head.columns_of("cloud")[0]),)),
        Words(seen=head.columns_of("blue stone"), placed=((4, head.columns_of("river")[0]),)),
    ]
    whole = word_losses(head, outputs, mask, words, 3)
    narrow, moved = head.narrowed(words, len(WORDS) + 1)
    torch.testing.assert_close(word_losses(narrow, outputs, mask, moved, 3), whole)
    few, moved = head.narrowed(words[1:], 0)  # what is named, and the blank
    assert few(outputs).shape == (2, 6, 4) and moved[0].columns == {1, 2, 3}
    assert (word_losses(few, outputs[1:], mask[1:], moved, 3) < whole[1:]).all()


def test_ctc_part_is_torchs():
    head = new_head([" ".join(WORDS)])
    outputs = torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(4))
    said = head.columns_of("red red green")
    wanted = torch.nn.functional.ctc_loss(
        head(outputs).log_softmax(-1).transpose(0, 1), torch.tensor([said]), [9], [3], reduction="sum"
    )
    stretched = 0.1 * head.length_errors(outputs).sum()
    found = word_losses(head, outputs, torch.ones(1, 9, dtype=torch.bool), [Words(said=said)], 3)
    assert float(found) == pytest.approx(float(wanted + stretched), rel=1e-5)
    short = word_losses(head, outputs[:, :2], torch.ones(1, 2, dtype=torch.bool), [Words(said=said)], 3)
    assert float(short) == pytest.approx(float(0.1 * head.length_errors(outputs[:, :2]).sum()), rel=1e-5)


def test_the_best_name_is_that_of_its_outputs():
    head = new_head([" ".join(WORDS)])
    candidates = {name: head.columns_of(name) for name in ("red stone", "blue", "stone red")}
    outputs = outputs_for(head, [*head.columns_of("stone"), 0, 0, *head.columns_of("red"), 0, 0])
    mask = torch.ones(1, 6, dtype=torch.bool)
    assert best_names(head, outputs, mask, candidates, 3, seen=True) == ["stone red"]


def test_words_of_an_item_are_known_or_left_out():
    head = new_head(["red green"])
    assert words_for(head, {"said": "red green", "seen": "green"}) == Words((1, 2), (2,), ())
    assert words_for(head, {"said": "red", "heard": "stone"}) is None
    assert words_for(head, {}) is None and words_for(head, {"said": ""}) is None


def test_a_voice_is_named_in_the_place_of_a_sound_unless_one_is_heard():
    head = new_head(["red green stone"])
    voiced = {"said": "red", "voice": "green"}
    assert words_for(head, voiced) == Words(head.columns_of("red"), (), head.columns_of("green"))
    assert words_for(head, voiced | {"heard": "stone"}).heard == head.columns_of("stone")


def test_words_known_before_stay_columns():
    head = new_head(["red green"])
    more = WordHead(torch.randn(20, 24), ["red green"], WordTokenizer(), BLANK, known=[BLANK, 10 + WORDS.index("blue")])
    assert head.columns_of("blue") is None and more.columns_of("blue") is not None
    assert more.tokens_of_column[0] == BLANK and len(more.tokens_of_column) == len(head.tokens_of_column) + 1
