"""``VideoSalmonnForConditionalGeneration``: frozen encoders, connector, language model.

What reaches the language model of a media item is the connector's tokens and nothing else. They take the place of
``media_token_id`` in ``input_ids``, one for one. ``generate`` is in :mod:`video_salmonn.model.generating`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from video_salmonn.connector import MultiResolutionCausalQFormer, diversity_loss
from video_salmonn.errors import ConfigError
from video_salmonn.files import settle_modes
from video_salmonn.model import adapters
from video_salmonn.model.caching import CACHE, cache_of
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.connect import MediaTokens, connect
from video_salmonn.model.generating import MediaGenerationMixin
from video_salmonn.model.generation import OWN_GENERATION
from video_salmonn.model.input_checks import check_embeds, check_prompt, is_continued, shape_of
from video_salmonn.model.inputs import MediaFeatures, MediaInputs
from video_salmonn.model.lora import LoraSettings
from video_salmonn.model.packed import packed
from video_salmonn.model.tower import MediaTower
from video_salmonn.model.words import WordOutputs
from video_salmonn.wording import counted


@dataclass
class VideoSalmonnOutput(CausalLMOutputWithPast):
    """Output of a forward pass.

    Attributes:
        loss: cross entropy plus λ times the diversity loss, where labels were given.
        logits: ``(B, L, vocabulary)``.
        cache (before transformers 5.24 past_key_values): the language model's.
        language_loss, diversity_loss: the parts of the loss, before λ.
        diversity_terms: (sums, counts) of the diversity loss by level, to put it together over several passes.
        media_tokens: the connector's tokens ``(L_m, D_llm)`` of each item, where it ran on ``media_features``.
    """

    language_loss: torch.Tensor | None = None
    diversity_loss: torch.Tensor | None = None
    diversity_terms: tuple[torch.Tensor, torch.Tensor] | None = None
    media_tokens: list[torch.Tensor] | None = None


class VideoSalmonnForConditionalGeneration(PreTrainedModel, MediaGenerationMixin):
    """video-SALMONN (Sun et al., ICML 2024) at any size."""

    config_class = VideoSalmonnConfig
    base_model_prefix = "model"  # left at "", transformers strips a letter of every key on load
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ("LlamaDecoderLayer", "WhisperEncoderLayer", "InstructBlipEncoderLayer", "CausalQFormerLayer")

    def __init__(self, config: VideoSalmonnConfig) -> None:
        super().__init__(config)
        self.tower = MediaTower(config)
        self.connector = MultiResolutionCausalQFormer(config.connector_config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        if config.lora:
            adapters.inject(self.language_model, config.lora)
        for name, values in config.adapters.items():
            adapters.inject(self.language_model, values, name)
        self.words = WordOutputs(config.words, self.get_input_embeddings()) if config.words else None
        self.tower.requires_grad_(False)
        self.touch_connector = False
        """While training, give every parameter of the connector a gradient, if only zero."""
        self.post_init()
        self.generation_config = GenerationConfig.from_model_config(config.text_config)
        self.generation_config.update(**config.generation.to_dict())
        self.generation_config._from_model_config = False  # else a saved one loses what transformers does not know
        for name in OWN_GENERATION:
            setattr(self.generation_config, name, config.generation.own(name))
        self.main_device: torch.device | None = None  # set where parts are spread or rest elsewhere

    @property
    def device(self) -> torch.device:
        """Where inputs go: the main device of a spread model (its parameters may rest elsewhere), else theirs."""
        return self.main_device if self.main_device is not None else super().device

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the connector; every other part initialises itself when it is built."""
        if isinstance(module, MultiResolutionCausalQFormer):
            module.reset_parameters()

    def initialize_weights(self) -> None:
        """transformers' initialisation, but new adapters do nothing: it would fill both of their halves at random."""
        new = adapters.fresh(self.language_model)
        super().initialize_weights()
        adapters.reset(new)

    def train(self, mode: bool = True) -> VideoSalmonnForConditionalGeneration:
        """Training mode for what is trained; the frozen encoders stay in evaluation mode."""
        super().train(mode)
        self.tower.train(mode and any(p.requires_grad for p in self.tower.parameters()))
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embeddings."""
        self.language_model.set_input_embeddings(value)
        if self.words is not None:
            self.words.bind(value)

    def set_words(self, columns: Sequence[int], openings: Sequence[int] | None = None) -> None:
        """State which tokens the connector's outputs say; saved with the model.

        Args:
            columns: tokens, the blank's first.
            openings: see :class:`~video_salmonn.model.words.WordOutputs`.
        """
        self.words = WordOutputs(columns, self.get_input_embeddings(), openings).to(self.device)
        self.config.words = len(self.words.columns)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's head."""
        self.language_model.set_output_embeddings(value)

    def get_decoder(self) -> nn.Module:
        """The language model without its head."""
        return self.language_model.get_decoder()

    # --------------------------------------------------------------------------------------------- adapters

    def add_lora(self, name: str, values: LoraSettings | Mapping[str, Any], path: Path | None = None) -> None:
        """Add an adapter, from a safetensors file or a new one that does nothing; it is saved with the model.

        Which adapters are active stays as it is (the first one becomes active): choose with ``adapters.activate``.

        Args:
            name: of the adapter; ``default`` is the one of the model's own configuration.
            values: :class:`~video_salmonn.model.lora.LoraSettings`, or a mapping of its fields.
            path: file written by :func:`adapters.save` or by PEFT.

        Raises:
            ConfigError: the name is taken. CheckpointError: the file does not fit.
        """
        if name in adapters.names(self.language_model):
            raise ConfigError(f"there is an adapter {name!r} already", remedy="choose another name")
        settings = LoraSettings.of(values)
        if path is None:
            adapters.inject(self.language_model, settings, name)
        else:
            adapters.load(self.language_model, path, settings, name)
        if name == "default":
            self.config.lora = settings
        else:
            self.config.adapters = {**self.config.adapters, name: settings}

    def widen_lora(self, rank: int) -> None:
        """Give the adapter of the model's own configuration a larger rank; what the model does stays.

        Raises:
            ConfigError: there is none, or it is wider already.
        """
        adapters.widen(self.language_model, rank)
        assert self.config.lora is not None
        self.config.lora = self.config.lora.with_rank(rank)

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """As transformers' own; the weights' files get the modes the umask asks for."""
        super().save_pretrained(save_directory, *args, **kwargs)
        if Path(save_directory).is_dir():
            settle_modes(Path(save_directory), "*.safetensors")

    def merge_lora(self) -> int:
        """Fold the active adapters into the weights and remove all; returns how many layers were folded.

        Raises:
            ConfigError: the weights are quantised.
        """
        if any(packed(layer.base_layer) for _, layer in adapters.lora_layers(self.language_model)):
            raise ConfigError("adapters stay on top of quantised layers", remedy="merge before quantising")
        merged = adapters.merge(self.language_model)
        self.config.lora, self.config.adapters = None, {}
        return merged

    # ------------------------------------------------------------------------------------------------ media

    def encode_media(self, inputs: MediaInputs) -> list[MediaFeatures]:
        """Run the frozen encoders on packed items; nothing here depends on a question."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and any(p.requires_grad for p in self.tower.parameters())):
            return self.tower.encode(inputs)

    def connect_media(
        self,
        features: Sequence[MediaFeatures],
        instructions: tuple[torch.Tensor, torch.Tensor] | None = None,
        zero_levels: Collection[int] = (),
        coarseness: int = 1,
    ) -> MediaTokens:
        """Encoder features to language-model tokens.

        Args:
            features: one entry an item.
            instructions: (ids, mask) ``(M, n)`` for InstructBLIP's Q-Former, where the model has one.
            zero_levels: levels of the connector to set to zero (paper Table 5).
            coarseness: windows this many times longer (fewer tokens per second, for long media).
        """
        return connect(self.tower, self.connector, features, instructions, zero_levels, coarseness)

    def no_media(self) -> torch.Tensor:
        """Media tokens of a question without media, ``(0, D_llm)``."""
        return torch.zeros(0, self.connector.config.llm_dim, device=self.device, dtype=self.dtype)

    def _connector_touch(self, device: torch.device) -> torch.Tensor:
        """Zero, with a gradient of zero for every parameter of the connector: it runs on a frame of each stream."""
        config = self.connector.config
        like: dict[str, Any] = {"device": device, "dtype": self.connector.llm_projection.weight.dtype}
        streams: dict[str, torch.Tensor] = {}
        if config.visual_dim:
            streams["visual"] = torch.zeros(1, 1, config.visual_tokens, config.visual_dim, **like)
        for name, width in (("speech", config.speech_dim), ("audio", config.audio_dim)):
            if width:
                streams[name] = torch.zeros(1, config.audio_tokens, width, **like)
        return 0.0 * self.connector(**streams).tokens.sum()

    def get_video_features(
        self,
        pixel_values: torch.Tensor,
        frame_counts: torch.Tensor,
        instruction_ids: torch.Tensor | None = None,
        instruction_mask: torch.Tensor | None = None,
    ) -> list[torch.Tensor]:
        """Visual tokens of each item, ``(T, V, D)``, from ``(ΣT, 3, H, W)`` frames and ``(M,)`` counts."""
        inputs = MediaInputs(
            pixel_values=pixel_values,
            frame_counts=frame_counts,
            instruction_ids=instruction_ids,
            instruction_mask=instruction_mask,
        )
        items, asked = self.encode_media(inputs), inputs.instructions
        pairs = [None] * len(items) if asked is None else list(zip(*asked))
        tokens = (self.tower.visual_tokens_of(item, pair) for item, pair in zip(items, pairs))
        return [visual for visual in tokens if visual is not None]

    def get_audio_features(self, **inputs: torch.Tensor) -> list[tuple[torch.Tensor | None, torch.Tensor | None]]:
        """(speech ``(N, D)``, sound-event ``(N, D)``) features of each item; arguments as in :class:`MediaInputs`."""
        return [(item.speech, item.audio) for item in self.encode_media(MediaInputs(**inputs))]

    def embed(
        self, input_ids: torch.Tensor, media_embeds: torch.Tensor | None, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Token embeddings with media tokens in place: ids (B, L), media (Σ tokens, D_llm) -> (B, L, D_llm).

        Where the configuration says ``word_inputs`` the language model reads what the connector's tokens say on
        average, :meth:`WordOutputs.expectation`, in place of the tokens themselves.

        Raises:
            ConfigError: the number of placeholders differs from the number of media tokens, or these are of another
                width.
        """
        places = input_ids == self.config.media_token_id
        embeds = self.get_input_embeddings()(input_ids.masked_fill(places, 0))  # the media token has no row of its own
        if media_embeds is None:  # every new token comes this way: nothing here may wait for the device
            return embeds
        if attention_mask is not None and attention_mask.shape == input_ids.shape:
            places = places & attention_mask.bool()
        width = embeds.shape[-1]
        if not isinstance(media_embeds, torch.Tensor) or media_embeds.ndim != 2 or media_embeds.shape[1] != width:
            raise ConfigError(
                f"media_embeds is {shape_of(media_embeds)}, (tokens, {width}) is needed",
                remedy="take what this model's connector makes",
            )
        count = int(places.sum())
        if count != media_embeds.shape[0]:
            raise ConfigError(
                f"the prompt has {counted(count, 'media placeholder')}, the media make "
                f"{counted(media_embeds.shape[0], 'token')}",
                remedy="build prompt and media with the same VideoSalmonnProcessor",
            )
        if self.config.word_inputs and self.words is not None:
            media_embeds = self.words.expectation(media_embeds)
        places, media_embeds = places.to(embeds.device), media_embeds.to(embeds)  # a spread model's own devices
        return embeds.masked_scatter(places[..., None], media_embeds)

    def connect_inputs(self, inputs: MediaInputs, zero_levels: Collection[int] = ()) -> MediaTokens | None:
        """Encode and connect what a processor made of media; None where there are none."""
        if not inputs.given:
            return None
        inputs = inputs.to(self.device, self.dtype)
        return self.connect_media(self.encode_media(inputs), inputs.instructions, zero_levels)

    # ---------------------------------------------------------------------------------------------- forward

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        media_embeds: torch.Tensor | None = None,
        media_features: Sequence[MediaFeatures] | None = None,
        zero_levels: Collection[int] = (),
        **kwargs: Any,
    ) -> VideoSalmonnOutput:
        """One pass.

        Args:
            input_ids: ``(B, L)`` with ``media_token_id`` where media tokens go.
            attention_mask: ``(B, L)``, 1 for real tokens; padding may be on either side.
            position_ids: ``(B, L)``; counted over real tokens where not given.
            inputs_embeds: ``(B, L, D_llm)`` in place of ``input_ids`` and media.
            labels: ``(B, L)``, -100 where no loss is wanted.
            logits_to_keep: return logits for this number of last positions only; 0 for all.
            media_embeds: the connector's tokens ``(Σ tokens, D_llm)``, where they were made before.
            media_features: the frozen encoders' output of each item, where it was made before (training from a cache);
                the diversity loss is then returned with or without labels.
            zero_levels: levels of the connector to set to zero.
            **kwargs: the tensors of :class:`MediaInputs` by name; the rest goes to the language model (``use_cache``,
                ``cache`` or ``past_key_values`` of an earlier pass, ``num_items_in_batch`` …).
        """
        inputs = MediaInputs.taken_from(kwargs)
        connected = None
        check_embeds(self, inputs_embeds, inputs, media_embeds, media_features)
        if inputs_embeds is None:
            if input_ids is None:
                raise ConfigError("either input_ids or inputs_embeds is needed", remedy="give what the processor made")
            if not is_continued(kwargs):
                alone = media_embeds is None and media_features is None and not inputs.given
                check_prompt(self, input_ids, attention_mask, media=not alone)
            if media_features is not None:
                connected = self.connect_media(media_features, inputs.instructions, zero_levels)
            elif media_embeds is None:
                connected = self.connect_inputs(inputs, zero_levels)
            media_embeds = media_embeds if connected is None else connected.embeds
            inputs_embeds = self.embed(input_ids, media_embeds, attention_mask)
        if self.touch_connector and self.training and torch.is_grad_enabled():
            inputs_embeds = inputs_embeds + self._connector_touch(inputs_embeds.device).to(inputs_embeds.dtype)
        output = self._speak(inputs_embeds, attention_mask, position_ids, labels, logits_to_keep, kwargs)
        loss, terms, diversity = output.loss, None, None
        if connected is not None and (labels is not None or media_features is not None):
            terms = connected.diversity_terms(self.config.diversity_form, self.connector.config.attend_padding)
            diversity = (terms[0] / terms[1].clamp(min=1)).sum()
            if self.config.diversity_weight and loss is not None and labels is not None:
                share = _share_of_step(labels, kwargs.get("num_items_in_batch"))
                loss = loss + self.config.diversity_weight * share * diversity.to(loss.dtype)
        return VideoSalmonnOutput(
            loss=loss,
            logits=output.logits,
            language_loss=output.loss,
            diversity_loss=diversity,
            diversity_terms=terms,
            media_tokens=connected.tokens if connected is not None and media_features is not None else None,
            **{CACHE: cache_of(output)},
        )

    def _speak(
        self,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        labels: torch.Tensor | None,
        logits_to_keep: int | torch.Tensor,
        rest: dict[str, Any],
    ) -> CausalLMOutputWithPast:
        """The language model over embeddings ``(B, L, D_llm)``."""
        known = {name: rest.pop(name) for name in ("cache", "past_key_values") if name in rest}
        cache = next((value for value in known.values() if value is not None), None)
        if position_ids is None and cache is None and attention_mask is not None and attention_mask.ndim == 2:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        length = inputs_embeds.shape[1]
        if isinstance(logits_to_keep, int) and 0 < logits_to_keep < length:
            # as indices: a slice is a view, on which torch's bfloat16 head takes thirty times as long on a CPU
            logits_to_keep = torch.arange(length - logits_to_keep, length, device=inputs_embeds.device)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            labels=labels,
            logits_to_keep=logits_to_keep,
            **{CACHE: cache},
            **rest,
        )


def _share_of_step(labels: torch.Tensor, num_items: Any) -> torch.Tensor | float:
    """This batch's share of an optimiser step's labels: 1, unless a trainer sums the losses of several batches.

    transformers' Trainer divides by the labels of the whole step (``num_items_in_batch``) and adds up; λ times the
    diversity loss has to take part in that, or accumulating over n batches would make λ n times as large.
    """
    if num_items is None:
        return 1.0
    return (labels[:, 1:] != -100).sum() / num_items


for auto in (AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM):
    auto.register(VideoSalmonnConfig, VideoSalmonnForConditionalGeneration, exist_ok=True)
__all__ = ["VideoSalmonnForConditionalGeneration", "VideoSalmonnOutput", "diversity_loss"]
