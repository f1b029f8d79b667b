"""A small system over the embedded preset's features, for questions about mechanisms that a CPU can answer.

The frozen encoders are real and their output is read from a feature store. To save time a frame has five slots in place
of 25: five steps of sound (20 ms each) are put side by side as one of 100 ms, and each row of the 5 x 5 grid of visual
tokens is averaged. The connector is the production one with one layer of width 48; the language model is a random Llama
with two layers and a vocabulary of the words that occur. Everything else (prompts, mixing, losses, the training step)
is what ``video-salmonn train`` runs.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from video_salmonn.connector.starts import spread_positions
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item, read_manifest
from video_salmonn.data.mixing import MATCHING_QUESTIONS, lower_first
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.media_token import add_media_token
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import WHISPER_BASE, embedded
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.model.prompt import IGNORED
from video_salmonn.training.batching import collate
from video_salmonn.training.examples import ExampleMaker
from video_salmonn.training.recipe import DataRecipe, OptimRecipe, Recipe
from video_salmonn.training.sources import FeatureSource, StoredFeatures
from video_salmonn.training.stage import trainer_of
from video_salmonn.training.trainer import Trainer

CPU = torch.device("cpu")
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
SLOTS = 5
"""Slots of a frame of 0.5 s."""
STEPS = 25
"""Steps of 20 ms under a frame."""


class JoinedSounds(StoredFeatures):
    """Stored features in five slots a frame; a sound may also be put together of stretches of stored ones.

    Such a sound is ``{"joined": [{"file": recipe, "frames": n}, …]}``: the first n frames of each. The encoders heard
    each file by itself, so what is joined are features, not samples.
    """

    def __init__(self, store: FeatureStore, picture_frames: int) -> None:
        super().__init__(store, picture_frames)
        self._kept: dict[str, tuple[torch.Tensor, ...]] = {}

    def sight(self, item: Item) -> MediaFeatures:
        """Visual tokens ``(T, 5, D)``, float32: means over the rows of the grid."""
        name = json.dumps([item.media.get("video"), item.media.get("image")])
        features = MediaFeatures(still_frames=self.picture_frames if "image" in item.media else 0)
        if name not in self._kept:
            visual = super().sight(item).visual
            assert visual is not None
            self._kept[name] = (visual.unflatten(1, (SLOTS, -1)).float().mean(2),)
        return replace(features, visual=self._kept[name][0])

    def sound(self, item: Item) -> MediaFeatures:
        """Speech ``(5 T, 5 D)`` and sound-event features ``(5 T, D)`` of the item's sound, float32."""
        wanted: Any = item.media["audio"]
        joined = wanted["joined"] if isinstance(wanted, dict) and "joined" in wanted else [{"file": wanted}]
        root = item.root
        speech, audio = [], []
        for part in joined:
            key, frames = self.store.key(part["file"], root), part.get("frames")
            if key not in self._kept:
                steps = self.store[f"{key}.speech"].float()
                pooled = steps.unflatten(0, (-1, STEPS // SLOTS)).flatten(1)
                rows = self.store[f"{key}.audio"].float().repeat_interleave(SLOTS, dim=0)
                self._kept[key] = (pooled, rows)
            pooled, rows = self._kept[key]
            end = None if frames is None else frames * SLOTS
            speech.append(pooled[:end])
            audio.append(rows[:end])
        joined_rows = torch.cat(audio)
        return MediaFeatures(speech=torch.cat(speech), audio=joined_rows, sound_frames=len(joined_rows) // SLOTS)


def read_split(manifests: Path, split: str) -> list[Item]:
    """Items of a manifest written by ``data build-embedded``."""
    return list(read_manifest(manifests / f"{split}.jsonl"))


def stored(source: StoredFeatures, item: Item) -> bool:
    """Whether all features of an item are in the store."""
    wanted: list[tuple[Any, str]] = []
    for stream, kind in (("video", "visual"), ("image", "visual"), ("audio", "speech")):
        value: Any = item.media.get(stream)
        if isinstance(value, dict) and "slides" in value:
            wanted += [(slide["file"], kind) for slide in value["slides"]]
        elif isinstance(value, dict) and "joined" in value:
            wanted += [(part["file"], kind) for part in value["joined"]]
        elif value is not None:
            wanted.append((value, kind))
    root = item.root
    return all(f"{source.store.key(recipe, root)}.{kind}" in source.store for recipe, kind in wanted)


def word_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token a word or mark, of the words in ``texts`` and in the prompt's own text."""
    split = pre_tokenizers.Whitespace()
    words: dict[str, int] = {word: index for index, word in enumerate(SPECIAL)}
    for text in ("USER: <Img></Img> \nASSISTANT:", *texts):
        for word, _ in split.pre_tokenize_str(text):
            words.setdefault(word, len(words))
    tokenizer = Tokenizer(models.WordLevel(vocab=words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def build_small(
    texts: Sequence[str], seed: int, width: int = 48, llm: int = 128, **connector: Any
) -> tuple[VideoSalmonnForConditionalGeneration, VideoSalmonnProcessor]:
    """The small model, random by the seed, and its processor."""
    tokenizer = word_tokenizer(texts)
    config = embedded()
    media_token_id = add_media_token(tokenizer)
    sizes = {
        "hidden_size": width,
        "num_attention_heads": 4,
        "intermediate_size": 4 * width,
        "llm_dim": llm,
        "num_hidden_layers": 1,
    }
    sizes |= {
        "visual_tokens": SLOTS,
        "audio_tokens": SLOTS,
        "speech_dim": STEPS // SLOTS * config.connector_config.speech_dim,
    }
    small = VideoSalmonnConfig(
        text_config=LlamaConfig(
            hidden_size=llm,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=2 * llm,
            vocab_size=len(tokenizer),
            max_position_embeddings=1024,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
        ),
        vision_config=config.vision_config,
        speech_config=WHISPER_BASE | {"encoder_layers": 1, "encoder_ffn_dim": 64},  # never run: features are stored
        audio_config=config.audio_config,
        connector_config={**config.connector_config.to_dict(), **sizes, "dropout": 0.0, **connector},
        media_config={**config.media_config.to_dict(), "picture_frames": 6},
        prompt="vicuna",
        media_token_id=media_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VideoSalmonnForConditionalGeneration(small)
        spread_positions(model.connector)
    return model, VideoSalmonnProcessor.from_config(small, tokenizer)


def build_trainer(
    items: Sequence[Item], source: FeatureSource, *, seed: int, connector: dict[str, Any] | None = None, **recipe: Any
) -> Trainer:
    """A production trainer of a new small model over items; ``recipe`` are keys of the recipe."""
    settings = Recipe(
        output=tempfile.gettempdir(),
        seed=seed,
        trainable=["connector", "language_model"],
        data=DataRecipe(train=["(made here)"], workers=0),
        **recipe,
    )
    texts = [turn["content"] for item in items for turn in item.conversation]
    model, processor = build_small(texts + mixing_words(texts), seed, **(connector or {}))
    return trainer_of(settings, model, processor, ExampleMaker(items, source, settings.mixing, seed))


def mixing_words(texts: Sequence[str]) -> list[str]:
    """What mixing may add: joints, matching questions, and texts that begin with a small letter."""
    return [*MATCHING_QUESTIONS, "Yes.", "No.", "In the image, video, and", *(lower_first(text) for text in texts)]


@torch.inference_mode()
def exact_answers(trainer: Trainer, items: Sequence[Item], batch: int = 32) -> list[bool]:
    """Whether greedy decoding would give each item's answer word for word, with its end.

    It does exactly if, given the reference so far, every next token of it is the likeliest: one pass tells.
    """
    model, processor = trainer.plain.eval(), trainer.processor
    maker = ExampleMaker(items, trainer.maker.source, trainer.maker.mixing, 0)
    right: list[bool] = []
    for start in range(0, len(items), batch):
        rows = [trainer.objective.prepare(maker.plain(i)) for i in range(start, min(start + batch, len(items)))]
        made = collate(rows, processor, CPU, torch.float32)
        logits, labels = model(**made.inputs).logits[:, :-1], made.text.targets
        right += ((logits.argmax(-1) == labels) | (labels == IGNORED)).all(dim=1).tolist()
    return right


def quiet() -> None:
    """One thread, and no notes from libraries."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)


def recipe_rates(steps: int, rate: float) -> OptimRecipe:
    """Rates of a short run."""
    return OptimRecipe(rate=rate, warmup_steps=min(20, steps), weight_decay=0.01, min_rate=0.05, beta2=0.98)
