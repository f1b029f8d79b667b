"""One configuration class for every size of the system; presets are data in :mod:`video_salmonn.model.presets`."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from video_salmonn.connector import ConnectorConfig
from video_salmonn.errors import ConfigError
from video_salmonn.files import digest

MEDIA_DEFAULTS: dict[str, Any] = {
    "frame_times": "uniform",
    "image_size": 224,
    "resize": "bicubic",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "mel_bins": 80,
    "segment_seconds": 30.0,
    "pad_last_segment": True,
    "spotlight": 0,
    "picture_frames": 10,
    "max_seconds": None,
    "max_sound_seconds": None,
    "first_channel": False,
    "trained_seconds": None,
}
"""How media become encoder inputs.

- ``frame_times``: ``uniform`` (true 2 Hz), ``released`` (first and last frame of every second), or frames per second.
- ``image_size``, ``resize``, ``image_mean``, ``image_std``: of the frames given to the vision encoder.
- ``mel_bins``: of the speech encoder's log-mel.
- ``segment_seconds``: sound is encoded in segments of this length.
- ``pad_last_segment``: pad a short last segment to the full length (what Whisper was trained with).
- ``spotlight``: n of the paper's image spotlight, 0 for off.
- ``picture_frames``: a picture without sound is shown for so many frames (10 = one coarse window; released 60); with
  sound, for as long as the sound lasts.
- ``max_seconds``: cut media to this length, None for the whole.
- ``max_sound_seconds``: cut the sound alone (the release hears 30 s).
- ``trained_seconds``: the longest media in training; longer ones are understood in pieces
  (:mod:`video_salmonn.inference.pieces`). None: whole, whatever their length.
- ``first_channel``: take the first channel in place of a downmix (released).
"""


class VideoSalmonnConfig(PreTrainedConfig):
    """Configuration of :class:`VideoSalmonnForConditionalGeneration`.

    Args:
        text_config: the language model's configuration (any Llama-like causal LM), as object or dict.
        vision: ``{"kind": "eva" | "efficientnet", …sizes}`` or None for a model without sight.
        instruction_qformer: sizes of InstructBLIP's Q-Former (with ``num_query_tokens``), or None: then the vision
            encoder itself gives V tokens a frame, which do not depend on the question.
        speech: sizes of Whisper's encoder, or None.
        audio: ``{"kind": "beats" | "yamnet", …sizes}`` or None.
        connector: :class:`ConnectorConfig` or its dict.
        media: how media become encoder inputs; see ``MEDIA_DEFAULTS`` for keys and meaning.
        prompt: ``vicuna`` | ``llama2`` | ``chat`` (the tokenizer's own chat template).
        system: system message that ``chat`` begins a conversation without one with, which may be empty; None for the
            template's own.
        media_token_id: id that stands for one media token in ``input_ids``; user text never becomes this id.
        lora: None, or ``{"r", "alpha", "dropout", "targets"}``: the adapter called ``default``.
        adapters: further adapters by name, each as ``lora``; they are in the checkpoint, and off until activated.
        diversity_form, diversity_weight: the diversity loss, and its λ (0 for none).
        generation: defaults of this model's generation (``num_beams``, ``repetition_penalty``, … and those of
            :data:`~video_salmonn.model.generation.OWN_GENERATION`).
        words: number of tokens that the connector's outputs were trained to say, 0 for none; which they are is stored
            with the weights (:class:`~video_salmonn.model.words.WordOutputs`).
        word_inputs: the language model reads expectations over these tokens' embeddings in place of the connector's
            outputs themselves; needs ``words``.
    """

    model_type = "video_salmonn"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": AutoConfig}
    has_no_defaults_at_init = True

    def __init__(
        self,
        text_config: PreTrainedConfig | dict | None = None,
        vision: dict | None = None,
        instruction_qformer: dict | None = None,
        speech: dict | None = None,
        audio: dict | None = None,
        connector: ConnectorConfig | dict | None = None,
        media: dict | None = None,
        prompt: str = "vicuna",
        system: str | None = None,
        media_token_id: int = 0,
        lora: dict | None = None,
        adapters: dict[str, dict] | None = None,
        diversity_form: str = "released",
        diversity_weight: float = 0.0,
        generation: dict | None = None,
        words: int = 0,
        word_inputs: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(text_config, dict):
            values = dict(text_config)
            text_config = CONFIG_MAPPING[values.pop("model_type", "llama")](**values)
        # a copy: transformers resets what it finds here (the choice of attention among it), also under another model
        self.text_config = copy.deepcopy(text_config) if text_config is not None else CONFIG_MAPPING["llama"]()
        self.vision = vision
        self.instruction_qformer = instruction_qformer
        self.speech = speech
        self.audio = audio
        connector = connector if connector is not None else {}
        self.connector = connector.to_dict() if isinstance(connector, ConnectorConfig) else dict(connector)
        self.media = {**MEDIA_DEFAULTS, **(media or {})}
        self.prompt = prompt
        self.system = system
        self.media_token_id = media_token_id
        self.lora = lora
        self.adapters = dict(adapters or {})
        self.diversity_form = diversity_form
        self.diversity_weight = diversity_weight
        self.generation = dict(generation or {})
        self.words = int(words)
        self.word_inputs = bool(word_inputs)
        self._check()
        kwargs.setdefault("tie_word_embeddings", bool(getattr(self.text_config, "tie_word_embeddings", False)))
        super().__init__(**kwargs)

    @property
    def connector_config(self) -> ConnectorConfig:
        """The connector's typed configuration."""
        return ConnectorConfig.from_dict(self.connector)

    @property
    def depends_on_question(self) -> bool:
        """Whether visual features change with the question (InstructBLIP's Q-Former reads it)."""
        return self.instruction_qformer is not None

    def digest(self) -> str:
        """Tells configurations apart that may answer differently with the same weights: the scale of an adapter, the
        prompt, windows, what is generated. Versions, names and the kind of attention do not count. 64 digits."""
        return digest(_without(self.to_dict()))

    def _check(self) -> None:
        connector = self.connector_config
        unknown = sorted(set(self.media) - set(MEDIA_DEFAULTS))
        if unknown:
            raise ConfigError(f"media: unknown keys {unknown}", remedy=f"known keys: {sorted(MEDIA_DEFAULTS)}")
        for name, part, dim in (
            ("vision", self.vision, connector.visual_dim),
            ("speech", self.speech, connector.speech_dim),
            ("audio", self.audio, connector.audio_dim),
        ):
            if (part is None) != (dim is None):
                raise ConfigError(f"{name} is {'off' if part is None else 'on'}, but connector.{name}_dim is {dim}")
        if self.prompt not in ("vicuna", "llama2", "chat"):
            raise ConfigError(f"prompt is {self.prompt!r}", remedy="use vicuna, llama2 or chat")
        width = getattr(self.text_config, "hidden_size", None)
        if width is not None and width != connector.llm_dim:
            raise ConfigError(f"connector.llm_dim is {connector.llm_dim}, the language model's width is {width}")


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
