"""``video-salmonn data``: wrong folders and files are named at once, and nothing that is there is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from command_line import assert_refused_lightly
from video_salmonn.cli.main import app
from video_salmonn.embedded.data.sources import lines_of, manifests_of
from video_salmonn.errors import ManifestError
from video_salmonn.files import written


def run(*arguments: object) -> tuple[int, dict]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return result.exit_code, json.loads(result.stdout)["error"]


@pytest.mark.parametrize(
    "command", [["convert", "SOURCE", "--format", "released"], ["prepare", "librispeech", "FOLDER"]]
)
def test_a_source_without_items_leaves_the_manifest_that_is_there(command, tmp_path):
    (tmp_path / "none.json").write_text("[]")
    (tmp_path / "train-clean-100/1/2").mkdir(parents=True)
    (tmp_path / "train-clean-100/1/2/1-2.trans.txt").write_text("")
    out = tmp_path / "manifest.jsonl"
    out.write_text("kept\n")
    source = {"SOURCE": tmp_path / "none.json", "FOLDER": tmp_path}
    code, error = run("data", *(source.get(word, word) for word in command), "--out", out)
    assert code == 2 and str(tmp_path) in error["message"] and error["remedy"]
    assert out.read_text() == "kept\n" and not list(tmp_path.glob(".*.part"))


def test_an_error_of_writing_names_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "none.json").write_text('[{"image_name": "a.mp4", "conversation": []}]')
    (tmp_path / "folder").mkdir()
    code, error = run("data", "convert", tmp_path / "none.json", "--format", "released", "--out", tmp_path / "folder")
    assert code == 2 and error["message"] == f"{tmp_path / 'folder'}: Is a directory"
    with pytest.raises(OSError) as caught, written(tmp_path / "none/a.txt"):
        pass
    assert caught.value.filename == str(tmp_path / "none/a.txt")


def test_an_empty_manifest_has_no_line_to_name(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    result = CliRunner().invoke(app, ["data", "validate", str(tmp_path / "empty.jsonl")])
    assert result.exit_code == 1 and "empty.jsonl: no items in it" in result.stdout.replace("\n", "")


@pytest.mark.parametrize("text", ["[1]", "null", '{"id": 1}', "{"])
def test_a_row_of_a_source_that_lacks_a_field_is_named(text, tmp_path):
    (tmp_path / "rows.jsonl").write_text(f'{{"media": "a.wav"}}\n{text}\n')
    with pytest.raises(ManifestError, match=r"rows\.jsonl, line 2: ") as caught:
        [row["media"] for row in lines_of(tmp_path / "rows.jsonl")]
    assert caught.value.remedy


def test_wrong_folders_are_named_before_pytorch_is_imported(tmp_path: Path):
    none, here = str(tmp_path / "none"), str(tmp_path)
    calls = [
        ["build-embedded", "--source", here, "--out", here],
        ["prepare-further", "--clones", none, "--source", here, "--out", here],
        ["name-further", "--source", here, "--further", here],
        ["answer-text", "--further", none],
        ["speak-embedded", "--manifests", none],
        ["encode-embedded", "--manifests", none, "--out", here],
        ["pack-media", "--manifests", none, "--out", here],
    ]
    assert_refused_lightly([["data", *call] for call in calls], ("torch",))


def test_what_a_build_cannot_use_is_refused_at_once_and_nothing_is_written(tmp_path: Path, source_folder: Path):
    questions, file, out = tmp_path / "questions.jsonl", tmp_path / "file", tmp_path / "out"
    questions.write_text('{"media": "a.wav"}\n')
    file.touch()
    wrong = [
        *(["--scale", scale] for scale in ("nan", "0", "-1", "inf")),
        *(["--further", str(folder)] for folder in (tmp_path / "none", file, source_folder / "speech")),
        *(["--wordnet", str(folder)] for folder in (tmp_path / "none", tmp_path)),
        *(["--held-out-questions", str(path)] for path in (tmp_path / "none", questions, tmp_path)),
        *(["--speech-hours", text] for text in ("nope", "piper", "piper=-1", "piper=nan", "espeak=1,bark=2")),
    ]
    calls = [["data", "build-embedded", "--source", str(source_folder), "--out", str(out), *more] for more in wrong]
    calls.append(["data", "build-embedded", "--source", str(source_folder), "--out", str(file)])
    assert_refused_lightly(calls, ("torch",))
    assert not out.exists()


@pytest.fixture
def source_folder(tmp_path: Path) -> Path:
    """Every manifest that a data folder has, with nothing in it."""
    folder = tmp_path / "data"
    for file in manifests_of(folder):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder
