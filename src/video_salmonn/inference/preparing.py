"""A question about encoded media, made ready for the language model: its prompt rendered once, its media connected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from video_salmonn.errors import ContextError
from video_salmonn.inference import long as long_media
from video_salmonn.inference.media_store import EncodedMedia
from video_salmonn.inference.options import Options, without_effect
from video_salmonn.inference.pieces import Span
from video_salmonn.inference.token_cache import TokenCache
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import Conversation, VideoSalmonnProcessor, question_of
from video_salmonn.model.prompt import Rendered
from video_salmonn.wording import counted

CONNECTED_AT_ONCE = 8
"""Media of one length that go through the connector in one pass."""


@dataclass(frozen=True)
class AskedQuestion:
    """What is asked of encoded media.

    Attributes:
        conversation: a question or messages, aliases written out.
        prompt: the conversation's tokens, with places for the media's.
        media: the media items.
        new_tokens: longest answer.
        options: checked ones.
    """

    conversation: Conversation
    prompt: Rendered
    media: list[EncodedMedia]
    new_tokens: int
    options: Options = field(default_factory=dict)

    @property
    def question(self) -> str:
        """The text of the last user message."""
        return question_of(self.conversation)


@dataclass(frozen=True)
class PreparedQuestion:
    """What the language model is given for a question, or for one about a stretch of the media.

    Attributes:
        input_ids: the prompt, with the model's media id for every media token.
        media_embeds: media tokens ``(L, D_llm)``; None without media.
        media_tokens: L.
        question: the text of the last user message.
        heard: there is sound that somebody could speak in.
        warnings: sentences on what was made coarser, left out or has no effect.
    """

    input_ids: list[int]
    media_embeds: torch.Tensor | None
    media_tokens: int
    question: str = ""
    heard: bool = False
    warnings: tuple[str, ...] = ()


class Preparer:
    """Connects media and fills prompts, within the context of a model.

    Args:
        model: whose connector is used.
        processor: that belongs to it.
    """

    def __init__(self, model: VideoSalmonnForConditionalGeneration, processor: VideoSalmonnProcessor) -> None:
        self.model = model
        self.processor = processor
        self.tokens = TokenCache(model)

    @property
    def context(self) -> int:
        """Tokens the language model can hold."""
        return int(getattr(self.model.config.text_config, "max_position_embeddings", 2048))

    def room(self, asked: AskedQuestion) -> int:
        """Tokens left for media beside the question and the longest answer; may be negative."""
        return self.context - len(asked.prompt.input_ids) - asked.new_tokens

    def frames(self, asked: AskedQuestion) -> list[int]:
        """Frames that each media item takes on the connector's axis."""
        return [long_media.frames_of(item.features, self.model.connector.config) for item in asked.media]

    @torch.inference_mode()
    def connect_together(self, asked: Sequence[AskedQuestion]) -> None:
        """Connect the whole media of several questions before they are prepared, those of one length in one pass.

        Where pictures are looked at with the question in mind, :meth:`prepare` connects each by itself. Hold the
        engine's lock.
        """
        alike: dict[tuple[int, tuple[int, ...]], list[EncodedMedia]] = {}
        for one in asked:
            for item, frames in zip(one.media, self.frames(one)):
                alike.setdefault((frames, tuple(one.options.get("zero_levels", ()))), []).append(item)
        if not any(len(media) > 1 for media in alike.values()) or self.processor.instruction(["?"]) is not None:
            return
        for (_, levels), media in alike.items():
            for first in range(0, len(media), CONNECTED_AT_ONCE):
                self.tokens.get(media[first : first + CONNECTED_AT_ONCE], levels)

    @torch.inference_mode()
    def prepare(
        self, asked: AskedQuestion, span: Span | None = None, coarseness: int | None = None
    ) -> PreparedQuestion:
        """Connect the media and put their tokens into the prompt. Hold the engine's lock.

        Args:
            asked: the question.
            span: use only this stretch of the (single) media item, in frames.
            coarseness: windows this many times longer; None for as many times as the option ``long`` allows and needs.

        Raises:
            ContextError: media, question and answer do not fit the context.
        """
        if coarseness is None:
            coarseness = self._fitting_coarseness(asked, span)
        tokens = self._tokens(asked, span, coarseness)
        prompt = asked.prompt.with_media([len(part) for part in tokens], self.model.config.media_token_id)
        warnings = []
        if coarseness > 1:
            warnings.append(f"long media: windows are {coarseness} times as long as usual, so details are coarser")
        if prompt.replaced:
            warnings.append(f"{counted(prompt.replaced, 'token')} of the question are media tokens and were left out")
        warnings += without_effect(asked.options, bool(self.model.generation_config.do_sample))
        return PreparedQuestion(
            prompt.input_ids,
            torch.cat(tokens) if tokens else None,
            sum(map(len, tokens)),
            asked.question,
            any(item.features.speech is not None for item in asked.media),
            tuple(warnings),
        )

    def _fitting_coarseness(self, asked: AskedQuestion, span: Span | None) -> int:
        """By how many times windows must be longer for everything to fit the context."""
        config, room = self.model.connector.config, self.room(asked)
        frames = self.frames(asked) if span is None else [span[1] - span[0]]
        if sum(config.tokens_for(n) for n in frames) <= room:
            return 1
        asking = (
            f"a question of {counted(len(asked.prompt.input_ids), 'token')} and an answer of up to {asked.new_tokens} "
            f"do not fit the context of {counted(self.context, 'token')}"
        )
        if not frames or room <= 0:  # text and answer alone are too much: no stretch of the media would fit
            raise ContextError(asking, remedy="ask a shorter question or for a shorter answer")
        if span is not None or asked.options.get("long", "error") == "error":
            raise ContextError(
                f"media of {sum(frames) * config.frame_seconds:g} s, {asking}",
                remedy="ask about a stretch of it (start, end), or use long='segments' or long='coarse'",
            )
        return long_media.coarseness_to_fit(config, frames, room)

    def _tokens(self, asked: AskedQuestion, span: Span | None, coarseness: int) -> list[torch.Tensor]:
        """Media tokens ``(L_m, D_llm)`` of each item."""
        if not asked.media:
            return []
        levels = asked.options.get("zero_levels", ())
        instruction = self.processor.instruction([asked.question] * len(asked.media))
        if instruction is None:
            return self.tokens.get(asked.media, levels, coarseness, span)
        features = [item.features for item in asked.media]
        if span is not None:
            steps = self.model.connector.config.audio_tokens
            features = [long_media.cut(item, span, steps) for item in features]
        ids, mask = (tensor.to(self.model.device) for tensor in instruction)
        return self.model.connect_media(features, (ids, mask), levels, coarseness).tokens
