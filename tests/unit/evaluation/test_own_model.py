"""The harness on the real engine: the tiny random model over the SAVE-mini fixture."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.errors import ConfigError
from video_salmonn.evaluation.benchmark import Options, evaluate
from video_salmonn.evaluation.conditions import requests
from video_salmonn.evaluation.engine import Engine, Request
from video_salmonn.evaluation.item import Media
from video_salmonn.evaluation.own_model import OwnModel
from video_salmonn.evaluation.predictions import read_predictions
from video_salmonn.evaluation.runner import load
from video_salmonn.evaluation.save import tasks
from video_salmonn.evaluation.save.locate import MediaIndex
from video_salmonn.inference.engine import VideoSalmonn

MINI = Path(__file__).parents[2] / "fixtures" / "save-mini"
NAMES = "gqa,presentation_qa,avm"


@pytest.fixture(scope="module")
def model():
    return OwnModel(VideoSalmonn.load("tiny"))


def ask(model, media, **more):
    return model.ask_many([Request(media, "What is it?", 6, **more)])[0]


def test_is_an_engine_and_says_what_it_is(model):
    assert isinstance(model, Engine)
    told = model.describe()
    assert told["name"] == "tiny" and told["decoding"] == "greedy" and told["dtype"] == "float32"
    assert told == OwnModel(VideoSalmonn.load("tiny")).describe(), "the same weights have the same fingerprint"
    with_other = OwnModel(VideoSalmonn.load("tiny"))
    next(iter(with_other.engine.model.parameters())).data += 1
    assert with_other.describe()["weights"] != told["weights"]


def test_a_model_that_searches_with_beams_is_evaluated_with_them(monkeypatch):
    engine = VideoSalmonn.load("tiny")
    engine.model.generation_config.update(num_beams=3, repetition_penalty=1.5, do_sample=True)
    seen = []
    generate = engine.model.generate
    monkeypatch.setattr(
        engine.model,
        "generate",
        lambda **given: seen.append((given["num_beams"], given["do_sample"])) or generate(**given),
    )
    own = OwnModel(engine)
    assert own.describe()["decoding"] == "beam search, 3 beams, repetition penalty 1.5"
    ask(own, Media())
    flag = OwnModel(engine, num_beams=1)
    assert flag.describe()["decoding"] == "greedy, repetition penalty 1.5"
    ask(flag, Media())
    assert seen == [(3, False), (1, False)], "the flag wins, and nothing is ever drawn at random"
    with pytest.raises(ConfigError, match="num_beams"):
        OwnModel(engine, num_beams=0)


def test_an_answer_keeps_its_warnings_and_the_report_counts_them(model, tmp_path, monkeypatch):
    """A context so small that the windows must be longer: the answer's warning reaches the predictions file."""
    from video_salmonn.evaluation.report import report
    from video_salmonn.evaluation.report_page import write_page

    monkeypatch.setattr(model.engine, "notices", ["the model is random"])
    this = load(tasks("ego4d_qa")[0], MINI, MediaIndex(MINI), limit=None, allow_missing=False)
    whole = model.ask_many(requests(this.task, this.items, "full"))[0].report["prompt_tokens"]
    text = model.engine.model.config.text_config
    monkeypatch.setattr(text, "max_position_embeddings", whole)  # no room for the answer
    evaluate(model, [this.task], MINI, tmp_path, Options(resamples=5))
    line = read_predictions(tmp_path / "predictions/ego4d_qa.jsonl")[0]
    assert line.warnings == [w for w in line.warnings if w.startswith("long media")] != [], (
        "and not the model's notices"
    )
    counts = json.loads((tmp_path / "results.json").read_text())["tasks"]["ego4d_qa"]["warnings"]
    assert counts["long media: windows are N times as long as usual, so details are coarser"] == 1
    assert "windows are N times" in report(tmp_path)[0].read_text()
    assert "windows are N times" in write_page(tmp_path, tmp_path / "page.md").read_text()


