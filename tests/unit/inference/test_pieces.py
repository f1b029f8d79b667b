from itertools import pairwise

import numpy as np
import pytest
import torch

from video_salmonn.inference.pieces import (
    Piece,
    agreed,
    border_loudness,
    is_yes_or_no,
    spans,
    timeline,
    transcript,
)


def pieces(*answers, joint=True):
    return [Piece(10.0 * i, 10.0 * (i + 1), answer, joint) for i, answer in enumerate(answers)]


@pytest.mark.parametrize("frames", [1, 39, 40, 41, 47, 80, 81, 300, 1001])
@pytest.mark.parametrize("loud", [True, False])
def test_pieces_cover_everything_once_and_none_is_too_long(frames, loud):
    loudness = torch.rand(frames + 1) if loud else None
    found = spans(frames, 40, loudness)
    assert found[0][0] == 0 and found[-1][1] == frames
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert all(1 <= end - start <= 40 for start, end in found)
    assert len(found) <= -(-frames // 40) * 2


def test_what_is_as_long_as_in_training_stays_whole():
    assert spans(40, 40, torch.rand(41)) == [(0, 40)]


def test_cuts_are_where_it_is_quiet():
    loudness = torch.ones(121)
    loudness[[33, 70, 104]] = 0.001
    assert [end for _, end in spans(120, 40, loudness)] == [33, 70, 104, 120]


def test_loudness_is_heard_around_the_borders_of_frames():
    samples = np.zeros(16_000 * 2, dtype=np.float32)
    samples[16_000 - 400 : 16_000 + 400] = 0.5
    found = border_loudness(samples, 16_000, 0.5)
    assert found.shape == (5,) and found.argmax() == 2
    assert found[2] == pytest.approx(0.125) and found[[0, 1, 3, 4]].max() == 0


def test_transcripts_join_and_pieces_without_words_are_left_out():
    spoken = pieces("it was", "the best", "of times")
    assert transcript(spoken) == "it was the best of times"
    silent = [*pieces("it was"), *pieces("Nobody speaks.", joint=False), *pieces("of times")]
    assert transcript(silent) == "it was of times"
    assert transcript(pieces("Nobody speaks.", "nobody speaks", joint=False)) == "Nobody speaks."


def test_pieces_that_agree_give_one_answer():
    assert agreed(pieces("A dog barking.", "a dog barking")) == "A dog barking."
    assert agreed(pieces("A dog barking.", "Rain.")) is None


def test_yes_and_no_are_told_from_other_answers():
    assert is_yes_or_no(pieces("Yes, a dog.", "No.", "no"))
    assert not is_yes_or_no(pieces("Yes.", "Nobody speaks."))


def test_what_differs_becomes_a_timeline_in_which_neighbours_agree():
    made = timeline(pieces("A dog barking.", "A dog barking", "Rain.", ""))
    assert made == "From 0:00 to 0:20: A dog barking; from 0:20 to 0:30: Rain; from 0:30 to 0:40: nothing."
