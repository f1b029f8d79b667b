"""The lmms-eval plugin. The suite runs without lmms-eval; with it installed, a two-row task runs end to end."""

import importlib.util
import json
import tomllib
from pathlib import Path

import pytest

from video_salmonn.errors import ConfigError, MissingPartError
from video_salmonn.evaluation.lmms_manifest import INSTALL

ROOT = Path(__file__).parents[3]
MINI = ROOT / "tests" / "fixtures" / "save-mini"
HERE = importlib.util.find_spec("lmms_eval") is not None
needs_lmms = pytest.mark.skipif(not HERE, reason="lmms-eval is not installed (it is no dependency)")


def test_entry_point_names_something_that_exists():
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lmms_eval.models"]
    module, _, name = points["video_salmonn"].partition(":")
    source = importlib.util.find_spec(module).origin
    assert f"def {name}(" in Path(source).read_text()


def test_docs_and_make_install_the_lmms_eval_that_was_tried():
    docs, make = (ROOT / "docs" / "evaluation.md").read_text(), (ROOT / "Makefile").read_text()
    for command in INSTALL:
        assert f"$ {command}\n" in docs
        assert command.removeprefix("pip install ") in make


@pytest.mark.skipif(not HERE, reason="lmms-eval is not installed")
def test_lmms_evals_own_start_works_with_what_is_installed(recwarn):
    """What failed with filelock 4: the patch lmms-eval makes before anything else."""
    from lmms_eval import evaluator

    from video_salmonn.evaluation.lmms_manifest import manifest

    evaluator._enable_reentrant_filelocks()
    assert manifest().model_id == "video_salmonn"
    assert not [warning for warning in recwarn if "filelock" in str(warning.message)]


@pytest.mark.skipif(HERE, reason="lmms-eval is installed")
def test_without_lmms_eval_the_error_says_what_to_install():
    with pytest.raises(MissingPartError, match="lmms-eval is not installed") as caught:
        importlib.import_module("video_salmonn.evaluation.lmms_eval")
    assert "pip install" in caught.value.remedy


@needs_lmms
def test_messages_become_media_in_order_with_their_sounds():
    from video_salmonn.evaluation.lmms_eval import read_messages

    def part(kind, **more):
        return {"type": kind, **more}

    text = part("text", text="What is said?")
    user = {"role": "user", "content": [part("video", url="a.mp4", start_time=1.0, end_time=3.0), text]}
    assert read_messages([user]) == (
        [{"role": "user", "content": "What is said?"}], ["a.mp4"], {"start": 1.0, "end": 3.0},
    )  # fmt: skip
    pair = {"role": "user", "content": [part("image", url="a.jpg"), part("audio", url="a.wav"), text]}
    assert read_messages([pair])[1] == [("a.jpg", "a.wav")]
    many = {"role": "user", "content": [part("image", url="a.jpg"), part("image", url="b.jpg"), part("audio", url="s")]}
    assert read_messages([many])[1] == ["a.jpg", "b.jpg", "s"]
    samples, rate = read_messages(
        [{"role": "user", "content": [part("audio", url={"array": [0.0, 0.5], "sampling_rate": 8000}), text]}]
    )[1][0]
    assert rate == 8000 and samples.tolist() == [0.0, 0.5]
    with pytest.raises(ConfigError, match="'smell'"):
        read_messages([{"role": "user", "content": [part("smell", url="x")]}])


@needs_lmms
def test_generation_settings_and_stop_strings():
    from video_salmonn.evaluation.lmms_eval import cut, generation_options

    assert generation_options({"temperature": 0}) == {"do_sample": False}, "beams and length are the model's own"
    assert generation_options({"max_new_tokens": 5, "num_beams": 1}) == {
        "do_sample": False, "max_new_tokens": 5, "num_beams": 1,
    }  # fmt: skip
    assert generation_options({"temperature": 0.7, "top_p": 0.9})["do_sample"] is True
    assert cut("one\n\ntwo", ["\n\n"]) == "one" and cut("one", None) == "one"


