"""Answers with times: questions that ask when, and what pieces say about them."""

import numpy as np
import pytest

from video_salmonn import VideoSalmonn
from video_salmonn.errors import ConfigError
from video_salmonn.inference.pieces import Piece, timeline
from video_salmonn.inference.times import ask_times, moments, yes_or_no
from video_salmonn.types import Answer

SHORT = {"max_new_tokens": 3}


def pieces(*answers):
    return [Piece(5.0 * n, 5.0 * (n + 1), answer) for n, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("When is the dog heard?", "Is the dog heard?"),
        ("when does somebody speak", "Does somebody speak"),
        ("At what times are there birds?", "Are there birds?"),
        ("What is heard when the dog barks?", None),
        ("When was it?", "Was it?"),
        ("Whenever is it?", None),
    ],
)
def test_questions_that_ask_when(question, asked):
    assert yes_or_no(question) == asked


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        (("No.", "Yes.", "Yes, it is.", "No."), "From 0:05 to 0:15."),
        (("Yes.", "No.", "Yes.", "No.", "Yes."), "From 0:00 to 0:05, from 0:10 to 0:15 and from 0:20 to 0:25."),
        (("Yes.", "No.", "Yes."), "From 0:00 to 0:05 and from 0:10 to 0:15."),
        (("No.", "No."), "At no time."),
    ],
)
def test_times_are_the_pieces_answered_by_yes(answers, text):
    assert moments(pieces(*answers)) == text


def test_borders_between_seconds_are_shown():
    assert (
        moments([Piece(0.0, 3.5, "No."), Piece(3.5, 64.0, "Yes."), Piece(64.0, 65.0, "No.")]) == "From 0:03.5 to 1:04."
    )


class Listener:
    """An engine that hears a dog in the second of three pieces."""

    def __init__(self, engine, *answers):
        self.model, self.answers, self.asked = engine.model, answers, []

    def ask(self, media, question, sound=None, **options):
        self.asked.append((question, options))
        told = [one.to_dict() for one in pieces(*self.answers)]
        warnings = ["long media: understood in 3 pieces", "small"]
        return Answer("Yes.", {"pieces": told, "warnings": warnings, "media": []})


@pytest.fixture(scope="module")
def engine():
    return VideoSalmonn.load("tiny")


def test_a_when_question_is_asked_as_yes_or_no_of_every_piece(engine):
    listener = Listener(engine, "No.", "Yes.", "No.")
    found = ask_times(listener, "x.wav", "When is a dog heard?", max_new_tokens=4)
    assert listener.asked == [("Is a dog heard?", {"piece_seconds": 5.0, "max_new_tokens": 4})]
    assert found.text == found.report["answer"] == "From 0:05 to 0:10."
    assert found.report["times"][1] == {"from": 5.0, "to": 10.0, "answer": "Yes."}
    assert found.report["warnings"][0] == "small" and "does not state times" in found.report["warnings"][1]


def test_answers_other_than_yes_and_no_are_shown_as_they_are(engine):
    listener = Listener(engine, "A dog.", "Yes.", "No.")
    found = ask_times(listener, "x.wav", "When is a dog heard?")
    assert found.text == timeline(pieces("A dog.", "Yes.", "No."))
    assert "not answered with yes or no" in found.report["warnings"][-1]


def test_any_other_question_gets_a_timeline_of_the_real_pieces(engine):
    sound = (np.sin(np.arange(9 * 16_000) / 9).astype(np.float32), 16_000)
    found = ask_times(engine, sound, "What is heard?", seconds=3, start=2.0, **SHORT)
    times = found.report["times"]
    assert times[0]["from"] == 2.0 and times[-1]["to"] == 9.0 and len(times) >= 3
    assert found.text.startswith("From 0:02 to ")
    short = ask_times(engine, sound, "What is heard?", seconds=20, **SHORT)
    assert [(one["from"], one["to"]) for one in short.report["times"]] == [(0.0, 9.0)]


@pytest.mark.parametrize(
    ("media", "options", "message"),
    [
        (["a.wav", "b.wav"], {}, "exactly one media item"),
        ("a.wav", {"long": "coarse"}, "long cannot be combined"),
        ("a.wav", {"piece_seconds": 3}, "piece_seconds cannot be combined"),
        ("a.wav", {"seconds": 0.5}, "seconds must be"),
    ],
)
def test_what_times_cannot_be_told_of_is_refused(engine, media, options, message):
    with pytest.raises(ConfigError, match=message):
        ask_times(engine, media, "When is it?", **options)
