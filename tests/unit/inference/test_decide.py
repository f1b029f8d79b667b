"""Decisions: probabilities are those of likelihoods, and many questions cost one encoded clip and one shared prompt."""

import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.checkpoints.shipped import ASSETS, shipped_weights
from video_salmonn.errors import CheckpointError, ConfigError, ContextError, MediaError
from video_salmonn.inference import calibration
from video_salmonn.inference.calibration import (
    Calibration,
    expected_calibration_error,
    fit,
    read_calibration,
    reliability,
    write_calibration,
)
from video_salmonn.inference.decide import Choice, Option, Predicate, Score, probabilities, text_of
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.model.presets import tiny

CLIP = Path(__file__).parents[3] / "examples" / "grid" / "swbo8n.mp4"
COLOURS = Choice("Which colour is said?", tuple(Option(value) for value in ("white", "blue", "green", "dark red")))


def made(about_the_question):
    """A tiny model whose pictures are, or are not, looked at with the question in mind."""
    config = tiny()
    if not about_the_question:
        config.qformer_config = None
        config.connector_config.visual_tokens = 5
    return VideoSalmonn(*build_tiny(config=config))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "instructblip"])
def model(request):
    return made(request.param)


def test_a_choice_has_the_probabilities_of_its_spellings(model):
    (answer,) = model.decide(CLIP, [COLOURS]).answers
    texts = [f for o in COLOURS.choices for f in (o.value, o.value[0].upper() + o.value[1:] + ".")]
    told = [one.log for one in model.likelihoods(MediaQuestion(COLOURS.instructions, [CLIP]), texts)]
    sums = [math.log(math.exp(a) + math.exp(b)) for a, b in zip(told[::2], told[1::2])]
    wanted = probabilities(sums)
    found = [one["probability"] for one in answer["probabilities"]]
    assert found == pytest.approx(wanted, rel=1e-3)
    top = max(range(4), key=wanted.__getitem__)
    assert answer["choice"] == COLOURS.choices[top].value
    assert answer["mass"] == pytest.approx(sum(map(math.exp, sums)), rel=1e-3, abs=0)
    assert answer["confidence"] == pytest.approx(wanted[top] * answer["mass"], rel=1e-3, abs=0)


def test_each_question_gets_the_answer_it_gets_alone(model):
    questions = [
        Predicate("Is anybody speaking?", "speech"),
        COLOURS,
        Predicate("A man is speaking."),
        Score("How loud is it?", (Option("silent"), Option("quiet"), Option("loud"))),
        Choice("Is it day?", (Option(True), Option(False, "at night"))),
        Predicate("Is it?"),
    ]
    together = model.decide(CLIP, questions)
    assert [a["type"] for a in together.answers] == ["predicate", "choice", "predicate", "score", "choice", "predicate"]
    assert together.answers[0]["name"] == "speech" and together.answers[4]["choice"] in (True, False)
    for question, answer in zip(questions, together.answers):
        (alone,) = model.decide(CLIP, [question]).answers
        for name in {"probability", "score", "mass", "confidence"} & set(answer):
            assert answer[name] == pytest.approx(alone[name], rel=1e-3, abs=0), question
    levels = together.answers[3]
    assert levels["score"] == pytest.approx(sum(n * p["probability"] for n, p in enumerate(levels["probabilities"])))


def test_many_questions_cost_one_clip(monkeypatch):
    fresh, calls, seen = made(False), [], []
    plain = fresh.model.forward
    connect = fresh.model.connect_media

    def forward(*arguments, **named):
        given = named.get("input_ids", named.get("inputs_embeds"))
        calls.append((named.get("media_embeds") is not None, given.shape[1]))
        return plain(*arguments, **named)

    monkeypatch.setattr(fresh.model, "forward", forward)
    monkeypatch.setattr(fresh.model, "connect_media", lambda *a: seen.append(1) or connect(*a))
    found = fresh.decide(CLIP, [Predicate(f"Is it number {n}?") for n in range(8)])
    assert len(found.answers) == 8 and fresh.media.encoded == 1 and len(seen) == 1
    report = found.report
    assert calls[0] == (True, report["shared_tokens"])
    assert not any(media for media, _ in calls[1:]) and max(length for _, length in calls[1:]) < 40
    assert report["media"][0]["heard"]["status"] == "used" and report["media_tokens"] < report["shared_tokens"]


def test_what_was_said_before_is_part_of_the_question(model):
    context = [
        {"role": "user", "content": [{"type": "media"}, {"type": "text", "text": "What is said?"}]},
        {"role": "assistant", "content": "Nothing."},
    ]
    with_it = model.decide(CLIP, [COLOURS], context=context).answers[0]
    assert with_it["mass"] != pytest.approx(model.decide(CLIP, [COLOURS]).answers[0]["mass"], rel=1e-3, abs=0)
    (alone,) = model.decide(None, [COLOURS]).answers
    assert alone["mass"] != pytest.approx(with_it["mass"], rel=1e-3, abs=0)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"type": "predicate", "instructions": " "}, "no instructions"),
        ({"type": "hat", "instructions": "?"}, "type 'hat'"),
        ({"type": "choice", "instructions": "Which?", "choices": [{"value": "a"}]}, "1 choice"),
        ({"type": "choice", "instructions": "Which?", "choices": [{"value": "a"}, {"value": " a "}]}, "the same"),
        ({"type": "score", "instructions": "How?", "levels": [{"label": ""}, {"label": "b"}]}, "empty"),
        ({"type": "predicate", "instructions": "\ud800?"}, "Unicode"),
        ({"type": "predicate", "instructions": 3}, "not text"),
        ({"type": "choice", "instructions": "Which?", "choices": "abc"}, "choices is str"),
        ({"type": "choice", "instructions": "Which?", "choices": ["a", "b"]}, "choices holds 'a'"),
        ({"type": "choice", "instructions": "Which?", "choices": [{"val": "a"}, {"val": "b"}]}, "choices holds {'val'"),
        ({"type": "choice", "instructions": "Which?", "choices": [{"value": 1}, {"value": 2}]}, "a choice is int"),
        ({"type": "score", "instructions": "How?", "levels": [{"label": "a", "description": 5}] * 2}, "a description"),
        (Choice("Which?", ("a", "b")), "choices of a question are"),
        ("Is it so?", "a question is str"),
        (None, "a question is NoneType"),
    ],
)
def test_questions_that_cannot_be_decided(model, question, words):
    with pytest.raises(ConfigError, match=words):
        model.decide(CLIP, [question])


