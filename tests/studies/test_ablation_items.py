"""The ablations' items: what is kept is what is written again, and nothing of it is only for testing."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from pathlib import Path

import pytest
from studies.ablations import items
from studies.ablations.data import ROWS

from video_salmonn.data.manifest import Item, write_manifest
from video_salmonn.embedded.held_out.groups import GROUPS


def kept_rows() -> list[dict]:
    return [json.loads(line) for line in lzma.decompress(items.KEPT.read_bytes()).decode().splitlines()]


def media_paths(media: dict) -> list[str]:
    found: list[str] = []
    for value in media.values():
        items.paths_mapped(value, lambda path: found.append(path) or path)
    return found


def test_no_training_item_is_of_a_test_set_and_no_id_is_used_twice():
    rows = kept_rows()
    train = [row for row in rows if row["split"] == "train"]
    assert len(train) > 9000 and len(rows) - len(train) > 500
    assert len({(row["split"], row["id"]) for row in rows}) == len(rows)
    used = {path for row in train for path in media_paths(row["media"])}
    asked = {path for row in rows if row["split"] == "test" for path in media_paths(row["media"])}
    assert used and not used & asked
    assert not any("common_voice" in path or "test_other" in path for path in used)
    assert all(path.startswith(("{source}/", "{further}/")) for path in used | asked)
    assert not {row["licence"] for row in train if "NC" in row["licence"] or "unknown" in row["licence"].lower()}


def test_every_row_of_questions_has_items():
    asked = [
        Item(row["id"], row["media"], row["conversation"], row["task"]) for row in kept_rows() if row["split"] == "test"
    ]
    for group in GROUPS:
        if group.name in ROWS:
            assert sum(group.takes(item) for item in asked) >= 30, group.name


def test_manifests_come_back_wherever_their_media_lie(tmp_path: Path):
    source, further = tmp_path / "a/data", tmp_path / "b/further"
    for file in (source / "s.opus", further / "x/t.opus", further / "p.jpg"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    media = {
        "audio": {"length": 2.0, "layers": [{"file": "../a/data/s.opus", "at": 0.0}, {"noise": "pink", "seed": 1}]},
        "image": {"length": 2.0, "slides": [{"file": "../b/further/p.jpg", "at": 0}]},
    }
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "It."}]
    made = tmp_path / "made"
    write_manifest(made / "train.jsonl", [Item("one", media, turns, "match"), Item("two", {}, turns, "text")])
    write_manifest(made / "test.jsonl", [Item("one", {"audio": "../b/further/x/t.opus"}, turns, "sound")])
    places, kept = {"source": source, "further": further}, tmp_path / "kept.xz"
    assert items.keep(made, places, kept) == 3
    again = tmp_path / "deep/er/again"
    assert items.write(again, places, kept) == {"train": 2, "test": 1}
    written = [json.loads(line) for line in (again / "train.jsonl").read_text().splitlines()]
    for path in media_paths(written[0]["media"]):
        assert (again / path).is_file()
    assert written[0]["media"]["audio"]["layers"][1] == {"noise": "pink", "seed": 1} and written[1]["media"] == {}
    (source / "s.opus").unlink()
    with pytest.raises(items.ManifestError, match=r"1 media file not there.*s\.opus") as caught:
        items.write(again, places, kept)
    assert "prepare-further" in str(caught.value.remedy)


def test_media_in_no_named_place_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "It."}]
    for split in items.SPLITS:
        write_manifest(tmp_path / f"{split}.jsonl", [Item("one", {"audio": "elsewhere.opus"}, turns, "sound")])
    with pytest.raises(items.ManifestError, match=r"elsewhere\.opus"):
        items.keep(tmp_path, {"source": tmp_path / "data", "further": tmp_path / "further"}, tmp_path / "kept.xz")
    assert not (tmp_path / "kept.xz").exists()
    places = ["--source", tmp_path, "--further", tmp_path, "--manifests", tmp_path / "out"]
    assert items.main(["write", *map(str, places)]) == 2
    assert "media files not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--seeds", "nan"], ["--steps", "-1"], ["--rate", "nan"], ["--limit", "0"], ["--manifests", "/no/such"]]
)
def test_bad_input_of_the_ablations_ends_before_pytorch_is_imported(words):
    code = f"""
import sys
from studies.ablations.__main__ import main
try:
    rc = main({words!r})
except SystemExit as ended:
    rc = ended.code
assert "torch" not in sys.modules
sys.exit(rc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 2 and "Traceback" not in said and (words[0] in said or words[1] in said)


def test_files_that_cannot_be_read_are_named(tmp_path, capsys):
    places = ["--source", str(tmp_path), "--further", str(tmp_path)]
    assert items.main(["keep", *places, "--manifests", str(tmp_path / "none")]) == 2
    assert f"{tmp_path}/none/train.jsonl: cannot be read (No such file" in capsys.readouterr().err
    for line, said in (('{"id":', "line 1: not JSON"), ('{"id": "a"}', "line 1: no 'media' object")):
        (tmp_path / "train.jsonl").write_text(line)
        assert items.main(["keep", *places, "--manifests", str(tmp_path)]) == 2
        assert f"{tmp_path}/train.jsonl, {said}" in capsys.readouterr().err
