"""Checking manifests finds every bad line and file at once; other formats become items, and what cannot is counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from video_salmonn.cli.main import app
from video_salmonn.data.checking import check_manifest
from video_salmonn.data.readers import Reader, read
from video_salmonn.errors import ConfigError, ManifestError

MEDIA = Path(__file__).parents[2] / "fixtures" / "media"
TURNS = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]


def line(name: str, media: dict, **more: object) -> str:
    return json.dumps({"id": name, "media": media, "conversation": TURNS, "task": "demo"} | more)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "broken.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"\x07" * 400)
    (tmp_path / "empty.mp4").write_bytes(b"")
    clip = str(MEDIA / "flower.webm")
    lines = [
        line("good", {"video": clip}),
        "{broken",
        line("good", {"video": clip}),
        line("mute", {"video": clip, "audio": None}),
        line("gone", {"video": "none.mp4"}),
        line("damaged", {"video": "broken.mp4"}),
        "",
        line("empty", {"audio": "empty.mp4"}),
        line("late", {"video": clip, "start": 60}),
        line("inside", {"audio": {"layers": [{"file": "missing.wav"}]}}),
        line("silence", {"audio": str(MEDIA.parent / "save-mini/flickr30k/coco_129648.jpg")}),
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_bad_line_and_missing_file_is_named(manifest: Path) -> None:
    account = check_manifest(manifest)
    found = [(p.line, p.file) for p in account.problems]
    assert found == [(2, ""), (3, ""), (5, "none.mp4"), (8, "empty.mp4"), (10, "missing.wav")]
    assert "not JSON" in account.problems[0].reason
    assert "line 1" in account.problems[1].reason
    assert (account.items, account.decoded, account.tasks["demo"]) == (8, 0, 8)


def unreadable(folder: Path) -> dict[str, str]:
    """Names of files that cannot be opened, or must not be, and what is said about them."""
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    return {
        "loop.mp4": "cannot be read",
        "folder.mp4": "is a folder, not a file",
        "pipe.mp4": "is a pipe or device, not a file",
        "n" * 300 + ".mp4": "cannot be read",
        "nul\0.mp4": "cannot be read",
        "loop.mp4/inside.mp4": "cannot be read",
    }


def test_files_that_cannot_be_opened_are_each_one_problem(tmp_path: Path) -> None:
    names = unreadable(tmp_path)
    lines = [line(f"item {number}", {"video": name}) for number, name in enumerate(names)]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join([*lines, line("good", {"video": str(MEDIA / "flower.webm")})]) + "\n")
    account = check_manifest(path, decode=True)
    assert {p.file: p.reason.split(" (")[0] for p in account.problems} == names
    assert account.decoded == 1


def test_an_item_with_a_video_and_a_picture_is_a_problem_since_only_one_would_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line("both", {"video": str(MEDIA / "flower.webm"), "image": "a.png"}) + "\n")
    (problem,) = check_manifest(path).problems
    assert problem.line == 1 and "a video and a picture" in problem.reason


def test_decoding_finds_what_looking_cannot(manifest: Path) -> None:
    account = check_manifest(manifest, decode=True)
    by_line = {p.line: p.reason for p in account.problems}
    assert sorted(by_line) == [1, 2, 3, 5, 6, 8, 10, 11]
    assert "starts at 60 s" in by_line[1]  # one file, named by the line that uses it first
    assert "no sound" in by_line[11]
    assert account.decoded == 3 and account.seconds == pytest.approx(5.06, abs=0.1)


def test_the_command_exits_with_1_and_prints_json(manifest: Path) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["data", "validate", str(manifest), "--json"])
    assert done.exit_code == 1
    value = json.loads(done.stdout)
    assert value["ok"] is False and len(value["problems"]) == 5
    good = manifest.with_name("good.jsonl")
    good.write_text(line("a", {"video": str(MEDIA / "flower.webm")}) + "\n")
    assert CliRunner().invoke(app, ["data", "validate", str(good)]).exit_code == 0
    assert CliRunner().invoke(app, ["data", "validate", str(manifest.with_name("no.jsonl"))]).exit_code == 2


def said(question: str, answer: str) -> list[dict]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def test_the_released_schema_becomes_items(tmp_path: Path) -> None:
    entries = [
        {"image_name": "a.jpg", "conversation": said("Picture?", "Dog.")},
        {"image_name": "b.mp4", "conversation": said("Video?", "Run.")},
        {"image_name": ["c.mp4", "c.wav"], "conversation": said("Both?", "Yes.")},
        {"image_name": ["only_need_video/d.mp4", "d.wav"], "conversation": said("See?", "Yes.")},
        {"image_name": "e.wav", "conversation": said("Hear?", "")},
    ]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(entries))
    reader = Reader(str(path))
    items = list(read(reader, "released"))
    at = str(tmp_path.resolve())
    assert [item.media for item in items] == [
        {"image": f"{at}/a.jpg"},
        {"video": f"{at}/b.mp4", "audio": None},
        {"video": f"{at}/c.mp4", "audio": f"{at}/c.wav"},
        {"video": f"{at}/only_need_video/d.mp4", "audio": None},
    ]
    assert items[0].conversation == [{"role": "user", "content": "Picture?"}, {"role": "assistant", "content": "Dog."}]
    assert reader.left_out == {"no question with an answer": 1}
    path.write_text(json.dumps([{"image_name": 3}]))
    with pytest.raises(ManifestError, match=r"train\.json, item 1: image_name"):
        list(read(Reader(str(path)), "released"))


def test_llava_json_loses_its_placeholders_and_items_of_text_alone_are_kept_as_such(tmp_path: Path) -> None:
    entries = [
        {
            "id": "7",
            "image": "a.jpg",
            "conversations": said("<image>\nWhat is this?", "A dog.") + said("Sure?", "Yes."),
        },
        {"id": "7", "image": "b.jpg", "conversations": [*said("What?\n<image>", "A cat."), *said("And?", "")]},
        {"id": "8", "conversations": said("Hi", "Hello")},
        {"id": "9", "image": ["a.jpg", "b.jpg"], "conversations": said("Hi", "Hello")},
        {"id": "10", "conversations": said("<image>\nWhat is this?", "A dog.")},
    ]
    path = tmp_path / "llava.jsonl"
    path.write_text("\n".join(json.dumps(entry) for entry in entries))
    reader = Reader(str(path), root=tmp_path / "pictures")
    items = list(read(reader, "llava"))
    assert [item.id for item in items] == ["7", "7#2", "8"]
    assert [turn["content"] for turn in items[0].conversation] == ["What is this?", "A dog.", "Sure?", "Yes."]
    assert items[1].conversation[-1]["content"] == "A cat."
    assert items[0].media == {"image": f"{tmp_path.resolve()}/pictures/a.jpg"}
    assert items[2].media == {}
    assert reader.left_out == {"a place for media, and none": 1, "several pictures in one item": 1}
    path.write_text("{nonsense")
    with pytest.raises(ManifestError, match="neither a JSON list nor JSON lines"):
        list(read(Reader(str(path)), "llava"))
    with pytest.raises(ConfigError, match="flamingo"):
        read(reader, "flamingo")


def test_hugging_face_columns_become_items(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    columns = {"image": ["a.jpg", ""], "question": ["What?", "Who?"], "answer": ["A dog.", "Me."]}
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "set"))
    reader = Reader(str(tmp_path / "set"), root=tmp_path)
    items = list(read(reader, "huggingface"))
    assert [(item.media, item.question, item.answer) for item in items] == [
        ({"image": f"{tmp_path.resolve()}/a.jpg"}, "What?", "A dog.")
    ]
    assert reader.left_out == {"no media with a path": 1}


def test_convert_writes_a_manifest_that_validates(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    path = tmp_path / "train.json"
    path.write_text(
        json.dumps([{"image_name": str(MEDIA / "flower.webm"), "conversation": said("What?", "A flower.")}])
    )
    out = tmp_path / "m.jsonl"
    done = CliRunner().invoke(app, ["data", "convert", str(path), "--format", "released", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["items"] == 1
    assert check_manifest(out).problems == []
