import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines import RuleEngine
from video_salmonn.cli.main import app
from video_salmonn.metrics.coco_java import CORENLP_JARS


@pytest.fixture
def rule(monkeypatch):
    """Put the rule engine in the model's place: what is tested is what the commands do with answers."""
    monkeypatch.setattr("video_salmonn.cli.checks.check_model", lambda *_: None)
    monkeypatch.setattr("video_salmonn.cli.options.load_engine", lambda model, *_, **__: model)
    monkeypatch.setattr("video_salmonn.evaluation.own_model.OwnModel", lambda model, **_: RuleEngine(name=model))


@pytest.fixture
def call():
    """Run a command line; (exit code, stdout)."""

    def run(*words):
        done = CliRunner().invoke(app, ["eval", *map(str, words)])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout

    return run


def test_command_line_of_the_contract(call, rule, data, tmp_path):
    out = tmp_path / "out"
    words = ("save", "--data", data, "--tasks", "gqa,avm", "--model", "m", "--out", out, "--limit", 2)
    code, text = call(*words, "--baselines", "no_media", "--json")
    assert code == 0 and json.loads(text)["tasks"]["avm"]["n"] == 2
    assert (out / "predictions/avm.no_media.jsonl").is_file()
    code, text = call(*words, "--json")
    assert code == 2 and json.loads(text)["error"]["type"] == "ConfigError"
    code, text = call(*words, "--resume", "--baselines", "whisper")
    assert code == 0 and "accuracy" in text and "whisper left out: the task asks for no transcript" in text

    code, text = call("score", "--task", "gqa", "--predictions", out / "predictions/gqa.jsonl", "--json")
    found = json.loads(text)
    assert code == 0 and set(found) >= {"task", "n", "metrics", "unparsed"}
    assert set(found["metrics"]["accuracy"]) == {"value", "low", "high"}
    code, text = call(
        "score", "--task", "gqa", "--predictions", out / "predictions/gqa.jsonl", "--data", data, "--json"
    )
    assert code == 0


def test_score_refuses_incomplete_and_foreign_files(call, rule, data, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"id": "gqa-00000", "prediction": "no", "reference": "no"}\n')
    code, text = call("score", "--task", "gqa", "--predictions", file, "--json")
    assert code == 0 and json.loads(text)["metrics"]["accuracy"] == {"value": 1.0, "low": None, "high": None}
    code, text = call("score", "--task", "gqa", "--predictions", file, "--data", data, "--json")
    assert code == 2 and "1 of 2 items has no prediction" in json.loads(text)["error"]["message"]
    code, text = call("score", "--task", "nope", "--predictions", file, "--json")
    assert code == 2 and json.loads(text)["error"]["remedy"]


def test_missing_flags_and_half_a_judge_are_usage_errors(call, rule, data, tmp_path):
    code, text = call("save", "--data", data, "--json")
    assert code == 2 and "--model, --out" in json.loads(text)["error"]["message"]
    words = (
        "save",
        "--data",
        data,
        "--tasks",
        "avssd",
        "--model",
        "m",
        "--out",
        tmp_path / "o",
        "--judge-url",
        "http://x",
    )
    code, text = call(*words, "--json")
    assert code == 2 and "--judge-model" in json.loads(text)["error"]["message"]


def test_check(call, rule, data, tmp_path):
    code, text = call("save", "check", "--data", data, "--json")
    found = json.loads(text)
    assert code == 1 and len(found) == 14 and sum(entry["ok"] for entry in found) == 2
    code, text = call("save", "check", "--data", data, "--tasks", "audiocaps,music_avqa")
    assert code == 0 and "complete" in text and "not known" in text
    code, text = call("save", "check", "--data", tmp_path / "none", "--json")
    assert code == 2 and "no such folder" in json.loads(text)["error"]["message"]


class Text(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_report(call, rule, data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(RuleEngine, "answer", _hostile(RuleEngine.answer))
    words = ("--tasks", "gqa,how2,nextqa", "--model", "m|x", "--baselines", "no_media")
    assert call("save", "--data", data, *words, "--out", out)[0] == 0
    code, text = call("report", out, "--json")
    assert code == 0
    markdown, page = (Path(json.loads(text)[kind]).read_text(encoding="utf-8") for kind in ("markdown", "html"))
    for told in ("0.4480 (table 2)", "not measured here", "no\\_media", "Best items by wer", "SHA-256"):
        assert told in markdown, told
    parsed = Text(page)
    assert "svg" in parsed.tags and "script" not in parsed.tags and "b" not in parsed.tags
    assert "<b>yes</b>" in parsed.text and "seen: used 0.0–2.0 s" in parsed.text
    for line in markdown.splitlines():
        if line.startswith("| gqa"):
            assert line.replace("\\|", "").count("|") == 6
    assert "paper, table 5" not in markdown
    code, text = call("report", tmp_path / "none", "--json")
    assert code == 2 and "results.json" in json.loads(text)["error"]["message"]


def test_levels_stand_beside_the_papers(call, rule, data, tmp_path):
    words = ("save", "--data", data, "--tasks", "nextqa,avm,how2", "--model", "/somewhere/m", "--out", tmp_path / "o")
    assert call(*words, "--baselines", "fine_only,coarse_only,no_media,whisper", "--resamples", 5)[0] == 0
    page = tmp_path / "page.md"
    code, text = call("report", tmp_path / "o", "--docs", page, "--repeat", "make it", "--json")
    assert code == 0 and json.loads(text)["docs"] == str(page)
    lines = (tmp_path / "o/report.md").read_text().splitlines()
    line = next(line for line in lines if line.startswith("| nextqa | accuracy") and line.count("|") == 9)
    assert line.endswith("| 0.496 | 0.144 | 0.419 |")
    told = page.read_text()
    found = json.loads((tmp_path / "o/results.json").read_text())["tasks"]["avm"]
    for condition, scored in {"full": found, **found["baselines"]}.items():
        value = scored["metrics"]["accuracy"]
        assert f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" in told, condition
    assert "how2: wer ↓" in told and "make it" in told and "names no recogniser" in told
    assert "| processes | 1 |" in told and "of the first of" not in told
    assert "/somewhere" not in told and str(tmp_path) not in told, "a page to commit names no folder"


def _hostile(answer):
    def answer_with_markup(self, request, paths):
        got = answer(self, request, paths)
        got.text += " <b>yes</b> | <script>alert(1)</script> no"
        return got

    return answer_with_markup


def test_setup_spice(call, tmp_path, monkeypatch):
    import zipfile

    monkeypatch.setenv("VIDEO_SALMONN_CORENLP", str(tmp_path / "place"))
    code, text = call("setup-spice", "--json")
    assert code == 1 and json.loads(text)["missing"] == list(CORENLP_JARS)
    (tmp_path / "source").mkdir()
    code, text = call("setup-spice", "--from", tmp_path / "source", "--json")
    assert code == 2 and CORENLP_JARS[0] in json.loads(text)["error"]["message"]
    for name in CORENLP_JARS:
        (tmp_path / "source" / name).write_bytes(b"no jar")
    code, text = call("setup-spice", "--from", tmp_path / "source", "--json")
    assert code == 2 and "damaged" in json.loads(text)["error"]["message"]
    for name in CORENLP_JARS:
        with zipfile.ZipFile(tmp_path / "source" / name, "w") as jar:
            jar.writestr("META-INF/MANIFEST.MF", "")
    code, text = call("setup-spice", "--from", tmp_path / "source", "--json")
    assert code == 0 and json.loads(text)["missing"] == [] and (tmp_path / "place" / CORENLP_JARS[1]).is_file()
