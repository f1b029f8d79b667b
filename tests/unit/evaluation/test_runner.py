import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines import RuleEngine
from video_salmonn.errors import ConfigError, EvaluationError
from video_salmonn.evaluation.benchmark import Options, evaluate
from video_salmonn.evaluation.conditions import inapplicable, parse_baselines, requests
from video_salmonn.evaluation.predictions import read_predictions
from video_salmonn.evaluation.runner import load, run_condition
from video_salmonn.evaluation.save import task, tasks
from video_salmonn.evaluation.save.locate import MediaIndex
from video_salmonn.evaluation.shards import Shards

FAST = "avm,nextqa,gqa,how2,music_avqa"


def run(data, out, names=FAST, engine=None, **options):
    options = Options(resamples=50, **options)
    return evaluate(engine or RuleEngine(), tasks(names), data, out, options)


def loaded(data, name="avm", limit=None):
    return load(task(name), data, MediaIndex(data), limit=limit, allow_missing=False)


class Quiet(Shards):
    """A share of the work whose processes run one after the other, so there is nobody to wait for."""

    def wait(self):
        pass


def contents(out):
    return {f.name: f.read_bytes() for f in sorted((out / "predictions").iterdir())}


def test_writes_predictions_and_results(data, tmp_path):
    results = run(data, tmp_path / "out")
    lines = (tmp_path / "out/predictions/nextqa.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["id"] == "nextqa-00000" and first["reference"] == "lay on floor" and len(first["candidates"]) == 5
    assert first["media"] == [{"source": "2574374895.mp4", "seen": {"status": "used", "from": 0.0, "to": 2.0}}]
    on_disk = json.loads((tmp_path / "out/results.json").read_text())
    assert on_disk == results
    entry = on_disk["tasks"]["gqa"]
    assert entry["n"] == 2 and entry["expected"] == 12577 and set(entry["metrics"]) == {"accuracy"}
    assert entry["prompt"] == {"template": task("gqa").prompt.template, "version": 2}
    assert len(entry["annotations"]["sha256"]) == 64 and on_disk["versions"]["torch"]
    assert set(on_disk["tasks"]["avm"]["parts"]) == {"vggss", "spokencoco"}


@pytest.mark.parametrize("batch_size", [2, 3, 100])
def test_batch_size_changes_nothing(batch_size, data, tmp_path):
    run(data, tmp_path / "one", baselines=("shuffled",))
    run(data, tmp_path / "many", batch_size=batch_size, baselines=("shuffled",))
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_shards_change_nothing(count, data, tmp_path):
    this = loaded(data)
    for condition in ("full", "shuffled"):
        whole = run_condition(RuleEngine(), this, tmp_path / "one", condition)
        for rank in reversed(range(count)):
            # the first process, which joins, comes last
            file = run_condition(RuleEngine(), this, tmp_path / "many", condition, shards=Quiet(rank, count))
        assert file.read_bytes() == whole.read_bytes()
        assert not list(file.parent.glob("*.shard-*"))


def test_a_run_goes_on_with_another_number_of_processes(data, tmp_path):
    this = loaded(data)
    whole = run_condition(RuleEngine(), this, tmp_path / "one")
    run_condition(RuleEngine(), this, tmp_path / "many", shards=Quiet(2, 3))
    rest = RuleEngine()
    file = run_condition(rest, this, tmp_path / "many")
    assert file.read_bytes() == whole.read_bytes() and len(rest.asked) == len(this.items) - 1


@pytest.mark.parametrize("after", [0, 1, 3, 5, 8])
def test_a_stopped_run_resumes_to_the_same_files(after, data, tmp_path):
    run(data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "cut", engine=RuleEngine(stop_after=after))
    rest = RuleEngine()
    run(data, tmp_path / "cut", engine=rest, resume=True)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    items = sum(len(loaded(data, name).items) for name in FAST.split(","))
    assert len(rest.asked) == items - after, "nothing is asked twice"


def test_a_torn_line_is_dropped_and_asked_again(data, tmp_path):
    run(data, tmp_path / "out", "gqa")
    file = tmp_path / "out/predictions/gqa.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    again = RuleEngine()
    run(data, tmp_path / "out", "gqa", again, resume=True)
    assert file.read_bytes() == whole and len(again.asked) == 1


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from engines import RuleEngine
from video_salmonn.evaluation.benchmark import evaluate
from video_salmonn.evaluation.save import tasks

class Dying(RuleEngine):
    def ask_many(self, requests):
        if len(self.asked) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().ask_many(requests)

evaluate(Dying(), tasks("avm"), Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_sigkill_loses_no_answer(data, tmp_path):
    code = KILLED.format(here=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-c", code, data, tmp_path / "cut"], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(read_predictions(tmp_path / "cut/predictions/avm.jsonl")) == 3
    rest = RuleEngine()
    run(data, tmp_path / "cut", "avm", rest, resume=True)
    run(data, tmp_path / "whole", "avm")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole") and len(rest.asked) == 1


def test_each_process_takes_its_own_gpu():
    assert Shards(3, 4, 1).device("cuda") == "cuda:1" and Shards(3, 4, 1).device("cpu") == "cpu"
    assert Shards().device("cuda") == "cuda" and Shards(0, 2, 0).device("cuda:1") == "cuda:1"


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.xdist_group("distributed")
def test_two_processes_of_torchrun_give_the_same_files(tmp_path):
    mini = Path(__file__).parents[2] / "fixtures" / "save-mini"
    words = ["eval", "save", "--data", mini, "--tasks", "avm,gqa,lrs2", "--model", "tiny", "--device", "cpu", "--out"]
    code = "from video_salmonn.cli.main import run\nrun()\n"
    script = tmp_path / "script.py"
    script.write_text(code)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script]
    for start, out in (([sys.executable, script], "one"), (command, "two")):
        done = subprocess.run([*start, *words, tmp_path / out], capture_output=True, check=False, env=env, timeout=240)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    results = [json.loads((tmp_path / out / "results.json").read_text())["tasks"] for out in ("one", "two")]
    assert results[0]["lrs2"]["metrics"] == results[1]["lrs2"]["metrics"]


def test_broken_media_fail_alone_count_as_wrong_and_are_listed(data, tmp_path):
    results = run(data, tmp_path / "out", "nextqa", RuleEngine(broken={"2574374895.mp4"}), batch_size=2)
    entry = results["tasks"]["nextqa"]
    assert [f["id"] for f in entry["failed"]] == ["nextqa-00000"] and "truncated" in entry["failed"][0]["error"]
    lines = read_predictions(tmp_path / "out/predictions/nextqa.jsonl")
    assert [bool(line.error) for line in lines] == [True, False] and entry["n"] == 2


def test_lost_answers_are_an_error(data, tmp_path):
    with pytest.raises(EvaluationError, match="1 answer to 2 questions"):
        run(data, tmp_path / "out", "gqa", RuleEngine(lose=True), batch_size=2)


def test_a_used_folder_is_not_overwritten_nor_mixed(data, tmp_path):
    run(data, tmp_path / "out", "gqa")
    with pytest.raises(ConfigError, match="already holds an evaluation"):
        run(data, tmp_path / "out", "gqa")
    with pytest.raises(ConfigError, match=r"model\.name .'rule' then, 'other' now"):
        run(data, tmp_path / "out", "gqa", RuleEngine(name="other"), resume=True)
    with pytest.raises(ConfigError, match=r"tasks\.gqa\.items"):
        run(data, tmp_path / "out", "gqa", resume=True, limit=1)
    results = run(data, tmp_path / "out", "nextqa", resume=True)
    assert list(results["tasks"]) == ["gqa", "nextqa"], "other tasks may be added"


def test_foreign_predictions_in_the_folder_are_refused(data, tmp_path):
    run(data, tmp_path / "out", "gqa")
    file = tmp_path / "out/predictions/gqa.jsonl"
    file.write_text(file.read_text() + '{"id": "x", "prediction": "a", "reference": "b"}\n')
    with pytest.raises(EvaluationError, match="not of this task, among them 'x'"):
        run(data, tmp_path / "out", "gqa", resume=True)
    (tmp_path / "out/settings.json").unlink()
    with pytest.raises(ConfigError, match="contains predictions but no settings"):
        run(data, tmp_path / "out", "gqa")


def test_missing_media_stop_the_run_unless_allowed(data, tmp_path):
    (data / "NExTVideo/1015/5328004991.mp4").unlink()
    with pytest.raises(EvaluationError, match="1 of 2 items lacks media, among them nextqa-00001") as caught:
        run(data, tmp_path / "out", "nextqa")
    assert "eval save check" in caught.value.remedy
    entry = run(data, tmp_path / "out", "nextqa", allow_missing=True)["tasks"]["nextqa"]
    assert (entry["n"], entry["of"], entry["lacking_media"]) == (1, 2, 1)


def test_no_media_at_all_fails_even_if_allowed(data, tmp_path):
    (data / "gqa/n161313.jpg").unlink()
    with pytest.raises(EvaluationError, match="gqa: no media at all"):
        run(data, tmp_path / "out", "gqa", allow_missing=True)


def test_every_task_is_checked_before_the_first_question(data, tmp_path):
    (data / "how2_test.json").unlink()
    engine = RuleEngine()
    with pytest.raises(EvaluationError, match="how2"):
        run(data, tmp_path / "out", "gqa,how2", engine)
    assert not engine.asked


def test_limit_spreads_over_the_file(data):
    assert [item.annotation.part for item in loaded(data, limit=2).items] == ["vggss", "spokencoco"]
    assert len(loaded(data, limit=99).items) == 4
    with pytest.raises(ConfigError, match="at least 1"):
        loaded(data, limit=0)


def test_baselines_ask_what_they_say(data):
    this = loaded(data)
    full = requests(this.task, this.items, "full")
    assert all(r.media.empty for r in requests(this.task, this.items, "no_media"))
    assert {r.use_audio for r in requests(this.task, this.items, "frames_only")} == {False}
    assert {r.use_video for r in requests(this.task, this.items, "sound_only")} == {False}
    assert requests(this.task, this.items, "fine_only")[0].zero_levels == (1,)
    for before, after in zip(full, requests(this.task, this.items, "shuffled")):
        assert after.media != before.media and after.question == before.question
        assert (after.media.image is None) == (before.media.image is None), "only media of one kind are swapped"
    assert requests(this.task, this.items, "shuffled") == requests(this.task, this.items, "shuffled")


def test_tasks_about_pictures_alone_are_asked_without_sound(data):
    this = loaded(data, "nextqa")
    assert {(r.use_video, r.use_audio) for r in requests(this.task, this.items, "full")} == {(True, False)}
    this = loaded(data, "avm")
    assert {(r.use_video, r.use_audio) for r in requests(this.task, this.items, "full")} == {(True, True)}


def test_baselines_that_say_nothing_are_left_out_with_the_reason(data, tmp_path):
    entry = run(data, tmp_path / "out", "gqa", baselines=parse_baselines("all"))["tasks"]["gqa"]
    assert set(entry["baselines"]) == {"no_media"}
    assert "about picture alone" in entry["skipped"]["frames_only"]
    assert "no other media" in entry["skipped"]["shuffled"]
    assert inapplicable("no_media", task("avm"), loaded(data).items) == ""
    with pytest.raises(ConfigError, match="'noise'"):
        parse_baselines("no_media,noise")
    with pytest.raises(ConfigError, match="does not apply"):
        run_condition(RuleEngine(), loaded(data, "gqa"), tmp_path / "x", "frames_only")


def test_captions_without_java_are_refused_before_the_first_question(data, tmp_path, monkeypatch):
    from video_salmonn.errors import MissingPartError

    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr("shutil.which", lambda name: None)
    engine = RuleEngine()
    with pytest.raises(MissingPartError, match="java"):
        run(data, tmp_path / "out", "gqa,audiocaps", engine)
    assert not engine.asked and not (tmp_path / "out").exists()
    assert run(data, tmp_path / "out", "gqa", engine)["tasks"]


def test_equal_requests_of_a_batch_are_asked_once(data, tmp_path):
    engine = RuleEngine()
    run(data, tmp_path / "many", "how2", engine, batch_size=10, baselines=("no_media",))
    alone = [request for request in engine.asked if request.media.empty]
    assert len(alone) == 1 and len(read_predictions(tmp_path / "many/predictions/how2.no_media.jsonl")) == 2
    run(data, tmp_path / "one", "how2", RuleEngine(), baselines=("no_media",))
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_answers_end_earlier_where_asked_to_and_the_record_says_so(data, tmp_path):
    engine = RuleEngine()
    results = run(data, tmp_path / "out", "how2,avm", engine, max_new_tokens=20)
    assert {request.max_new_tokens for request in engine.asked} == {20, 8}
    assert results["tasks"]["how2"]["max_new_tokens"] == 20 and results["tasks"]["avm"]["max_new_tokens"] == 8
    with pytest.raises(ConfigError, match="max_new_tokens"):
        run(data, tmp_path / "out", "how2", engine, resume=True)
    assert parse_baselines("all,coarse_only") == (*parse_baselines("all"), "coarse_only")


def test_a_resumed_task_keeps_the_time_it_took(data, tmp_path):
    first = run(data, tmp_path / "out", "how2", SlowEngine())["tasks"]["how2"]
    again = run(data, tmp_path / "out", "how2", resume=True)["tasks"]["how2"]
    assert again["seconds"]["full"] >= first["seconds"]["full"] >= 0.1 and set(again["cpu_seconds"]) == {"full"}


class SlowEngine(RuleEngine):
    def answer(self, request, paths):
        time.sleep(0.05)
        return super().answer(request, paths)
