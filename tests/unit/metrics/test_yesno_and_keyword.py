import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.keyword import keyword_accuracy, names_source, source_of
from video_salmonn.metrics.yesno import read_yes_no, yes_no_accuracy


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("Yes", True), ("no.", False), ("Yes, they match; no doubt.", True), ("NO, it is not", False),
        ("The answer is yes.", True), ("I would say no", False), ("It could be yes or no", None), ("", None),
        ("nobody knows", None),
    ],
)  # fmt: skip
def test_reads_yes_and_no(answer, value):
    assert read_yes_no(answer) is value


YES = """
They match
The audio matches the video.
It does.
It is a perfect match.
Yes, the sound fits the picture.
**Yes**
Answer: Yes
True.
""".strip().splitlines()
NO = """
They do not match.
They don’t match.
The sound does not match the picture.
They do not go together.
It does not.
They are not a match.
There is a mismatch.
No match.
That is not true.
I don't think so.
I do not think they match.
No it does not
""".strip().splitlines()
NEITHER = """
No idea.
No sound can be heard.
There is no sound in the clip.
Yes and no
Yes or no?
Yes/No
No, yes
Yes, they do not match.
No, they match.
Do they match?
I cannot tell whether they match
I am not sure if the sound fits.
They may match.
They may or may not match.
The sound matches, but the picture does not match.
The match was won by the red team.
It does not say.
It depends.
I do not know.
A man in a matching suit
""".strip().splitlines()


@pytest.mark.parametrize(("answer", "value"), [*((a, True) for a in YES), *((a, False) for a in NO)])
def test_wordings_that_mean_yes_or_no(answer, value):
    assert read_yes_no(answer) is value


@pytest.mark.parametrize("answer", NEITHER)
def test_wordings_that_mean_neither_stay_unparsed(answer):
    assert read_yes_no(answer) is None


def test_half_of_the_wordings_mean_neither():
    assert len(YES) + len(NO) == len(NEITHER) == 20


def test_yes_no_accuracy_counts_unparsed():
    done = yes_no_accuracy(["yes", "maybe", "no"], ["Yes", "No", "Yes"])
    assert done.accuracy.items == (1.0, 0.0, 0.0)
    assert done.unparsed == 1


def test_reference_must_be_yes_or_no():
    with pytest.raises(EvaluationError, match=r"item 1 .*'perhaps'"):
        yes_no_accuracy(["yes", "no"], ["yes", "perhaps"])


REFERENCE = "The source of this sound in this scene is people belly laughing."


def test_takes_the_label_out_of_the_sentence():
    assert source_of(REFERENCE) == "people belly laughing"
    assert source_of("dog barking") == "dog barking"


@pytest.mark.parametrize(
    ("prediction", "reference", "right"),
    [
        ("People are belly laughing loudly", REFERENCE, True),
        ("the source is people who belly laugh", REFERENCE, True),
        ("people talking", REFERENCE, False),
        ("A dog barks", "dog barking", True),
        ("a hot dog", "dog barking", False),
        ("a woman is speaking", "female speech, woman speaking", True),
        ("", "dog barking", False),
    ],
)
def test_names_source(prediction, reference, right):
    assert names_source(prediction, reference) is right


def test_keyword_accuracy_and_its_failure():
    assert keyword_accuracy(["dogs bark", "cat"], ["dog barking", "dog barking"]).value == 0.5
    with pytest.raises(EvaluationError, match="item 0"):
        keyword_accuracy(["dog"], ["The source of this sound in this scene is ."])


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_prediction_can_be_scored(prediction, other):
    assert names_source(prediction, "dog barking") in (True, False)
    assert read_yes_no(other) in (True, False, None)
