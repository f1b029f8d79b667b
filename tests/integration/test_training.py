"""Training on real clips of the repository with the tiny model: it learns, resumes exactly, and survives bad data."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import wave as wav
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import ROOT, entries, recipe, run, write

from video_salmonn.errors import ConfigError, MediaError, TrainingError
from video_salmonn.training.stage import build_trainer
from video_salmonn.training.starting import build_model


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def test_the_loss_falls_and_metrics_are_written(tmp_path: Path, cache: Path) -> None:
    trainer, lines = run(recipe(tmp_path, cache, "max_steps=12", "save_every=0", "validate_every=12"))
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] - 0.5
    written = [json.loads(line) for line in (trainer.out / "metrics.jsonl").read_text().splitlines()]
    assert {"step", "loss", "lr", "seconds", "language_loss", "diversity_loss"} <= set(written[0])
    assert any("validation_loss" in line for line in written)
    assert (trainer.out / "samples.jsonl").exists()
    assert (trainer.out / "checkpoints/best/connector.safetensors").exists()


def test_resume_gives_the_same_losses_step_by_step(tmp_path: Path, cache: Path) -> None:
    _, whole = run(recipe(tmp_path / "a", cache))  # the recipe's rate is flat: the schedule depends on max_steps
    run(recipe(tmp_path / "b", cache, "max_steps=3"))
    _, rest = run(recipe(tmp_path / "b", cache), resume=True)
    assert [line["step"] for line in rest] == [4, 5, 6]
    assert [line["loss"] for line in rest] == pytest.approx([line["loss"] for line in whole[3:]], abs=1e-6)


def test_micro_batches_do_not_change_the_losses(tmp_path: Path, cache: Path) -> None:
    one = run(recipe(tmp_path / "a", cache, "micro_batch=8", "diversity_weight=0"))[1]
    many = run(recipe(tmp_path / "b", cache, "micro_batch=2", "diversity_weight=0"))[1]
    assert [line["loss"] for line in many] == pytest.approx([line["loss"] for line in one], abs=1e-5)


@pytest.mark.parametrize("form", ["released", "paper"])
@pytest.mark.parametrize("attend_padding", [False, True])
def test_the_diversity_loss_of_items_of_unlike_length_does_not_depend_on_micro_batches(
    tmp_path: Path, cache: Path, form: str, attend_padding: bool
) -> None:
    rows = entries(8)
    for number, row in enumerate(rows):  # 0.5 to 15 s of sound, with and without pictures, and one of text alone
        row["media"] = {"audio": str(tone(tmp_path / f"{number}.wav", (0.5, 15, 1, 7, 3, 11, 0.7, 5)[number]))}
        if number % 3 == 0:
            row["media"]["image"] = str(ROOT / "tests/fixtures/save-mini/flickr30k/coco_129648.jpg")
    rows[7]["media"] = {}
    manifest = write(tmp_path / "m.jsonl", rows)
    more = (
        f"data.train=[{manifest}]",
        f"diversity_form={form}",
        f"connector.attend_padding={str(attend_padding).lower()}",
    )
    runs = []
    for size in (8, 3, 1):
        fixed = ("diversity_weight=1", "max_steps=2", "save_every=0", f"micro_batch={size}")
        runs.append(run(recipe(tmp_path / str(size), cache, *more, *fixed))[1])
    for lines in runs[1:]:
        for name in ("diversity_loss", "loss", "grad_norm"):
            assert [line[name] for line in lines] == pytest.approx([line[name] for line in runs[0]], rel=2e-4), name


def tone(path: Path, seconds: float) -> Path:
    wave = np.sin(np.arange(int(16000 * seconds)) * (0.05 + seconds / 100))
    with wav.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((wave * 9000).astype("<i2").tobytes())
    return path


def test_a_broken_file_is_counted_and_named_or_fatal(tmp_path: Path, cache: Path) -> None:
    rows = entries(8)
    rows[3]["media"]["video"] = str(tmp_path / "broken.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"\x00" * 100)
    manifest = write(tmp_path / "some.jsonl", rows)
    trainer, _ = run(recipe(tmp_path, cache, f"data.train=[{manifest}]", "max_steps=2"))
    assert list(trainer.broken) == [rows[3]["id"]]
    assert "broken.mp4" in (trainer.out / "broken.tsv").read_text()
    strict = recipe(tmp_path / "s", cache, f"data.train=[{manifest}]", "max_steps=2", "data.on_broken=raise")
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        run(strict)


def test_a_loss_that_is_not_finite_stops_the_run_naming_items(tmp_path: Path, cache: Path) -> None:
    trainer = build_trainer(recipe(tmp_path, cache))
    with torch.no_grad():
        trainer.plain.connector.llm_projection.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match="items"):
        trainer.train_step()


def test_frozen_parts_stay_frozen_and_in_evaluation_mode(tmp_path: Path, cache: Path) -> None:
    trainer = build_trainer(recipe(tmp_path, cache, "trainable=[connector]"))
    before = {n: p.clone() for n, p in trainer.plain.named_parameters() if not p.requires_grad}
    trainer.train_step()
    assert not trainer.plain.tower.training
    assert all(torch.equal(before[n], p) for n, p in trainer.plain.named_parameters() if n in before)
    assert all(n.startswith("connector.") for n, p in trainer.plain.named_parameters() if p.requires_grad)


def test_nothing_to_train_is_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(TrainingError, match="nonsense"):
        build_trainer(recipe(tmp_path, cache, "trainable=[nonsense]"))


def test_impossible_connector_changes_are_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ConfigError, match="mask_direction"):
        build_trainer(recipe(tmp_path, cache, "+connector.mask_direction=sideways".lstrip("+")))


@pytest.mark.parametrize(
    "change",
    [
        "connector.levels=[[1,3]]",
        "connector.levels=[[10,30]]",
        "connector.mask_direction=none",
        "connector.share_qformer=false",
        "connector.synchronise=false",
        "diversity_form=paper",
        "mixing.enabled=true",
        "gradient_checkpointing=true",
    ],
)
def test_ablations_run(tmp_path: Path, cache: Path, change: str) -> None:
    _, lines = run(recipe(tmp_path, cache, change, "max_steps=2", "save_every=0"))
    assert all(math.isfinite(line["loss"]) for line in lines)


def command(tmp_path: Path, cache: Path, *extra: str) -> list[str]:
    fixed = [
        f"output={tmp_path / 'run'}",
        f"data.cache={cache}",
        "log_every=1",
        "save_every=1000",
        "max_steps=100000",
    ]
    sets = [part for change in fixed for part in ("--set", change)]
    return [sys.executable, "-m", "video_salmonn", "train", "recipes/tiny.yaml", *sets, *extra]


def test_sigterm_saves_and_exits(tmp_path: Path, cache: Path) -> None:
    process = subprocess.Popen(command(tmp_path, cache), cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    metrics = tmp_path / "run/metrics.jsonl"
    try:
        for _ in range(600):
            if metrics.exists() and metrics.read_text().count("\n") >= 2:
                break
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    state = json.loads(next((tmp_path / "run/checkpoints").glob("step-*/state.json")).read_text())
    assert state["step"] >= 2


def test_a_run_with_minutes_ends_in_time_validated_and_with_a_checkpoint(tmp_path: Path, cache: Path) -> None:
    manifest = write(tmp_path / "m.jsonl", entries(4))
    more = ("max_steps=100000", "minutes=0.02", "validate_every=100000", f"data.validation={manifest}", "log_every=1")
    began = time.monotonic()
    trainer, lines = run(recipe(tmp_path, cache, *more, f"data.train=[{manifest}]", "optim.min_rate=0.1"))
    assert 1.2 <= time.monotonic() - began < 30 and 1 < trainer.step < 100_000
    assert trainer.over and not trainer.stop
    assert [line["step"] for line in lines if "validation_loss" in line] == [trainer.step]
    assert (trainer.out / f"checkpoints/step-{trainer.step}").is_dir()
    rates = [line["lr"] for line in lines if "lr" in line]
    assert rates[-1] < 0.2 * max(rates), "the rate falls with the time"


def test_a_run_is_not_overwritten(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_text("{}\n")
    done = subprocess.run(command(tmp_path, cache, "--json"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--resume" in json.loads(done.stdout)["error"]["remedy"]


def test_fresh_parts_depend_on_the_seed_alone_and_a_fresh_adapter_does_nothing(tmp_path: Path, cache: Path) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed * 7 + len(states))  # what was drawn before must not matter
        model, _ = build_model(recipe(tmp_path, cache, f"seed={seed}", "fresh=[connector,lora]"))
        states.append(model.state_dict())
    moved = [
        n for n in states[0] if n.startswith("connector.llm_projection.weight") or n.endswith("lora_A.default.weight")
    ]
    assert moved and all(torch.equal(states[0][n], states[1][n]) for n in moved)
    assert not any(torch.equal(states[0][n], states[2][n]) for n in moved)
    assert all(not t.any() for n, t in states[0].items() if ".lora_B." in n)


def test_a_wider_adapter_begins_as_the_narrow_one_and_is_kept_wide(tmp_path: Path, cache: Path) -> None:
    trainable = "trainable=[connector,lora_]"
    narrow, _ = run(recipe(tmp_path / "a", cache, trainable, "max_steps=3", "save_every=3", "optim.rate=0.05"))
    start = f"init={narrow.out}"
    wide, _ = build_model(recipe(tmp_path / "b", cache, start, "adapter_rank=8"))
    plain = narrow.plain.eval()
    assert wide.config.lora.to_dict() | {"r": 4, "alpha": 8.0} == plain.config.lora.to_dict()
    assert wide.config.lora.r == 8 and wide.config.lora.scale == plain.config.lora.scale
    states = wide.state_dict(), plain.state_dict()
    halves = [name for name in states[1] if ".lora_B." in name]
    assert halves and any(states[1][name].any() for name in halves), "training has moved it"
    for name in halves:
        assert states[0][name].shape[1] == 8 and torch.equal(states[0][name][:, :4], states[1][name])
        down = name.replace("lora_B", "lora_A")
        assert torch.equal(states[0][down][:4], states[1][down]) and states[0][down][4:].any(dim=1).all()
    ids = torch.arange(1, 9)[None]
    with torch.inference_mode():
        logits = [model.eval()(input_ids=ids).logits for model in (wide, plain)]
    assert torch.allclose(*logits, atol=1e-5)

    more = (trainable, start, "adapter_rank=8", "max_steps=2", "save_every=2")
    trained, _ = run(recipe(tmp_path / "c", cache, *more))
    assert any(t[:, 4:].any() for n, t in trained.plain.state_dict().items() if ".lora_B." in n), "the new columns too"
    again, _ = build_model(recipe(tmp_path / "d", cache, f"init={trained.out}", "adapter_rank=8"))
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in trained.plain.state_dict().items() if ".lora_" in n)
    assert build_model(recipe(tmp_path / "e", cache, f"init={trained.out}"))[0].config.lora.r == 8, (
        "wide weights stay wide"
    )
    with pytest.raises(ConfigError, match="has the rank 4, not less"):
        build_model(recipe(tmp_path / "f", cache, "adapter_rank=2"))


def test_items_of_text_alone_train_also_where_a_whole_pass_is_text_and_only_the_connector_trains(
    tmp_path: Path, cache: Path
) -> None:
    rows = entries(8)
    for row in rows[1:]:
        row["media"] = {}
    manifest = write(tmp_path / "text.jsonl", rows)
    changes = (f"data.train=[{manifest}]", f"data.validation={manifest}", "max_steps=2", "validate_every=2")
    for trainable in ("[connector]", "[connector,lora_]"):
        sizes = (f"trainable={trainable}", "batch_size=8", "save_every=0")
        whole = run(recipe(tmp_path / f"a{trainable}", cache, *changes, *sizes, "micro_batch=8"))[1]
        apart = run(recipe(tmp_path / f"b{trainable}", cache, *changes, *sizes, "micro_batch=1"))[1]
        assert [line["loss"] for line in apart[:2]] == pytest.approx([line["loss"] for line in whole[:2]], abs=1e-5)
        assert whole[2]["validation_items"] == 8


def test_frozen_weights_in_bf16_train_and_what_is_trained_stays_fp32(tmp_path: Path, cache: Path) -> None:
    more = ("precision=bf16", "frozen_precision=bf16", "trainable=[connector,lora_]", "max_steps=3", "save_every=0")
    trainer, lines = run(recipe(tmp_path, cache, *more, "validate_every=3"))
    kinds = {(p.requires_grad, p.dtype) for p in trainer.plain.language_model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
    plain = run(recipe(tmp_path / "plain", cache, "trainable=[connector,lora_]", "max_steps=3", "save_every=0"))[1]
    assert [x["loss"] for x in lines if "loss" in x] == pytest.approx([x["loss"] for x in plain], abs=0.05)
