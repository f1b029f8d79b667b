"""Choices by likelihood: the number itself, the reading of it, and its way through a run."""

import math
from pathlib import Path

import pytest
import torch

from engines import RuleEngine
from video_salmonn.errors import ConfigError, EvaluationError
from video_salmonn.evaluation.benchmark import Options, evaluate
from video_salmonn.evaluation.own_model import OwnModel
from video_salmonn.evaluation.predictions import read_predictions
from video_salmonn.evaluation.save import task, tasks
from video_salmonn.evaluation.scoring import score
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.metrics.likelihood import likelihood_accuracy
from video_salmonn.types import Answer, Likelihood

MINI = Path(__file__).parents[2] / "fixtures" / "save-mini"
ANSWERS = ["a dog barking", "rain", "a very long helicopter over the sea", "rain on the roof"]


@pytest.fixture(scope="module")
def engine():
    return VideoSalmonn.load("tiny")


def by_hand(engine, item, answer):
    """The log-likelihood from one whole pass over prompt and answer, without any cache."""
    (media,) = engine.encode(item.media)
    instruction = engine.processor.instruction([item.conversation])  # the question takes part in what is seen
    tokens = engine.model.connect_media([media.features], instruction).tokens[0]
    messages = [{"role": "user", "content": item.conversation}, {"role": "assistant", "content": answer}]
    made = engine.processor.render(messages, [len(tokens)], add_generation_prompt=False)
    with torch.inference_mode():
        logits = engine.model(input_ids=torch.tensor([made.input_ids]), media_embeds=tokens).logits[0]
    told = logits.double().log_softmax(-1)
    places = [i for i, label in enumerate(made.labels) if label >= 0]
    return sum(float(told[i - 1, made.input_ids[i]]) for i in places), len(places)


def test_equals_a_whole_pass_and_notices_no_neighbour(engine):
    item = MediaQuestion("What is heard?", [next(MINI.glob("how2/*.mp4"))], {})
    found = engine.likelihoods(item, ANSWERS)
    for answer, one in zip(ANSWERS, found):
        log, tokens = by_hand(engine, item, answer)
        assert one.text == answer and one.tokens == tokens == len(answer.encode()) + 1
        assert one.log == pytest.approx(log, abs=1e-3) and one.log < 0
        (alone,) = engine.likelihoods(item, [answer])
        assert alone.log == pytest.approx(one.log, abs=1e-4)


def test_media_are_encoded_once_and_the_prompt_runs_once(engine, monkeypatch):
    fresh = VideoSalmonn.load("tiny")
    passes = []
    inner = fresh.model.language_model.forward
    monkeypatch.setattr(
        fresh.model.language_model, "forward",
        lambda **given: passes.append(tuple(given["inputs_embeds"].shape[:2])) or inner(**given),
    )  # fmt: skip
    item = MediaQuestion("What is heard?", [next(MINI.glob("how2/*.mp4"))], {})
    fresh.likelihoods(item, ANSWERS)
    assert fresh.media.encoded == 1
    prompt, answers = passes
    longest = max(len(answer.encode()) for answer in ANSWERS)
    assert prompt[0] == 1 and answers == (len(ANSWERS), longest)


def test_impossible_questions_are_refused(engine):
    item = MediaQuestion("What?", [], {})
    for answers, told in (([], "no answers"), (["yes", " "], "empty")):
        with pytest.raises(ConfigError, match=told):
            engine.likelihoods(item, answers)
    with pytest.raises(ConfigError, match="stretch by stretch"):
        engine.likelihoods(MediaQuestion("What?", [], {"long": "segments"}), ["yes"])
    assert engine.likelihoods(item, ["yes"])[0].log < 0, "without media as well"


def row(*logs, tokens=None):
    counts = tokens or [1] * len(logs)
    return [Likelihood(text, log, n) for text, log, n in zip("abcde", logs, counts)]


