"""Where a run starts from: the model of a recipe, with its changes and weights of earlier runs, ready to train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import nn

from video_salmonn.checkpoints.assemble import build_tiny, load_model, with_connector
from video_salmonn.connector import ConnectorConfig, MultiResolutionCausalQFormer
from video_salmonn.connector.growing import grow
from video_salmonn.connector.starts import open_branch, spread_positions, widen_branch
from video_salmonn.errors import CheckpointError, ConfigError, MediaError, TrainingError
from video_salmonn.model import adapters
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training import resuming
from video_salmonn.training.checkpointing import place_trained, read_trained
from video_salmonn.training.examples import ExampleMaker
from video_salmonn.training.recipe import Recipe

CACHED_PARTS = ("tower.vision", "tower.speech", "tower.audio")
"""Encoders whose output is cached: nothing flows back into them."""
RAREST = 5
"""Names that fewer items have do not decide how a branch is opened."""
PICTURES = 2000
"""Pictures by which a projection is widened."""


def build_model(recipe: Recipe) -> tuple[VideoSalmonnForConditionalGeneration, VideoSalmonnProcessor]:
    """The model a recipe starts from, in fp32, with the recipe's changes to the connector.

    Raises:
        ConfigError: the changes cannot be applied to this model.
        CheckpointError: ``init`` does not fit it.
    """
    if recipe.model == "tiny":
        model, processor = build_tiny(recipe.seed, connector=recipe.connector)
    else:
        model, processor = load_model(recipe.model)
        if recipe.connector:
            model, processor = _rebuilt(model, processor, recipe)
    model = model.float()
    if recipe.word_inputs is not None:
        model.config.word_inputs = recipe.word_inputs
    if recipe.fresh:
        _renew(model, recipe)
    if recipe.adapter_rank:
        with _seeded(recipe.seed):
            model.widen_lora(recipe.adapter_rank)
    if recipe.loss == "words" and has_new_connector(recipe):
        spread_positions(model.connector)
    if recipe.init:
        start_from(model, Path(recipe.init))
    return model, processor


def prepare_model(model: VideoSalmonnForConditionalGeneration, recipe: Recipe, device: torch.device) -> dict[str, int]:
    """Change a model in place for training; returns how many numbers train, by entry of ``trainable``.

    Args:
        model: on the CPU, in float32.
        recipe: settled (:func:`~video_salmonn.training.processes.settle`).
        device: where it will train.

    Raises:
        TrainingError: an entry of ``trainable`` names no parameter, or an encoder, whose output is cached.
    """
    model.config.diversity_form = recipe.diversity_form
    model.config.diversity_weight = recipe.diversity_weight
    trains: dict[str, int] = {}
    found: set[str] = set()
    for name, parameter in model.named_parameters():
        matching = [part for part in recipe.trainable if part in name]
        found.update(matching)
        parameter.requires_grad_(bool(matching))
        if matching and name.startswith(CACHED_PARTS):
            raise TrainingError(
                f"trainable {matching[0]!r} names {name}, but the encoders are frozen: their output is cached",
                remedy="leave the encoders out of trainable",
            )
        if matching:
            trains[matching[0]] = trains.get(matching[0], 0) + parameter.numel()
    nothing = [part for part in recipe.trainable if part not in found]
    if nothing:
        raise TrainingError(f"trainable {nothing} names no parameter", remedy="for example: connector, lora_")
    if recipe.frozen_precision == "bf16":
        for parameter in model.language_model.parameters():
            parameter.data = parameter.data if parameter.requires_grad else parameter.data.bfloat16()
    if recipe.gradient_checkpointing:
        # transformers 5.23 renamed it and warns about the old name
        renamed = hasattr(model, "activation_checkpointing_enable")
        name = "activation_checkpointing_enable" if renamed else "gradient_checkpointing_enable"
        getattr(model, name)({"use_reentrant": False})
    eager = recipe.precision == "bf16" and device.type == "cpu"
    if recipe.attention != "auto" or eager:
        model.language_model.set_attn_implementation("eager" if recipe.attention == "auto" else recipe.attention)
    return trains


def _renew(model: VideoSalmonnForConditionalGeneration, recipe: Recipe) -> None:
    """Start the parts anew that a recipe calls fresh."""
    with _seeded(recipe.seed):
        if "connector" in recipe.fresh:
            model.connector.reset_parameters()
        if "lora" in recipe.fresh:
            layers = [layer for _, layer in adapters.lora_layers(model.language_model)]
            adapters.reset([(layer, name) for layer in layers for name in layer.lora_A])


def has_new_connector(recipe: Recipe) -> bool:
    """Whether the connector starts anew, unless ``init`` fills it."""
    return recipe.model == "tiny" or bool(recipe.connector) or "connector" in recipe.fresh


def learned_before(recipe: Recipe) -> bool:
    """Whether the connector has been trained before this recipe."""
    return bool(recipe.init) or not has_new_connector(recipe)


def _rebuilt(
    model: VideoSalmonnForConditionalGeneration, processor: VideoSalmonnProcessor, recipe: Recipe
) -> tuple[VideoSalmonnForConditionalGeneration, VideoSalmonnProcessor]:
    """The model with another, new connector; everything else stays as it was loaded."""
    config = with_connector(model.config, recipe.connector)
    gone = [
        "connector.",
        *(f"tower.{part}." for part in ("vision", "speech", "audio") if not getattr(config, f"{part}_config")),
    ]
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(tuple(gone))}
    with _seeded(recipe.seed):
        model = VideoSalmonnForConditionalGeneration.from_pretrained(None, config=config, state_dict=state)
    return model, VideoSalmonnProcessor.from_config(config, processor.tokenizer, processor.qformer_tokenizer)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """A block whose random weights depend on the recipe's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def start_from(model: VideoSalmonnForConditionalGeneration, place: Path) -> None:
    """Fill a model with what was trained before; a connector of speech alone is grown into a full one.

    Args:
        model: changed in place.
        place: a checkpoint or export, a run, or a file of a connector's weights.

    Raises:
        CheckpointError: there is nothing, or it does not fit.
    """
    state = read_trained(place)
    if model.connector.config.audio_dim is not None and knows_speech_alone(state):
        own = {
            name.removeprefix("connector."): state.pop(name) for name in list(state) if name.startswith("connector.")
        }
        values = model.connector.config.to_dict() | {"visual_dim": None, "audio_dim": None}
        with _seeded(0):
            small = MultiResolutionCausalQFormer(ConnectorConfig.from_dict(values))
        try:
            small.load_state_dict(own)
        except RuntimeError as error:
            raise CheckpointError(f"{place}: the connector does not fit this model ({error})") from error
        grow(small, model.connector)
    place_trained(model, state, place)