def test_every_kind_of_media_and_every_condition_arrives(model):
    video, image = next(MINI.glob("how2/*.mp4")), next(MINI.glob("gqa/*.jpg"))
    sound = next(MINI.glob("avssd/*.flac"))
    both = ask(model, Media(video=video)).report["media"][0]
    assert (both["seen"]["status"], both["heard"]["status"]) == ("used", "used")
    frames = ask(model, Media(video=video), use_audio=False).report["media"][0]
    assert (frames["seen"]["status"], frames["heard"]["status"]) == ("used", "off")
    heard = ask(model, Media(video=video), use_video=False).report["media"][0]
    assert (heard["seen"]["status"], heard["heard"]["status"]) == ("off", "used")
    pair = ask(model, Media(image=image, sound=sound)).report["media"][0]
    assert (pair["seen"]["status"], pair["heard"]["status"]) == ("used", "used")
    part = ask(model, Media(video=video, start=1.0, end=2.0)).report["media"][0]
    assert part["duration"] == pytest.approx(1.0, abs=0.1)
    assert ask(model, Media()).report["media"] == []
    full, fine = (ask(model, Media(video=video), zero_levels=z).report["media_tokens"] for z in ((), (1,)))
    assert full == fine > 0


def test_batches_and_a_second_run_give_the_same_files(model, tmp_path):
    for out, size in (("one", 1), ("four", 4), ("again", 1)):
        evaluate(
            model, tasks(NAMES), MINI, tmp_path / out, Options(batch_size=size, resamples=20, baselines=("no_media",))
        )
    files = sorted(p.name for p in (tmp_path / "one/predictions").iterdir())
    assert len(files) == 6
    for name in files:
        one, four, again = (tmp_path / out / "predictions" / name for out in ("one", "four", "again"))
        assert one.read_bytes() == four.read_bytes() == again.read_bytes(), name


def test_undecodable_media_fail_alone(model, tmp_path):
    import shutil

    shutil.copytree(MINI, tmp_path / "data")
    file = next((tmp_path / "data").glob("avm/*.mp4"))
    file.write_bytes(file.read_bytes()[:2000])
    entry = evaluate(model, tasks("avm"), tmp_path / "data", tmp_path / "out", Options(resamples=20))["tasks"]["avm"]
    assert file.name in entry["failed"][0]["error"] and entry["metrics"]["accuracy"]["value"] == 0


def test_command_line_with_the_tiny_model(tmp_path):
    words = ["eval", "save", "--data", MINI, "--tasks", "gqa,ego4d_qa", "--model", "tiny", "--out", tmp_path / "out"]
    words += ["--device", "cpu", "--baselines", "all", "--json"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found["tasks"]["ego4d_qa"]["baselines"]) == {"no_media", "frames_only", "sound_only"}
    assert "shuffled" in found["tasks"]["ego4d_qa"]["skipped"], (
        "the fixture has one clip, so there is none to swap with"
    )
    line = read_predictions(tmp_path / "out/predictions/ego4d_qa.jsonl")[0]
    assert line.media[0]["heard"]["status"] == "used"
    assert CliRunner().invoke(app, ["eval", "report", str(tmp_path / "out")]).exit_code == 0
    words = ["eval", "report", tmp_path / "out", "--data", MINI, "--model", "tiny", "--device", "cpu", "--json"]
    assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0
    results = tmp_path / "out/results.json"
    told = json.loads(results.read_text())
    results.write_text(json.dumps(told | {"model": told["model"] | {"weights": "0" * 16}}))
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 2 and "other weights" in json.loads(done.stdout)["error"]["message"]


def test_report_links_timelines_of_best_and_worst_items(model, tmp_path):
    import shutil

    from video_salmonn.errors import EvaluationError
    from video_salmonn.evaluation.report import report
    from video_salmonn.evaluation.timelines import Timelines

    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(MINI, data)
    (data / "save-mini.json").unlink()
    file = next(data.glob("ego4d_qa/*.json"))
    items = json.loads(file.read_text())
    file.write_text(json.dumps(items * 2))
    evaluate(model, tasks("ego4d_qa"), data, out, Options(resamples=5))
    scores = out / "scores/ego4d_qa.json"
    told = json.loads(scores.read_text())
    scores.write_text(json.dumps(told | {"metrics": {"accuracy": [1.0, 0.0]}}))
    markdown, page = report(out, Timelines(model.engine, data, out).draw)
    pages = sorted(p.relative_to(out).as_posix() for p in (out / "timelines").rglob("*.html"))
    assert len(pages) == 2 and "<svg" in (out / pages[0]).read_text()
    assert all(name in markdown.read_text() and name in page.read_text() for name in pages)
    with pytest.raises(EvaluationError, match="has no item 'x'"):
        Timelines(model.engine, data, out).draw("ego4d_qa", "x")


def test_a_level_the_model_does_not_have_is_refused(model):
    with pytest.raises(ConfigError):
        ask(model, Media(video=next(MINI.glob("how2/*.mp4"))), zero_levels=(7,))