@needs_lmms
@pytest.mark.slow
def test_two_rows_run_through_lmms_eval_and_the_sound_is_heard(tmp_path, monkeypatch):
    from lmms_eval import evaluator
    from lmms_eval.models import get_model
    from lmms_eval.tasks import TaskManager

    from video_salmonn.evaluation.lmms_eval import VideoSalmonnForLmmsEval

    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    assert get_model("video_salmonn") is VideoSalmonnForLmmsEval, "found through the entry point"
    model = VideoSalmonnForLmmsEval(pretrained="tiny", device="cpu")
    clip = next(MINI.glob("how2/*.mp4"))
    said = [
        model.engine.ask(str(clip), "What is said?", max_new_tokens=4, num_beams=1, do_sample=False).text,
        "nothing",
    ]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"video": str(clip), "target": t}) + "\n" for t in said))
    task = tmp_path / "tasks" / "two_rows.yaml"
    task.parent.mkdir()
    task.write_text(
        "task: two_rows\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files: {rows}\n"
        "test_split: train\noutput_type: generate_until\n"
        "doc_to_visual: !function rows.visual\ndoc_to_text: !function rows.text\n"
        "doc_to_messages: !function rows.messages\n"
        "doc_to_target: target\ngeneration_kwargs:\n  max_new_tokens: 4\n  temperature: 0\n"
        "process_results: !function rows.results\n"
        "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )
    (task.parent / "rows.py").write_text(
        "def visual(doc):\n    return [doc['video']]\n\n\ndef text(doc):\n    return 'What is said?'\n\n\n"
        "def messages(doc):\n"
        "    parts = [{'type': 'video', 'url': doc['video']}, {'type': 'text', 'text': text(doc)}]\n"
        "    return [{'role': 'user', 'content': parts}]\n\n\n"
        "def results(doc, got):\n    return {'acc': float(got[0] == doc['target'])}\n"
    )
    heard = []
    ask = model.engine.ask

    def listen(*args, **options):
        answer = ask(*args, **options)
        heard.append(answer.report["media"][0]["heard"]["status"])
        return answer

    model.engine.ask = listen
    manager = TaskManager(include_path=str(task.parent), include_defaults=False)
    found = evaluator.simple_evaluate(model=model, tasks=["two_rows"], task_manager=manager, batch_size=1)
    assert found["results"]["two_rows"]["acc,none"] == 0.5
    assert heard == ["used", "used"]


@needs_lmms
@pytest.mark.slow
def test_lmms_evals_openai_model_asks_our_server(tmp_path, monkeypatch):
    """Unchanged: a video with its sound by URL, and a picture (which it encodes by itself) with a sound."""
    pytest.importorskip("fastapi")
    from lmms_eval import evaluator
    from lmms_eval.models import get_model
    from lmms_eval.tasks import TaskManager
    from PIL import Image

    from serving_client import CLIP, EXAMPLES, KEY, Running, data_url
    from video_salmonn import VideoSalmonn

    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    engine, question = VideoSalmonn.load("tiny"), "What is said?"
    picture, sound = tmp_path / "shirt.png", EXAMPLES / "helicopter.flac"
    Image.open(EXAMPLES / "shirt.jpg").convert("RGB").save(picture)
    wanted = [
        engine.ask(CLIP, question, max_new_tokens=6).text,
        engine.ask(picture, question, sound=sound, max_new_tokens=6).text,
    ]
    assert wanted[0] != wanted[1]
    rows = [
        {"video": data_url(), "image": "", "sound": "", "target": wanted[0]},
        {"video": "", "image": str(picture), "sound": data_url(sound, "audio/flac"), "target": wanted[1]},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "served.yaml").write_text(
        "task: served_rows\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files: {tmp_path / 'rows.jsonl'}\n"
        "test_split: train\noutput_type: generate_until\n"
        "doc_to_visual: !function served.visual\ndoc_to_text: !function served.text\n"
        "doc_to_messages: !function served.messages\n"
        "doc_to_target: target\ngeneration_kwargs:\n  max_new_tokens: 6\n  temperature: 0\n"
        "process_results: !function served.results\n"
        "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )
    (tasks / "served.py").write_text(
        "from PIL import Image\n\n\n"
        "def visual(doc):\n    return []\n\n\ndef text(doc):\n    return 'What is said?'\n\n\n"
        "def messages(doc):\n"
        "    media = [{'type': 'video', 'url': doc['video']}]\n"
        "    if doc['image']:\n"
        "        picture = {'type': 'image', 'url': Image.open(doc['image'])}\n"
        "        media = [picture, {'type': 'audio', 'url': doc['sound']}]\n"
        "    return [{'role': 'user', 'content': [*media, {'type': 'text', 'text': text(doc)}]}]\n\n\n"
        "def results(doc, got):\n    return {'acc': float(got[0] == doc['target'])}\n"
    )
    with Running(engine) as running:
        address = {"base_url": f"{running.url}/v1", "api_key": KEY}
        model = get_model("openai")(model="tiny", **address, timeout=120, max_retries=1, pass_video_url=True)
        manager = TaskManager(include_path=str(tasks), include_defaults=False)
        found = evaluator.simple_evaluate(
            model=model, tasks=["served_rows"], task_manager=manager, batch_size=1, log_samples=True
        )
    assert [sample["filtered_resps"][0] for sample in found["samples"]["served_rows"]] == wanted
    assert found["results"]["served_rows"]["acc,none"] == 1.0


def test_exported_documents_score_as_the_harness_does(tmp_path):
    from video_salmonn.evaluation import lmms_tasks
    from video_salmonn.evaluation.save import task

    files = lmms_tasks.export([task("avm"), task("nextqa")], MINI, tmp_path, limit=None, allow_missing=False)
    assert [file.name for file in files] == ["save_avm.yaml", "save_nextqa.yaml"]
    doc = json.loads((tmp_path / "save_avm.jsonl").read_text())
    video, sound, text = lmms_tasks.doc_to_messages(doc)[0]["content"]
    assert Path(video["url"]).is_file() and Path(sound["url"]).is_file() and "yes or no" in text["text"]
    assert video["silent"] is False
    silent = json.loads((tmp_path / "save_nextqa.jsonl").read_text())
    assert lmms_tasks.doc_to_messages(silent)[0]["content"][0]["silent"] is True
    right = lmms_tasks.process_results(doc, [doc["target"]])["accuracy"]
    wrong = lmms_tasks.process_results(doc | {"id": "other"}, ["perhaps"])["accuracy"]
    assert lmms_tasks.aggregate_accuracy([right, wrong]) == 0.5


@needs_lmms
@pytest.mark.slow
def test_save_runs_through_lmms_eval(tmp_path, monkeypatch):
    from lmms_eval import evaluator
    from lmms_eval.tasks import TaskManager

    from video_salmonn.evaluation.benchmark import Options, evaluate
    from video_salmonn.evaluation.lmms_eval import VideoSalmonnForLmmsEval
    from video_salmonn.evaluation.lmms_tasks import export
    from video_salmonn.evaluation.own_model import OwnModel
    from video_salmonn.evaluation.save import tasks

    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    export(tasks("avm,lrs2,nextqa"), MINI, tmp_path / "tasks", limit=None, allow_missing=False)
    model = VideoSalmonnForLmmsEval(pretrained="tiny", device="cpu")
    manager = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    names = ["save_avm", "save_lrs2", "save_nextqa"]
    found = evaluator.simple_evaluate(model=model, tasks=names, task_manager=manager, batch_size=1)["results"]
    ours = evaluate(OwnModel(model.engine), tasks("avm,lrs2,nextqa"), MINI, tmp_path / "out", Options(resamples=1))[
        "tasks"
    ]
    assert found["save_lrs2"]["wer,none"] == ours["lrs2"]["metrics"]["wer"]["value"]
    assert found["save_avm"]["accuracy,none"] == ours["avm"]["metrics"]["accuracy"]["value"]
    assert found["save_nextqa"]["accuracy,none"] == ours["nextqa"]["metrics"]["accuracy"]["value"]


@needs_lmms
def test_unknown_model_arguments_are_refused():
    from video_salmonn.evaluation.lmms_eval import VideoSalmonnForLmmsEval

    with pytest.raises(ConfigError, match="max_frames"):
        VideoSalmonnForLmmsEval(pretrained="tiny", max_frames=3)
