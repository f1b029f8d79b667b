"""Media longer than a model was trained on, through every front door (a random model that was trained on 4 s)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from made_sound import noise
from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.errors import ConfigError
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.model import prompt
from video_salmonn.model.presets import tiny

ASK = "What is said?"
OPTIONS = {"max_new_tokens": 8}


@pytest.fixture(scope="module")
def engine():
    config = tiny()
    config.media_config.trained_seconds = 4.0
    model, processor = build_tiny(config=config)
    model.set_words([6, *range(7, 384)])
    model.generation_config.joint_ctc = "auto"
    return VideoSalmonn(model, processor)


def test_a_transcript_is_the_pieces_joined_and_the_report_says_so(engine):
    answer = engine.ask(noise(11), ASK, joint_ctc_weight=0.9, **OPTIONS)
    pieces = answer.report["pieces"]
    assert len(pieces) >= 3 and pieces[0]["from"] == 0 and pieces[-1]["to"] == 11
    assert all(piece["to"] - piece["from"] <= 4 for piece in pieces)
    assert all(before["to"] == after["from"] for before, after in pairwise(pieces))
    assert answer.text == " ".join(piece["answer"] for piece in pieces)
    assert any(f"in {len(pieces)} pieces" in warning for warning in answer.report["warnings"])


def test_other_answers_are_about_times(engine):
    answer = engine.ask(noise(9), "What do you hear?", **OPTIONS)
    texts = [piece["answer"] for piece in answer.report["pieces"]]
    if len(set(texts)) == 1:
        assert answer.text == texts[0]
    else:
        assert answer.text.startswith("From 0:00 to 0:0") and all(text.rstrip(". ") in answer.text for text in texts)


def test_times_count_from_the_beginning_of_the_file(engine):
    answer = engine.ask(noise(12), ASK, start=2, end=10, **OPTIONS)
    assert answer.report["pieces"][0]["from"] == 2 and answer.report["pieces"][-1]["to"] == 10


def test_short_media_and_whole_media_are_as_before(engine):
    assert "pieces" not in engine.ask(noise(4), ASK, **OPTIONS).report
    assert "pieces" not in engine.ask(noise(9), ASK, piece_seconds=0, **OPTIONS).report
    assert "pieces" not in engine.ask(noise(9), ASK, long="coarse", **OPTIONS).report
    assert len(engine.ask(noise(9), ASK, piece_seconds=8, **OPTIONS).report["pieces"]) == 2
    with pytest.raises(ConfigError, match="piece_seconds"):
        engine.ask(noise(1), ASK, piece_seconds=0.2)


def test_speech_may_be_understood_in_shorter_pieces_than_the_rest():
    config = tiny()
    config.media_config.trained_seconds, config.media_config.trained_speech_seconds = 8.0, 4.0
    engine = VideoSalmonn(*build_tiny(config=config))
    clip = engine.encode([noise(7)])[0]
    assert "pieces" not in engine.ask(clip, "What do you hear?", **OPTIONS).report
    said = engine.ask(clip, ASK, **OPTIONS).report["pieces"]
    assert len(said) >= 2 and all(piece["to"] - piece["from"] <= 4 for piece in said)
    assert "pieces" not in engine.ask(clip, ASK, piece_seconds=8, **OPTIONS).report
    heard = engine.ask(noise(11), "What do you hear?", **OPTIONS).report["pieces"]
    assert max(piece["to"] - piece["from"] for piece in heard) > 4


def test_models_that_do_not_say_what_they_were_trained_on_hear_the_whole():
    assert "pieces" not in VideoSalmonn.load("tiny").ask(noise(40), ASK, max_new_tokens=1).report


def test_a_picture_is_seen_in_every_piece(engine):
    picture = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    answer = engine.ask((picture, noise(9)), "What do you see?", **OPTIONS)
    assert len(answer.report["pieces"]) >= 3


def test_together_as_alone_and_streamed_as_asked(engine):
    items = [
        MediaQuestion(ASK, [noise(9)], OPTIONS),
        MediaQuestion("What do you hear?", [noise(2, 1)], OPTIONS),
        MediaQuestion("What do you hear?", [noise(6, 2)], OPTIONS),
    ]
    together = [answer.text for answer in engine.batch(items)]
    assert together == [engine.batch([item])[0].text for item in items]
    for item, text in zip(items, together):
        assert "".join(engine.stream(item.media[0], item.conversation, **OPTIONS)) == text


def test_the_second_question_encodes_nothing(engine):
    chat = engine.chat(noise(9, 5), **OPTIONS)
    first = chat.ask(ASK)
    encoded = engine.media.encoded
    second = chat.ask("What do you hear?")
    assert engine.media.encoded == encoded and len(second.report["pieces"]) == len(first.report["pieces"]) >= 3


def test_the_prompt_is_rendered_once_however_many_pieces_there_are(engine, monkeypatch):
    rendered, tokenise = [], prompt.tokenise
    monkeypatch.setattr(prompt, "tokenise", lambda *given, **named: rendered.append(1) or tokenise(*given, **named))
    answer = engine.ask(noise(11), "What do you hear?", **OPTIONS)
    assert len(answer.report["pieces"]) >= 3 and len(rendered) == 1
