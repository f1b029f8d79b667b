"""Parts of the training engine that need no model: logbook, metrics of answers, schedule, folders written whole."""

from __future__ import annotations

import json
import math
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from video_salmonn.errors import CheckpointError, ConfigError, TrainingError
from video_salmonn.training import checkpointing
from video_salmonn.training.logbook import Logbook, read_metrics
from video_salmonn.training.optimisation import parameter_groups, rate_share
from video_salmonn.training.processes import dropout_seed, settle
from video_salmonn.training.recipe import OptimRecipe, Recipe
from video_salmonn.training.validation import score


def test_lines_after_the_checkpoint_are_taken_out_on_resuming(tmp_path: Path) -> None:
    text = "".join(json.dumps({"step": n, "loss": float(n)}) + "\n" for n in range(1, 8)) + '{"step": 8, "lo'
    (tmp_path / "metrics.jsonl").write_text(text)
    Logbook(tmp_path, 5).metrics({"step": 6, "loss": 0.5})
    assert [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 0.5]


def test_broken_items_are_one_line_each(tmp_path: Path) -> None:
    Logbook(tmp_path, 0).broken({"b": "two\nlines", "a": "one"})
    assert (tmp_path / "broken.tsv").read_text() == "a\tone\nb\ttwo lines\n"


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"output .*file.*cannot be written"):
        Logbook(tmp_path / "file" / "run", 0)


def test_tensorboard_gets_every_number(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    book = Logbook(tmp_path, 0, tensorboard=True)
    book.metrics({"step": 3, "loss": 1.5, "tasks": {"colour": {"exact": 0.25}}, "note": None})
    book.close()
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "tasks/colour/exact"]
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(3, 1.5)]


def sample(task: str, answer: str, reference: str) -> dict:
    return {"id": "x", "task": task, "answer": answer, "reference": reference}


def test_speech_is_scored_by_word_errors_and_the_rest_by_exact_answers() -> None:
    pytest.importorskip("jiwer")
    scores = score(
        [
            sample("transcribe-short", "place red at b", "place red in b"),
            sample("transcribe-short", "now", "now"),
            sample("colour", "The red.", "red"),
            sample("colour", "blue", "red"),
        ]
    )
    assert scores["validation_exact"] == 0.5
    assert scores["validation_wer"] == pytest.approx(1 / 5)
    assert scores["tasks"] == {
        "colour": {"n": 2, "exact": 0.5},
        "transcribe-short": {"n": 2, "exact": 0.5, "wer": pytest.approx(1 / 5)},
    }
    assert score([]) == {}
    assert "validation_wer" not in score([sample("colour", "a", "a")])


def test_the_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    recipe = Recipe(max_steps=110, optim=OptimRecipe(warmup_steps=10, min_rate=0.1))
    assert [rate_share(recipe, step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate_share(recipe, 60) == pytest.approx(0.55)
    assert rate_share(recipe, 110) == pytest.approx(0.1)
    assert rate_share(recipe, 500) == pytest.approx(0.1)
    assert rate_share(recipe, 20, spent=0.5) == rate_share(recipe, 60, spent=0.2) == pytest.approx(0.55), (
        "the later one"
    )
    assert rate_share(recipe, 4, spent=0.9) == pytest.approx(0.5)
    assert rate_share(recipe, 20, spent=1.1) == pytest.approx(0.1)


def test_parts_have_their_own_rate_and_vectors_no_decay() -> None:
    model = torch.nn.ModuleDict({"connector": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 2)})
    recipe = Recipe(optim=OptimRecipe(rate=1.0, rates={"connector": 0.5}, weight_decay=0.1))
    groups = parameter_groups(model, recipe)
    assert sorted((g["lr"], g["weight_decay"], g["params"][0].ndim) for g in groups) == [
        (0.5, 0.0, 1),
        (0.5, 0.1, 2),
        (1.0, 0.0, 1),
        (1.0, 0.1, 2),
    ]
    with pytest.raises(ConfigError, match="conector"):
        parameter_groups(model, Recipe(optim=OptimRecipe(rates={"conector": 0.5})))


def test_dropout_differs_between_steps_and_ranks_and_nothing_else() -> None:
    seeds = {dropout_seed(seed, step, rank) for seed in (0, 1) for step in range(50) for rank in range(8)}
    assert len(seeds) == 800
    assert dropout_seed(0, 1, 0) == 4099


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_fp16_without_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision"):
        settle(Recipe(precision="fp16"))


def weights(folder: Path) -> None:
    save_file({"w": torch.ones(1000)}, folder / "connector.safetensors")
    (folder / "state.json").write_text("{}")


def test_a_disk_that_fills_up_during_a_save_keeps_the_earlier_checkpoint(tmp_path: Path) -> None:
    target = tmp_path / "checkpoints" / "best"
    checkpointing.write_folder(target, weights)
    before = (target / "connector.safetensors").read_bytes()

    def larger(folder: Path) -> None:
        save_file({"w": torch.ones(100_000)}, folder / "connector.safetensors")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # a real write that the system refuses
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        with pytest.raises(CheckpointError, match="earlier checkpoints are whole"):
            checkpointing.write_folder(target, larger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (target / "connector.safetensors").read_bytes() == before
    assert [p.name for p in target.parent.iterdir()] == ["best"]


def test_what_a_killed_save_leaves_is_swept_and_the_best_is_put_back(tmp_path: Path) -> None:
    target = tmp_path / "checkpoints" / "best"
    checkpointing.write_folder(target, weights)
    target.rename(target.with_name(".best-old"))  # killed between the two renames
    (tmp_path / "checkpoints" / ".step-3-abc").mkdir()
    checkpointing.sweep(tmp_path)
    assert sorted(p.name for p in target.parent.iterdir()) == ["best"]
    assert (target / "connector.safetensors").exists()
    target.with_name(".best-old").mkdir()
    (target.with_name(".best-old") / "x").write_text("")
    checkpointing.write_folder(target, weights)  # what an earlier crash left is no obstacle
    assert sorted(p.name for p in target.parent.iterdir()) == ["best"]


def test_changed_rates_are_taken_from_the_recipe_when_resuming(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    old = torch.optim.AdamW([{"params": [weight], "peak": 1.0}], lr=1.0)
    weight.grad = torch.ones(2)
    old.step()
    torch.save(old.state_dict(), tmp_path / "optimizer.pt")
    new = torch.optim.AdamW([{"params": [weight], "peak": 0.25}], lr=0.25)
    checkpointing.load_optimizer(new, tmp_path)
    assert new.param_groups[0]["peak"] == 0.25
    assert float(new.state[weight]["step"]) == 1
    (tmp_path / "optimizer.pt").write_bytes(b"\x80\x04garbage")
    with pytest.raises(CheckpointError, match=r"optimizer\.pt.*cannot be restored"):
        checkpointing.load_optimizer(new, tmp_path)
    assert math.isfinite(new.param_groups[0]["lr"])
