"""Transcripts decoded jointly with CTC, and answers that would loop, through every front door (a random model)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from made_sound import noise
from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny, load_model
from video_salmonn.errors import ConfigError
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.training.checkpointing import load_trained, trained_tensors

MEDIA = Path(__file__).parents[1] / "fixtures" / "media"
ASK = "What is said?"
COLUMNS = [6, *range(7, 384)]
OPTIONS = {"max_new_tokens": 12}


@pytest.fixture(scope="module")
def speaker():
    """A random model that is said to say words."""
    model, processor = build_tiny()
    model.set_words(COLUMNS)
    model.generation_config.joint_ctc = "auto"
    return VideoSalmonn(model, processor)


def test_only_questions_for_the_words_are_decoded_jointly(speaker):
    sound = noise(3)
    plain = speaker.ask(sound, ASK, joint_ctc="off", **OPTIONS)
    joint = speaker.ask(sound, ASK, joint_ctc_weight=0.9, **OPTIONS)
    assert joint.report["joint_ctc"] is True and "joint_ctc" not in plain.report
    assert joint.text != plain.text
    other = speaker.ask(sound, "What do you hear?", **OPTIONS)
    assert "joint_ctc" not in other.report
    assert other.text == speaker.ask(sound, "What do you hear?", joint_ctc="off", **OPTIONS).text
    forced = speaker.ask(sound, "What do you hear?", joint_ctc="on", **OPTIONS)
    assert forced.report["joint_ctc"] is True


def test_ctc_alone_says_what_the_outputs_say(speaker):
    sound = noise(3)
    answer = speaker.ask(sound, ASK, joint_ctc="on", joint_ctc_weight=1.0, num_beams=4, max_new_tokens=40)
    tokens = speaker.prepare(sound, ASK).media_embeds
    best = torch.unique_consecutive(speaker.model.words.log_posteriors(tokens[None])[0].argmax(-1))
    greedy = speaker.processor.tokenizer.decode([COLUMNS[c] for c in best.tolist() if c]).strip()
    assert answer.report["new_tokens"] <= len(tokens) and abs(len(answer.text) - len(greedy)) <= 0.5 * len(greedy) + 3


@pytest.mark.parametrize("beams", [1, 3])
def test_items_answered_together_get_what_they_get_alone(speaker, beams):
    options = {**OPTIONS, "num_beams": beams}
    items = [
        MediaQuestion(ASK, [noise(3)], options),
        MediaQuestion("What do you hear?", [noise(2, 1)], options),
        MediaQuestion("What is said?", [MEDIA / "flower.webm"], {**options, "no_audio": True}),
        MediaQuestion("Please transcribe this recording of a person who speaks.", [noise(1, 2)], options),
        MediaQuestion("Write down what is said.", [], options),
    ]
    together = speaker.batch(items)
    for item, answer in zip(items, together):
        assert speaker.batch([item])[0].text == answer.text
    assert [answer.report.get("joint_ctc", False) for answer in together] == [True, False, False, True, False]


def test_a_stream_says_the_same(speaker):
    sound = noise(3)
    assert "".join(speaker.stream(sound, ASK, **OPTIONS)) == speaker.ask(sound, ASK, **OPTIONS).text


def test_a_model_without_word_outputs_says_why_it_cannot():
    engine = VideoSalmonn.load("tiny")
    with pytest.raises(ConfigError, match="not trained to say words"):
        engine.ask(noise(1), ASK, joint_ctc="on", **OPTIONS)
    auto = engine.ask(noise(1), ASK, joint_ctc="auto", **OPTIONS)
    assert auto.text == engine.ask(noise(1), ASK, **OPTIONS).text


@pytest.mark.parametrize("option", [{"joint_ctc": "perhaps"}, {"joint_ctc_weight": 2}, {"stop_repeats": -1}])
def test_impossible_values_are_refused_by_name(speaker, option):
    with pytest.raises(ConfigError, match=next(iter(option))):
        speaker.ask(noise(1), ASK, **option)


def test_a_saved_model_knows_its_words_and_options(speaker, tmp_path):
    model = speaker.model
    model.generation_config.stop_repeats = 5
    try:
        model.save_pretrained(tmp_path)
    finally:
        model.generation_config.stop_repeats = 0
    speaker.processor.save_pretrained(tmp_path)
    loaded, processor = load_model(tmp_path, torch.bfloat16)
    assert loaded.words.columns.tolist() == COLUMNS and loaded.words.openings.tolist() == COLUMNS
    assert loaded.generation_config.joint_ctc == "auto" and loaded.generation_config.stop_repeats == 5
    again = VideoSalmonn(loaded.float(), processor).ask(noise(2), ASK, **OPTIONS)
    assert again.report["joint_ctc"] is True


def test_a_checkpoint_brings_its_words_to_a_model_without(speaker, tmp_path):
    from safetensors.torch import save_file

    for name, values in trained_tensors(speaker.model).items():
        save_file(values, tmp_path / name)
    other, _ = build_tiny(seed=1)
    load_trained(other, tmp_path)
    assert other.words.columns.tolist() == COLUMNS and other.config.words == len(COLUMNS)


@pytest.fixture
def looping():
    """A model whose head says six letters over and over, whatever it is asked."""
    model, processor = build_tiny()
    letters = processor.tokenizer("abcdef", add_special_tokens=False).input_ids

    def say(module, arguments, logits):
        said = say.count
        say.count += 1
        logits = torch.full_like(logits, -50.0)
        logits[..., letters[said % len(letters)]] = 0.0
        return logits

    say.count = 0
    model.language_model.lm_head.register_forward_hook(say)
    return VideoSalmonn(model, processor), say


@pytest.mark.parametrize("beams", [1, 2])
def test_an_answer_that_loops_is_ended_and_said_once(looping, beams):
    engine, say = looping
    options = {"max_new_tokens": 60, "num_beams": beams}
    endless = engine.ask(noise(1), "What do you hear?", **options)
    assert endless.text.startswith("abcdefabcdef") and len(endless.text) == 60
    say.count = 0
    answer = engine.ask(noise(1), "What do you hear?", stop_repeats=4, **options)
    assert answer.text == "abcdef" and answer.report["new_tokens"] == 24
    assert any("repeated itself" in warning and "'abcdef', 4 times" in warning for warning in answer.report["warnings"])


def test_a_stream_never_shows_the_loop(looping):
    engine, _ = looping
    pieces = engine.stream(noise(1), "What do you hear?", stop_repeats=4, max_new_tokens=60)
    assert "".join(pieces) == "abcdef"
