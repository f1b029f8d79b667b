"""Transcripts as text, subtitles and JSON."""

import json
import re
from pathlib import Path

import pytest

from command_line import assert_refused_lightly
from video_salmonn.errors import ConfigError
from video_salmonn.inference.transcript import (
    LONGEST_SEGMENT,
    MOST_CHARACTERS,
    PAUSE,
    Segment,
    Transcript,
    Word,
    render,
    segments_of,
    timestamp,
)
from video_salmonn.inference.transcript_options import language_code

EXAMPLES = Path(__file__).parents[3] / "examples"


def spoken(*words):
    """Words of 0.3 s, each after so many seconds of pause."""
    time, made = 0.0, []
    for pause, text in words:
        made.append(Word(time + pause, time + pause + 0.3, text))
        time = made[-1].end
    return made


@pytest.fixture
def transcript():
    words = spoken((0.5, "set"), (0.1, "white"), (2.0, "by"), (0.0, "<i>"))
    return Transcript(tuple(segments_of(words)), 4.25, "english", "model")


def test_a_pause_ends_a_segment_and_nothing_is_lost():
    words = spoken((0.0, "a"), (PAUSE - 0.1, "b"), (PAUSE + 0.1, "c"))
    found = segments_of(words, first=7)
    assert [(one.id, one.text) for one in found] == [(7, "a b"), (8, "c")]
    assert [one.start for one in found] == [words[0].start, words[2].start]
    assert tuple(word for one in found for word in one.words) == tuple(words)
    assert segments_of([]) == []


def test_long_speech_is_split_where_its_pause_is_longest():
    words = spoken(*[(0.4 if n in (9, 24) else 0.05, f"w{n}") for n in range(40)])
    found = segments_of(words)
    assert all(one.end - one.start <= LONGEST_SEGMENT and len(one.text) <= MOST_CHARACTERS for one in found)
    assert [one.words[0].text for one in found][:3] == ["w0", "w9", "w24"]
    assert " ".join(one.text for one in found) == " ".join(word.text for word in words)


def test_a_word_that_is_longer_than_a_segment_may_be_stays_whole():
    words = [Word(0.0, 9.0, "loooong"), Word(9.0, 9.3, "x"), Word(9.3, 9.4, "y" * 100)]
    assert [one.text for one in segments_of(words)] == ["loooong", "x", "y" * 100]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00,000"), (3661.0015, "01:01:01,002"), (59.9996, "00:01:00,000"), (-0.2, "00:00:00,000")],
)
def test_times(seconds, text):
    assert timestamp(seconds, ",") == text


def test_subrip(transcript):
    assert render(transcript, "srt") == (
        "1\n00:00:00,500 --> 00:00:01,200\nset white\n\n2\n00:00:03,200 --> 00:00:03,800\nby <i>\n"
    )


def test_webvtt_escapes_what_it_would_read_as_markup(transcript):
    text = render(transcript, "vtt")
    assert text.startswith("WEBVTT\n\n00:00:00.500 --> 00:00:01.200\nset white\n\n")
    assert text.endswith("by &lt;i&gt;\n")


def test_text_and_both_forms_of_json(transcript):
    assert render(transcript, "txt") == "set white by <i>\n"
    assert json.loads(render(transcript, "json")) == {"text": "set white by <i>"}
    long = json.loads(render(transcript, "verbose_json"))
    assert long["segments"][1] == {"id": 1, "start": 3.2, "end": 3.8, "text": "by <i>"}
    assert long["words"][0] == {"word": "set", "start": 0.5, "end": 0.8}
    assert (long["task"], long["language"], long["duration"]) == ("transcribe", "english", 4.25)
    whole = transcript.to_dict()
    assert {"text", "language", "duration", "segments", "media", "decoder"} <= set(whole)


@pytest.mark.parametrize("form", ["srt", "vtt", "txt", "json", "verbose_json"])
def test_silence_is_a_file_without_cues(form):
    text = render(Transcript((), 3.0, "unknown", "whisper"), form)
    assert text.endswith("\n") and not re.search("-->", text)


def test_an_unknown_format_is_refused(transcript):
    with pytest.raises(ConfigError, match="format 'docx' is unknown"):
        render(transcript, "docx")


def test_segments_without_words_have_their_own_text():
    made = Transcript((Segment(0, 0.0, 20.0, "one"), Segment(1, 20.0, 30.0, "two")), 30.0, "unknown", "model")
    assert made.text == "one two" and made.words == ()


def test_a_language_that_no_whisper_knows_is_named_before_pytorch_is_imported():
    calls = [
        ["transcribe", str(EXAMPLES / "helicopter.flac"), "--decoder", "whisper", "--language", language]
        for language in ("klingon", "e n", "")
    ]
    assert_refused_lightly(calls, ("torch",))
    assert [language_code(name) for name in ("EN", " german ", "Castilian", "yue")] == ["en", "de", "es", "yue"]
