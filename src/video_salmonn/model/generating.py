"""Generation: media and ids become embeddings once, and transformers generates from those.

So penalties count generated tokens only, as released. Added to what transformers does: transcripts decoded jointly with
the connector's CTC, an end to answers that repeat themselves, and answers that are declined because the model does
not believe in them.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.generation import GenerationMixin

from video_salmonn.errors import ConfigError
from video_salmonn.model.declining import Declining, Spoken
from video_salmonn.model.generation import GenerationSettings
from video_salmonn.model.input_checks import check_embeds, check_mask, check_prompt, is_continued
from video_salmonn.model.inputs import MediaInputs
from video_salmonn.model.joint_decoding import JointDecoding
from video_salmonn.model.repeats import RepeatGuard
from video_salmonn.model.words import without_names

if TYPE_CHECKING:
    from video_salmonn.connector import MultiResolutionCausalQFormer
    from video_salmonn.model.configuration import VideoSalmonnConfig
    from video_salmonn.model.connect import MediaTokens
    from video_salmonn.model.words import WordOutputs


class MediaGenerationMixin(GenerationMixin):
    """The half of :class:`~video_salmonn.model.modeling.VideoSalmonnForConditionalGeneration` that generates."""

    if TYPE_CHECKING:  # of the other half
        config: VideoSalmonnConfig
        connector: MultiResolutionCausalQFormer
        words: WordOutputs | None

        def embed(
            self,
            input_ids: torch.Tensor,
            media_embeds: torch.Tensor | None,
            attention_mask: torch.Tensor | None = None,
        ) -> torch.Tensor:
            """Ids and media to embeddings."""

        def connect_inputs(self, inputs: MediaInputs, zero_levels: Collection[int] = ()) -> MediaTokens | None:
            """Encode and connect media."""

    def _get_logits_processor(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' processors, with the repetition penalty on every row of a batch.

        It leaves the left padding of the prompt out of the penalty, also where there is no prompt among the ids (we
        generate from embeddings): there it would leave out as many *generated* tokens of the shorter rows.
        """
        given = kwargs.get("model_kwargs")
        if given is not None and "inputs_embeds" in given and kwargs["generation_config"].guidance_scale is None:
            kwargs["model_kwargs"] = {name: value for name, value in given.items() if name != "attention_mask"}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Passing `repetition_penalty`")  # new tokens only, as released
            return super()._get_logits_processor(*args, **kwargs)

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        media_embeds: torch.Tensor | None = None,
        zero_levels: Collection[int] = (),
        joint_ctc: str | None = None,
        joint_ctc_weight: float | None = None,
        transcribes: Sequence[bool] | None = None,
        stop_repeats: int | None = None,
        decline_below: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate, with all of transformers' options (beams, sampling, streamers, stopping …).

        Args:
            input_ids: ``(B, L)`` with placeholders; pad on the left.
            attention_mask: ``(B, L)``.
            inputs_embeds: ``(B, L, D_llm)`` in place of ids and media; then only new tokens are returned.
            media_embeds: the connector's tokens where they were made before.
            zero_levels: levels of the connector to set to zero.
            joint_ctc, joint_ctc_weight, stop_repeats, decline_below: see
                :data:`~video_salmonn.model.generation.OWN_GENERATION`; None for this model's own.
            transcribes: for each row whether it may be decoded jointly; for ``auto`` whether its question asks for the
                words that are spoken (:func:`~video_salmonn.model.transcripts.asks_for_words`). Without it ``on`` takes
                every row, ``auto`` none, and no answer is declined, since it may be a transcript.
            **kwargs: media tensors (see :class:`MediaInputs`), and options for transformers' ``generate``.

        Returns:
            as transformers: ids ``(B, L + new)`` (new only, for ``inputs_embeds``) or its dictionary form.

        Raises:
            ConfigError: tensors of other shapes, ids that are no tokens, places for media without media, media that
                have no place, or own options out of their range.
            ValueError: as transformers, for its own options.
        """
        inputs = MediaInputs.taken_from(kwargs)
        check_embeds(self, inputs_embeds, inputs, media_embeds)
        if inputs_embeds is None:
            if input_ids is None:
                raise ConfigError("either input_ids or inputs_embeds is needed", remedy="give what the processor made")
            check_prompt(self, input_ids, attention_mask, media=media_embeds is not None or inputs.given)
            if media_embeds is None and (connected := self.connect_inputs(inputs, zero_levels)) is not None:
                media_embeds = connected.embeds
            inputs_embeds = self.embed(input_ids, media_embeds, attention_mask)
        check_mask(None if is_continued(kwargs) else attention_mask, inputs_embeds, input_ids)
        joint = self.joint_decoding(
            input_ids, attention_mask, media_embeds, joint_ctc, joint_ctc_weight, transcribes, kwargs
        )
        if joint is not None:
            kwargs["logits_processor"] = LogitsProcessorList([*(kwargs.get("logits_processor") or []), joint])
        times = self.stop_repeats(kwargs) if stop_repeats is None else stop_repeats
        GenerationSettings(stop_repeats=times)  # which refuses what it cannot be
        if times:
            kwargs["stopping_criteria"] = StoppingCriteriaList(
                [*(kwargs.get("stopping_criteria") or []), RepeatGuard(times)]
            )
        declining = self.declining(input_ids, attention_mask, media_embeds, decline_below, transcribes, kwargs)
        if declining is not None:
            kwargs = declining.added_to(kwargs)
        output = super().generate(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)
        if input_ids is None:
            return output
        new = output if isinstance(output, torch.Tensor) else output.sequences
        if declining is not None:
            new = declining.settled(new)
        prompt = input_ids.repeat_interleave(new.shape[0] // input_ids.shape[0], dim=0)
        whole = torch.cat([prompt, new], dim=1)
        if isinstance(output, torch.Tensor):
            return whole
        output.sequences = whole
        return output

    def stop_repeats(self, options: Mapping[str, Any]) -> int:
        """How often a phrase has to come to end an answer generated with these options; 0 for never."""
        return int(self.own_option("stop_repeats", options) or 0)

    def declining(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        outputs: torch.Tensor | None,
        below: float | None,
        transcribes: Sequence[bool] | None,
        options: Mapping[str, Any],
    ) -> Declining | None:
        """What :meth:`generate` declines answers with.

        Args:
            input_ids, attention_mask: ``(B, L)`` with placeholders.
            outputs: the connector's outputs of all media ``(Σ tokens, D_llm)``.
            below: ``decline_below``; None for this model's own.
            transcribes: see :meth:`generate`; these rows are not declined, nor are questions without media.
            options: the others of ``generate`` (``generation_config``, ``eos_token_id``, ``pad_token_id``).

        Returns:
            None where no row can be declined.

        Raises:
            ConfigError: no such threshold, or a model that has no answer to put in the place of one.
        """
        below = self.own_option("decline_below", options) if below is None else below
        GenerationSettings(decline_below=below)  # which refuses what it cannot be
        if not below or input_ids is None or transcribes is None:
            return None
        answer = self.own_option("decline_ids", options)
        if not answer:
            raise ConfigError(
                f"decline_below is {below:g}, but this model has no answer for what it declines",
                remedy="set generation.decline_ids in its configuration, or leave decline_below at 0",
            )
        settings = options.get("generation_config") or self.generation_config
        end, pad = (options.get(name, getattr(settings, name)) for name in ("eos_token_id", "pad_token_id"))
        ends = [end] if isinstance(end, int) else list(end or ())
        if pad is None and not ends:
            return None
        counts = self._places(input_ids, attention_mask).sum(dim=1).tolist()
        may = [count > 0 and not words for count, words in zip(counts, transcribes)]
        if not any(may):
            return None
        spoken: list[Spoken | None] = [None] * len(may)
        if self.words is not None and outputs is not None and len(outputs) == sum(counts):
            spoken = [cache(partial(self._spoken, part)) if len(part) else None for part in outputs.split(counts)]
        return Declining(below, may, answer, [*ends, *([] if pad is None else [pad])], spoken)

    def _spoken(self, outputs: torch.Tensor) -> torch.Tensor:
        """Probability ``(V,)`` with which the connector hears each token being spoken anywhere: ``(n, D_llm)`` in."""
        assert self.words is not None
        logs = without_names(self.words.log_posteriors(outputs[None])[0], self.connector.config.tokens_for(1))
        most = logs.amax(dim=0).exp()
        heard = most.new_zeros(self.get_input_embeddings().weight.shape[0])
        return heard.index_put((self.words.columns[1:],), most[1:])

    def _places(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Where media tokens go, ``(B, L)`` bool."""
        places = input_ids == self.config.media_token_id
        if attention_mask is not None and attention_mask.shape == input_ids.shape:
            places &= attention_mask.bool()
        return places

    def own_option(self, name: str, options: Mapping[str, Any]) -> Any:
        """One of :data:`~video_salmonn.model.generation.OWN_GENERATION` by name."""
        settings = options.get("generation_config") or self.generation_config
        return getattr(settings, name, self.config.generation.own(name))

    def joint_decoding(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        outputs: torch.Tensor | None,
        mode: str | None,
        weight: float | None,
        transcribes: Sequence[bool] | None,
        options: Mapping[str, Any],
    ) -> JointDecoding | None:
        """The processor that :meth:`generate` decodes transcripts with.

        Args:
            input_ids, attention_mask: ``(B, L)`` with placeholders.
            outputs: the connector's outputs of all media ``(Σ tokens, D_llm)``.
            mode, weight: ``joint_ctc`` and its weight; None for this model's own.
            transcribes: see :meth:`generate`.
            options: the others of ``generate`` (``generation_config``, ``eos_token_id``).

        Returns:
            None where no row is decoded so.

        Raises:
            ConfigError: no such mode, or ``on`` for a model without word outputs.
        """
        settings = options.get("generation_config") or self.generation_config
        mode = self.own_option("joint_ctc", options) if mode is None else mode
        weight = self.own_option("joint_ctc_weight", options) if weight is None else weight
        GenerationSettings(joint_ctc=mode, joint_ctc_weight=weight)  # which refuses what they cannot be
        if self.words is None and mode == "on":
            raise ConfigError(
                "joint_ctc is on, but this model's connector was not trained to say words: it has no CTC",
                remedy="use joint_ctc='auto' or 'off'",
            )
        if self.words is None or mode == "off" or input_ids is None or outputs is None or not len(outputs):
            return None
        wanted = list(transcribes) if transcribes is not None else [mode == "on"] * len(input_ids)
        places = self._places(input_ids, attention_mask)
        per_frame = self.connector.config.tokens_for(1)
        own = outputs.split(places.sum(1).tolist())
        posteriors = [
            without_names(self.words.log_posteriors(part[None])[0], per_frame) if asked and len(part) else None
            for part, asked in zip(own, wanted)
        ]
        if all(item is None for item in posteriors):
            return None
        ends = options.get("eos_token_id", settings.eos_token_id)
        return JointDecoding(
            posteriors,
            self.words.columns,
            self.words.openings,
            [ends] if isinstance(ends, int) else list(ends or ()),
            weight=weight,
            forced=mode == "on",
        )
