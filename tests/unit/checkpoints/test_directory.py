"""Model directories that are damaged, cut off or of another model are named before PyTorch is imported."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from command_line import assert_refused_lightly
from video_salmonn.checkpoints.directory import MODEL_TYPE, check_directory, check_tensors
from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.model.configuration import VideoSalmonnConfig

GOOD = json.dumps({"model_type": MODEL_TYPE})
HEADER = json.dumps({"__metadata__": {"a": "b"}, "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
TENSORS = struct.pack("<Q", len(HEADER)) + HEADER + bytes(8)


def directory(folder: Path, **files: str | bytes) -> Path:
    """A folder of files; in names, ``__`` stands for a dot."""
    folder.mkdir()
    for name, text in files.items():
        data = text.encode() if isinstance(text, str) else text
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


CONFIGS = {
    "missing": (None, "no model here .config.json is missing"),
    "cut off": ("{", "config.json: not JSON"),
    "a list": ("[]", "config.json: holds no JSON object"),
    "null": ("null", "config.json: holds no JSON object"),
    "Latin-1": (b'{"a": "\xe9"}', "config.json: not UTF-8"),
    "nested too deeply": ("[" * 100_000, "config.json: .*nested too deeply"),
    "of another model": ('{"model_type": "llama"}', "config.json: describes a 'llama' model"),
    "of no kind": ('{"model_type": ["a"]}', "config.json: describes a .* model"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_is_none_is_named(case, tmp_path):
    config, message = CONFIGS[case]
    files = {} if config is None else {"config__json": config}
    folder = directory(tmp_path / "m", model__safetensors=TENSORS, **files)
    with pytest.raises(CheckpointError, match=message) as caught:
        check_directory(folder)
    assert str(folder) in str(caught.value) and caught.value.remedy


def index(*names: object) -> str:
    return json.dumps({"weight_map": {str(number): name for number, name in enumerate(names)}})


WEIGHTS = {
    "none": ({}, "no weights here"),
    "empty": ({"model__safetensors": b""}, "model.safetensors: is cut off"),
    "noise": ({"model__safetensors": bytes(range(256)) * 9}, "model.safetensors: is cut off or not a safetensors file"),
    "another format": ({"model__safetensors": struct.pack("<Q", 2) + b"[]"}, "is not a safetensors file"),
    "cut off": ({"model__safetensors": TENSORS[:-1]}, r"model.safetensors: is cut off \(\d+ of \d+ bytes\)"),
    "an index of nothing": ({"model__safetensors__index__json": "{}"}, "index.json: names no files"),
    "an index of numbers": ({"model__safetensors__index__json": index(3, "a")}, "index.json: names no files"),
    "a shard missing": ({"model__safetensors__index__json": index("a.safetensors")}, "a.safetensors: is missing"),
    "a tensor in two shards": (
        {
            "model__safetensors__index__json": index("a.safetensors", "b.safetensors"),
            "a__safetensors": TENSORS,
            "b__safetensors": TENSORS,
        },
        r"b\.safetensors: holds x, which a\.safetensors holds too",
    ),
    "a shard cut off": (
        {"model__safetensors__index__json": index("a.safetensors"), "a__safetensors": TENSORS[:30]},
        "a.safetensors: is cut off",
    ),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_are_not_whole_are_named(case, tmp_path):
    files, message = WEIGHTS[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        check_directory(directory(tmp_path / "m", config__json=GOOD, **files))
    assert caught.value.remedy


def test_a_whole_directory_passes_and_the_kind_is_that_of_the_configuration(tmp_path):
    assert VideoSalmonnConfig.model_type == MODEL_TYPE
    check_directory(directory(tmp_path / "one", config__json=GOOD, model__safetensors=TENSORS))
    shards = {"a__safetensors": TENSORS, "model__safetensors__index__json": index("a.safetensors")}
    check_directory(directory(tmp_path / "two", config__json=GOOD, **shards))
    check_tensors(tmp_path / "one/model.safetensors")


RELEASED = ["--beats", "examples/shirt.jpg", "--whisper", "docs", "--llm", "docs", "--out", "runs/none"]


def test_commands_say_so_before_pytorch_is_imported(tmp_path):
    folder = directory(tmp_path / "m", config__json=GOOD, model__safetensors=TENSORS[:-4])
    other = directory(tmp_path / "other", config__json='{"model_type": "llama"}')
    calls = [
        ["ask", "examples/shirt.jpg", "What?", "--model", str(folder)],
        ["ask", "examples/shirt.jpg", "What?", "--model", "tiny", "--device-map", "{"],
        ["transcribe", "examples/helicopter.flac", "--model", str(folder)],
        ["ask", "https://127.0.0.1:1/x.mp4", "What?", "--model", "tiny"],
        ["chat", "https://localhost/x.mp4", "--model", "tiny"],
        ["transcribe", "examples/helicopter.flac", "--model", "tiny", "--decoder", "whisper"],
        ["transcribe", "examples/helicopter.flac", "--language", "de"],
        ["transcribe", "examples/helicopter.flac", "--decoder", "whisper", "--whisper", str(tmp_path)],
        ["transcribe", "examples/helicopter.flac", "--look-ahead", "nan"],
        ["live", "examples/helicopter.flac", "--every", "5"],
        ["live", "examples/helicopter.flac", "--question", "What?", "--every", "nan"],
        ["live", "examples/helicopter.flac", "--model", "tiny", "--decoder", "whisper"],
        ["live", "camera:none"],
        ["live", "/dev/video99", "--question", "What?"],
        ["serve", "--model", "tiny", "--host", "999.1.1.1"],
        ["serve", "--model", "tiny", "--port", "0", "--api-key", "short"],
        ["convert", *RELEASED, "--delta", "README.md"],
        ["convert", *RELEASED, "--delta", "none.pt", "--instructblip-hf", "docs"],
        ["convert", *RELEASED, "--new", "--instructblip-hf", "docs"],
        ["web", "--model", "tiny", "--host", "999.1.1.1"],
        ["batch", "examples/shirt.jpg", "--question", "What?", "--out", "README.md"],
        ["verify", str(tmp_path / "m")],
        ["serve", "--model", str(folder), "--port", "0"],
        ["info", str(other)],
        ["plan", "--model", str(other)],
        ["plan", "--device-map", "nosuch.json"],
        ["export", str(tmp_path / "none"), str(tmp_path / "out")],
        ["plot", str(tmp_path / "none")],
        ["train", "recipes/tiny.yaml", "--set", "data.train=[none.jsonl]"],
        ["train", "recipes/tiny.yaml", "--set", "data.train=[examples/helicopter.flac]"],
        ["train", "recipes/tiny.yaml", "--set", "data.validation=none.jsonl"],
        ["train", "recipes/tiny.yaml", "--set", "init=none"],
        ["train", "recipes/tiny.yaml", "--set", f"output={tmp_path / 'm/config.json/run'}"],
        ["eval", "save", "--data", str(tmp_path), "--model", "tiny", "--out", str(tmp_path / "out")],
        ["eval", "save", "--data", "tests/fixtures/save-mini", "--model", "tiny", "--out", "README.md"],
    ]
    said = assert_refused_lightly(calls, ("torch", "transformers", "matplotlib"))
    assert said.count("error:") == len(calls) and "Traceback" not in said


@pytest.mark.parametrize("name", [None, 3, b"tiny", "", ["tiny"]], ids=repr)
def test_what_is_no_name_of_a_model_is_refused_in_one_sentence(name):
    with pytest.raises(ConfigError, match="is not a model's name"):
        VideoSalmonn.load(name)
