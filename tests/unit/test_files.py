"""What is written to disk, and what tells one model from another."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from video_salmonn import files
from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.inference.engine import VideoSalmonn


@pytest.fixture(params=[0o022, 0o027, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_written_has_the_mode_the_umask_asks_for(tmp_path, umask):
    files.write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    files.write_text(tmp_path / "b.txt", "b")

    def fill(work):
        (work / "inner").mkdir(mode=0o700)
        from safetensors.torch import save_file

        save_file({"c": torch.zeros(2)}, work / "inner" / "c.safetensors")  # leaves a file for its owner alone

    files.write_folder(tmp_path / "d", fill)
    with FeatureStore(tmp_path / "features") as store:
        store.put({"0123.speech": torch.zeros(2)})
    found = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert len(found) == 5
    assert {mode(path) for path in found} == {0o666 & ~umask}
    assert {mode(path) for path in [tmp_path / "d", tmp_path / "d" / "inner"]} == {0o777 & ~umask}


def test_a_file_that_was_there_keeps_its_mode_and_stays_where_writing_fails(tmp_path):
    path = tmp_path / "kept.json"
    path.write_text("old")
    path.chmod(0o640)
    with pytest.raises(RuntimeError), files.written(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    files.write_json(path, {"a": 1})
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert mode(path) == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"], "no half-written file is left behind"


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        files.write_text(pipe, "all of it")
        assert read.result(60) == "all of it"
    assert pipe.is_fifo() and [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "run"
    files.write_folder(target, lambda work: (work / "a").write_text("1"))

    def fails(work):
        (work / "a").write_text("2")
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        files.write_folder(target, fails)
    assert (target / "a").read_text() == "1"
    files.write_folder(target, lambda work: (work / "b").write_text("3"))
    assert [p.name for p in target.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.register_buffer("count", torch.arange(3))


def test_one_changed_weight_name_or_setting_is_another_fingerprint():
    torch.manual_seed(0)
    module = Small()
    first = files.fingerprint(module, {"rate": 1})
    assert first == files.fingerprint(module, {"rate": 1})
    assert first != files.fingerprint(module, {"rate": 2})
    with torch.no_grad():
        module.inner.weight[[0, 1]] = module.inner.weight[[1, 0]]  # the sums stay the same
    swapped = files.fingerprint(module, {"rate": 1})
    assert swapped != first
    with torch.no_grad():
        module.inner.weight[3, 3] += 1e-6
    assert files.fingerprint(module, {"rate": 1}) != swapped
    assert files.fingerprint(module, leave_out=("inner.",)) == files.fingerprint(Small(), leave_out=("inner.",))
    assert files.fingerprint(module) != files.fingerprint(module.bfloat16())


def test_weights_that_rest_on_the_disk_have_the_fingerprint_of_those_in_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDEO_SALMONN_HOME", str(tmp_path))
    plain, resting = VideoSalmonn.load("tiny"), VideoSalmonn.load("tiny", offload_encoders=True)
    assert any(p.is_meta for p in resting.model.tower.parameters())
    assert files.fingerprint(plain.model) == files.fingerprint(resting.model)


def test_a_model_without_weights_has_no_fingerprint():
    with pytest.raises(ValueError, match=r"inner\.bias has no values"):
        files.fingerprint(Small().to("meta"), leave_out=("count",))


def test_models_of_other_seeds_differ():
    assert files.fingerprint(build_tiny(0)[0]) != files.fingerprint(build_tiny(1)[0])