@pytest.mark.parametrize("questions", [None, "Is it so?", {"type": "predicate", "instructions": "?"}, 5])
def test_questions_are_a_list(model, questions):
    with pytest.raises(ConfigError, match="the questions are"):
        model.decide(CLIP, questions)


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ("Hello", "context is str"),
        (5, "context is int"),
        (["Hello"], "a message is str"),
        ([{"role": "user", "content": 5}], "content of a message is int"),
        ([{"role": "user", "content": [{"type": "hat"}]}], "unknown content part"),
        ([{"role": "parrot", "content": "Hello"}], "unknown role"),
    ],
)
def test_a_context_that_is_no_conversation_is_refused(model, context, words):
    with pytest.raises(ConfigError, match=words):
        model.decide(CLIP, [COLOURS], context=context)


def test_decide_fails(model):
    for questions, options, error in (
        ([], {}, ConfigError),
        ([COLOURS], {"long": "segments"}, ConfigError),
        ([COLOURS], {"no_audio": True, "no_video": True}, ConfigError),
        ([Predicate("Is it " + "so " * 3000)], {}, ContextError),
    ):
        with pytest.raises(error):
            model.decide(CLIP, questions, **options)
    with pytest.raises(MediaError):
        model.decide("no-such-file.mp4", [COLOURS])

    def leave():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.decide(CLIP, [COLOURS], on_step=leave)


def test_statements_become_questions():
    assert text_of(Predicate("Is it so?")) == "Is it so?"
    assert text_of(Predicate("tell me whether it rains")) == "tell me whether it rains"
    assert text_of(Predicate("It rains.")) == 'Is this true? "It rains." Answer yes or no.'
    assert text_of(Choice("Which?", (Option("a", "the first"), Option("b")))) == "Which? Choices: a (the first); b."
    assert text_of(Score("How?", (Option("low"), Option("high")))) == "How? Levels, from the lowest: low, high."


def test_temperature_and_bias_are_found_again():
    rng = random.Random(0)
    logs, right = [], []
    for _ in range(3000):
        share = min(max(rng.random(), 1e-3), 1 - 1e-3)
        right.append(int(rng.random() >= share))
        logs.append([3 * (math.log(share) - 0.5), 3 * math.log(1 - share)])  # three times too sure, and rather no
    temperature, bias = fit(logs, right, bias=True)
    assert (temperature, bias) == (pytest.approx(3.0, rel=0.1), pytest.approx(0.5, abs=0.1))
    assert fit([row[::-1] for row in logs], [1 - place for place in right])[1] == 0.0
    sure = [probabilities(row)[0] for row in logs]
    calm = [probabilities(row, temperature, bias)[0] for row in logs]
    truth = [place == 0 for place in right]
    assert expected_calibration_error(calm, truth) < 0.04 < 0.1 < expected_calibration_error(sure, truth)
    table = reliability([0.05, 0.15, 0.95, 1.0], [False, True, True, True])
    assert [(row.items, row.true) for row in table] == [(1, 0.0), (1, 1.0), (2, 1.0)]


def test_a_models_own_temperature_is_used_and_told(model, tmp_path, monkeypatch):
    path = tmp_path / calibration.FILE
    kept = Calibration({"choice": 4.0}, {"predicate": -2.0}, {"choice": {"items": 9, "error": 0.1}})
    write_calibration(path, kept)
    assert read_calibration(path) == kept
    plain = model.decide(CLIP, [COLOURS])
    assert plain.report["calibration"]["choice"]["expected_calibration_error"] == "not measured"
    monkeypatch.setattr(model, "name", str(tmp_path))
    found = model.decide(CLIP, [COLOURS])
    told = found.report["calibration"]["choice"]
    assert told == {"temperature": 4.0, "bias": 0.0, "expected_calibration_error": 0.1, "items": 9}
    flat, steep = ([p["probability"] for p in d.answers[0]["probabilities"]] for d in (found, plain))
    assert max(flat) < max(steep)
    for bad in ("{", json.dumps({"temperatures": {"choice": 0}}), json.dumps([1])):
        path.write_text(bad)
        with pytest.raises(CheckpointError, match=r"decisions\.json"):
            model.decide(CLIP, [COLOURS])


def test_what_was_fitted_on_other_weights_does_not_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "ASSETS", tmp_path)
    write_calibration(tmp_path / calibration.FILE, Calibration({"predicate": 3.0}, weights=shipped_weights()))
    embedded = SimpleNamespace(name="embedded")
    assert calibration.calibration_of(embedded.name).temperature("predicate") == 3.0
    write_calibration(tmp_path / calibration.FILE, Calibration({"predicate": 3.0}, weights="0123456789ab"))
    assert calibration.calibration_of(embedded.name) == Calibration()


def test_the_calibration_that_ships_is_that_of_the_weights_that_ship():
    path = ASSETS / calibration.FILE
    assert not path.is_file() or read_calibration(path).weights == shipped_weights()
