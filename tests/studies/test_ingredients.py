"""Short trainings without one ingredient: what is left out, lines of the tiny model, and the page made from them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from studies.ablations.compare import cost
from studies.ablations.results import read_results
from studies.ingredients import page, parts, running
from studies.ingredients.__main__ import main

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.held_out.groups import GROUPS
from video_salmonn.training.items import read_items

ROOT = Path(__file__).parents[2]


def item(name: str, task: str, audio: object = "a.opus", answer: str = "Yes.") -> Item:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    return Item(name, {"audio": audio}, turns, task)


def test_each_ingredient_leaves_out_its_own_items():
    voice = {"layers": [{"say": "hello", "engine": "piper"}]}
    items = [
        item("transcribe/librispeech:1", "transcribe"),
        item("transcribe/spoken:1", "transcribe", voice),
        item("yesno-sound/taught/3", "yesno-sound"),
        item("sound/esc50:1", "sound", "further/sounds/esc50/1-a.opus"),
        item("unknowable/1", "unknowable"),
    ]
    left = {name: [entry.id for entry in items if not part.left_out(entry)] for name, part in parts.PARTS.items()}
    ids = [entry.id for entry in items]
    assert left["nothing"] == left["words"] == ids
    assert left["made-speech"] == [name for name in ids if "spoken" not in name]
    assert left["teachers"] == [ids[0], ids[1], ids[4]]
    assert left["questions"] == [ids[0], ids[1], ids[3]]


def test_the_pool_is_the_same_whatever_the_order_and_has_no_slow_voice():
    items = [item(f"transcribe/spoken:{number}", "transcribe") for number in range(3)]
    items += [item(f"spoken/{number}", "spoken-question") for number in range(2 * parts.CAP)]
    items += [item("transcribe/spoken:9", "transcribe", {"layers": [{"say": "no", "engine": parts.SLOW_VOICE}]})]
    chosen = [entry.id for entry in parts.pool(items)]
    assert chosen == [entry.id for entry in parts.pool(items[::-1])]
    assert Counter(name.split("/")[0] for name in chosen) == {"transcribe": 3, "spoken": parts.CAP}
    assert "transcribe/spoken:9" not in chosen


def test_rows_and_tasks_are_those_that_there_are():
    known = {group.name for group in GROUPS}
    assert set(parts.ROWS) <= known and all(set(part.rows) <= set(parts.ROWS) for part in parts.PARTS.values())
    assert {task for group in GROUPS for task in group.tasks} | {"both-talk", "picture-talk"} >= parts.FIRST_EDITION


def test_trainings_become_lines_and_a_page(material: Path, tmp_path: Path, capsys):
    data, results = tmp_path / "chosen", tmp_path / "results.jsonl"
    assert main(["choose", "--data", str(material / "manifests"), "--manifests", str(data), "--limit", "3"]) == 0
    assert len(read_items([str(data / "test.jsonl")])) == 3 * 4
    places = ["--manifests", str(data), "--features", str(material / "features"), "--results", str(results)]
    budget = ["--out", str(tmp_path / "out"), "--word-steps", "2", "--steps", "2", "--model", "tiny"]
    wanted = ["run", *places, *budget, "--only", "nothing", "--only", "questions"]
    assert main(wanted) == 0
    whole, without = read_results(results)
    assert (whole["variant"], without["variant"]) == ("nothing", "questions")
    assert set(whole["rows"]) == {"speech", "sounds", "pictures", "match"} == set(without["rows"])
    assert without["data"]["items"]["all"] < whole["data"]["items"]["all"]
    assert whole["data"]["fingerprint"] == without["data"]["fingerprint"]
    before = results.read_bytes()
    assert main(wanted) == 0 and results.read_bytes() == before, "what has a line is not run again"
    assert main(["run", *places, *budget, "--only", "salt"]) == 2
    assert "no such ingredient: 'salt'" in capsys.readouterr().err
    text = page.page([whole, without])
    assert f"without the second edition's questions: {without['data']['items']['all']}" in text
    table = [row for row in text.splitlines() if row.startswith("| read speech, held-out")]
    assert len(table) == 1 and table[0].count("not measured") == 3
    longer = whole | {"settings": whole["settings"] | {"steps": [9, 9]}}
    assert page.page([whole, without, longer]) == text, "lines of another budget are not compared with these"


def test_each_option_of_decoding_is_switched_off_in_turn(material: Path, tmp_path: Path):
    results = tmp_path / "results.jsonl"
    said: list[str] = []
    running.ask_shipped(material / "manifests", material / "features", results, said.append, model="tiny")
    lines = read_results(results)
    assert [line["settings"]["change"]["decoding"] for line in lines] == list(running.DECODING)
    assert all(set(line["rows"]) == {"speech", "sounds", "pictures", "match"} for line in lines) and len(said) == 4
    assert "## Decoding" in page.page(lines) and lines[0]["settings"]["weights"] in page.page(lines)


def test_a_refusal_less_is_better_and_only_rows_that_change_are_listed():
    marks = [[1]] * 10 + [[0]] * 30
    rows = {
        "wrong-refusals": {"metric": "refusals", "ids": "x", "marks": [[0]] * 40},
        "sounds": {"metric": "accuracy", "ids": "y", "marks": marks},
    }
    more = rows | {"wrong-refusals": {"metric": "refusals", "ids": "x", "marks": marks}}
    lines = [
        {"variant": "shipped", "seed": 0, "settings": {"change": {"decoding": name}, "weights": "abc"}, "rows": found}
        for name, found in (("as shipped", rows), ("no declining", more))
    ]
    found = cost([lines[0]], [lines[1]], ("wrong-refusals",))
    assert found is not None and found.value == pytest.approx(25)
    listed = [row for row in page.page(lines).splitlines() if row.startswith("| no declining")]
    assert len(listed) == 1 and "| 0.0 | 25.0 | +25.0" in listed[0]


def test_the_page_is_made_from_the_results_file(tmp_path: Path):
    """So that every number of it comes from there."""
    page.write(ROOT / "results/ingredients.jsonl", tmp_path)
    made = (tmp_path / "ingredients.md").read_text("utf-8")
    assert made == (ROOT / "docs/ingredients.md").read_text("utf-8"), "python -m studies.ingredients page"
