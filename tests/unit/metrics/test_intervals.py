import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.intervals import bootstrap, mean, mean_interval, ratio_interval


def test_agrees_with_the_normal_approximation():
    scores = [1.0] * 60 + [0.0] * 40
    low, high = mean_interval(scores, resamples=4000)
    half = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert low == pytest.approx(0.6 - half, abs=0.015)
    assert high == pytest.approx(0.6 + half, abs=0.015)


def test_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(7)
    hits = 0
    for seed in range(200):
        low, high = mean_interval(random.random(80), resamples=200, seed=seed)
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_seed_decides_and_nothing_else_does():
    scores = np.random.default_rng(0).random(50)
    assert mean_interval(scores, seed=3) == mean_interval(scores, seed=3)
    assert mean_interval(scores, seed=3) != mean_interval(scores, seed=4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=2, max_size=30), st.randoms())
def test_order_of_items_does_not_matter(rows, random):
    mixed = list(rows)
    random.shuffle(mixed)
    assert ratio_interval(*zip(*rows), resamples=40) == ratio_interval(*zip(*mixed), resamples=40)


def test_chunking_does_not_change_the_draws(monkeypatch):
    scores = np.random.default_rng(1).random(50)
    whole = mean_interval(scores, resamples=200)
    monkeypatch.setattr("video_salmonn.metrics.intervals._CHUNK", 500)
    assert mean_interval(scores, resamples=200) == whole


def test_one_item_has_no_interval():
    assert mean_interval([1.0]) == (None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number_fails_and_names_the_item(bad):
    with pytest.raises(EvaluationError, match="item 2"):
        mean_interval([0.1, 0.2, bad])


def test_impossible_arguments_fail():
    with pytest.raises(EvaluationError, match="level"):
        bootstrap(np.ones((3, 1)), lambda s: s[:, 0], level=1.5)


def test_mean_is_exact():
    assert mean([0.1] * 10) == 0.1
