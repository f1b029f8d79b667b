"""What goes wrong in real runs: data that do not fit, gradients that explode, silent videos, kill -9, full disks."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from training_runs import GRID, ROOT, changes, entries, recipe, run, write

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.errors import CheckpointError, ConfigError, ContextError, TrainingError
from video_salmonn.training.examples import Example
from video_salmonn.training.objectives import AnswersObjective
from video_salmonn.training.stage import build_trainer


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def test_answers_longer_than_the_context_are_counted_and_named(tmp_path: Path, cache: Path) -> None:
    rows = entries(8)
    rows[2]["conversation"][-1]["content"] = "word " * 1000
    manifest = write(tmp_path / "m.jsonl", rows)
    trainer = build_trainer(recipe(tmp_path, cache, f"data.train=[{manifest}]"))
    trainer.train_step()
    assert list(trainer.broken) == [rows[2]["id"]]
    assert "context of 2048" in trainer.broken[rows[2]["id"]]


def test_a_batch_in_which_nothing_counts_ends_the_run(tmp_path: Path, cache: Path) -> None:
    rows = [row | {"weight": 0} for row in entries(8)]
    manifest = write(tmp_path / "m.jsonl", rows)
    with pytest.raises(TrainingError, match="no item of step 1 can be used"):
        build_trainer(recipe(tmp_path, cache, f"data.train=[{manifest}]")).train_step()


def test_one_bad_file_costs_one_item_also_where_a_step_has_no_other(tmp_path: Path, cache: Path) -> None:
    rows = entries(4)
    rows[1]["media"]["video"] = "/no/such.mp4"
    one = ["batch_size=1", "micro_batch=1", "max_steps=6", f"data.train=[{write(tmp_path / 'm.jsonl', rows)}]"]
    trainer, lines = run(recipe(tmp_path, cache, *one))
    assert trainer.step == 6 and list(trainer.broken) == [rows[1]["id"]]
    assert 3 < len(lines) < 6 and lines[-1]["broken_items"] == 1


def test_a_run_in_which_nothing_can_be_used_ends_with_an_error(tmp_path: Path, cache: Path) -> None:
    rows = entries(4)
    for row in rows:
        row["media"]["video"] = "/no/such.mp4"
    manifest = write(tmp_path / "m.jsonl", rows)
    with pytest.raises(TrainingError, match="no item of step 6 can be used"):
        run(recipe(tmp_path, cache, f"data.train=[{manifest}]"))


def test_an_example_whose_labels_are_all_masked_is_refused(tmp_path: Path, cache: Path) -> None:
    trainer = build_trainer(recipe(tmp_path, cache))
    unanswered = Example("item-7", None, [{"role": "user", "content": "What?"}], 1.0, "as it is")
    with pytest.raises(ContextError, match=r"item-7.*nothing to learn"):
        trainer.objective.prepare(unanswered)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_touched(tmp_path: Path, cache: Path) -> None:
    trainer = build_trainer(recipe(tmp_path, cache))
    weight = trainer.plain.connector.llm_projection.weight
    weight.register_hook(lambda gradient: gradient * math.nan)
    before = weight.detach().clone()
    with pytest.raises(TrainingError, match=r"gradient of step 1 .*items \["):
        trainer.train_step()
    assert torch.equal(weight, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("trainable=[connector,lroa_]", "lroa_"),
        ("trainable=[connector,tower.speech]", "encoders are frozen"),
        ("trainable=[connector,layers]", "encoders are frozen"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(tmp_path: Path, cache: Path, change: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        build_trainer(recipe(tmp_path, cache, change))


def silent_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), n * 10, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_video_without_a_sound_track_is_shown_alone_and_never_asked_about_its_sound(
    tmp_path: Path, cache: Path
) -> None:
    rows = entries(2)
    rows[0]["media"] = {"video": str(silent_video(tmp_path / "silent.mp4"))}
    rows[1]["media"]["audio"] = None
    manifest = write(tmp_path / "m.jsonl", rows)
    always = ("mixing.enabled=true", "mixing.matching=1.0", "mixing.swap=0.0", "data.on_broken=raise")
    trainer = build_trainer(recipe(tmp_path, cache, f"data.train=[{manifest}]", *always))
    silent, muted = trainer.maker.make(0, 0), trainer.maker.make(1, 0)
    assert silent.rule == "no sound track" and silent.conversation == rows[0]["conversation"]
    assert silent.features.visual is not None and silent.features.speech is None
    assert muted.rule == "as it is" and muted.features.speech is None


def test_files_that_cannot_be_opened_cost_their_items_also_where_they_are_borrowed_or_validated(
    tmp_path: Path, cache: Path
) -> None:
    rows = entries(8)
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "folder.mp4").mkdir()
    bad = ["loop.mp4", "folder.mp4", "n" * 300 + ".mp4", "nul\0.mp4"]
    for row, name in zip(rows, bad):
        row["media"] = {"audio": name}
    for row in rows[4:]:
        row["media"]["audio"] = None
    rows.append({**rows[0], "id": "heard", "media": {"audio": rows[4]["media"]["video"]}})
    manifest = write(tmp_path / "m.jsonl", rows)
    more = (f"data.train=[{manifest}]", f"data.validation={manifest}", "validate_every=3", "max_steps=3")
    mixed = ("mixing.enabled=true", "mixing.video_mix=1.0", "batch_size=9", "micro_batch=9", "save_every=0")
    trainer, lines = run(recipe(tmp_path, cache, *more, *mixed))
    assert set(trainer.broken) == {row["id"] for row in rows[:4]}, "whoever borrows from them is not lost"
    assert trainer.rules["video+sound, both questions"] > 0
    validated = next(line for line in lines if "validation_loss" in line)
    assert (validated["validation_items"], validated["validation_skipped"]) == (5, 4)


def test_the_state_of_the_fp16_scaler_is_kept(tmp_path: Path, cache: Path) -> None:
    for scale in (512.0, 64.0):
        trainer = build_trainer(recipe(tmp_path, cache))
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        if scale == 512.0:
            trainer.save()
        else:
            assert trainer.resume()
            assert trainer.accelerator.scaler.state_dict()["scale"] == 512.0


def test_loading_ahead_changes_nothing_and_its_errors_arrive(tmp_path: Path, cache: Path) -> None:
    plain = run(recipe(tmp_path / "a", cache, "data.workers=0", "save_every=0", "max_steps=3"))[1]
    ahead = run(recipe(tmp_path / "b", cache, "data.workers=2", "save_every=0", "max_steps=3"))[1]
    assert [line["loss"] for line in ahead] == [line["loss"] for line in plain]
    assert all(line["data_seconds"] <= line["seconds"] for line in ahead)


def test_a_full_disk_ends_the_run_with_the_earlier_checkpoint_and_it_goes_on(tmp_path: Path, cache: Path) -> None:
    whole = run(recipe(tmp_path / "whole", cache))[1]
    trainer = build_trainer(recipe(tmp_path, cache))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(line: dict) -> None:
        if line["step"] == 5:  # step-3 is saved; what follows is refused by the system
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))

    try:
        with pytest.raises(CheckpointError, match=r"step-6: cannot be written"):
            trainer.run(fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _, rest = run(recipe(tmp_path, cache), resume=True)
    assert [line["loss"] for line in rest] == pytest.approx([line["loss"] for line in whole[3:]], abs=1e-6)
    written = [json.loads(line) for line in (trainer.out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in written] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_killed_without_warning_a_run_goes_on_with_the_same_losses(tmp_path: Path, cache: Path) -> None:
    more = ("max_steps=16", "save_every=3", "batch_size=4")
    whole = run(recipe(tmp_path / "whole", cache, *more))[1]
    sets = [part for change in [*changes(tmp_path, cache), *more] for part in ("--set", change)]
    command = [sys.executable, "-m", "video_salmonn", "train", "recipes/tiny.yaml", *sets]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    metrics = tmp_path / "run/metrics.jsonl"
    try:
        for _ in range(1200):
            if metrics.exists() and metrics.read_text().count("\n") >= 4:
                break
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    trainer, rest = run(recipe(tmp_path, cache, *more), resume=True)
    first = rest[0]["step"]
    assert first in range(4, 16)
    written = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["step"] for line in written] == list(range(1, 17))
    assert [line["loss"] for line in written] == pytest.approx([line["loss"] for line in whole], abs=1e-6)
    assert not list((trainer.out / "checkpoints").glob(".step*"))


def test_validation_without_a_usable_item_says_so(tmp_path: Path, cache: Path) -> None:
    rows = entries(1)
    rows[0]["media"]["video"] = str(GRID / "none.mp4")
    manifest = write(tmp_path / "v.jsonl", rows)
    with pytest.raises(TrainingError, match="no validation item"):
        run(recipe(tmp_path, cache, f"data.validation={manifest}", "validate_every=2", "max_steps=2"))
    assert next(tmp_path.rglob("checkpoints/step-2")).is_dir()  # what was trained is kept


def test_a_template_that_does_not_end_answers_is_refused() -> None:
    model, processor = build_tiny()
    processor.tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    processor.config.prompt = "chat"
    with pytest.raises(ConfigError, match="never stops"):
        AnswersObjective(model, processor, 2048, None, 0.0)
