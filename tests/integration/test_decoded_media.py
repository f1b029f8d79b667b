"""Options on clips that are decoded already: applied as on the file, or refused by name, never left out silently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from video_salmonn import VideoSalmonn
from video_salmonn.errors import ConfigError, ContextError, EmptyMediaError, MediaError
from video_salmonn.inference.questions import MediaQuestion, expanded
from video_salmonn.inspection.inspecting import inspect_media
from video_salmonn.media import ArraySound, load_clip

NASA = Path(__file__).parents[1] / "fixtures" / "media" / "nasa_13013.mp4"
QUESTION = "What happens, and what is said?"
SHORT = {"max_new_tokens": 6}
APPLIED = [
    {"no_audio": True},
    {"no_video": True},
    {"start": 3.0},
    {"end": 4.0},
    {"start": 2.5, "end": 7.0},
    {"start": 2.2, "end": 7.1, "no_audio": True},
    {"start": 1.0, "no_video": True},
]


@pytest.fixture(scope="module")
def engine():
    return VideoSalmonn.load("tiny")


@pytest.fixture(scope="module")
def clip(engine):
    return engine.processor.load(NASA)


def account(answer):
    media = answer.report["media"][0]
    seen, heard = media["seen"], media["heard"]
    return (
        media["duration"], seen["status"], seen["frames"], heard["status"], heard["from"], heard["to"],
        answer.report["media_tokens"],
    )  # fmt: skip


@pytest.mark.parametrize("options", APPLIED, ids=str)
def test_an_option_on_a_decoded_clip_does_what_it_does_on_the_file(engine, clip, options):
    file = engine.ask(NASA, QUESTION, **options, **SHORT)
    decoded = engine.ask(clip, QUESTION, **options, **SHORT)
    assert account(decoded)[1:4] == account(file)[1:4] and account(decoded)[-1] == account(file)[-1]
    for ours, theirs in zip(account(decoded), account(file)):
        assert ours == theirs or ours == pytest.approx(theirs, abs=0.05)
    assert ("not asked for" in str(decoded.report["warnings"])) == ("start" in options or "end" in options)


def test_no_audio_on_a_decoded_clip_hears_nothing_in_every_way_of_asking(engine, clip):
    options = {"no_audio": True, **SHORT}
    asked = engine.ask(clip, QUESTION, **options)
    stream = engine.stream(clip, QUESTION, **options)
    while True:
        try:
            next(stream)
        except StopIteration as done:
            streamed = done.value
            break
    answers = [
        asked,
        streamed,
        engine.chat(clip, no_audio=True).ask(QUESTION, **SHORT),
        engine.chat(clip).ask(QUESTION, **options),
        *engine.batch([MediaQuestion(QUESTION, [clip], options), {"question": QUESTION, "media": clip, **options}]),
    ]
    assert {answer.report["media"][0]["heard"]["status"] for answer in answers} == {"off"}
    assert {answer.text for answer in answers} == {engine.ask(NASA, QUESTION, **options).text}
    assert engine.ask(clip, QUESTION, **SHORT).report["media"][0]["heard"]["status"] == "used"
    assert inspect_media(engine, clip, no_audio=True).report.heard.status == "off"
    deaf = engine.processor(QUESTION, media=[clip], no_audio=True)
    assert int(deaf["segment_counts"]) == 0 < int(engine.processor(QUESTION, media=[clip])["segment_counts"])
    (one,) = engine.likelihoods(MediaQuestion(QUESTION, [clip], {"no_audio": True}), ["Yes"])
    (other,) = engine.likelihoods(MediaQuestion(QUESTION, [NASA], {"no_audio": True}), ["Yes"])
    assert one.log == pytest.approx(other.log, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("frame_times", 1.0), ("spotlight", 4), ("video_stream", 0), ("audio_stream", 1), ("on_corrupt", "raise")],
)
def test_what_a_decoded_clip_cannot_follow_is_refused_by_name(engine, clip, name, value):
    for call in (
        lambda: engine.ask(clip, QUESTION, **{name: value}),
        lambda: engine.chat(clip, **{name: value}).ask(QUESTION),
        lambda: list(engine.stream(clip, QUESTION, **{name: value})),
        lambda: engine.processor(QUESTION, media=[clip], **{name: value}),
        lambda: inspect_media(engine, clip, **{name: value}),
    ):
        with pytest.raises(ConfigError, match=f"{name}.* decoded already"):
            call()


def test_encoded_media_go_through_and_take_no_media_option(engine):
    encoded = engine.encode([NASA], end=3.0)
    assert engine.ask(encoded[0], QUESTION, **SHORT).text == engine.ask(NASA, QUESTION, end=3.0, **SHORT).text
    with pytest.raises(ConfigError, match=r"use_audio.* encoded"):
        engine.ask(encoded[0], QUESTION, no_audio=True)


def test_a_separate_sound_replaces_that_of_a_decoded_clip(engine, clip):
    beep = ArraySound(np.sin(np.arange(32_000) / 7).astype(np.float32) / 2, 16_000)
    silent = load_clip(NASA)
    for media in (clip, silent):
        report = engine.ask(media, QUESTION, sound=beep, **SHORT).report["media"][0]
        assert report["heard"]["to"] == pytest.approx(2.0) and report["seen"]["status"] == "used"
        assert any("replaced" in warning for warning in report["warnings"])
    as_file = engine.ask(NASA, QUESTION, sound=beep, **SHORT)
    assert engine.ask(clip, QUESTION, sound=beep, **SHORT).text == as_file.text
    assert engine.ask(NASA, QUESTION, sound=load_clip(beep), **SHORT).text == as_file.text
    assert engine.ask(clip, QUESTION, sound=beep, no_audio=True, **SHORT).report["media"][0]["heard"]["status"] == "off"


def test_nothing_left_of_a_decoded_clip_is_an_error(engine, clip):
    with pytest.raises(EmptyMediaError, match="start=99 s lies behind"):
        engine.ask(clip, QUESTION, start=99.0)
    deaf = engine.processor.load(clip, use_audio=False)
    with pytest.raises(EmptyMediaError, match="nothing is left"):
        engine.ask(deaf, QUESTION, no_video=True)


def test_a_silent_stretch_of_a_decoded_clip_is_reported_silent(engine):
    samples = np.zeros(64_000, np.float32)
    samples[:16_000] = np.sin(np.arange(16_000) / 5) / 2
    clip = load_clip(ArraySound(samples, 16_000))
    assert engine.ask(clip, QUESTION, start=2.0, **SHORT).report["media"][0]["heard"]["status"] == "silent"
    assert engine.ask(clip, QUESTION, end=2.0, **SHORT).report["media"][0]["heard"]["status"] == "used"


def test_media_that_messages_bring_are_not_passed_over(engine):
    for source in ({"image": "/no/such.png"}, {"url": "/no/such.png"}):
        messages = [{"role": "user", "content": [{"type": "image", **source}, QUESTION]}]
        for media in (None, NASA):
            with pytest.raises(ConfigError, match="bring media of their own"):
                engine.ask(media, messages, **SHORT)


def test_what_stands_in_a_place_of_another_kind_is_refused(engine, clip):
    beep = ArraySound(np.sin(np.arange(16_000) / 7).astype(np.float32) / 2, 16_000)
    for media, kind in ((NASA, "image"), (clip, "audio"), (beep, "video"), (np.zeros((20, 30, 3), np.uint8), "video")):
        messages = [{"role": "user", "content": [{"type": kind}, QUESTION]}]
        with pytest.raises(MediaError, match=f"a place for {kind}, and is"):
            engine.ask(media, messages, **SHORT)
        with pytest.raises(MediaError, match=f"a place for {kind}, and is"):
            engine.likelihoods(MediaQuestion(messages, [media]), ["Yes"])
    heard = [{"role": "user", "content": [{"type": "audio"}, QUESTION]}]
    assert engine.ask(NASA, heard, no_video=True, **SHORT).report["media"][0]["seen"]["status"] == "off"


def test_the_text_false_switches_nothing_off(engine):
    for name in ("no_audio", "no_video"):
        with pytest.raises(ConfigError, match=f"{name} must be True or False"):
            engine.ask(NASA, QUESTION, **{name: "false"}, **SHORT)


def test_an_alias_beside_a_media_part_is_written_out():
    parts = [{"type": "video"}, {"type": "text", "text": "<asr>"}]
    (message,) = expanded([{"role": "user", "content": parts}])
    assert message["content"][1]["text"] == expanded("<asr>") != "<asr>" and parts[1]["text"] == "<asr>"
    assert expanded([{"role": "user", "content": [{"type": "video"}, "<asr>"]}])[0]["content"][1] == expanded("<asr>")


def test_a_picture_has_no_beginning_whether_decoded_or_not(engine):
    picture = np.zeros((20, 30, 3), np.uint8)
    for media in (picture, load_clip(picture)):
        assert engine.ask(media, QUESTION, start=3.0, **SHORT).report["media"][0]["seen"]["frames"] == 1


def test_an_answer_longer_than_the_context_is_named_as_what_does_not_fit(engine, clip):
    for mode in ("error", "coarse"):
        with pytest.raises(ContextError, match="answer of up to 100000000 do not fit") as caught:
            engine.ask(clip, QUESTION, max_new_tokens=100_000_000, long=mode)
        assert "media of" not in str(caught.value) and "shorter answer" in caught.value.remedy
