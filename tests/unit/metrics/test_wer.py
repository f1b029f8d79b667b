import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.wer import wer, word_errors

SENTENCE = st.lists(
    st.sampled_from(["red", "car", "dog", "runs", "fast", "over", "hills"]), min_size=1, max_size=8
).map(" ".join)


def test_hand_worked():
    # one substitution (b -> x), one insertion (d), three words
    edits = word_errors("alpha bravo charlie", "alpha xray charlie delta")
    assert (edits.substitutions, edits.deletions, edits.insertions, edits.words) == (1, 0, 1, 3)
    assert edits.rate == pytest.approx(2 / 3)


def test_example_of_the_library():
    # README of jiwer: reference "hello world", hypothesis "hello duck" -> 0.5
    assert wer(["hello world"], ["hello duck"]).value == 0.5


def test_is_pooled_over_words_not_averaged_over_utterances():
    done = wer(
        ["one", "two three four five six seven eight nine ten"],
        ["", "two three four five six seven eight nine ten"],
        normalise=False,
    )
    assert done.value == pytest.approx(1 / 10)
    assert done.items == (1.0, 0.0)


def test_normaliser_forgives_case_punctuation_numbers_and_spelling():
    assert wer(["MISTER SMITH LOVES COLOUR"], ["Mr. Smith loves color."]).value == 0
    assert wer(["twenty one dogs"], ["21 dogs"]).value == 0
    assert wer(["Mr Smith"], ["mister smith"], normalise=False).value == 1.0


def test_filler_only_reference_counts_its_insertions():
    done = wer(["Uh.", "red car"], ["hello there", "red car"])
    assert done.value == pytest.approx(2 / 2)
    assert "fillers" in done.note


def test_empty_reference_fails_and_names_the_item():
    with pytest.raises(EvaluationError, match=r"item 1 .*empty reference"):
        wer(["red", "  "], ["red", "car"])


def test_no_words_at_all_fails():
    with pytest.raises(EvaluationError, match="no reference has a word left"):
        wer(["uh"], ["uh"])


def test_unequal_lengths_fail():
    with pytest.raises(EvaluationError, match="1 references, 2 hypotheses"):
        wer(["red"], ["red", "car"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(SENTENCE, SENTENCE), min_size=2, max_size=8), st.randoms())
def test_permuting_utterances_changes_nothing(pairs, random):
    mixed = list(pairs)
    random.shuffle(mixed)
    a, b = (wer(*zip(*rows), resamples=50) for rows in (pairs, mixed))
    assert (a.value, a.low, a.high) == (b.value, b.low, b.high)


@settings(max_examples=30, deadline=None)
@given(SENTENCE)
def test_a_perfect_transcript_has_no_errors(text):
    assert wer([text], [text]).value == 0
