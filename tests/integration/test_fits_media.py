"""Eight clips of the repository, one question, eight answers: the model fits them, and it is the media that tell.

The small version of ``studies/fit_64.py``: production training over the tiny preset's (random) encoders, with a
language model whose words are whole, so that half a minute is enough.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import ROOT, recipe
from transformers import LlamaConfig

from video_salmonn.data.mixing import MixingConfig
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import tiny
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training.examples import ExampleMaker
from video_salmonn.training.items import read_items
from video_salmonn.training.stage import build_source, trainer_of

sys.path.insert(0, str(ROOT / "studies"))
from small_system import exact_answers, word_tokenizer

CLIPS = 8


@pytest.mark.slow
def test_clips_are_fitted_and_answers_follow_the_media_when_these_are_swapped(tmp_path: Path) -> None:
    asked = [item for item in read_items([str(ROOT / "examples/grid/train.jsonl")]) if item.task == "transcribe"]
    items = asked[:CLIPS]
    assert len({item.question for item in items}) == 1 and len({item.answer for item in items}) == CLIPS
    tokenizer = word_tokenizer([turn["content"] for item in items for turn in item.conversation])
    base = tiny()
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    words = LlamaConfig(**sizes, vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=3)
    values = {
        f"{name}_config": getattr(base, f"{name}_config") for name in ("vision", "qformer", "speech", "audio", "media")
    }
    connector = {**base.connector_config.to_dict(), "dropout": 0.0, "levels": [[1, 3], [5, 15]]}
    config = VideoSalmonnConfig(text_config=words, connector_config=connector, **values)
    torch.manual_seed(0)
    model = VideoSalmonnForConditionalGeneration(config)
    for name, parameter in model.named_parameters():  # as build_tiny: the library's own start makes all frames alike
        if name.startswith("tower.vision") and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    processor = VideoSalmonnProcessor.from_config(config, tokenizer)
    steps = ["max_steps=160", f"batch_size={CLIPS}", f"micro_batch={CLIPS}", "optim.rate=0.003", "mixing.enabled=false"]
    loaded = recipe(tmp_path, tmp_path / "cache", *steps, "trainable=[connector,language_model]")
    maker = ExampleMaker(items, build_source(loaded, model, processor), MixingConfig(enabled=False), 0)
    trainer = trainer_of(loaded, model, processor, maker)
    while trainer.step < loaded.max_steps:
        loss = trainer.train_step()["language_loss"]
        if loss < 0.02:
            break
    trainer.loader.close()
    swapped = [replace(item, media=other.media) for item, other in zip(items, [*items[1:], items[0]])]
    own, others = exact_answers(trainer, items), exact_answers(trainer, swapped)
    assert sum(own) / CLIPS > 0.95, loss
    assert sum(others) / CLIPS < 0.3
