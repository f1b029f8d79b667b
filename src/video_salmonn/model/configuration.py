"""One configuration class for every size of the system; presets are data in :mod:`video_salmonn.model.presets`."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Literal, TypeAlias

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, InstructBlipVisionConfig, PreTrainedConfig, WhisperConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from video_salmonn import typed_fields
from video_salmonn.connector import ConnectorConfig
from video_salmonn.encoders.beats import BeatsConfig
from video_salmonn.encoders.efficientnet import EfficientNetLiteConfig
from video_salmonn.encoders.instructblip import InstructionQFormerConfig
from video_salmonn.encoders.yamnet import YamnetConfig
from video_salmonn.errors import ConfigError
from video_salmonn.files import digest
from video_salmonn.media.sampling import parse_frame_times
from video_salmonn.model.generation import GenerationSettings
from video_salmonn.model.lora import LoraSettings
from video_salmonn.sub_config import SubConfig

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class MediaConfig(SubConfig):
    """How media become encoder inputs.

    Attributes:
        frame_times: ``uniform`` (true 2 Hz), ``released`` (first and last frame of every second), or frames per second.
        image_size, resize, image_mean, image_std: of the frames given to the vision encoder.
        mel_bins: of the speech encoder's log-mel.
        segment_seconds: sound is encoded in segments of this length.
        pad_last_segment: pad a short last segment to the full length (what Whisper was trained with).
        spotlight: n of the paper's image spotlight, 0 for off.
        picture_frames: frames for which a picture without sound is shown (10 = one coarse window; released 60); with
            sound, for as long as the sound lasts.
        max_seconds: cut media to this length, None for the whole.
        max_sound_seconds: cut the sound alone (the release hears 30 s).
        first_channel: take the first channel in place of a downmix (released).
        trained_seconds: the longest media in training; longer ones are understood in pieces
            (:mod:`video_salmonn.inference.pieces`). None: whole, whatever their length.
        trained_speech_seconds: the longest speech in training, where it is shorter: for questions about what is said.
    """

    model_type = "video_salmonn_media"
    base_config_key = "media_config"
    from_zero = ("spotlight",)

    frame_times: str | float = "uniform"
    image_size: int = 224
    resize: Literal["bicubic", "released"] = "bicubic"
    image_mean: tuple[float, ...] = CLIP_MEAN
    image_std: tuple[float, ...] = CLIP_STD
    mel_bins: int = 80
    segment_seconds: float = 30.0
    pad_last_segment: bool = True
    spotlight: int = 0
    picture_frames: int = 10
    max_seconds: float | None = None
    max_sound_seconds: float | None = None
    first_channel: bool = False
    trained_seconds: float | None = None
    trained_speech_seconds: float | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        parse_frame_times(self.frame_times)
        for name in ("image_mean", "image_std"):
            values = getattr(self, name)
            if len(values) != 3 or (name == "image_std" and min(values) <= 0):
                raise ConfigError(f"media.{name} is {values!r}", remedy="needed: three numbers, of image_std above 0")
        for name in self.own_fields():
            value = getattr(self, name)
            if name.endswith("_seconds") and value is not None and value <= 0:
                raise ConfigError(f"media.{name} is {value!r}", remedy="needed: seconds above 0")

    def longest(self, *, words: bool) -> float | None:
        """Seconds of media that are understood whole; None for any length.

        Args:
            words: they are asked for what is said.
        """
        return (self.trained_speech_seconds if words else None) or self.trained_seconds


VISION: dict[str, type[PreTrainedConfig]] = {
    "instructblip_vision_model": InstructBlipVisionConfig,
    "efficientnet_lite": EfficientNetLiteConfig,
}
AUDIO: dict[str, type[PreTrainedConfig]] = {"beats": BeatsConfig, "yamnet": YamnetConfig}
"""Kinds of encoders, by their configurations' ``model_type``."""
VISION_SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size"),
)
SPEECH_SIZES = (
    *("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins"),
    "max_source_positions",
)
QFORMER_SIZES = (
    *("num_query_tokens", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "cross_attention_frequency", "encoder_hidden_size"),
)
"""What of transformers' configurations this package's models differ in."""
_SHORT = {"eva": "instructblip_vision_model", "efficientnet": "efficientnet_lite"}
"""Names that :data:`VISION` had in earlier versions under ``kind``, and has in settings written by hand."""
_RENAMED = {
    "vision": "vision_config",
    "instruction_qformer": "qformer_config",
    "speech": "speech_config",
    "audio": "audio_config",
    "connector": "connector_config",
    "media": "media_config",
}
"""Names of parts in configurations that earlier versions saved."""
Part: TypeAlias = "PreTrainedConfig | Mapping[str, Any] | None"


