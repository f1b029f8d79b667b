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


@pytest.mark.parametrize("answer", ["<answer>B</answer>", "<answer> B. </answer>", "Answer：Ｂ", "答案：B", "Ｂ"])
def test_tags_and_full_width_letters_are_read(answer):
    assert read_choice(answer, NEXTQA) == 1


READ_AS_B = """
The answer is: B
**Answer:** B
**Answer: B.**
The correct answer is option B.
Final answer: (B)
\\boxed{B}
The answer is 'B'.
the answer is b because she sat
My choice is B
I'd go with B
B is correct
B, because she sat down
A is wrong, B is right
It is not A but B
Answer - B
Option (b)
The answer is B: the lady sitting down
It shows the lady sitting down.
"The lady sitting down!"
B. The lady sitting down. He can't stand.
""".strip().splitlines()
UNPARSED = """
A, B and C are all possible
a, b and c are all possible
A. clap proudly B. the lady sitting down C. lay on floor D. just picked it up E. crawl
A: clap proudly, the lady sitting down, lay on floor, just picked it up, crawl
clap proudly, the lady sitting down, lay on floor, just picked it up, crawl
(A) (B) (C) (D) (E)
Choose one: A, B, C, D or E
Either A or B.
The answer is A or B
A/B
The answer is not B
B is wrong
Neither A nor B
It isn't crawl.
None of the above
I cannot tell whether B is right
Is it B?
The answer is a dog
B. crawl
Plan B was used in Washington D.C.
""".strip().splitlines()


@pytest.mark.parametrize("answer", READ_AS_B)
def test_wordings_that_mean_the_second_choice(answer):
    assert read_choice(answer, NEXTQA) == 1


@pytest.mark.parametrize("answer", UNPARSED)
def test_wordings_that_mean_no_choice_stay_unparsed(answer):
    assert read_choice(answer, NEXTQA) is None


def test_half_of_the_wordings_stay_unparsed():
    assert len(READ_AS_B) == len(UNPARSED) == 20


def test_an_echo_of_the_options_with_an_answer_after_it_is_read():
    echo = option_lines(NEXTQA)
    assert read_choice(echo, NEXTQA) is None
    assert read_choice(f"{echo}\nAnswer: D", NEXTQA) == 3


def test_a_letter_inside_a_candidate_is_no_choice():
    vitamins = ["Vitamin C", "Vitamin D", "Vitamin B"]
    assert [read_choice(said, vitamins) for said in ("Vitamin D", "It is vitamin C.", "B. vitamin B", "C")] == [
        1,
        0,
        None,
        2,
    ]


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
