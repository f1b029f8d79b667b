"""Answers that the model holds unlikely itself are declined, alike for one question, a batch, beams and a stream."""

import pytest
import torch

from video_salmonn.errors import ConfigError
from video_salmonn.model.declining import BEGINNING, Belief, Declining, HeldBack
from video_salmonn.model.generation import GenerationSettings

VOCABULARY, END, PAD = 12, 1, 0
ANSWER = [9, 8, 7]


def step(belief, histories, probabilities):
    """One step of generation: for each hypothesis its tokens so far, and the probabilities of what may follow."""
    scores = torch.full((len(histories), VOCABULARY), 1e-9).scatter_add_(
        1,
        torch.tensor([list(row) for row in probabilities]),
        torch.tensor([list(row.values()) for row in probabilities]),
    )
    ids = torch.tensor(histories, dtype=torch.long).reshape(len(histories), -1)
    assert torch.equal(belief(ids, scores.log()), scores.log()), "scores stay as they are"


def played(declining):
    """Two questions, greedy: the first is answered 3 (0.9), 4 (0.3), END; the second 5 (0.8), END."""
    step(declining.belief, [[], []], [{3: 0.9, 4: 0.1}, {5: 0.8, 6: 0.2}])
    step(declining.belief, [[3], [5]], [{4: 0.3, 6: 0.7}, {END: 0.6, 4: 0.4}])
    step(declining.belief, [[3, 4], [5, END]], [{END: 0.9, 3: 0.1}, {3: 0.5, 4: 0.5}])
    return torch.tensor([[3, 4, END], [5, END, PAD]])


def test_the_least_likely_token_counts_and_what_comes_after_the_end_does_not():
    declining = Declining(0.5, [True, True], ANSWER, [END, PAD])
    new = played(declining)
    assert declining.belief.least(0, [3, 4]) == pytest.approx(0.3, abs=1e-6)
    assert declining.belief.least(1, [5]) == pytest.approx(0.8, abs=1e-6)
    assert [declining.declines(row, tokens) for row, tokens in enumerate(new.tolist())] == [True, False]
    assert declining.settled(new).tolist() == [[*ANSWER, END], [5, END, PAD, PAD]]
    assert declining.belief.least(1, []) == 1.0, "an empty answer claims nothing"


def test_what_may_not_be_declined_or_is_likely_enough_stays():
    for below, may in ((0.5, [False, True]), (0.25, [True, True])):
        declining = Declining(below, may, ANSWER, [END, PAD])
        new = played(declining)
        assert declining.settled(new) is new


def test_hypotheses_of_beams_are_told_apart():
    declining = Declining(0.5, [True], ANSWER, [END, PAD])
    step(declining.belief, [[], []], [{3: 0.6, 4: 0.4}] * 2)
    step(declining.belief, [[4], [3]], [{5: 0.9, 6: 0.1}, {5: 0.2, 6: 0.8}])  # the beams changed places
    step(declining.belief, [[3, 6], [4, 5]], [{END: 0.9, 3: 0.1}] * 2)
    assert declining.belief.least(0, [3, 6]) == pytest.approx(0.6, abs=1e-6)
    assert declining.belief.least(0, [4, 5]) == pytest.approx(0.4, abs=1e-6)
    assert declining.settled(torch.tensor([[3, 6, END]])).tolist() == [[3, 6, END]]


def test_only_the_beginning_counts():
    belief = Belief(1)
    tokens = [3] * (BEGINNING + 3)
    for length in range(len(tokens)):
        likely = 0.9 if length < BEGINNING else 0.1
        step(belief, [tokens[:length]], [{3: likely, 4: 1 - likely}])
    assert belief.least(0, tokens) == pytest.approx(0.9, abs=1e-6)


class Collected:
    def __init__(self):
        self.ids, self.ended = [], False

    def put(self, value):
        self.ids += value.flatten().tolist()

    def end(self):
        self.ended = True


@pytest.mark.parametrize(("likely", "said"), [(0.9, None), (0.3, ANSWER)])
@pytest.mark.parametrize("length", [2, BEGINNING, BEGINNING + 4])
def test_a_stream_says_nothing_before_it_is_decided(likely, said, length):
    declining, out = Declining(0.5, [True], ANSWER, [END, PAD]), Collected()
    streamer = HeldBack(out, declining)
    streamer.put(torch.zeros(1, 0, dtype=torch.long))  # the prompt
    tokens = [3] * length
    for count in range(length):
        step(declining.belief, [tokens[:count]], [{3: likely, 4: 1 - likely}])
        streamer.put(torch.tensor([3]))
        assert not out.ids or count + 1 >= BEGINNING
    streamer.end()
    assert out.ended and out.ids == (tokens if said is None else said)


@pytest.mark.parametrize("value", [-0.1, 1.5, "0.5", True])
def test_a_threshold_is_a_probability(value):
    with pytest.raises(ConfigError, match="decline_below"):
        GenerationSettings(decline_below=value)
