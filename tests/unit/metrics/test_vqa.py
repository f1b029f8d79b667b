import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.vqa import contained_accuracy, normalise_vqa, vqa_accuracy, vqa_item


@pytest.mark.parametrize(("agree", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_published_values_for_ten_answers(agree, score):
    # The evaluation page of the VQA challenge lists these values for the leave-one-out average.
    answers = ["red"] * agree + [f"other {n}" for n in range(10 - agree)]
    assert vqa_item("red", answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("The two dogs, please.", "2 dogs please"),
        ("A red car", "red car"),
        ("none", "0"),
        ("dont", "don't"),
        ("shed've", "she'd've"),
        ("couldn'tve", "couldn't've"),
        ("twas", "'twas"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("yes.", "yes"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("T-shirt", "t shirt"),
        ("oclock", "o'clock"),
        ("line\nbreak\ttab", "line break tab"),
    ],
)
def test_answer_normalisation(raw, clean):
    assert normalise_vqa(raw) == clean


def test_mean_and_items():
    done = vqa_accuracy(["red", "blue"], [["red"] * 10, ["red"] * 9 + ["blue"]])
    assert done.items == pytest.approx((1.0, 0.3))
    assert done.value == pytest.approx(0.65)


def test_contained_takes_whole_words_only():
    done = contained_accuracy(["It is a redwood.", "It says STOP!"], [["red"], ["stop"]])
    assert done.items == (0.0, 1.0)


@pytest.mark.parametrize(
    ("said", "reference", "right"),
    [
        ("The sign says 'STOP'.", "stop", True),
        ("The sign says ‘STOP’", "stop", True),
        ("It says “Main Street”…", "main street", True),
        ("STOP: no entry", "stop", True),
        ("I see 'two' dogs", "2", True),
        ("It costs 1,000.", "1000", True),
        ("It reads 'don't walk'", "don’t walk", True),
        ("It costs 3.5", "5", False),
        ("It is 12:30", "30", False),
        ("It is 12:30.", "12:30", True),
        ("nonstop", "stop", False),
    ],
)
def test_contained_ignores_quotation_marks_around_a_word(said, reference, right):
    assert contained_accuracy([said], [[reference]]).value == right
    assert vqa_accuracy([said], [[reference] * 10]).value == 0, "the official formula stays as it is"


def test_no_answers_fails_and_names_the_item():
    with pytest.raises(EvaluationError, match="item 1"):
        vqa_accuracy(["red", "blue"], [["red"], []])


@given(st.lists(st.sampled_from(["red", "blue", "2", "two"]), min_size=2, max_size=10), st.randoms())
def test_order_of_the_answers_does_not_matter(answers, random):
    mixed = list(answers)
    random.shuffle(mixed)
    assert vqa_item("two", answers) == pytest.approx(vqa_item("2", mixed))


@given(st.lists(st.sampled_from(["red", "blue", "2", "two"]), min_size=2, max_size=10))
def test_formula_equals_leaving_each_answer_out(answers):
    clean = [normalise_vqa(a) for a in answers]
    slow = [min(1, (clean[:i] + clean[i + 1 :]).count("2") / 3) for i in range(len(clean))]
    assert vqa_item("two", answers) == pytest.approx(sum(slow) / len(slow))
