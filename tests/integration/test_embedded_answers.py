"""The shipped embedded model on clips of the repository that no training used: its answers rest on the media alone.

Skips, and says so, where the pretrained parts are not installed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from video_salmonn import VideoSalmonn
from video_salmonn.data.manifest import read_manifest
from video_salmonn.embedded.data.asking.common import UNKNOWN
from video_salmonn.embedded.held_out.answers import answer_all, under
from video_salmonn.errors import MissingPartError
from video_salmonn.metrics.wer import wer
from video_salmonn.training.examples import Example

GRID = Path(__file__).parents[2] / "examples" / "grid"


@pytest.fixture(scope="module")
def engine():
    try:
        return VideoSalmonn.load("embedded")
    except MissingPartError as error:
        pytest.skip(f"the embedded model's parts are not installed: {error}")


@pytest.fixture(scope="module")
def examples(engine):
    """What is said in the held-out clips."""
    made = []
    for item in read_manifest(GRID / "held_out.jsonl"):
        if item.task == "transcribe":
            (encoded,) = engine.encode([GRID / item.media["video"]])
            made.append(Example(item.id, encoded.features, item.conversation, 1.0, "as it is", item.task))
    return made


def rate(engine, examples, condition):
    """Word error rate over all words."""
    asked = [under(example, condition) for example in examples]
    answers = answer_all(engine.model, engine.processor, asked, condition=condition, new_tokens=24)
    return wer([example.conversation[-1]["content"] for example in examples], answers, resamples=1).value


def test_answers_collapse_when_the_media_tokens_are_zeroed(engine, examples):
    heard = rate(engine, examples, "full")
    assert heard <= 0.5
    assert rate(engine, examples, "zeroed") >= max(0.85, 2 * heard)
    assert rate(engine, examples, "no_media") >= max(0.85, 2 * heard)


def test_only_the_sound_tells_what_is_said(engine, examples):
    assert rate(engine, examples, "frames_only") >= 0.85
    assert rate(engine, examples, "sound_only") <= 0.5


def test_no_other_decoder_writes_into_the_prompt(engine, examples):
    """Media reach the language model as connector tokens only: prompts of one length are the same ids."""
    assert not any("decoder" in name for name, _ in engine.model.tower.named_parameters())
    frames = [example.features.sound_frames for example in examples]
    question = [{"role": "user", "content": "What words are spoken?"}]
    prompts = {
        tuple(engine.processor.render(question, [engine.processor.connector.tokens_for(n)]).input_ids) for n in frames
    }
    assert len(prompts) == len(set(frames))
    media = engine.model.config.media_token_id
    (one, *_) = prompts
    text = engine.processor.tokenizer.decode([token for token in one if token != media])
    system = ["<|im_start|>system", "<|im_end|>"]  # empty
    assert text.split() == [
        *system,
        "<|im_start|>user",
        "What",
        "words",
        "are",
        "spoken?<|im_end|>",
        "<|im_start|>assistant",
    ]


def test_an_answer_it_does_not_believe_is_declined_in_the_words_it_was_taught(engine):
    shirt = GRID.parent / "shirt.jpg"
    question = "What is written on the label?"
    declined = engine.ask(shirt, question, decline_below=1.0)
    assert declined.text == UNKNOWN
    plain = engine.ask(shirt, question, decline_below=0.0)
    if plain.text != UNKNOWN:
        assert any(warning.startswith("declined") for warning in declined.report["warnings"])
    assert engine.model.generation_config.decline_below == engine.model.config.generation.decline_below == 0.2
