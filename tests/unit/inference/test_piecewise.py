"""The answers about pieces and stretches of long media as one outcome."""

import pytest

from video_salmonn.connector import ConnectorConfig
from video_salmonn.inference.generating import Generated
from video_salmonn.inference.piecewise import SpanPlan, outcome
from video_salmonn.inference.preparing import AskedQuestion, PreparedQuestion
from video_salmonn.model.prompt import Rendered

SPANS = [(0, 8), (8, 16), (16, 18)]
PIECES, STRETCHES = SpanPlan("pieces", SPANS), SpanPlan("stretches", SPANS)


def one(plan, question, texts, *, likely=None, warnings=(), **options):
    rows = [PreparedQuestion([1, 2, index], None, 2, question, True, warnings) for index, _ in enumerate(texts)]
    made = [Generated(text, [5], 1, ("ended",)) for text in texts]

    def judged(row, text):
        assert text == texts[row.input_ids[-1]], "an answer is judged where it was given"
        return likely[text]

    asked = AskedQuestion(question, Rendered([1, 2], [-100, -100], 0, (1,)), [], 4, options)
    return outcome(plan, asked, rows, made, ConnectorConfig(), judged)


@pytest.mark.parametrize("surest", ["Yes, maybe.", "Yes."])
def test_yes_if_any_piece_says_yes_as_its_surest_piece_says_it(surest):
    likely = {"Yes, maybe.": -2.0, "Yes.": -2.0} | {surest: -1.0}
    assert one(PIECES, "Is there a dog?", ["No.", "Yes, maybe.", "Yes."], likely=likely).text == surest


def test_one_kind_of_yes_needs_no_judgement():
    assert one(PIECES, "Is there a dog?", ["No.", "Yes.", "Yes."]).text == "Yes."


def test_numbers_add_up_and_a_warning_is_said_once():
    found = one(PIECES, "What is heard?", ["Rain.", "Rain.", "Rain."], warnings=("coarse",))
    assert (found.text, found.prompt_tokens, found.media_tokens, found.new_tokens) == ("Rain.", 9, 6, 3)
    assert list(found.warnings) == ["long media: understood in 3 pieces of up to 4 s", "coarse", "ended"]
    assert len(found.pieces) == 3


def test_times_of_pieces_count_from_the_beginning_of_the_file():
    found = one(PIECES, "What is heard?", ["Rain.", "Wind.", "Wind."], start=2)
    assert [(piece.start, piece.end) for piece in found.pieces] == [(2, 6), (6, 10), (10, 11)]
    assert found.text == "From 0:02 to 0:06: Rain; from 0:06 to 0:11: Wind."


def test_stretches_are_told_one_under_another():
    found = one(STRETCHES, "What is heard?", ["Rain.", "Wind.", "Yes."])
    assert found.text == "[0:00-0:04] Rain.\n[0:04-0:08] Wind.\n[0:08-0:09] Yes."
    assert found.pieces == () and "3 stretches of up to 4 s" in found.warnings[0]


def test_whole_media_are_one_answer():
    found = one(SpanPlan(), "What is heard?", ["Rain."])
    assert found.text == "Rain." and list(found.warnings) == ["ended"] and found.pieces == ()
