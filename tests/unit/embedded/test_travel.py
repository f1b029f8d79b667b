"""Media that travel: every file once, under paths that hold elsewhere, small pictures, bounded parts."""

import json
import tarfile

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.data.manifest import Item, read_manifest, write_manifest
from video_salmonn.embedded.data.build import media_files
from video_salmonn.embedded.data.render import read_frames
from video_salmonn.embedded.data.travel import pack_media
from video_salmonn.errors import ConfigError


def item(name, **media):
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A thing."}]
    return Item(name, media, turns, "picture", split="train")


@pytest.fixture
def data(tmp_path):
    """Manifests in one folder, media beside it."""
    rng = np.random.default_rng(0)
    (tmp_path / "source" / "images").mkdir(parents=True)
    (tmp_path / "sets" / "one").mkdir(parents=True)
    for number in range(3):
        smooth = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((640, 480))
        smooth.save(tmp_path / "source" / "images" / f"{number}.jpg", quality=95)
    for number in range(4):
        (tmp_path / "source" / f"{number}.wav").write_bytes(bytes(rng.integers(0, 255, 30_000, np.uint8)))
    images, sounds = ([f"../../source/{name}" for name in names] for names in (
        ["images/0.jpg", "images/1.jpg", "images/2.jpg"], ["0.wav", "1.wav", "2.wav", "3.wav"],
    ))  # fmt: skip
    items = [item(f"i{n}", image=images[n], audio=sounds[n]) for n in range(2)]
    recipe = {"length": 4.0, "layers": [{"file": sounds[2]}, {"file": sounds[0], "at": 1.0}, {"noise": "pink"}]}
    slides = {"length": 4.0, "slides": [{"file": images[2], "at": 0.0}, {"file": images[0], "at": 2.0}]}
    items.append(item("mixed", audio=recipe, video=slides))
    write_manifest(tmp_path / "sets" / "one" / "train.jsonl", items)
    write_manifest(tmp_path / "sets" / "one" / "dev.jsonl", [item("d", audio=sounds[3])])
    return tmp_path


def test_media_unpacked_elsewhere_are_found_by_the_manifests(data, tmp_path):
    found = pack_media(data / "sets" / "one", tmp_path / "out", ["train", "dev"], 70_000)
    assert (found["files"], found["pictures"], found["failed"]) == (7, 3, []) and found["parts"] >= 2
    parts = sorted((tmp_path / "out").glob("media-*"))
    assert len(parts) == found["parts"] and all(path.stat().st_size <= 70_000 for path in parts)
    there = tmp_path / "there"
    for part in parts:
        with tarfile.open(part) as tar:
            assert not any(name.startswith(("/", "..")) for name in tar.getnames())
            tar.extractall(there, filter="data")
    manifests = there / found["manifests"]
    for name in ("train", "dev"):
        for file in media_files(read_manifest(manifests / f"{name}.jsonl")):
            assert (manifests / file).is_file(), file
    small, whole = (read_frames(root / "source" / "images" / "0.jpg", (224, 224)) for root in (there, data))
    with Image.open(there / "source" / "images" / "0.jpg") as picture:
        assert picture.format == "WEBP" and picture.size == (224, 224)
    assert np.abs(small.astype(int) - whole).mean() < 4
    assert (there / "source" / "3.wav").read_bytes() == (data / "source" / "3.wav").read_bytes()
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "data/sets/one" in readme and "7 files of train, dev" in readme
    with pytest.raises(ConfigError, match="already"):
        pack_media(data / "sets" / "one", tmp_path / "out", ["train"], 70_000)


def test_the_command_names_what_it_left_out(data, tmp_path):
    items = [item("gone", audio="../../source/gone.wav"), item("far", image="/somewhere/else.png")]
    (data / "source" / "images" / "1.jpg").write_bytes(b"no picture")
    write_manifest(data / "sets" / "one" / "test.jsonl", items)
    command = ["data", "pack-media", "--manifests", str(data / "sets" / "one"), "--json"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    value = json.loads(result.stdout)
    assert result.exit_code == 1 and value["files"] == 6 and value["parts"] == 1
    assert len(value["failed"]) == 3
    for name in ("gone.wav", "/somewhere/else.png", "1.jpg"):
        assert any(name in reason for reason in value["failed"]), name
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "other"), "--part-mb", "0"])
    assert result.exit_code == 2
    result = CliRunner().invoke(app, ["data", "pack-media", "--manifests", str(tmp_path), "--out", str(tmp_path / "o")])
    assert result.exit_code == 2 and "no train.jsonl" in result.output
