"""A run becomes a model directory that gives the run's own answers, and a picture of its curves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_runs import recipe, run
from typer.testing import CliRunner

from video_salmonn.checkpoints.assemble import load_directory
from video_salmonn.cli.main import app
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.training.averaging import joined_words
from video_salmonn.training.exporting import export
from video_salmonn.training.run_folder import find_checkpoint
from video_salmonn.training.stage import build_model
from video_salmonn.training.trainer import Trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    folder = tmp_path_factory.mktemp("trained")
    more = ("save_every=2", "validate_every=2", "max_steps=4", "data.validation_samples=3")
    return run(recipe(folder, folder / "cache", *more, "connector.levels=[[10,30]]"))[0]


def test_an_exported_model_has_the_weights_of_its_checkpoint_and_answers(trained: Trainer, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["export", str(trained.out), str(tmp_path / "model"), "--checkpoint", "last", "--json"]
    )
    assert done.exit_code == 0, done.output
    account = json.loads(done.stdout)
    assert account["step"] == 4 and {"config.json", "recipe.json"} <= set(account["files"])
    model, processor = load_directory(tmp_path / "model")
    own = trained.plain.state_dict()
    loaded = model.state_dict()
    assert set(loaded) == set(own)
    assert all(torch.equal(loaded[name], own[name]) for name in own)
    assert [level.frames for level in model.config.connector_config.levels] == [10]
    assert len(processor.tokenizer) == len(trained.processor.tokenizer)

    from video_salmonn import VideoSalmonn

    engine = VideoSalmonn.load(str(tmp_path / "model"))
    clip = trained.maker.items[0].root / trained.maker.items[0].media["video"]
    answer = engine.ask(str(clip), "What words are spoken?", max_new_tokens=4)
    assert answer.report["media"][0]["heard"]["status"] == "used"


def test_the_adapter_alone_starts_another_run(trained: Trainer, tmp_path: Path) -> None:
    whole = tmp_path / "adapter"
    with pytest.raises(CheckpointError, match="more than connector and adapter"):
        export(trained.out, whole, adapter_only=True)  # the tiny recipe trains the word embeddings too
    assert not whole.exists()
    (find_checkpoint(trained.out, "last") / "other.safetensors").rename(tmp_path / "other")
    account = export(trained.out, whole, which="last", adapter_only=True)
    small = tmp_path / "small"
    export(trained.out, small, which="last", adapter_only=True, int8=True)
    with pytest.raises(ConfigError, match="int8"):
        export(trained.out, tmp_path / "none", which="last", int8=True)
    (tmp_path / "other").rename(find_checkpoint(trained.out, "last") / "other.safetensors")
    assert {"connector.safetensors", "lora.safetensors", "recipe.json"} <= set(account["files"])
    start = recipe(tmp_path, tmp_path, f"init={whole}", "connector.levels=[[10,30]]")
    model, _ = build_model(start)
    own = trained.plain.state_dict()
    moved = [n for n, t in model.state_dict().items() if n.startswith("connector.") or ".lora_" in n]
    assert moved and all(torch.equal(model.state_dict()[name], own[name]) for name in moved)
    name = "connector.safetensors"
    assert (small / name).stat().st_size < 0.6 * (whole / name).stat().st_size
    model, _ = build_model(recipe(tmp_path, tmp_path, f"init={small}", "connector.levels=[[10,30]]"))
    for name in moved:
        assert (model.state_dict()[name] - own[name]).abs().max() <= own[name].abs().max() / 120


def test_the_mean_of_two_trainings_lies_half_way_and_says_the_words_of_both(trained: Trainer, tmp_path: Path) -> None:
    run_folder, first = tmp_path / "run", tmp_path / "first"
    shutil.copytree(trained.out, run_folder)
    last = find_checkpoint(run_folder, "last")
    (last / "other.safetensors").unlink()  # the tiny recipe trains the word embeddings too
    shutil.copytree(last, first)
    for name in ("connector.safetensors", "lora.safetensors"):
        if (last / name).is_file():
            tensors = {key: torch.zeros_like(value) for key, value in load_file(last / name).items()}
            save_file(tensors, first / name)
    out = tmp_path / "mean"
    export(run_folder, out, which="last", adapter_only=True, mean_with=first)
    own, mean = load_file(last / "connector.safetensors"), load_file(out / "connector.safetensors")
    assert all(torch.equal(mean[key], own[key].float() / 2) for key in own)
    most = tmp_path / "most"
    export(run_folder, most, which="last", adapter_only=True, mean_with=first, mean_share=0.75)
    mean = load_file(most / "connector.safetensors")
    assert all(torch.allclose(mean[key], own[key].float() * 0.75) for key in own)
    for share, other in ((0.0, first), (1.5, first), (0.7, None)):
        with pytest.raises(ConfigError, match="of the run in a mean"):
            export(run_folder, tmp_path / "none", which="last", adapter_only=True, mean_with=other, mean_share=share)
    words = [{"columns": torch.tensor(c, dtype=torch.int32), "openings": torch.tensor(o, dtype=torch.int32)}
             for c, o in (([9, 2, 5], [9, 20, 50]), ([9, 3, 5], [9, 30, 51]))]  # fmt: skip
    both = joined_words(*words)
    assert both["columns"].tolist() == [9, 2, 3, 5] and both["openings"].tolist() == [9, 20, 30, 50]
    with pytest.raises(ConfigError, match="mean"):
        export(run_folder, tmp_path / "none", which="last", mean_with=first)
    save_file({"else": torch.zeros(2)}, first / "connector.safetensors")
    for folder, message in ((first, "not those of the run"), (tmp_path, "no such file")):
        with pytest.raises(CheckpointError, match=message):
            export(run_folder, tmp_path / "none", which="last", adapter_only=True, mean_with=folder)
    assert not (tmp_path / "none").exists()


def test_options_that_contradict_are_refused_before_anything_heavy_is_imported(trained: Trainer, tmp_path: Path):
    words = ["export", str(trained.out), str(tmp_path / "x"), "--mean-share", "1.5"]
    code = f"import sys; sys.argv[1:] = {words}\nfrom video_salmonn.cli.main import run\ntry:\n    run()\n"
    code += "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", "False"], done.stderr
    assert "of the run in a mean" in done.stderr


def test_what_cannot_be_exported_says_what_there_is(trained: Trainer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint 'step-7'") as caught:
        export(trained.out, tmp_path / "x", which="step-7")
    assert "step-4" in caught.value.remedy and "best" in caught.value.remedy
    with pytest.raises(CheckpointError, match="already there"):
        export(trained.out, tmp_path)
    for folder, message in ((tmp_path, "holds no checkpoint"), (tmp_path / "none", "no such folder")):
        with pytest.raises(CheckpointError, match=message):
            export(folder, tmp_path / "y")


def test_the_curves_are_drawn(trained: Trainer, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "curves.png"
    done = CliRunner().invoke(app, ["plot", str(trained.out), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"out": str(out), "training": 4, "validation": 2}
    assert out.read_bytes().startswith(b"\x89PNG") and out.stat().st_size > 10_000
    assert CliRunner().invoke(app, ["plot", str(tmp_path)]).exit_code == 2
    assert CliRunner().invoke(app, ["plot", str(trained.out), "--out", str(tmp_path / "x.nonsense")]).exit_code == 2
