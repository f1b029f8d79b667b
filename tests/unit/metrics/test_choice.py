import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.choice import choice_accuracy, option_lines, read_choice

NEXTQA = ["clap proudly", "the lady sitting down", "lay on floor", "just picked it up", "crawl"]
EGO = ["A person talks to another individual.", "A person operates a tablet.", "Nobody moves."]


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("C", 2), ("c", 2), ("(C)", 2), ("C.", 2), ("**C**", 2), ("C. lay on floor", 2), ("C: lay on floor", 2),
        ("c) lay on floor", 2), ("C - lay on floor", 2), ("C.lay on floor", 2),
        ("The answer is C", 2), ("The answer is (C).", 2), ("Option C is right", 2), ("Answer: C\nbecause it fell", 2),
        ("lay on floor", 2), ("Lay on the floor.", 2), ("It was to lay on floor, I think", 2), ("Crawl!", 4),
        ("Z", None), ("", None), ("?", None), ("I do not know", None), ("C. crawl", None),
        ("crawl or clap proudly", None),
        ("Option A or option B", None),
    ],
)  # fmt: skip
def test_reads_letters_and_texts(answer, index):
    assert read_choice(answer, NEXTQA) == index


@pytest.mark.parametrize(
    ("answer", "index"),
    [("A person operates a tablet.", 1), ("The answer is A person operates a tablet.", 1), ("A", 0), ("A.", 0),
     ("A. A person talks to another individual.", 0), ("The answer is a.", 0)],
)  # fmt: skip
def test_an_article_is_no_letter(answer, index):
    assert read_choice(answer, EGO) == index


def test_the_longer_of_nested_candidates_is_meant():
    assert read_choice("the dog sits on the floor", ["floor", "dog sits on floor", "cat"]) == 1
    assert read_choice("the floor it is", ["floor", "dog sits on floor", "cat"]) == 0


def test_accuracy_counts_unparsed_as_wrong():
    done = choice_accuracy(["C", "no idea", "crawl"], ["lay on floor", "crawl", "crawl"], [NEXTQA] * 3)
    assert done.accuracy.items == (1.0, 0.0, 1.0)
    assert done.unparsed == 1


def test_reference_outside_its_candidates_fails_and_names_the_item():
    with pytest.raises(EvaluationError, match=r"item 0 .*'fly'"):
        choice_accuracy(["A"], ["fly"], [NEXTQA])


def test_no_candidates_fails():
    with pytest.raises(EvaluationError, match="1 to 26"):
        read_choice("A", [])


@given(st.permutations(NEXTQA), st.integers(0, 4))
def test_what_is_shown_is_what_is_read(candidates, index):
    shown = option_lines(candidates).splitlines()[index]
    assert read_choice(shown, candidates) == index
    assert read_choice(shown[0], candidates) == index
    assert read_choice(candidates[index], candidates) == index


@given(st.text(max_size=60))
def test_never_raises_on_any_text(answer):
    assert read_choice(answer, NEXTQA) in {None, 0, 1, 2, 3, 4}
