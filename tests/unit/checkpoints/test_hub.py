"""Models by their names on a hub: out of a hub's cache on this machine; nothing here goes to the network."""

from pathlib import Path

import pytest

from video_salmonn import VideoSalmonn
from video_salmonn.checkpoints.hub import is_hub_name
from video_salmonn.errors import CheckpointError

SAVED = Path(__file__).parents[2] / "fixtures" / "saved-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """A hub's cache with one model, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    kept = tmp_path / "models--someone--small"
    (kept / "snapshots").mkdir(parents=True)
    (kept / "snapshots" / COMMIT).symlink_to(SAVED, target_is_directory=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)


@pytest.mark.parametrize("name", ["someone/small", f"someone/small@{COMMIT}"])
def test_a_models_name_on_a_hub_loads_it(name):
    engine = VideoSalmonn.load(name)
    assert engine.name == name and engine.ask(None, "What?", max_new_tokens=2).report["new_tokens"] <= 2


@pytest.mark.parametrize("name", ["someone/large", "someone/small@v2", "nowhere/at-all"])
def test_a_name_that_is_nowhere_is_one_clear_error(name):
    with pytest.raises(CheckpointError, match=name) as error:
        VideoSalmonn.load(name)
    assert "owner/name" in error.value.remedy


def test_folders_are_not_taken_for_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_name("someone/small")
    assert not any(is_hub_name(name) for name in ("runs/model", "./someone/small", "someone", "a/b/c", "tiny", "/a/b"))
    assert not is_hub_name(Path("someone/small"))
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        VideoSalmonn.load("runs/model")
