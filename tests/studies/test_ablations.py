"""Ablations of the small model, tried on the tiny one: recipes of the variants, result lines, resuming, processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from studies.ablations import data, results, running, training
from studies.ablations.__main__ import _environment, main
from studies.ablations.variants import FIRST, VARIANTS

from video_salmonn.embedded.held_out.groups import GROUPS
from video_salmonn.training.items import read_items

BUDGET = training.Budget(2, 2, 4, 4, 4, 4, 1e-3, 3, "tiny")
OPTIONS = "--word-steps 2 --steps 2 --batch 4 --word-batch 4 --limit 3 --model tiny --device cpu --commit abc"


@pytest.fixture(scope="module")
def found(material: Path, tmp_path_factory: pytest.TempPathFactory) -> data.Data:
    return data.prepare(material / "manifests", material / "features", tmp_path_factory.mktemp("out"))


def options(material: Path, out: Path, *more: str) -> list[str]:
    places = ["--manifests", material / "manifests", "--features", material / "features"]
    return [*map(str, [*places, "--out", out, "--results", out / "results.jsonl"]), *OPTIONS.split(), *more]


def test_the_first_variants_are_the_papers_main_claims():
    assert FIRST == ("full", "no-mixing", "fine-only", "coarse-only", "no-diversity", "no-block-attention")
    assert len({json.dumps(variant.to_dict()) for variant in VARIANTS.values()}) == len(VARIANTS), "no two are alike"


def test_kinds_of_mixing_leave_in_what_they_say(found: data.Data):
    whole, no_swaps, alone = (read_items([str(found.train(kind))]) for kind in ("all", "without swaps", "none"))
    assert found.items == {"all": len(whole), "without swaps": len(no_swaps), "none": len(alone), "test": 60}
    assert {item.answer.split()[-1] for item in no_swaps if item.task == "match"} == {"Yes."}
    assert {item.task for item in whole} - {item.task for item in no_swaps} == set()
    assert {item.task for item in alone} == {"transcribe", "sound", "picture", "event-first", "transcribe-talk"}
    assert found.missing == 0


def test_the_fingerprint_is_of_items_and_features_wherever_they_lie(material: Path, found: data.Data, tmp_path: Path):
    again = data.prepare(material / "manifests", material / "features", tmp_path)
    assert again.fingerprint == found.fingerprint and data.read(tmp_path) == again
    lines = (material / "manifests/train.jsonl").read_text().splitlines()
    (tmp_path / "train.jsonl").write_text("\n".join(lines[1:]) + "\n")
    (tmp_path / "test.jsonl").write_text((material / "manifests/test.jsonl").read_text())
    assert data.prepare(tmp_path, material / "features", tmp_path / "out").fingerprint != found.fingerprint


@pytest.mark.parametrize("name", VARIANTS)
def test_both_stages_have_the_variants_changes_and_nothing_else(name: str, material: Path, found: data.Data):
    variant, full = VARIANTS[name], VARIANTS["full"]
    for make in (training.words_recipe, training.reading_recipe):
        own, whole = (
            make(which, 1, BUDGET, found, material / "features", Path("out")).to_dict() for which in (variant, full)
        )
        changed = {key for key in own if own[key] != whole[key]} - {"data", "mixing"}
        allowed = {"connector": bool(variant.connector), "diversity_weight": variant.diversity != full.diversity}
        allowed["diversity_form"] = variant.form != full.form
        assert changed == {key for key, does in allowed.items() if does}
        assert own["seed"] == 1 and own["connector"] == {"dropout": 0.0, **variant.connector}
        assert (own["data"] == whole["data"]) == (variant.mixing == "all")


def test_matching_questions_are_as_many_without_swaps(material: Path, found: data.Data):
    own, whole = (
        training.reading_recipe(VARIANTS[name], 0, BUDGET, found, material / "features", Path("out")).data.repeat
        for name in ("mixing-without-swaps", "full")
    )
    assert own["match"] == 2 * whole["match"]


def test_a_variant_becomes_a_line_and_is_not_run_again(material: Path, tmp_path: Path, capsys):
    wanted = options(material, tmp_path, "--only", "full", "--only", "no-mixing", "--seeds", "0")
    assert main(wanted) == 0
    lines = results.read_results(tmp_path / "results.jsonl")
    assert [(line["variant"], line["seed"]) for line in lines] == [("full", 0), ("no-mixing", 0)]
    line = lines[0]
    assert line["commit"] == "abc" and line["device"] and line["data"]["items"]["test"] == 60
    assert set(line["rows"]) == set(data.ROWS) and set(line["losses"]) == {"words", "reading"}
    assert set(line["zeroed"]) == {"0.5 s", "5 s"} == set(line["cosines"])
    assert all(-1 <= c["mean"] <= c["absolute"] <= 1 for c in line["cosines"].values())
    for name, row in line["rows"].items():
        assert len(row["marks"]) == 3
        assert row["value"] == pytest.approx(results.value_of(row["metric"], row["marks"]), rel=1e-5), name
    assert {row["ids"] for row in lines[1]["rows"].values()} == {row["ids"] for row in line["rows"].values()}
    assert not list(tmp_path.glob("*/*/checkpoints")), "weights are not kept"
    before = (tmp_path / "results.jsonl").read_bytes()
    assert main(wanted) == 0 and (tmp_path / "results.jsonl").read_bytes() == before
    assert "to run: 0" in capsys.readouterr().out
    assert main([*wanted, "--list", "--seeds", "0,1"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["full, seed 1", "no-mixing, seed 1"]
    assert main([*wanted, "--list", "--steps", "3"]) == 0
    assert "to run: 2" in capsys.readouterr().out, "another budget is another comparison"


@pytest.mark.slow
def test_every_variant_trains_and_is_measured(material: Path, found: data.Data, tmp_path: Path):
    plan = running.Plan(tuple(VARIANTS), (0,), BUDGET, material / "features", tmp_path, tmp_path / "r.jsonl", "cpu")
    said: list[str] = []
    assert running.run_all(plan, found, said.append) == 0, said
    lines = results.read_results(plan.results)
    assert [line["variant"] for line in lines] == list(VARIANTS)
    by_name = {line["variant"]: line for line in lines}
    assert set(by_name["three-resolutions"]["zeroed"]) == {"0.5 s", "2.5 s", "5 s"}
    assert by_name["fine-only"]["zeroed"] == {} and set(by_name["fine-only"]["cosines"]) == {"0.5 s"}


def test_what_fails_is_noted_and_the_rest_runs(material: Path, found: data.Data, tmp_path: Path):
    plan = running.Plan(("full", "fine-only"), (0,), BUDGET, material / "features", tmp_path, tmp_path / "r", "cpu")
    folder = running.folder_of(plan, found, "full", 0)
    folder.mkdir()
    (folder / "words").write_text("a file where a folder is needed")
    assert running.run_all(plan, found, lambda line: None) == 1
    assert [line["variant"] for line in results.read_results(plan.results)] == ["fine-only"]
    assert list(running.failures(plan, found)) == [folder / "failed.txt"]
    running.clear_failures(plan, found)
    (folder / "words").unlink()
    assert running.run_all(plan, found, lambda line: None) == 0 and running.pending(plan, found) == []


def test_a_run_that_was_stopped_goes_on(material: Path, found: data.Data, tmp_path: Path, monkeypatch):
    plan = running.Plan(("full",), (0,), BUDGET, material / "features", tmp_path, tmp_path / "r", "cpu", keep=True)
    step = training.Trainer.train_step

    def stopped(trainer: training.Trainer) -> dict[str, float]:
        trainer.ask_to_stop()
        return step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "train_step", stopped)
        with pytest.raises(training.StoppedError):
            running.run_all(plan, found, lambda line: None)
    assert not plan.results.exists() and not list(running.failures(plan, found))
    assert running.run_all(plan, found, lambda line: None) == 0
    (line,) = results.read_results(plan.results)
    assert set(line["losses"]) == {"words", "reading"} and "language_loss" in line["losses"]["reading"]
    steps = [json.loads(text)["step"] for text in next(tmp_path.glob("*/words/metrics.jsonl")).read_text().splitlines()]
    assert steps == [1, 2]
    plan.results.unlink()  # as if the process had been killed between training and its line
    assert running.run_all(plan, found, lambda line: None) == 0
    (again,) = results.read_results(plan.results)
    assert again["losses"] == line["losses"] and again["rows"] == line["rows"] and again["cosines"] == line["cosines"]
    assert again["seconds"]["words"] == line["seconds"]["words"], "the stage of words was not run again"


def test_a_torn_line_is_left_out_and_a_damaged_one_named(tmp_path: Path):
    file = tmp_path / "r.jsonl"
    line = {"variant": "full", "seed": 0, "settings": {"change": {}}, "data": {"fingerprint": "x"}}
    results.append_result(file, line, tmp_path / "lock")
    with file.open("a") as stream:
        stream.write('{"variant": "fine')
    assert len(results.read_results(file)) == 1
    results.append_result(file, line | {"seed": 1}, tmp_path / "lock")
    assert [entry["seed"] for entry in results.read_results(file)] == [0, 1]
    file.write_text("{}\n" + file.read_text())
    with pytest.raises(results.EvaluationError, match="line 1"):
        results.read_results(file)


def test_lines_are_compared_with_lines_of_the_same_budget_and_data():
    def line(variant: str, seed: int, steps: int, value: float = 0.0) -> results.Line:
        settings = {"change": {"x": variant}, "steps": steps}
        return {"variant": variant, "seed": seed, "settings": settings, "data": {"fingerprint": "x"}, "value": value}

    lines = [line("full", 0, 2), line("fine-only", 0, 2), line("full", 0, 9), line("full", 0, 2, 5.0)]
    found = [
        [(e["variant"], e["settings"]["steps"], e["value"]) for e in group] for group in results.comparisons(lines)
    ]
    assert found == [[("full", 2, 5.0), ("fine-only", 2, 0.0)], [("full", 9, 0.0)]]
    assert results.comparisons([]) == []
    elsewhere = line("no-mixing", 0, 2)
    elsewhere["settings"] |= {"precision": "no", "micro_batch": 64}
    assert len(results.comparisons([*lines[:2], elsewhere])) == 1, "another machine rounds otherwise"


def test_marks_add_up_to_the_figure(material: Path, found: data.Data):
    from studies.ablations.measuring import marks_of

    items = read_items([str(found.test)])
    for group in (group for group in GROUPS if group.name in data.ROWS):
        asked = [item for item in items if group.takes(item)]
        answers = [item.answer if place % 3 else "yes x" for place, item in enumerate(asked)]
        marks = marks_of(group, asked, answers)
        assert results.value_of(group.metric, marks) == pytest.approx(group.score(asked, answers).value), group.name


def test_a_full_card_leaves_its_variant_to_others(material: Path, found: data.Data, tmp_path: Path, monkeypatch):
    plan = running.Plan(("full", "fine-only"), (0,), BUDGET, material / "features", tmp_path, tmp_path / "r", "cpu")

    def full(trainer: training.Trainer) -> dict[str, float]:
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "train_step", full)
        with pytest.raises(running.CrowdedError):
            running.run_all(plan, found, lambda line: None)
    assert not list(running.failures(plan, found)), "it is tried again"
    assert running.run_all(plan, found, lambda line: None) == 0 and running.pending(plan, found) == []


@pytest.mark.slow
def test_workers_that_die_are_replaced_and_those_without_room_are_not(
    material: Path, found: data.Data, tmp_path: Path, monkeypatch
):
    plan = running.Plan(("full", "fine-only"), (0,), BUDGET, material / "features", tmp_path, tmp_path / "r", "cpu", 2)
    data.prepare(material / "manifests", material / "features", tmp_path)
    places = f"--results {plan.results} --out {tmp_path} --features {plan.features}"
    options = f"--only full --only fine-only --seeds 0 --micro-batch 4 --word-micro-batch 4 {OPTIONS} {places}"
    once = f"test -e {tmp_path}/died || {{ touch {tmp_path}/died; kill -9 $$; }}; "
    worker = f"{once}exec {sys.executable} -m studies.ablations {options} --worker"
    said: list[str] = []
    monkeypatch.chdir(Path(__file__).parents[2])
    commands = [["sh", "-c", "exit 3"], ["sh", "-c", worker]]
    running.watch(plan, found, commands, _environment(), said.append)
    assert [line["variant"] for line in results.read_results(plan.results)] == ["full", "fine-only"]
    assert any("memory full; 1 worker left" in line for line in said)
    assert sum("another one is started" in line for line in said) == 1


@pytest.mark.slow
def test_processes_share_out_the_variants(material: Path, tmp_path: Path):
    only = [word for name in FIRST[:3] for word in ("--only", name)]
    assert main(options(material, tmp_path, *only, "--seeds", "0", "--parallel", "2")) == 0
    lines = results.read_results(tmp_path / "results.jsonl")
    assert sorted(line["variant"] for line in lines) == sorted(FIRST[:3])
    logs = [file.read_text() for file in sorted(tmp_path.glob("worker-*.log"))]
    assert len(logs) == 2 and all("begun" in log for log in logs)


def test_bad_input_is_said_in_words(tmp_path: Path, capsys):
    assert main(["--manifests", str(tmp_path), "--features", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "no train.jsonl (python -m studies.ablations.items write makes both)" in capsys.readouterr().out
