"""A recipe to a ready trainer: model, data, features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from video_salmonn.data.feature_store import FeatureStore
from video_salmonn.data.manifest import Item
from video_salmonn.data.media_recipes import is_imagined
from video_salmonn.errors import ConfigError
from video_salmonn.model.encoder_marks import model_marks
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training import resuming
from video_salmonn.training.examples import ExampleMaker
from video_salmonn.training.imagining import Imaginer
from video_salmonn.training.items import as_often, read_items, word_items
from video_salmonn.training.packing import pack
from video_salmonn.training.processes import processes_on_a_card, settle
from video_salmonn.training.recipe import Recipe
from video_salmonn.training.sources import FeatureSource, OnDemandFeatures, StoredFeatures
from video_salmonn.training.starting import build_model, has_new_branches, naming_head, open_branches, widen_pictures
from video_salmonn.training.trainer import Trainer

HELD_TOGETHER = 0.4
"""Share of a GPU's free memory that features may take, where several processes share it and all hold them."""


def build_source(
    recipe: Recipe,
    model: VideoSalmonnForConditionalGeneration,
    processor: VideoSalmonnProcessor,
    device: torch.device | str = "cpu",
    store: FeatureStore | None = None,
) -> FeatureSource:
    """Where features come from: a store, held by ``device`` if it can, or the model's own encoders behind a cache.

    A ``store`` that is open already takes the place of the recipe's.

    Raises:
        ConfigError: the features are of other encoders than the model's, or there are none.
    """
    if store is not None:
        store.check(model_marks(model))
    elif recipe.data.features:
        store = FeatureStore(recipe.data.features, model_marks(model))
        if not len(store):
            raise ConfigError(
                f"recipe: data.features {recipe.data.features!r} holds no features",
                remedy="encode the data set first, or leave data.features out",
            )
        together = processes_on_a_card()
        if together == 1:
            store.hold(device)
        else:
            store.hold(device, HELD_TOGETHER / together)
    if store is not None:
        return StoredFeatures(store, int(model.config.media_config.picture_frames), model.connector.config.audio_tokens)
    return OnDemandFeatures(model, processor, Path(recipe.data.cache) if recipe.data.cache else None)


def pack_recipe(
    recipe: Recipe,
    folder: Path,
    dtype: torch.dtype = torch.float16,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, int]:
    """Encode all media of a recipe's manifests into a folder that ``data.features`` may name (:func:`packing.pack`)."""
    paths = [*recipe.data.train, *([recipe.data.validation] if recipe.data.validation else [])]
    model, processor = build_model(recipe)
    live = build_source(replace(recipe, data=replace(recipe.data, features=None)), model, processor)
    return pack(read_items(paths), live, model, folder, dtype=dtype, progress=progress)


def _imaginer(
    recipe: Recipe, model: VideoSalmonnForConditionalGeneration, items: Sequence[Item], source: FeatureSource
) -> Imaginer | None:
    """What makes imagined pictures anew, where the recipe wants that and items ask for any."""
    if not recipe.data.imagine_anew or not any(is_imagined(item.media.get("image")) for item in items):
        return None
    return Imaginer(naming_head(model, "data.imagine_anew"), items, source)


def build_trainer(recipe: Recipe, store: FeatureStore | None = None) -> Trainer:
    """Everything that a checked recipe (:func:`~video_salmonn.training.recipe.load_recipe`) asks for, loaded.

    Args:
        recipe: what to do.
        store: the recipe's feature store, where several runs of one process share it; by default it is opened anew.
    """
    recipe, accelerator = settle(recipe)
    items = read_items(recipe.data.train)
    held_out = read_items([recipe.data.validation]) if recipe.data.validation else []
    worded = items if recipe.loss == "words" else None
    model, processor = build_model(recipe)
    if worded is not None:
        branches = model.connector.config
        senses = {"sight": branches.visual_dim is not None, "events": branches.audio_dim is not None}
        items, held_out = word_items(items, **senses), word_items(held_out, **senses)
    source = build_source(recipe, model, processor, accelerator.device, store)
    maker = ExampleMaker(
        as_often(items, recipe),
        source,
        recipe.mixing,
        recipe.seed,
        augment=recipe.data.augment,
        picture_frames=recipe.data.picture_frames,
        imaginer=_imaginer(recipe, model, items, source),
        still_tokens=(recipe.data.still_tokens, model.connector.config.visual_tokens),
    )
    validation = ExampleMaker(held_out, source, recipe.mixing, recipe.seed) if held_out else None
    if recipe.open_branches and has_new_branches(recipe):
        open_branches(model.connector, maker)
    if recipe.widen_pictures and resuming.chosen(Path(recipe.output)) is None:
        widen_pictures(model, maker)
    return Trainer(recipe, model, processor, maker, validation, accelerator, worded)


def trainer_of(
    recipe: Recipe, model: VideoSalmonnForConditionalGeneration, processor: VideoSalmonnProcessor, maker: ExampleMaker
) -> Trainer:
    """A trainer of a model and examples that were made by hand; arguments as for :class:`Trainer`."""
    recipe.check()
    recipe, accelerator = settle(recipe)
    return Trainer(recipe, model, processor, maker, None, accelerator)
