"""Going on with a run: files that others may read, damaged checkpoints, data that changed meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from training_runs import ROOT, changes, entries, recipe, run, write
from typer.testing import CliRunner

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.cli.main import app
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.model import adapters
from video_salmonn.training.exporting import export
from video_salmonn.training.resuming import whole_state
from video_salmonn.training.stage import build_trainer


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


def test_a_colleague_can_read_everything_that_is_saved(tmp_path: Path, cache: Path) -> None:
    before = os.umask(0o027)
    try:
        loaded = recipe(tmp_path, tmp_path / "features", "max_steps=2", "save_every=2", "validate_every=2")
        trainer, _ = run(loaded)
        export(trainer.out, tmp_path / "whole")
        trainer.plain.save_pretrained(tmp_path / "saved")
        adapters.save(trainer.plain.language_model, tmp_path / "run" / "lora.safetensors")
    finally:
        os.umask(before)
    assert {path.suffix for path in trainer.out.rglob("*")} >= {".safetensors", ".pt", ".json", ".jsonl"}
    assert (tmp_path / "saved/model.safetensors").is_file() and list((tmp_path / "features").rglob("*.safetensors"))
    assert modes(tmp_path) == {0o640}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_dir()}
    assert folders == {0o750}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    trainer, _ = run(recipe(tmp_path_factory.mktemp("saved"), cache))
    assert sorted(path.name for path in (trainer.out / "checkpoints").iterdir()) == ["last", "step-3", "step-6"]
    return trainer.out


@pytest.fixture
def two_saves(tmp_path: Path, saved: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


def damage(path: Path, fault: str) -> None:
    content = path.read_bytes()
    half = len(content) // 2
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:half] + (b"" if fault == "cut" else bytes(len(content) - half)))


@pytest.mark.parametrize("name", ["connector.safetensors", "other.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("fault", ["missing", "cut", "zeroed"])
def test_a_damaged_newest_checkpoint_offers_the_one_before(two_saves: Path, name: str, fault: str) -> None:
    folder = two_saves / "checkpoints/step-6"
    assert whole_state(folder)["step"] == 6
    damage(folder / name, fault)
    with pytest.raises(CheckpointError, match=name) as caught:
        whole_state(folder)
    assert caught.value.remedy == "resume from the one before: --resume --checkpoint step-3"
    damage(two_saves / "checkpoints/step-3" / name, fault)
    with pytest.raises(CheckpointError, match=name) as caught:
        whole_state(two_saves / "checkpoints/step-3")
    assert "none before it" in caught.value.remedy


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path: Path, cache: Path, two_saves: Path) -> None:
    damage(two_saves / "checkpoints/step-6/connector.safetensors", "zeroed")
    trainer = build_trainer(recipe(tmp_path, cache, "max_steps=9"))
    with pytest.raises(CheckpointError, match="connector"):
        trainer.resume()
    assert trainer.resume("step-3") and trainer.step == 3
    trainer.run()
    names = sorted(path.name for path in (two_saves / "checkpoints").iterdir())
    assert names == ["last", "set-aside-step-6", "step-6", "step-9"]
    steps = [json.loads(line)["step"] for line in (two_saves / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_checkpoint_that_is_not_there_names_those_that_are(tmp_path: Path, cache: Path, two_saves: Path) -> None:
    with pytest.raises(CheckpointError, match="step-4") as caught:
        build_trainer(recipe(tmp_path, cache)).resume("step-4")
    assert caught.value.remedy == "there are: step-3, step-6"


def test_going_on_with_a_changed_manifest_is_refused_and_says_so(tmp_path: Path, cache: Path) -> None:
    rows = entries(16)
    manifest = write(tmp_path / "some.jsonl", rows)
    loaded = recipe(tmp_path, cache, f"data.train=[{manifest}]", "max_steps=2", "save_every=2")
    run(loaded)
    assert build_trainer(loaded).resume()
    for changed in (rows[:-1], rows[::-1], [{**rows[0], "weight": 2.0}, *rows[1:]]):
        write(manifest, changed)
        with pytest.raises(ConfigError, match="trained on other items") as caught:
            build_trainer(loaded).resume()
        assert "--set init=" in caught.value.remedy
    write(manifest, rows)
    assert build_trainer(loaded).resume()


def test_the_same_items_in_a_folder_that_moved_go_on(tmp_path: Path, cache: Path) -> None:
    rows = entries(16)
    first = write(tmp_path / "some.jsonl", rows)
    run(recipe(tmp_path, cache, f"data.train=[{first}]", "max_steps=2", "save_every=2"))
    (tmp_path / "moved").mkdir()
    moved = first.replace(tmp_path / "moved/some.jsonl")
    assert build_trainer(recipe(tmp_path, cache, f"data.train=[{moved}]")).resume()


def test_what_else_changed_is_said_and_another_validation_forgets_the_best(tmp_path: Path, cache: Path) -> None:
    run(recipe(tmp_path, cache, "max_steps=2", "save_every=2", "validate_every=2"))
    held_out = write(tmp_path / "held.jsonl", entries(3))
    trainer = build_trainer(recipe(tmp_path, cache, "batch_size=16", f"data.validation={held_out}"))
    assert trainer.resume() and trainer.best is None
    assert "batch_size: 8 -> 16" in trainer.notes
    assert any(note.startswith("the items of data.validation have changed") for note in trainer.notes)
    same = build_trainer(recipe(tmp_path, cache, "max_steps=2", "validate_every=2"))
    assert same.resume() and same.best is not None and same.notes == []


def test_the_command_says_what_to_type(tmp_path: Path, cache: Path, two_saves: Path) -> None:
    (two_saves / "checkpoints/step-6/optimizer.pt").write_bytes(b"PK")
    sets = [part for change in changes(tmp_path, cache) for part in ("--set", change)]
    command = ["train", str(ROOT / "recipes/tiny.yaml"), *sets, "--resume", "--json"]
    done = CliRunner().invoke(app, command)
    error = json.loads(done.stdout)["error"]
    assert done.exit_code == 2 and "optimizer.pt" in error["message"] and "--checkpoint step-3" in error["remedy"]
    done = CliRunner().invoke(app, [*command, "--checkpoint", "step-3"])
    assert done.exit_code == 0 and json.loads(done.stdout)["step"] == 6
    assert "resumed at step 3" in done.stderr and "set-aside-step-6" in done.stderr
    done = CliRunner().invoke(app, [*command[:-2], "--json"])
    assert done.exit_code == 2 and "already holds a run" in json.loads(done.stdout)["error"]["message"]


def test_a_saved_model_in_a_private_folder_leaves_the_folder_private(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o700)
    model, _ = build_tiny()
    model.save_pretrained(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