class VideoSalmonnConfig(PreTrainedConfig):
    """Configuration of :class:`VideoSalmonnForConditionalGeneration`.

    Args:
        text_config: the language model's configuration (any Llama-like causal LM), as object or dict, like every part.
        vision_config: a configuration of :data:`VISION`, or None for a model without sight.
        qformer_config: sizes of InstructBLIP's Q-Former, or None: then the vision encoder itself gives V tokens a
            frame, which do not depend on the question.
        speech_config: sizes of Whisper's encoder, or None.
        audio_config: a configuration of :data:`AUDIO`, or None.
        connector_config: sizes and choices of the connector.
        media_config: how media become encoder inputs.
        prompt: ``vicuna`` | ``llama2`` | ``chat`` (the tokenizer's own chat template).
        system: system message that ``chat`` begins a conversation without one with, which may be empty; None for the
            template's own.
        media_token_id: id that stands for one media token in ``input_ids``
            (:func:`~video_salmonn.model.media_token.add_media_token`); user text never becomes this id.
        lora: settings of the adapter called ``default``, as :class:`~video_salmonn.model.lora.LoraSettings` or a
            mapping of its fields; None for none.
        adapters: further adapters by name, each as ``lora``; they are in the checkpoint, and off until activated
            (where there is no ``default``, the first one is on).
        diversity_form, diversity_weight: the diversity loss, and its λ (0 for none).
        generation: defaults of this model's generation, as
            :class:`~video_salmonn.model.generation.GenerationSettings` or a mapping of its fields.
        words: number of tokens that the connector's outputs were trained to say, 0 for none; which they are is stored
            with the weights (:class:`~video_salmonn.model.words.WordOutputs`).
        word_inputs: the language model reads expectations over these tokens' embeddings in place of the connector's
            outputs themselves; needs ``words``.
        **kwargs: as transformers; also the parts under the names of earlier versions (``vision``, ``connector`` …).

    Raises:
        ConfigError: a value of another type or out of its range, parts that do not fit together, an unknown key of a
            part, or an unknown key of the whole that is nearly one of these names. Other keys are kept, as
            transformers and its users write what they like.
    """

    model_type = "video_salmonn"
    sub_configs: ClassVar[dict[str, Any]] = {
        "text_config": AutoConfig,
        "vision_config": AutoConfig,
        "qformer_config": InstructionQFormerConfig,
        "speech_config": WhisperConfig,
        "audio_config": AutoConfig,
        "connector_config": ConnectorConfig,
        "media_config": MediaConfig,
    }
    has_no_defaults_at_init = True

    def __init__(
        self,
        text_config: Part = None,
        vision_config: Part = None,
        qformer_config: Part = None,
        speech_config: Part = None,
        audio_config: Part = None,
        connector_config: Part = None,
        media_config: Part = None,
        prompt: str = "vicuna",
        system: str | None = None,
        media_token_id: int = 0,
        lora: LoraSettings | Mapping[str, Any] | None = None,
        adapters: Mapping[str, LoraSettings | Mapping[str, Any]] | None = None,
        diversity_form: str = "released",
        diversity_weight: float = 0.0,
        generation: GenerationSettings | Mapping[str, Any] | None = None,
        words: int = 0,
        word_inputs: bool = False,
        **kwargs: Any,
    ) -> None:
        for name in kwargs.keys() - _RENAMED.keys() - _OF_TRANSFORMERS:
            if meant := difflib.get_close_matches(name, (*self.sub_configs, *_OWN, *_TYPED), n=1, cutoff=0.8):
                raise ConfigError(f"unknown key {name!r} in the configuration", remedy=f"did you mean {meant[0]}?")
        old = {new: kwargs.pop(name) for name, new in _RENAMED.items() if name in kwargs}
        self.text_config = _typed(_given(text_config), CONFIG_MAPPING, "text", default="llama")
        self.vision_config = _typed(old.get("vision_config", vision_config), VISION, "vision")
        self.qformer_config = _of(InstructionQFormerConfig, old.get("qformer_config", qformer_config))
        self.speech_config = _of(WhisperConfig, old.get("speech_config", speech_config))
        self.audio_config = _typed(old.get("audio_config", audio_config), AUDIO, "audio")
        self.connector_config = _of(ConnectorConfig, _given(old.get("connector_config", connector_config)))
        self.media_config = _of(MediaConfig, _given(old.get("media_config", media_config)))
        self.prompt = prompt
        self.system = system
        self.media_token_id = media_token_id
        self.lora = _lora(lora)
        self.adapters = _adapters(adapters)
        self.diversity_form = diversity_form
        self.diversity_weight = diversity_weight
        self.generation = GenerationSettings.of(generation)
        self.words = words
        self.word_inputs = word_inputs
        self._check()
        kwargs.setdefault("tie_word_embeddings", bool(getattr(self.text_config, "tie_word_embeddings", False)))
        super().__init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        typed_fields.check("", {name: value}, _OWN, _LEAST)
        super().__setattr__(name, _TYPED[name](value) if name in _TYPED else value)

    @property
    def depends_on_question(self) -> bool:
        """Whether visual features change with the question (InstructBLIP's Q-Former reads it)."""
        return self.qformer_config is not None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; of the parts without what is the same in every configuration of transformers."""
        whole = copy.copy(self)
        parts = {name: whole.__dict__.pop(name) for name in self.sub_configs if name != "text_config"}
        for name in _TYPED:
            del whole.__dict__[name]
        values = super(VideoSalmonnConfig, whole).to_dict()
        values["lora"] = None if self.lora is None else self.lora.to_dict()
        values["adapters"] = {name: adapter.to_dict() for name, adapter in self.adapters.items()}
        values["generation"] = self.generation.to_dict()
        for name, part in parts.items():
            values[name] = None if part is None else {**part.to_diff_dict(), "model_type": part.model_type}
            if part is not None:
                values[name].pop("transformers_version", None)
        return values

    def encoder_settings(self) -> dict[str, Any]:
        """What features depend on beside weights, JSON-ready and the same under every version of transformers."""
        found: dict[str, Any] = {"media": self.media_config.to_dict()}
        for name, sizes in (("vision", VISION_SIZES), ("speech", SPEECH_SIZES), ("audio", ())):
            part = getattr(self, f"{name}_config")
            own = part.own_fields() if isinstance(part, SubConfig) else sizes
            found[name] = part and {"model_type": part.model_type} | {field: getattr(part, field) for field in own}
        return found

    def digest(self) -> str:
        """Tells configurations apart that may answer differently with the same weights: the scale of an adapter, the
        prompt, windows, what is generated. Versions, names and the kind of attention do not count. 64 digits."""
        values = {name: value for name, value in self.to_dict().items() if not name.endswith("_config")}
        values["text"], values["connector"] = self.text_config.to_dict(), self.connector_config.to_dict()
        reader = self.qformer_config and {name: getattr(self.qformer_config, name) for name in QFORMER_SIZES}
        return digest(_without(values), self.encoder_settings(), reader)

    def _check(self) -> None:
        connector = self.connector_config
        for name, dim in (("vision", "visual_dim"), ("speech", "speech_dim"), ("audio", "audio_dim")):
            part, width = getattr(self, f"{name}_config"), getattr(connector, dim)
            if (part is None) != (width is None):
                raise ConfigError(
                    f"{name} is {'off' if part is None else 'on'}, but connector.{dim} is {width}",
                    remedy=f"give both {name}_config and connector_config.{dim}, or null for both; "
                    "video_salmonn.model.presets has whole configurations",
                )
        width = getattr(self.text_config, "hidden_size", None)
        if width is not None and width != connector.llm_dim:
            raise ConfigError(f"connector.llm_dim is {connector.llm_dim}, the language model's width is {width}")


def _of(kind: type[PreTrainedConfig], value: Part) -> Any:
    """A configuration of this kind from an object or a dict; a copy, since transformers writes into what it finds (the
    choice of attention among it), also under another model.

    Raises:
        ConfigError: another kind of object, or values that it does not take.
    """
    if value is None or isinstance(value, kind):
        return copy.deepcopy(value)
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"in place of {kind.__name__} there is {type(value).__name__}",
            remedy=f"give a {kind.__name__} or a mapping of its settings",
        )
    try:
        return kind(**{name: part for name, part in value.items() if name != "model_type"})
    except (StrictDataclassError, TypeError, ValueError, AttributeError) as error:  # transformers' own kinds
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{kind.model_type}: {reason}", remedy="correct the part of this kind") from error


def _given(value: Part) -> Part:
    """A part that has to be there, all of it with its defaults where nothing was given."""
    return {} if value is None else value


def _typed(value: Part, kinds: Mapping[str, Any], part: str, default: str | None = None) -> Any:
    """A configuration of the kind that it names. Raises ConfigError for an unknown one."""
    if isinstance(value, PreTrainedConfig) and value.model_type not in kinds:
        known = ", ".join(kinds) if default is None else "that of a causal language model of transformers"
        raise ConfigError(f"{part}_config is {type(value).__name__}", remedy=f"use {known}")
    if value is None or isinstance(value, PreTrainedConfig):
        return copy.deepcopy(value)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{part}_config is {value!r}", remedy="give a configuration, or a mapping of its settings")
    values = dict(value)
    named = values.pop("model_type", default)
    name = str(values.pop("kind", named))
    name = _SHORT.get(name, name)
    if name not in kinds:
        known = ", ".join(kinds) if default is None else "a causal language model of transformers"
        raise ConfigError(f"{part}.model_type is {name!r}", remedy=f"use {known}")
    return _of(kinds[name], values)


def _lora(values: LoraSettings | Mapping[str, Any] | None) -> LoraSettings | None:
    return None if values is None or values == {} else LoraSettings.of(values)


def _adapters(values: Mapping[str, LoraSettings | Mapping[str, Any]] | None) -> dict[str, LoraSettings]:
    if values is not None and not isinstance(values, Mapping):
        raise ConfigError(f"adapters is {values!r}", remedy="give a mapping of names to settings")
    return {name: LoraSettings.of(adapter) for name, adapter in (values or {}).items()}


_TYPED: dict[str, Callable[[Any], Any]] = {"lora": _lora, "adapters": _adapters, "generation": GenerationSettings.of}
"""Settings that are typed whenever they are set, given as objects or as mappings."""
_OWN: dict[str, Any] = {
    "prompt": Literal["vicuna", "llama2", "chat"],
    "system": str | None,
    "media_token_id": int,
    "diversity_form": Literal["released", "paper"],
    "diversity_weight": float,
    "words": int,
    "word_inputs": bool,
}
"""Types of the settings of the whole; they hold whenever one is set."""
_LEAST = {"media_token_id": 0, "diversity_weight": 0, "words": 0}
_OF_TRANSFORMERS = frozenset(field.name for field in fields(PreTrainedConfig))
_NO_SETTINGS = (
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "architectures",
    "_attn_implementation",
)


def _without(values: Any) -> Any:
    if isinstance(values, dict):
        return {str(name): _without(value) for name, value in values.items() if name not in _NO_SETTINGS}
    return [_without(value) for value in values] if isinstance(values, (list, tuple)) else values


AutoConfig.register("video_salmonn", VideoSalmonnConfig, exist_ok=True)
