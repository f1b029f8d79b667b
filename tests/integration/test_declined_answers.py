"""Answers that the model holds unlikely are declined through every front door, and the report says so."""

from __future__ import annotations

import pytest
import torch

from made_sound import noise
from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny, load_model
from video_salmonn.errors import ConfigError
from video_salmonn.inference.questions import MediaQuestion

DECLINED = "cannot say"
QUESTION = "What do you hear?"
OPTIONS = {"max_new_tokens": 20}


@pytest.fixture(scope="module")
def engine():
    """A random model, whose every token is about as likely as any other, and which knows what to say instead."""
    model, processor = build_tiny()
    model.generation_config.decline_ids = processor.tokenizer(DECLINED, add_special_tokens=False).input_ids
    return VideoSalmonn(model, processor)


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"do_sample": True, "seed": 1}])
def test_an_unlikely_answer_is_declined_and_told(engine, how):
    plain = engine.ask(noise(2), QUESTION, **OPTIONS, **how)
    answer = engine.ask(noise(2), QUESTION, decline_below=0.9, **OPTIONS, **how)
    assert answer.text == DECLINED != plain.text
    (told,) = [warning for warning in answer.report["warnings"] if warning.startswith("declined")]
    assert "decline_below 0.9" in told and "least likely token 0.0" in told
    likely = engine.ask(noise(2), QUESTION, decline_below=1e-9, **OPTIONS, **how)
    assert likely.text == plain.text and likely.report["warnings"] == plain.report["warnings"]


def test_an_answer_that_will_be_declined_is_not_generated_to_its_end(engine):
    assert engine.ask(noise(2), QUESTION, **OPTIONS).report["new_tokens"] > 8
    assert engine.ask(noise(2), QUESTION, decline_below=0.9, **OPTIONS).report["new_tokens"] == 8


def test_transcripts_and_questions_without_media_are_not_declined(engine):
    for media, question in ((noise(2), "What is said?"), (None, QUESTION)):
        plain = engine.ask(media, question, **OPTIONS)
        assert engine.ask(media, question, decline_below=0.9, **OPTIONS).text == plain.text
    items = [
        MediaQuestion(question, media, {**OPTIONS, "decline_below": 0.9})
        for question, media in ((QUESTION, [noise(2)]), ("What is said?", [noise(3)]), ("Who?", []))
    ]
    together = engine.batch(items)
    assert [answer.text == DECLINED for answer in together] == [True, False, False]
    assert [answer.text for answer in together] == [engine.batch([item])[0].text for item in items]


def test_a_stream_says_the_same(engine):
    for below in (0.0, 1e-9, 0.9):
        said = "".join(engine.stream(noise(2), QUESTION, decline_below=below, **OPTIONS))
        assert said == engine.ask(noise(2), QUESTION, decline_below=below, **OPTIONS).text


def test_the_pieces_of_long_media_are_declined_one_by_one(engine):
    answer = engine.ask(noise(9), QUESTION, decline_below=0.9, piece_seconds=3, **OPTIONS)
    assert DECLINED in answer.text and any("declined" in warning for warning in answer.report["warnings"])
    assert "".join(engine.stream(noise(9), QUESTION, decline_below=0.9, piece_seconds=3, **OPTIONS)) == answer.text


def test_a_conversation_continues_after_a_declined_answer(engine):
    session = engine.chat(noise(2), decline_below=0.9, **OPTIONS)
    assert session.ask(QUESTION).text == DECLINED
    assert session.ask("And what else?").text == DECLINED


def test_the_models_own_generate_declines_where_it_is_told_what_transcribes(engine):
    model, processor = engine.model, engine.processor
    clip = processor.load(noise(2))
    batch = dict(processor([QUESTION, "What is said?"], media=[[clip], [clip]]))
    start = batch["input_ids"].shape[1]

    def said(**options):
        rows = model.generate(**batch, max_new_tokens=12, decline_below=0.9, **options)[:, start:]
        return processor.tokenizer.batch_decode(rows, skip_special_tokens=True)

    assert [text == DECLINED for text in said(transcribes=[False, True])] == [True, False]
    assert DECLINED not in said()
    assert [text == DECLINED for text in said(transcribes=[False, False], num_beams=2, num_return_sequences=2)] == (
        [True] * 4
    )
    whole = model.generate(
        **batch, max_new_tokens=12, decline_below=0.9, transcribes=[False, False], return_dict_in_generate=True
    )
    assert (whole.sequences[:, :start] == batch["input_ids"]).all()
    assert processor.tokenizer.batch_decode(whole.sequences[:, start:], skip_special_tokens=True) == [DECLINED] * 2


def test_a_model_that_has_nothing_to_say_instead_says_so():
    engine = VideoSalmonn.load("tiny")
    with pytest.raises(ConfigError, match=r"decline_below is 0\.5, but this model has no answer"):
        engine.ask(noise(1), QUESTION, decline_below=0.5)


@pytest.mark.parametrize("value", [-1, 2, "x", float("nan")])
def test_impossible_thresholds_are_refused_by_name(engine, value):
    with pytest.raises(ConfigError, match="decline_below"):
        engine.ask(noise(1), QUESTION, decline_below=value)
    with pytest.raises(ConfigError, match="decline_ids"):
        engine.ask(noise(1), QUESTION, decline_ids=[1])


def test_a_saved_model_declines_as_it_did(engine, tmp_path):
    model = engine.model
    model.generation_config.decline_below = 0.9
    try:
        model.save_pretrained(tmp_path)
    finally:
        model.generation_config.decline_below = 0.0
    engine.processor.save_pretrained(tmp_path)
    loaded, processor = load_model(tmp_path, torch.float32)
    assert VideoSalmonn(loaded, processor).ask(noise(2), QUESTION, **OPTIONS).text == DECLINED