def knows_speech_alone(state: dict[str, torch.Tensor]) -> bool:
    """Whether trained tensors are of a connector with the branch of speech alone."""
    return "connector.speech_projection.weight" in state and "connector.audio_projection.weight" not in state


def has_new_branches(recipe: Recipe) -> bool:
    """Whether the connector's branches of pictures and sound events have learned nothing yet, and no run is resumed."""
    if resuming.chosen(Path(recipe.output)) is not None:
        return False
    return knows_speech_alone(read_trained(Path(recipe.init))) if recipe.init else has_new_connector(recipe)


@torch.no_grad()
def open_branches(connector: MultiResolutionCausalQFormer, maker: ExampleMaker) -> None:
    """Start the branches of pictures and sounds from the directions that separate the training names.

    Args:
        connector: whose branches have learned nothing yet; changed in place.
        maker: of training examples; items whose features are not there are left out.
    """
    for task, projection in (("picture", connector.visual_projection), ("sound", connector.audio_projection)):
        items = list({item.id: item for item in maker.items if item.task == task}.values())
        count = Counter(item.answer for item in items)
        place = {name: index for index, name in enumerate(sorted(name for name in count if count[name] >= RAREST))}
        if projection is None or len(place) < 2:
            continue
        rows: list[torch.Tensor] = []
        labels: list[int] = []
        for item in items:
            if item.answer not in place:
                continue
            try:
                if task == "picture":
                    visual = maker.source.sight(item).visual
                    assert visual is not None
                    own = visual[0].float().mean(dim=0, keepdim=True)
                else:
                    audio = maker.source.sound(item).audio
                    assert audio is not None
                    own = audio[:: connector.config.audio_tokens].float()
            except MediaError:
                continue
            rows.append(own)
            labels += [place[item.answer]] * len(own)
        if rows:
            open_branch(projection, torch.cat(rows), labels)


def naming_head(model: VideoSalmonnForConditionalGeneration, wanted_by: str) -> nn.Linear:
    """The head by which the picture encoder itself names things. Raises ConfigError, naming the key, if it has none."""
    head = getattr(model.tower.vision, "head", None)
    if not isinstance(head, nn.Linear) or model.connector.visual_projection is None:
        raise ConfigError(f"recipe: {wanted_by} needs a picture encoder whose head knows names, as embedded has")
    return head


def widen_pictures(model: VideoSalmonnForConditionalGeneration, maker: ExampleMaker) -> None:
    """Make the connector's projection of pictures keep what distinguishes the names of their encoder's own head.

    Args:
        model: whose connector has been trained; changed in place.
        maker: of training examples; items whose features are not there are left out.

    Raises:
        ConfigError: the picture encoder has no such head, or there is no picture to do it by.
    """
    head, projection = naming_head(model, "widen_pictures"), model.connector.visual_projection
    assert projection is not None
    rows: list[torch.Tensor] = []
    for item in maker.items:
        if len(rows) == PICTURES:
            break
        if item.task == "picture" and "audio" not in item.media:
            with suppress(MediaError):
                visual = maker.source.sight(item).visual
                rows += [] if visual is None else [visual[0].float().cpu()]
    if not rows:
        raise ConfigError(
            "recipe: widen_pictures finds no picture among the items",
            remedy="give data.train items of the task picture",
        )
    widen_branch(projection, torch.cat(rows), head.weight)
