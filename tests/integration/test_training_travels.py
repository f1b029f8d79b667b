"""Training where media cannot be decoded: a pack or a filled cache and the recipe are all it takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_runs import ROOT, changes, entries, recipe, run, write

from video_salmonn.data.feature_index import read_index
from video_salmonn.errors import ConfigError, ManifestError
from video_salmonn.training.stage import build_trainer, pack_recipe

HIDDEN = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ("av", "gguf", "onnx") else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""
"""Makes av, gguf and onnx what they are where they were not installed."""

IMPORTS = """
import importlib, pkgutil, video_salmonn.training
for module in pkgutil.iter_modules(video_salmonn.training.__path__):
    importlib.import_module(f"video_salmonn.training.{module.name}")
assert not {"av", "gguf", "onnx"} & set(sys.modules)
from video_salmonn.cli.main import run
run()
"""


def without_decoder(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process that has no PyAV, after every module of training was imported."""
    return subprocess.run(
        [sys.executable, "-c", HIDDEN + IMPORTS, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def sets(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest of eight items over two clips, one item of text alone and one broken file."""
    folder = tmp_path_factory.mktemp("clips")
    rows = entries(8)
    for row in rows:
        shutil.copy(row["media"]["video"], folder)
        row["media"]["video"] = Path(row["media"]["video"]).name
    rows[1]["media"] = {"video": rows[1]["media"]["video"], "start": 0.5, "end": 2.0}
    rows[2]["media"] = {}
    rows[3]["media"] = {"audio": "broken.wav"}
    (folder / "broken.wav").write_bytes(b"\0" * 64)
    write(folder / "train.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def packed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips' features, packed in full precision."""
    folder = tmp_path_factory.mktemp("packed")
    loaded = recipe(folder, folder / "cache", f"data.train=[{clips / 'train.jsonl'}]", "data.validation=null")
    counts = pack_recipe(loaded, folder / "pack", torch.float32)
    assert counts == {"done": 6, "already": 0, "failed": 1}
    return folder / "pack"


def steps(tmp_path: Path, manifest: Path, *more: str) -> list[str]:
    given = changes(tmp_path, tmp_path / "no-cache")
    kept = [change for change in given if not change.startswith(("data.train", "data.validation", "data.cache"))]
    return [*kept, f"data.train=[{manifest}]", "data.validation=null", "max_steps=2", "save_every=2", *more]


def test_a_pack_trains_where_there_are_neither_media_nor_a_decoder(tmp_path: Path, clips: Path, packed: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(packed, moved / "pack")
    shutil.copy(clips / "train.jsonl", moved)  # no media beside it
    wanted = steps(tmp_path, moved / "train.jsonl", f"data.features={moved / 'pack'}")
    done = without_decoder("train", "recipes/tiny.yaml", *sets(*wanted), "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout)
    assert summary["step"] == 2 and list(summary["broken"]) == [entries(4)[3]["id"]]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    _, live = run(recipe(tmp_path / "live", tmp_path / "c", *steps(tmp_path / "live", clips / "train.jsonl")))
    assert [line["loss"] for line in lines] == pytest.approx([line["loss"] for line in live], abs=1e-5)


def test_a_filled_cache_trains_without_a_decoder_and_an_empty_one_says_what_is_missing(
    tmp_path: Path, clips: Path
) -> None:
    rows = [json.loads(line) for line in (clips / "train.jsonl").read_text().splitlines()]
    manifest = write(clips / "usable.jsonl", [row for row in rows if row["media"].get("audio") is None])
    wanted = steps(tmp_path, manifest, f"data.cache={tmp_path / 'cache'}")
    trainer = build_trainer(recipe(tmp_path / "fill", tmp_path / "cache", *wanted))
    for index in range(len(trainer.maker.items)):
        trainer.maker.plain(index)
    done = without_decoder("train", "recipes/tiny.yaml", *sets(*wanted), "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["broken"] == {}
    empty = sets(*steps(tmp_path / "empty", manifest, f"data.cache={tmp_path / 'nothing'}"))
    refused = without_decoder("train", "recipes/tiny.yaml", *empty, "--json")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    error = json.loads(refused.stdout)["error"]
    assert error["type"] == "MissingPartError" and "PyAV" in error["message"] and "pip install av" in error["remedy"]


def test_packing_goes_on_tries_broken_files_again_and_repeats_no_rows(
    tmp_path: Path, clips: Path, packed: Path
) -> None:
    before = read_index(packed)
    assert list(before.failed) == ["sound broken.wav"] and len(before.keys) > 2
    shards = sorted(packed.glob("shard-*"))
    loaded = recipe(tmp_path, tmp_path / "cache", f"data.train=[{clips / 'train.jsonl'}]", "data.validation=null")
    assert pack_recipe(loaded, packed, torch.float32) == {"done": 0, "already": 6, "failed": 1}
    assert read_index(packed) == before and sorted(packed.glob("shard-*")) == shards


def test_a_pack_of_other_encoders_is_refused(tmp_path: Path, clips: Path, packed: Path) -> None:
    other = steps(tmp_path, clips / "train.jsonl", f"data.features={packed}", "seed=5")  # the tiny encoders are random
    with pytest.raises(ConfigError, match="other encoders"):
        build_trainer(recipe(tmp_path, tmp_path / "cache", *other))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    manifests = []
    for name, number in (("a", 0), ("b", 4)):
        (tmp_path / name).mkdir()
        row = entries(5)[number]
        shutil.copy(row["media"]["video"], tmp_path / name / "same.mp4")
        row["media"]["video"] = "same.mp4"
        manifests.append(str(write(tmp_path / name / "m.jsonl", [row])))
    loaded = recipe(tmp_path, tmp_path / "cache", f"data.train=[{','.join(manifests)}]", "data.validation=null")
    with pytest.raises(ManifestError, match="same name"):
        pack_recipe(loaded, tmp_path / "pack")
