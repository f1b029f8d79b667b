"""The best path of a CTC that spells a text: compared with all paths, and with paths that are known."""

import itertools

import pytest
import torch

from video_salmonn.inference.alignment import HELD, LATER, best_path, word_times


def spell(path):
    return tuple(column for column, _ in itertools.groupby(path) if column)


def best_of_all(logs, labels):
    """Probability of the likeliest path that spells the labels, by trying every path."""
    steps, width = logs.shape
    scores = [
        float(logs[range(steps), path].double().sum())
        for path in itertools.product(range(width), repeat=steps)
        if spell(path) == labels
    ]
    return max(scores, default=None)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("labels", [(1,), (2, 1), (1, 1), (1, 2, 1), (2, 2, 2)])
def test_the_path_is_the_likeliest_of_all_that_spell_the_text(seed, labels):
    torch.manual_seed(seed)
    logs = (2 * torch.randn(5, 3)).log_softmax(-1)
    spans = best_path(logs, labels)
    path = [0] * 5
    for label, (first, last) in zip(labels, spans):
        path[first : last + 1] = [label] * (last - first + 1)
    assert spell(path) == labels
    assert float(logs[range(5), path].double().sum()) == pytest.approx(best_of_all(logs, labels))


def test_a_text_longer_than_its_sound_has_no_path():
    logs = torch.zeros(3, 4).log_softmax(-1)
    assert best_path(logs, [1, 2, 3]) == [(0, 0), (1, 1), (2, 2)]
    assert best_path(logs, [1, 1, 2]) is None, "between two of the same there has to be a blank"
    assert best_path(logs, []) == []


def test_a_token_without_a_column_is_put_between_its_neighbours():
    logs = torch.full((7, 3), -9.0)
    logs[:, 0] = -1.0
    logs[1, 1] = logs[5, 2] = 0.0
    (_, first), (start, end), (last, _) = best_path(logs, [1, None, 2])
    assert first == 1 and last == 5 and 1 < start <= end < 5


class Letters:
    """A tokenizer whose tokens are characters, with their code points as ids."""

    def __call__(self, text, add_special_tokens):
        return type("Encoding", (), {"input_ids": [ord(one) for one in text.lstrip()]})


def test_words_have_the_times_of_their_outputs():
    places = {ord("a"): 1, ord("b"): 2, ord("c"): 3}
    logs = torch.full((30, 4), -20.0)
    logs[:, 0] = 0.0
    for step, column in ((6, 1), (8, 2), (12, 3), (13, 3), (26, 1)):
        logs[step, column], logs[step, 0] = 0.0, -20.0
    found = word_times("ab c a", logs, Letters(), places, start=100.0, per_second=6.0)
    assert [word.text for word in found] == ["ab", "c", "a"]
    spans = [(word.start - 100, word.end - 100) for word in found]
    shift = spans[0][0] - 1.0  # the mean lag of an output, the same for all
    assert [begin for begin, _ in spans] == pytest.approx([1.0 + shift, 2.0 + shift, 26 / 6 + shift])
    assert spans[1][1] == pytest.approx(14 / 6 + LATER + HELD), "it ends some time after its last output"
    assert spans[0][1] <= spans[1][0] and spans[2][1] <= 5.0


def test_more_words_than_there_is_sound_for_are_spread_evenly():
    found = word_times("a b c d", torch.zeros(2, 5).log_softmax(-1), Letters(), {97: 1}, start=1.0, per_second=2.0)
    assert [(word.start, word.end) for word in found] == [(1.0, 1.25), (1.25, 1.5), (1.5, 1.75), (1.75, 2.0)]
