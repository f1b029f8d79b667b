"""Streams that have not ended: what is closed is what a whole file has there, in whatever portions it comes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.errors import ConfigError
from video_salmonn.inference.live import LiveSession
from video_salmonn.inference.live_features import RATE, LiveFeatures, check_live
from video_salmonn.inference.long import cut
from video_salmonn.model.presets import preset
from video_salmonn.types import Clip, FrameBatch, Heard, MediaReport, Seen, Waveform

QUESTION = "What is there?"


def sound_of(seconds: float) -> np.ndarray:
    """Noise whose loudness changes from half second to half second."""
    rng = np.random.default_rng(7)
    count = round(seconds * RATE)
    loud = np.repeat(rng.uniform(0.0, 0.3, count // 8000 + 1), 8000)[:count]
    return (rng.standard_normal(count) * loud).astype(np.float32)


def pictures_of(seconds: float) -> list[tuple[float, np.ndarray]]:
    """Two random pictures a second, with their times."""
    rng = np.random.default_rng(8)
    return [(k / 2, rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)) for k in range(int(seconds * 2))]


def clip_of(sound: np.ndarray | None, pictures: list | None) -> Clip:
    """The same as a decoded file."""
    length = len(sound) / RATE if sound is not None else len(pictures) / 2
    seen = Seen("used", 0.0, length, len(pictures)) if pictures else Seen("absent")
    heard = Heard("used", 0.0, length) if sound is not None else Heard("absent")
    frames = FrameBatch(np.stack([p for _, p in pictures]), np.array([t for t, _ in pictures])) if pictures else None
    return Clip(frames, None if sound is None else Waveform(sound), length, MediaReport("x", length, seen, heard))


@pytest.fixture(scope="module")
def engine():
    return VideoSalmonn.load("tiny")


@pytest.fixture(scope="module")
def speaking():
    """The tiny model, with word outputs over the bytes of small letters."""
    model, processor = build_tiny()
    letters = [processor.tokenizer(one, add_special_tokens=False).input_ids[-1] for one in " abcdefghij"]
    model.set_words(letters)
    return VideoSalmonn(model, processor, name="tiny")


def run(engine, sound, pictures, portion: float, **options) -> list:
    """Events of a stream that comes in portions of so many seconds."""
    session = LiveSession(engine, max_new_tokens=4, clock=None, sound=sound is not None, **options)
    length = len(sound) / RATE if sound is not None else len(pictures) / 2
    events = []
    for start in np.arange(0, length, portion):
        some = None if sound is None else sound[round(start * RATE) : round((start + portion) * RATE)]
        shown = [(t, p) for t, p in pictures or () if start <= t < start + portion]
        events += session.push(sound=some, start=float(start), pictures=shown)
    return events + session.finish()


# ------------------------------------------------------------------------------------------------------- features


@pytest.mark.parametrize("portion", [0.37, 15.0])
def test_features_of_closed_windows_are_those_of_the_whole_file(engine, portion):
    sound, pictures = sound_of(23.4), pictures_of(23.4)
    whole = engine.encode([clip_of(sound, pictures)])[0].features
    live = LiveFeatures(engine)
    for start in np.arange(0, 23.4, portion):
        live.push_sound(sound[round(start * RATE) : round((start + portion) * RATE)])
        for time, picture in pictures:
            if start <= time < start + portion:
                live.push_picture(picture, time)
    assert live.closed == 20.0, "two segments of sound are complete"
    for span in ((0, 10), (10, 40), (0, 40)):
        ours, theirs = live.stretch(*span).features, cut(whole, span, 25)
        for name in ("visual", "speech", "audio"):
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), atol=1e-5, rtol=1e-4)
        assert ours.sound_frames == theirs.sound_frames
    ours = live.so_far().features
    for name in ("visual", "speech", "audio"):  # with the open segment, as the file has it at its end
        torch.testing.assert_close(getattr(ours, name), getattr(whole, name), atol=1e-5, rtol=1e-4)


def test_what_is_kept_does_not_grow(engine):
    session = LiveSession(engine, asks=True, context=10.0, clock=None)
    sound, pictures = sound_of(10.0), [p for _, p in pictures_of(10.0)]
    most = []
    for second in range(40):
        at = second % 10
        session.push(
            sound=sound[at * RATE : (at + 1) * RATE],
            pictures=[(second + k / 2, pictures[2 * at + k]) for k in range(2)],
        )
        most.append(session.held_bytes)
    assert max(most[20:]) <= max(most[:20])
    assert session.features.closed == 40.0
    assert session.ask(QUESTION).report["media"][0]["seen"]["from"] == 30.0


def test_a_stream_that_falls_behind_does_not_hold_up_the_other(engine):
    live = LiveFeatures(engine)
    for time, picture in pictures_of(32.0):
        live.push_picture(picture, time)
    assert live.closed >= 20.0 and any("silence" in note for note in live.warnings)
    live = LiveFeatures(engine)
    live.push_sound(sound_of(32.0))
    assert live.closed >= 20.0 and any("last picture" in note for note in live.warnings)
    live.push_sound(np.ones(RATE, np.float32), 31.5)
    assert live.heard == 32.5, "an overlap is dropped"


# --------------------------------------------------------------------------------------------------------- answers


def test_answers_do_not_depend_on_the_portions(engine):
    sound, pictures = sound_of(12.0), pictures_of(12.0)
    small = run(engine, sound, pictures, 0.5, question=QUESTION)
    assert [(event.start, event.end) for event in small] == [(0, 5), (5, 10), (10, 12)]
    large = run(engine, sound, pictures, 12.0, question=QUESTION)
    assert [(e.start, e.end, e.text) for e in large] == [(e.start, e.end, e.text) for e in small]
    assert [media["heard"]["status"] for event in small for media in event.report["media"]] == ["used"] * 3


def test_answers_are_those_about_the_same_pieces_of_the_file(engine):
    """Without sound a file is understood in pieces of equal length: those of a stream."""
    pictures = pictures_of(12.0)
    pieces = engine.ask(clip_of(None, pictures), QUESTION, piece_seconds=5, max_new_tokens=4).report["pieces"]
    events = run(engine, None, pictures, 1.0, question=QUESTION)
    assert [(event.start, event.end, event.text) for event in events] == [
        (piece["from"], piece["to"], piece["answer"]) for piece in pieces
    ]


def test_answers_come_as_often_and_look_back_as_far_as_asked(engine):
    events = run(engine, None, pictures_of(20.0), 1.0, question=QUESTION, every=10.0)
    assert [(event.start, event.end) for event in events] == [(0, 10), (10, 20)]
    events = run(engine, None, pictures_of(15.0), 1.0, question=QUESTION, context=10.0)
    assert [(event.start, event.end) for event in events] == [(0, 5), (0, 10), (5, 15)]


def test_a_question_about_what_has_come_so_far_is_answered_as_about_a_file(engine):
    sound, pictures = sound_of(13.2), pictures_of(13.2)
    session = LiveSession(engine, asks=True, max_new_tokens=6)
    with pytest.raises(ConfigError, match="no input"):
        session.ask(QUESTION)
    session.push(sound=sound, pictures=pictures)
    assert session.ask(QUESTION).text == engine.ask(clip_of(sound, pictures), QUESTION, max_new_tokens=6).text
    with pytest.raises(ConfigError, match="keeps no features"):
        LiveSession(engine).ask(QUESTION)


# ------------------------------------------------------------------------------------------------------ transcript


def test_the_transcript_is_the_files(speaking):
    sound = sound_of(5.3)
    whole = speaking.transcribe((sound, RATE), look_ahead=2.0)
    assert len({int(one.start) // 2 for one in whole.segments}) > 1, "in several stretches"
    for portion in (0.3, 6.0):
        events = run(speaking, sound, None, portion, look_ahead=2.0)
        assert [(e.id, e.start, e.end, e.text) for e in events] == [
            (one.id, one.start, one.end, one.text) for one in whole.segments
        ]
        assert [event.words for event in events] == [one.words for one in whole.segments]


def test_latency_is_counted_from_the_end_of_a_word(speaking):
    now = [100.0]
    session = LiveSession(speaking, look_ahead=2.0, clock=lambda: now[0])
    sound, events = sound_of(6.0), []
    for second in range(6):
        now[0] += 1
        events += session.push(sound=sound[second * RATE : (second + 1) * RATE])
    late = [(word.end, one) for event in events for word, one in zip(event.words, event.latencies)]
    assert late and session.waits == {"transcript": 2.0}
    for end, one in late:  # stretches are closed as soon as 2 s of them and the next portion are there
        assert 0 <= one <= 3.0
        arrived = 100 + end + one
        assert arrived == pytest.approx(round(arrived)), "the clock stands still while the model computes"
    assert session.spoken(3.25) == pytest.approx(103.25)


def test_a_gap_in_the_sound_is_silence(speaking):
    sound = sound_of(0.8)
    events = []
    for quiet in (True, False):
        session = LiveSession(speaking, look_ahead=4.0, clock=None)
        if quiet:
            session.push(sound=sound)
            session.push(sound=sound, start=1.6)
        else:
            session.push(sound=np.concatenate([sound, np.zeros(round(0.8 * RATE), np.float32), sound]))
        events.append([event.to_dict() for event in session.finish()])
    assert events[0] == events[1]


# --------------------------------------------------------------------------------------------------------- refusals


def test_models_that_can_follow_a_stream():
    for name in ("embedded", "tiny", "paper-7b"):
        check_live(name, preset(name))


@pytest.mark.parametrize(
    ("media", "connector", "reason"),
    [
        ({}, {"synchronise": False}, "all pictures before all sound"),
        ({}, {"attend_padding": True}, "attends to padding"),
        ({}, {"trim_padding": False}, "attends to padding"),
        ({"max_sound_seconds": 30.0}, {}, "after the first 30 s"),
        ({"max_seconds": 60.0}, {}, "after the first 60 s"),
        ({"frame_times": "released"}, {}, "where a video ends"),
        ({"first_channel": True}, {}, "first channel"),
        ({"pad_last_segment": False}, {}, "without padding"),
    ],
)
def test_models_that_cannot_are_refused_with_the_reason(media, connector, reason):
    config = preset("tiny")
    for part, values in ((config.media_config, media), (config.connector_config, connector)):
        for name, value in values.items():
            setattr(part, name, value)
    with pytest.raises(ConfigError, match=f"cannot follow a live stream: .*{reason}") as error:
        check_live("model", config)
    assert error.value.remedy


def test_the_released_model_is_refused_but_its_transcript_is_not():
    with pytest.raises(ConfigError, match="attends to padding"):
        check_live("released-13b", preset("released-13b"))
    model = VideoSalmonn.load("tiny", profile="released")
    with pytest.raises(ConfigError, match="cannot follow"):
        LiveSession(model, question=QUESTION)
    assert LiveSession(model).waits == {"transcript": 10.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"question": " "}, "question is empty"),
        ({"sound": False}, "without sound has no transcript"),
        ({"look_ahead": 1.0}, "look_ahead is 1 s"),
        ({"look_ahead": 400.0}, "look_ahead is 400 s"),
        ({"question": QUESTION, "context": 4.0}, "context is 4 s"),
        ({"question": QUESTION, "context": 31.0}, "context is 31 s"),
        ({"question": QUESTION, "every": 7.0}, "every is 7 s"),
        ({"question": QUESTION, "sight": False, "sound": False}, "nothing to see or to hear"),
        ({"transcript": False}, "neither a transcript nor a question"),
        ({"decoder": "ear"}, "decoder is 'ear'"),
    ],
)
def test_impossible_options_are_refused(engine, options, message):
    with pytest.raises(ConfigError, match=message) as error:
        LiveSession(engine, **options)
    assert error.value.remedy
