"""A run whose connector says words and whose language model reads what they say on average."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_runs import entries, recipe, run, write

from video_salmonn.checkpoints.assemble import load_directory
from video_salmonn.errors import ConfigError
from video_salmonn.training.exporting import export


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = entries(8)
    for row in rows:
        row["words"] = {"said": row["conversation"][-1]["content"].lower(), "seen": "a man"}
    return write(tmp_path / "train.jsonl", rows)


def test_the_language_model_reads_words_and_an_export_does_the_same(tmp_path: Path, manifest: Path) -> None:
    more = ("word_weight=0.3", "word_inputs=true", "level_dropout=0.5", "max_steps=4", "batch_size=4")
    settings = recipe(tmp_path, tmp_path / "cache", *more, f"data.train=[{manifest}]", "data.validation=null")
    trainer, lines = run(settings)
    assert all(line["word_loss"] > 0 for line in lines)
    model, processor = trainer.plain.eval(), trainer.processor
    assert model.config.word_inputs and model.config.words == len(trainer.objective.words.head.tokens_of_column)
    outputs = torch.randn(3, model.connector.config.llm_dim)
    ids = torch.full((1, 3), model.config.media_token_id)
    with torch.inference_mode():
        torch.testing.assert_close(model.embed(ids, outputs)[0], model.words.expectation(outputs))
    export(trainer.out, tmp_path / "model", which="last")
    loaded, _ = load_directory(tmp_path / "model")
    assert loaded.config.word_inputs and torch.equal(loaded.words.columns, model.words.columns)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.eval().embed(ids, outputs), model.embed(ids, outputs))
    assert processor.tokenizer is not None


def test_a_level_is_silenced_in_some_passes_the_same_when_resumed(tmp_path: Path, manifest: Path) -> None:
    settings = recipe(
        tmp_path, tmp_path / "cache", "level_dropout=0.5", f"data.train=[{manifest}]", "data.validation=null"
    )
    trainer, _ = run(settings)
    drawn = []
    for step in range(20):
        trainer.step = step
        drawn.append(trainer.silenced(0))
    assert {(), (0,), (1,)} == set(drawn) and drawn[5] == ((setattr(trainer, "step", 5)), trainer.silenced(0))[1]


def test_reading_words_without_knowing_which_is_refused(tmp_path: Path, manifest: Path) -> None:
    settings = recipe(tmp_path, tmp_path / "cache", "word_inputs=true", f"data.train=[{manifest}]")
    with pytest.raises(ConfigError, match="word_inputs"):
        run(settings)


def test_what_a_connector_could_say_it_can_still_say_after_training_on_fewer_words(tmp_path: Path, manifest: Path):
    common = (
        "word_weight=0.3",
        "max_steps=1",
        "batch_size=2",
        "micro_batch=2",
        "optim.warmup_steps=0",
        "data.validation=null",
    )
    first, _ = run(recipe(tmp_path, tmp_path / "cache", *common, f"data.train=[{manifest}]"))
    could = first.plain.words.columns.tolist()
    rows = entries(2)
    for row in rows:
        row["words"] = {"seen": "zebra"}
    few = write(tmp_path / "few.jsonl", rows)
    settings = (f"data.train=[{few}]", f"output={tmp_path / 'further'}")
    further, lines = run(recipe(tmp_path, tmp_path / "cache", *common, *settings, f"init={first.out}"))
    assert set(could) < set(further.plain.words.columns.tolist()) and lines[-1]["word_loss"] > 0
    assert further.plain.words.columns[0] == could[0], "the blank stays first"
    anew, _ = run(recipe(tmp_path, tmp_path / "cache", *common, *settings, f"output={tmp_path / 'anew'}"))
    assert not set(could) <= set(anew.plain.words.columns.tolist()), "a new connector says what its items say"