def test_sum_and_mean_can_choose_differently():
    rows = [row(-2.0, -3.0, tokens=[1, 3]), row(-1.0, -4.0), []]
    found = likelihood_accuracy(rows, ["a", "b", "a"], resamples=10)
    assert found["likelihood_accuracy"].items == (1.0, 0.0, 0.0)
    assert found["likelihood_mean_accuracy"].items == (0.0, 0.0, 0.0)
    assert likelihood_accuracy([row(-1.0, -1.0)], ["a"])["likelihood_accuracy"].value == 1, "of equals the first"
    with pytest.raises(EvaluationError, match="is none of the answers"):
        likelihood_accuracy([row(-1.0)], ["z"])


def test_runs_store_it_beside_the_generated_reading(engine, tmp_path):
    this = tasks("presentation_qa,avm,gqa")
    options = Options(resamples=10, likelihood=True, baselines=("no_media",))
    results = evaluate(OwnModel(engine), this, MINI, tmp_path / "a", options)
    assert results["choices"] == "likelihood"
    assert set(results["tasks"]["presentation_qa"]["metrics"]) == {
        "accuracy", "likelihood_accuracy", "likelihood_mean_accuracy",
    }  # fmt: skip
    assert set(results["tasks"]["gqa"]["metrics"]) == {"accuracy"}
    (line,) = read_predictions(tmp_path / "a/predictions/presentation_qa.jsonl")
    assert [one.text for one in line.likelihoods] == list(line.candidates)
    best = max(line.likelihoods, key=lambda one: one.log).text
    right = results["tasks"]["presentation_qa"]["metrics"]["likelihood_accuracy"]["value"]
    assert right == float(best == line.references[0])
    matching = read_predictions(tmp_path / "a/predictions/avm.jsonl")
    assert {one.text for line in matching for one in line.likelihoods} == {"Yes", "No"}
    alone = read_predictions(tmp_path / "a/predictions/presentation_qa.no_media.jsonl")[0]
    assert [one.log for one in alone.likelihoods] != [one.log for one in line.likelihoods]
    with pytest.raises(ConfigError, match="choices"):
        evaluate(OwnModel(engine), this, MINI, tmp_path / "a", Options(resamples=10, resume=True))


def test_files_with_impossible_likelihoods_are_refused(tmp_path):
    file = tmp_path / "p.jsonl"
    start = '{"id": "x", "prediction": "A", "reference": "a", "candidates": ["a"], "likelihoods": '
    for value in ('[{"text": "a", "log": NaN, "tokens": 1}]', '[{"text": "a", "log": 0.5, "tokens": 1}]', '[3]', '7',
                  '[{"text": "a", "log": -1, "tokens": 0}]'):  # fmt: skip
        file.write_text(start + value + "}\n")
        with pytest.raises(EvaluationError, match=r"line 1 \(id 'x'\).*likelihood"):
            read_predictions(file)
    without = '{"id": "y", "prediction": "A", "reference": "a", "candidates": ["a"]}'
    file.write_text(start + '[{"text": "a", "log": -1, "tokens": 2}]}\n' + without + "\n")
    with pytest.raises(EvaluationError, match="no likelihoods of their candidates and others do, among them 'y'"):
        score(task("nextqa"), read_predictions(file))


def test_an_engine_that_tells_none_is_an_error(data, tmp_path):
    with pytest.raises(EvaluationError, match="returned no likelihoods"):
        evaluate(RuleEngine(), tasks("nextqa"), data, tmp_path / "out", Options(likelihood=True))


def test_a_failed_item_counts_as_wrong(data, tmp_path):
    class Ranks(RuleEngine):
        def answer(self, request, paths):
            told = [{"text": t, "log": -float(math.log(2 + i)), "tokens": 1} for i, t in enumerate(request.candidates)]
            return Answer(super().answer(request, paths).text, {"likelihoods": told})

    engine = Ranks(broken=["2574374895.mp4"])
    entry = evaluate(engine, tasks("nextqa"), data, tmp_path / "out", Options(likelihood=True, resamples=5))
    found = entry["tasks"]["nextqa"]
    assert len(found["failed"]) == 1 and found["metrics"]["likelihood_accuracy"]["value"] <= 0.5
