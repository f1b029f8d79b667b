"""``data.cache``: what is kept belongs to the encoders that made it."""

from __future__ import annotations

from pathlib import Path

import torch
from training_runs import recipe

from video_salmonn.checkpoints.assemble import build_tiny
from video_salmonn.training.stage import build_trainer


def save(folder: Path, seed: int) -> None:
    model, processor = build_tiny(seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def test_other_weights_in_the_same_folder_do_not_get_the_old_features(tmp_path: Path) -> None:
    models, cache = tmp_path / "model", tmp_path / "cache"
    loaded = recipe(tmp_path, cache, f"model={models}", "connector={}")

    def speech() -> torch.Tensor:
        features = build_trainer(loaded).maker.plain(0).features
        assert features is not None and features.speech is not None
        return features.speech

    save(models, 0)
    first = speech()
    assert torch.equal(speech(), first)
    entries = len(list(cache.rglob("*.safetensors")))
    save(models, 1)
    other = speech()
    assert not torch.allclose(other, first)
    assert len(list(cache.rglob("*.safetensors"))) == 2 * entries
    save(models, 0)
    assert torch.equal(speech(), first) and len(list(cache.rglob("*.safetensors"))) == 2 * entries
