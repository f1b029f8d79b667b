"""A recipe to a ready trainer: model, data, features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator

from video_salmonn.cache import Cache
from video_salmonn.checkpoints.assemble import build_tiny, load_model
from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.errors import ConfigError
from video_salmonn.files import fingerprint
from video_salmonn.inference.media_store import MediaStore
from video_salmonn.model import adapters
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.presets import tiny
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training.checkpointing import load_trained
from video_salmonn.training.examples import (
    ExampleMaker,
    FeatureSource,
    LiveFeatures,
    StoredFeatures,
    read_items,
    repeated,
)
from video_salmonn.training.packing import INDEX, PackedFeatures, pack
from video_salmonn.training.precision import settle
from video_salmonn.training.processes import build_accelerator
from video_salmonn.training.recipe import Recipe
from video_salmonn.training.trainer import Trainer


def build_model(recipe: Recipe) -> tuple[VideoSalmonnForConditionalGeneration, VideoSalmonnProcessor]:
    """The model a recipe starts from, in fp32, with the recipe's changes to the connector.

    Raises:
        ConfigError: the changes cannot be applied to this model.
    """
    if recipe.model == "tiny":
        config = tiny()
        config = _changed(config, recipe)
        model, processor = build_tiny(recipe.seed, config)
    else:
        model, processor = load_model(recipe.model)
        if recipe.connector:
            config = _changed(model.config, recipe)
            state = {n: t for n, t in model.state_dict().items() if not n.startswith("connector.")}
            with _seeded(recipe.seed):
                model = VideoSalmonnForConditionalGeneration.from_pretrained(None, config=config, state_dict=state)
            processor = VideoSalmonnProcessor.from_config(config, processor.tokenizer, processor.qformer_tokenizer)
    model = model.float()
    if recipe.word_inputs is not None:
        model.config.word_inputs = recipe.word_inputs
    with _seeded(recipe.seed):
        if "connector" in recipe.fresh:
            model.connector.reset_parameters()
        if "lora" in recipe.fresh:
            layers = [layer for _, layer in adapters.lora_layers(model.language_model)]
            adapters.reset([(layer, name) for layer in layers for name in layer.lora_A])
    if recipe.init:
        load_trained(model, Path(recipe.init))
    return model, processor


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """A block whose random weights depend on the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _changed(config: VideoSalmonnConfig, recipe: Recipe) -> VideoSalmonnConfig:
    if not recipe.connector:
        return config
    values = config.to_dict()
    values["connector"] = {**values["connector"], **recipe.connector}
    return VideoSalmonnConfig.from_dict(values)


def build_source(
    recipe: Recipe,
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    device: torch.device | str = "cpu",
) -> FeatureSource:
    """Where features come from: a store, held by ``device`` if it can, or the model's own encoders behind a cache."""
    if recipe.data.features and (Path(recipe.data.features) / INDEX).is_file():
        return PackedFeatures(recipe.data.features, model)
    if recipe.data.features:
        store = FeatureStore(recipe.data.features)
        if not len(store):
            raise ConfigError(
                f"recipe: data.features {recipe.data.features!r} holds no features",
                remedy="encode the data set first, or leave data.features out",
            )
        store.hold(device)
        return StoredFeatures(store, int(model.config.media["picture_frames"]))
    return _live(recipe, model, processor)


def _live(
    recipe: Recipe, model: VideoSalmonnForConditionalGeneration, processor: VideoSalmonnProcessor
) -> LiveFeatures:
    """The model's own encoders, behind the recipe's cache."""
    cache = Cache(folder=Path(recipe.data.cache) if recipe.data.cache else None)
    return LiveFeatures(MediaStore(model, processor, cache, fingerprint(model.tower)))


def pack_recipe(
    recipe: Recipe,
    folder: Path,
    dtype: torch.dtype = torch.float16,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, int]:
    """Encode all media of a recipe's manifests into a folder that ``data.features`` may name (:func:`packing.pack`)."""
    if not recipe.data.train:
        raise ConfigError("recipe: data.train is empty: give at least one manifest", remedy="--set data.train=[…]")
    paths = [*recipe.data.train, *([recipe.data.validation] if recipe.data.validation else [])]
    model, processor = build_model(recipe)
    return pack(read_items(paths), _live(recipe, model, processor), model, folder, dtype=dtype, progress=progress)


def build_trainer(recipe: Recipe, accelerator: Accelerator | None = None) -> Trainer:
    """Everything a recipe asks for, checked and loaded."""
    recipe.check()
    items = repeated(read_items(recipe.data.train), recipe.data.repeat, recipe.seed)
    held_out = read_items([recipe.data.validation]) if recipe.data.validation else None
    model, processor = build_model(recipe)
    recipe = settle(recipe)
    accelerator = accelerator or build_accelerator(recipe)  # now, since features go to this process's own device
    source = build_source(recipe, model, processor, accelerator.device)
    maker = ExampleMaker(items, source, recipe.mixing, recipe.seed, augment=recipe.data.augment)
    validation = ExampleMaker(held_out, source, recipe.mixing, recipe.seed) if held_out else None
    return Trainer(recipe, model, processor, maker, validation, accelerator)
