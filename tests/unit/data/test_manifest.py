"""The manifest: what is accepted comes back the same, what is not is named by file and line."""

import json

import pytest

from video_salmonn.data.manifest import Item, parse_line, read_manifest, write_manifest
from video_salmonn.errors import ManifestError

GOOD = {
    "id": "a",
    "media": {"video": "a.mp4", "start": 0, "end": 2.5},
    "conversation": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}],
    "task": "demo",
}


def test_round_trip_keeps_everything(tmp_path):
    line = GOOD | {"weight": 0.5, "licence": "CC0", "source": "us", "split": "train", "note": [1, 2]}
    item = parse_line(json.dumps(line), "m.jsonl", 1)
    assert (item.question, item.answer, item.extra) == ("What?", "That.", {"note": [1, 2]})
    assert write_manifest(tmp_path / "m.jsonl", [item]) == 1
    assert list(read_manifest(tmp_path / "m.jsonl")) == [item]
    assert item.to_dict() == line
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_recipe_may_stand_for_a_file():
    media = {"audio": {"layers": [{"file": "a.wav"}]}}
    assert isinstance(parse_line(json.dumps(GOOD | {"media": media}), "m", 1), Item)


def test_an_item_may_be_text_alone():
    line = GOOD | {"media": {}}
    assert parse_line(json.dumps(line), "m", 1).to_dict() == line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"media": {"vidoe": "a.mp4"}}, "at least one of"),
        ({"media": {"video": ""}}, "at least one of"),
        ({"media": {"video": 3}}, "media.video must be"),
        ({"media": {"video": "a", "start": 3, "end": 2}}, "not an interval"),
        ({"media": {"video": "a.mp4", "image": "a.png"}}, "a video and a picture"),
        ({"conversation": []}, "empty"),
        ({"conversation": [{"role": "user", "content": "x"}]}, "last turn"),
        ({"conversation": [{"role": "assistant", "content": "x"}]}, "no user turn"),
        ({"conversation": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]}, "last turn"),
        ({"conversation": [{"role": "robot", "content": "x"}]}, "a turn needs"),
        ({"weight": -1}, "weight"),
        ({"weight": float("nan")}, "weight"),
    ],
)
def test_bad_lines_fail(change, message):
    with pytest.raises(ManifestError, match=f"m.jsonl, line 7.*{message}"):
        parse_line(json.dumps(GOOD | change), "m.jsonl", 7)


def test_bad_files_fail(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read"):
        list(read_manifest(tmp_path / "none.jsonl"))
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n{broken\n")
    with pytest.raises(ManifestError, match="line 3: not JSON"):
        list(read_manifest(path))
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD) + "\n")
    with pytest.raises(ManifestError, match="line 2: id 'a' was used in line 1"):
        list(read_manifest(path))
    path.write_text("[1]\n")
    with pytest.raises(ManifestError, match="not a JSON object"):
        list(read_manifest(path))
    path.write_text('{"id": "x"}\n')
    with pytest.raises(ManifestError, match="lacks media, conversation, task"):
        list(read_manifest(path))
