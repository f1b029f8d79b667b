"""Training recipes: typed, commented, and refused before anything loads if a key is unknown or contradicts another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from video_salmonn.data.mixing import MixingConfig
from video_salmonn.errors import ConfigError


@dataclass
class DataRecipe:
    """What is trained on.

    Attributes:
        train: manifests, each a JSON-lines file.
        repeat: how often an epoch takes each item, by task: 2 for twice, 0.5 for half of them, drawn by id; 1 for tasks
            that are not named. A key with a slash is the beginning of ids (``transcribe/vocabulary``) and goes before.
        shares: in place of ``repeat``: how much of an epoch each task takes, in any unit; tasks that are not named are
            left out.
        validation: a manifest, or None.
        features: folder of a feature store (frozen encoders' output); None to decode and encode as it comes.
        cache: folder that keeps what is encoded as it comes; None for memory only.
        on_broken: ``skip`` (counted and named) or ``raise`` where an item's media cannot be used.
        validation_items: maximum number of validation items.
        validation_samples: answers generated and kept with each validation.
        validation_swapped: ask these questions about other items' media as well: a model that uses its media is then
            seldom right (``validation_swapped`` of the metrics).
        workers: threads that decode and encode the next step's items ahead; 0 for none.
        augment: vary the features of training items: pace and place of the sound, stretches and bands of it hidden,
            visual tokens hidden. Moving pictures keep their own pace, so their sound does too.
        picture_frames: with ``augment``: a picture without sound is shown for one of these numbers of frames, drawn;
            empty for the model's own.
        still_tokens: with ``augment``: number of visual tokens, drawn for every pass, that the connector reads of
            pictures without sound, in passes that have nothing else; 0 for all. With ``length_group`` such pictures
            share passes.
        imagine_anew: imagined pictures are made anew each time, in another photograph of the items
            (4 ms of a core each); else as they are stored.
    """

    train: list[str] = field(default_factory=list)
    repeat: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    validation: str | None = None
    features: str | None = None
    cache: str | None = None
    on_broken: str = "skip"
    validation_items: int = 64
    validation_samples: int = 4
    validation_swapped: bool = False
    workers: int = 1
    augment: bool = False
    picture_frames: list[int] = field(default_factory=list)
    still_tokens: int = 0
    imagine_anew: bool = False


@dataclass
class OptimRecipe:
    """How weights move.

    Attributes:
        rate: peak learning rate of AdamW.
        rates: other peak rates for parts, by a part of the parameter name (``connector``, ``llm_projection`` …); of
            several that fit, the longest decides.
        min_rate: where the cosine ends, as a share of the peak.
        warmup_steps: linear rise.
        weight_decay: on matrices; vectors have none.
        beta2: of Adam.
        clip: bound on the gradient's norm; 0 for none.
    """

    rate: float = 1e-4
    rates: dict[str, float] = field(default_factory=dict)
    min_rate: float = 0.1
    warmup_steps: int = 100
    weight_decay: float = 0.05
    beta2: float = 0.999
    clip: float = 1.0


@dataclass
class Recipe:
    """One stage of training.

    Attributes:
        model: ``tiny``, ``embedded``, or a model directory.
        init: what to start from: a checkpoint or export (a folder with ``connector.safetensors`` and, if there is one,
            ``lora.safetensors``), a run (its newest checkpoint), or a file of a connector's weights. A connector that
            knows speech alone is grown into one with all senses.
        loss: ``answers``: the language model learns to answer. ``words``: it does not run; the connector learns to say
            what is said, seen and heard in the language model's own token embeddings, from the ``words`` that items
            state. Items are then every sound and picture of the manifests, once each, of the tasks ``transcribe``,
            ``sound`` and ``picture``.
        fresh: parts of the model that start anew, whatever its directory holds: ``connector``, ``lora``.
        adapter_rank: give the adapter this larger rank; what it does stays until it is trained. 0 leaves it.
        open_branches: start a new connector's projections of pictures and sounds from directions that separate names
            that items state (:func:`~video_salmonn.connector.starts.open_branch`).
        widen_pictures: before training, make the projection of pictures of a trained connector also keep what
            distinguishes the names of the picture encoder's own head
            (:func:`~video_salmonn.connector.starts.widen_branch`).
        connector: changes to the connector's configuration (the ablations), before anything is built.
        output: folder of the run.
        seed: of everything random.
        max_steps: optimiser steps.
        minutes: 0 for no limit; else training also ends after so many, counted from its first step (anew when it is
            resumed), and the rate has fallen to its minimum by then. For machines that are there for a limited time.
        batch_size: items a step, over all processes.
        micro_batch: items a forward pass; the rest is accumulated.
        precision: ``no`` (fp32), ``bf16``, ``fp16``, or ``auto``: ``bf16`` where the device has instructions for it (a
            processor without them takes fifty times as long), else ``no``.
        strategy: over several processes, ``ddp`` (each holds the whole model), ``fsdp2`` (they share it out), or
            ``local`` (each holds the whole model and moves its own weights; they may share one GPU).
        average_every: with ``local``: steps after which all processes take the mean of their weights.
        frozen_precision: ``no`` (fp32), or ``bf16``: hold the frozen weights of the language model in half the memory;
            ``auto``: ``bf16`` unless ``precision`` is ``no``.
        gradient_checkpointing: recompute activations of the language model.
        attention: of the language model: ``sdpa``, ``eager``, or ``auto``: ``eager`` for bf16 on a CPU, where torch's
            fused attention is the slower one (a step of 640 tokens of SmolLM2: 2.8 against 2.3 s), else ``sdpa``.
        length_group: the items of so many batches are sorted by length before they are cut into these, so that items of
            like length share one; 0 leaves the order of the shuffle.
        word_weight: of a loss that keeps the connector's outputs words of what is said, seen and heard, for items that
            state these (``words``); 0 for none.
        word_sample: of that loss: size of the random sample of words that replaces the vocabulary in passes without
            speech, besides the words that these name; 0 for the whole vocabulary.
        word_inputs: the language model reads what the outputs say on average, over the words that the items state, in
            place of the outputs; None leaves it to the model.
        level_dropout: share of the passes in which one level of the connector, drawn, is zero, so that none falls
            silent.
        trainable: prefixes (or parts of names) of parameters that are trained; all else is frozen.
        diversity_form: ``released`` or ``paper``.
        diversity_weight: λ.
        log_every, validate_every, save_every: steps between these; 0 for never.
        keep: checkpoints kept besides the best.
        tensorboard: write scalars for TensorBoard into the output folder as well.
        data: what is trained on.
        mixing: unpaired audio-visual mixing.
        optim: how weights move.
    """

    model: str = "tiny"
    init: str | None = None
    loss: str = "answers"
    open_branches: bool = False
    widen_pictures: bool = False
    fresh: list[str] = field(default_factory=list)
    adapter_rank: int = 0
    connector: dict[str, Any] = field(default_factory=dict)
    output: str = "runs/train"
    seed: int = 0
    max_steps: int = 100
    minutes: float = 0.0
    batch_size: int = 8
    micro_batch: int = 8
    precision: str = "no"
    strategy: str = "ddp"
    average_every: int = 20
    frozen_precision: str = "no"
    gradient_checkpointing: bool = False
    attention: str = "auto"
    length_group: int = 0
    word_weight: float = 0.0
    word_sample: int = 0
    word_inputs: bool | None = None
    level_dropout: float = 0.0
    trainable: list[str] = field(default_factory=lambda: ["connector", "lora_"])
    diversity_form: str = "released"
    diversity_weight: float = 0.1
    log_every: int = 10
    validate_every: int = 0
    save_every: int = 100
    keep: int = 2
    tensorboard: bool = False
    data: DataRecipe = field(default_factory=DataRecipe)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    optim: OptimRecipe = field(default_factory=OptimRecipe)

    def check(self, where: Path | str = "recipe") -> None:
        """Refuse contradictions. Raises ConfigError naming the key."""
        rules = (
            (bool(self.data.train), "data.train", "is empty: give at least one manifest"),
            (self.max_steps > 0, "max_steps", "must be at least 1"),
            (0 <= self.seed < 2**63, "seed", "must be at least 0 and less than 2**63"),
            (self.batch_size > 0, "batch_size", "must be at least 1"),
            (0 < self.micro_batch <= self.batch_size, "micro_batch", "must be between 1 and batch_size"),
            (self.precision in ("no", "bf16", "fp16", "auto"), "precision", "must be no, bf16, fp16 or auto"),
            (self.frozen_precision in ("no", "bf16", "auto"), "frozen_precision", "must be no, bf16 or auto"),
            (self.strategy in ("ddp", "fsdp2", "local"), "strategy", "must be ddp, fsdp2 or local"),
            (self.average_every > 0, "average_every", "must be at least 1"),
            (self.loss in ("answers", "words"), "loss", "must be answers or words"),
            (
                self.loss == "answers" or self.strategy != "fsdp2",
                "strategy",
                "fsdp2 has nothing to share for loss words",
            ),
            (
                self.strategy == "ddp" or self.precision != "fp16",
                "precision",
                f"fp16 does not go with {self.strategy}: use bf16",
            ),
            (set(self.fresh) <= {"connector", "lora"}, "fresh", f"is {self.fresh}; it may hold connector and lora"),
            (
                self.frozen_precision != "bf16" or self.precision != "no",
                "frozen_precision",
                "bf16 needs precision bf16 or fp16",
            ),
            (self.attention in ("auto", "sdpa", "eager"), "attention", "must be auto, sdpa or eager"),
            (self.length_group >= 0, "length_group", "must not be negative"),
            (self.word_weight >= 0, "word_weight", "must not be negative"),
            (self.word_sample >= 0, "word_sample", "must not be negative"),
            (0 <= self.level_dropout < 1, "level_dropout", "must be at least 0 and less than 1"),
            (all(times >= 0 for times in self.data.repeat.values()), "data.repeat", "must not be negative"),
            (all(share >= 0 for share in self.data.shares.values()), "data.shares", "must not be negative"),
            (
                not (self.data.repeat and self.data.shares),
                "data.shares",
                "is given in place of data.repeat, not beside it",
            ),
            (all(n > 0 for n in self.data.picture_frames), "data.picture_frames", "must be at least 1"),
            (self.data.augment or not self.data.picture_frames, "data.picture_frames", "needs data.augment"),
            (self.data.augment or not self.data.still_tokens, "data.still_tokens", "needs data.augment"),
            (self.data.on_broken in ("skip", "raise"), "data.on_broken", "must be skip or raise"),
            (self.data.workers >= 0, "data.workers", "must not be negative"),
            (self.diversity_form in ("released", "paper"), "diversity_form", "must be released or paper"),
            (self.diversity_weight >= 0, "diversity_weight", "must not be negative"),
            (self.optim.rate > 0, "optim.rate", "must be positive"),
            (self.optim.warmup_steps <= self.max_steps, "optim.warmup_steps", "must not exceed max_steps"),
            (all(rate > 0 for rate in self.optim.rates.values()), "optim.rates", "must be positive"),
            (self.optim.min_rate <= 1, "optim.min_rate", "must not exceed 1"),
            (self.optim.beta2 < 1, "optim.beta2", "must be less than 1"),
            (bool(self.trainable), "trainable", "is empty: nothing would be trained"),
            (not self.validate_every or bool(self.data.validation), "data.validation", "is needed by validate_every"),
        )
        for key, number in _numbers(self):
            if not 0 <= number < math.inf:
                raise ConfigError(
                    f"{where}: {key} is {number}, not a number of at least 0",
                    remedy=f"correct it, or give --set {key}=…",
                )
        for holds, key, problem in rules:
            if not holds:
                raise ConfigError(f"{where}: {key} {problem}", remedy=f"correct it, or give --set {key}=…")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form."""
        return asdict(self)


def _numbers(part: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Full key and value of every number of a recipe; what changes the connector is checked where it is built."""
    if is_dataclass(part):
        for one in fields(part):
            if one.name != "connector":
                yield from _numbers(getattr(part, one.name), f"{name}.{one.name}" if name else one.name)
    elif isinstance(part, dict):
        for key, value in part.items():
            yield from _numbers(value, f"{name}.{key}")
    elif isinstance(part, (int, float)) and not isinstance(part, bool):
        yield name, part


def load_recipe(path: Path | None, overrides: list[str] | None = None) -> Recipe:
    """A recipe from YAML and ``key=value`` overrides, checked.

    A recipe may name another one, relative to itself, under ``base``: it then holds only what differs. Other paths in a
    recipe are relative to the working directory.

    Raises:
        ConfigError: unreadable, an unknown key, a value of the wrong type, or a contradiction; names the key.
    """
    parts: list[Any] = [OmegaConf.structured(Recipe)]
    try:
        parts += _chain(path) if path is not None else []
        for change in overrides or ():
            try:
                if "=" not in change:
                    raise ValueError("key=value is needed")
                parts.append(OmegaConf.from_dotlist([change]))
            except Exception as error:
                reason = " ".join(str(error).split())[:300]
                raise ConfigError(
                    f"--set {change!r}: not understood ({reason})", remedy="give key=value, texts with signs in quotes"
                ) from error
        recipe = OmegaConf.to_object(OmegaConf.merge(*parts))
    except OmegaConfBaseException as error:
        first = str(error).splitlines()[0]
        key = getattr(error, "full_key", None) or getattr(error, "key", None)
        raise ConfigError(
            f"{path or 'recipe'}: {f'{key}: ' if key else ''}{first}", remedy="see recipes/*.yaml for every key"
        ) from error
    assert isinstance(recipe, Recipe)
    for name in ("precision", "frozen_precision"):
        if getattr(recipe, name) == "False":  # what YAML reads a bare no as
            setattr(recipe, name, "no")
    recipe.check(path or "recipe")
    return recipe


def _chain(path: Path, above: tuple[Path, ...] = ()) -> list[Any]:
    """A recipe's values after those of its base, its base's base, and so on.

    Raises:
        ConfigError: a file cannot be read or holds no keys, or bases lead back to themselves; in one line.
    """
    path = path.resolve()
    if path in above:
        raise ConfigError(f"{path}: base leads back to itself", remedy="remove one of the base keys")
    try:
        values = OmegaConf.load(path)
    except OSError as error:
        if error.strerror is not None:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror})", remedy="give a recipe, such as recipes/tiny.yaml"
            ) from error
        values = None  # OmegaConf's own error, for a file that holds one number
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{path}: not readable as YAML ({reason})", remedy="compare it with recipes/*.yaml"
        ) from error
    if not isinstance(values, DictConfig):
        raise ConfigError(f"{path}: no keys in it", remedy="see recipes/*.yaml")
    base = values.pop("base", None)
    if base is None:
        return [values]
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base must be a file name, got {base!r}")
    return [*_chain(path.parent / base, (*above, path)), values]
