"""``train recipes/tiny.yaml``: the quick start says what it has learned, and learns it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from training_runs import ROOT, entries, recipe, write
from typer.testing import CliRunner

from video_salmonn.cli.main import app
from video_salmonn.training.conclusion import conclusion, remarks, shown
from video_salmonn.training.examples import Example
from video_salmonn.training.stage import build_trainer
from video_salmonn.training.validation import swapped


def sample(name: str, question: str, answer: str, reference: str) -> dict:
    return {"id": name, "task": question, "question": question, "answer": answer, "reference": reference}


def test_the_end_of_a_run_gives_figures_and_three_answers() -> None:
    samples = [sample(f"{task}{n}", task, f"{n}", f"{n % 3}") for n in range(4) for task in ("colour", "digit")]
    scores = {"validation_loss": 0.5, "validation_items": 8, "validation_exact": 0.75, "validation_swapped": 0.1}
    lines = conclusion(scores, samples)
    figures = "validation: loss 0.500 on 8 items; 6 of 8 answers right (75%), 10% with the media of other items"
    assert lines[0] == figures and len(lines) == 4
    assert "(right)" in lines[1] and any("(expected: 0)" in line for line in conclusion(scores, samples[-1:]))
    chosen = shown(samples)
    assert {s["task"] for s in chosen} == {"colour", "digit"} and len({s["id"] for s in chosen}) == 3


def test_a_model_that_says_the_same_for_every_clip_is_told_apart() -> None:
    same = [sample(f"{n}", "Which digit?", "seven", f"{n}") for n in range(3)]
    assert "the same answer for all media" in remarks(same)[0] and "Which digit?" in remarks(same)[0]
    assert remarks([sample(f"{n}", "What is it?", "a man", "a man") for n in range(3)]) == []
    assert "not validated" in conclusion({}, [])[0]


def test_a_run_validates_with_swapped_media_and_says_so(tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.jsonl", entries(12))
    sets = [f"data.train=[{manifest}]", f"data.validation={manifest}", f"output={tmp_path / 'run'}", "max_steps=2"]
    sets += ["optim.warmup_steps=1", "batch_size=4", "micro_batch=4", f"data.cache={tmp_path / 'cache'}"]
    command = ["train", str(ROOT / "recipes/tiny.yaml"), *[part for change in sets for part in ("--set", change)]]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "validation: loss" in done.stdout and "of 12 answers right" in done.stdout
    assert done.stdout.count("expected:") == 3
    written = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert len(written) == 12 and all({"question", "swapped_answer"} <= set(line) for line in written)
    done = CliRunner().invoke(app, [*command, "--resume", "--set", "max_steps=3", "--json"])
    told = json.loads(done.stdout)
    assert {"validation_exact", "validation_swapped"} <= set(told["validation"]) and len(told["samples"]) == 3


def test_swapped_media_are_those_of_an_item_with_another_answer(tmp_path: Path) -> None:
    rows = entries(16)  # four clips, four questions each
    manifest = write(tmp_path / "m.jsonl", rows)
    trainer = build_trainer(recipe(tmp_path, tmp_path / "cache", f"data.train=[{manifest}]"))
    maker, objective = trainer.maker, trainer.objective
    plain = [maker.plain(number) for number in range(16)]

    def heard(example: Example) -> torch.Tensor:
        assert example.features is not None and example.features.audio is not None
        return example.features.audio

    for number, row in enumerate(rows):
        found = swapped(maker, objective, objective.prepare(plain[number]), number, range(16))
        assert found is not None
        other = found.example
        assert other.conversation == row["conversation"]
        same = [rows[n] for n in range(16) if heard(plain[n]).equal(heard(other)) and rows[n]["task"] == row["task"]]
        assert len(same) == 1 and same[0]["conversation"][1] != row["conversation"][1]


@pytest.mark.slow
def test_the_quick_start_learns_its_questions_from_its_clips_within_three_minutes_of_one_core(tmp_path: Path) -> None:
    began = time.process_time()
    command = ["train", str(ROOT / "recipes/tiny.yaml"), "--set", f"output={tmp_path / 'run'}", "--json"]
    done = CliRunner().invoke(app, command)
    told = json.loads(done.stdout)
    assert told["validation"]["validation_exact"] > 0.9 and told["validation"]["validation_swapped"] < 0.3
    assert told["validation"]["validation_items"] == 64 and told["remarks"] == []
    assert time.process_time() - began < 180
