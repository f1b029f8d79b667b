"""``VideoSalmonnProcessor``: files or clips and text in, tensors out, with the account of what was seen and heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase

from video_salmonn.errors import ConfigError
from video_salmonn.media.options import switch
from video_salmonn.model import prompt
from video_salmonn.model.arguments import (
    KINDS,
    Conversation,
    MediaArgument,
    as_batch,
    as_items,
    chat_options,
    decoding_options,
)
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.inputs import MediaInputs
from video_salmonn.model.media_processing import MediaProcessor
from video_salmonn.model.media_token import MEDIA_TOKEN
from video_salmonn.model.sub_processors import VideoSalmonnFeatureExtractor, VideoSalmonnImageProcessor

TEXT_SIZES = ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings")
"""What of the language model's configuration has to fit together."""
INSTRUCTION_TOKENS = 512
"""Longest instruction InstructBLIP's Q-Former reads; the left is cut, as released."""


class VideoSalmonnProcessor(MediaProcessor):
    """Turns media and conversations into the model's inputs.

    Args:
        image_processor: makes pixels.
        feature_extractor: makes the sound encoders' inputs.
        tokenizer: of the language model.
        qformer_tokenizer: of InstructBLIP's Q-Former (``bert-base-uncased`` in the release); the language model's
            where a model has no such Q-Former.
        settings: the model's configuration without its networks, as :meth:`settings_of` gives it.
    """

    def __init__(
        self,
        image_processor: VideoSalmonnImageProcessor,
        feature_extractor: VideoSalmonnFeatureExtractor,
        tokenizer: PreTrainedTokenizerBase,
        qformer_tokenizer: PreTrainedTokenizerBase | None = None,
        settings: dict[str, Any] | None = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        reader = qformer_tokenizer or tokenizer
        super().__init__(image_processor, feature_extractor, tokenizer, reader, chat_template=chat_template)
        self.settings = dict(settings or {})
        self.config = VideoSalmonnConfig(**self.settings)

    @classmethod
    def _get_arguments_from_pretrained(
        cls, pretrained_model_name_or_path: Any, processor_dict: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[Any]:
        """transformers' own, which would look for files that earlier versions did not write."""
        written = processor_dict or {}
        config = VideoSalmonnConfig(**written.get("settings", {}))
        parts: list[Any] = []
        for name, kind in (
            ("image_processor", VideoSalmonnImageProcessor),
            ("feature_extractor", VideoSalmonnFeatureExtractor),
        ):
            parts.append(kind(**written[name]) if name in written else kind.of(config))
        parts.append(cls._load_tokenizer_from_pretrained("tokenizer", pretrained_model_name_or_path, **kwargs))
        if config.depends_on_question:
            parts.append(
                cls._load_tokenizer_from_pretrained("qformer_tokenizer", pretrained_model_name_or_path, **kwargs)
            )
        else:  # saved a second time, as transformers does with every part
            parts.append(parts[-1])
        return parts

    @staticmethod
    def settings_of(config: VideoSalmonnConfig) -> dict[str, Any]:
        """What of a configuration the processor needs, JSON-ready."""
        text, values = config.text_config, config.to_dict()
        return {
            "text_config": {
                "model_type": text.model_type,
                **{name: getattr(text, name) for name in TEXT_SIZES if hasattr(text, name)},
            },
            **{name: values[name] for name in config.sub_configs if name != "text_config"},
            "prompt": config.prompt,
            "system": config.system,
            "media_token_id": config.media_token_id,
        }

    @classmethod
    def from_config(
        cls,
        config: VideoSalmonnConfig,
        tokenizer: PreTrainedTokenizerBase,
        qformer_tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> VideoSalmonnProcessor:
        """The processor of a model configuration."""
        return cls(
            VideoSalmonnImageProcessor.of(config),
            VideoSalmonnFeatureExtractor.of(config),
            tokenizer,
            qformer_tokenizer,
            settings=cls.settings_of(config),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form (the configuration object is rebuilt from ``settings``)."""
        config, self.config = self.config, None  # type: ignore[assignment]
        try:
            values = super().to_dict()
        finally:
            self.config = config
        values.pop("config", None)
        return values

    # -------------------------------------------------------------------------------------------------- text

    def render(
        self,
        conversation: Conversation,
        media_lengths: Sequence[int],
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> prompt.Rendered:
        """One conversation to token ids and labels; see :mod:`video_salmonn.model.prompt`.

        Args:
            conversation: a question or messages.
            media_lengths: tokens of each media item.
            add_generation_prompt: leave the prompt open for an answer.
            continue_final_message: the last message is the beginning of an answer: nothing closes it.
        """
        rendered = self.render_text(
            conversation,
            len(media_lengths),
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
        )
        return rendered.with_media(media_lengths, self.config.media_token_id)

    def render_text(
        self,
        conversation: Conversation,
        media: int,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> prompt.Rendered:
        """As :meth:`render`, before the media's tokens are in their places: how many they are need not be known yet.

        Args:
            conversation, add_generation_prompt, continue_final_message: as for :meth:`render`.
            media: number of media items.
        """
        turns = prompt.parse(conversation, media)
        pieces = self._pieces(turns, add_generation_prompt, continue_final_message)
        begin = self.config.prompt != "chat"
        return prompt.tokenise(pieces, self.tokenizer, self.config.media_token_id, begin=begin)

    def _pieces(
        self, turns: Sequence[prompt.Turn], add_generation_prompt: bool, continue_final_message: bool
    ) -> list[prompt.PromptPart]:
        pieces = prompt.build_pieces(
            self.config.prompt,
            turns,
            self.tokenizer,
            add_generation_prompt=add_generation_prompt,
            system=self.config.system,
        )
        if continue_final_message:
            last = max((i for i, piece in enumerate(pieces) if piece.kind == "answer"), default=len(pieces) - 1)
            pieces = pieces[: last + 1]
        return pieces

    def instruction(self, questions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Questions for InstructBLIP's Q-Former, (ids, mask) each ``(M, n)``; None for models without it."""
        if not self.config.depends_on_question:
            return None
        tokenizer = self.qformer_tokenizer
        with prompt.TOKENISING:
            rows = [tokenizer(q, split_special_tokens=True)["input_ids"] for q in questions]
        limit = min(INSTRUCTION_TOKENS, self.config.qformer_config.max_position_embeddings)
        rows = [row if len(row) <= limit else [row[0], *row[1 - limit :]] for row in rows]  # [CLS] stays in front
        width = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return ids, mask

    def __call__(
        self,
        conversations: Conversation | Sequence[Conversation] | None = None,
        media: Any = None,
        *,
        with_labels: bool = False,
        text: Conversation | Sequence[Conversation] | None = None,
        images: Any = None,
        videos: Any = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Build a batch.

        Args:
            conversations: one question or message list, or a batch of them (``text`` is an alias). Media parts of
                messages may bring their own sources.
            media: for each conversation its media: a list of clips, files, ``(picture, sound)`` pairs; or one of them.
            with_labels: training form: answers are kept, labels made, padding goes right. Else the prompt is left open
                for an answer and padding goes left.
            text: alias of ``conversations``.
            images, videos, audio: transformers' own keywords in place of ``media``: one source, one for each
                conversation, or a list for each. They fill the parts of their type; without parts they go before the
                first question, in this order. A video brings its own sound; ``audio`` is only listened to.
            sampling_rate: of sound given as bare arrays.
            **kwargs: options for decoding, ``no_audio``, ``no_video``, ``return_tensors="pt"``.

        Returns:
            ``input_ids``, ``attention_mask``, ``labels`` (training), and the tensors of :class:`MediaInputs`.

        Raises:
            ConfigError: an unknown keyword, or media that no conversation has a place for.
            MediaError: an item cannot be used, or is not what it was given as.
        """
        if conversations is not None and text is not None:
            raise ConfigError("conversations and text are the same argument", remedy="give one of them")
        with_labels = switch(with_labels, "with_labels")
        options = decoding_options(kwargs)
        batch = as_batch(conversations if conversations is not None else text)
        items = as_items(batch, media, {"images": images, "videos": videos, "audio": audio}, sampling_rate)
        return self._built(batch, items, options, with_labels=with_labels, add_generation_prompt=not with_labels)

    def _built(
        self,
        batch: Sequence[Conversation],
        items: Sequence[Sequence[MediaArgument]],
        options: dict[str, Any],
        *,
        with_labels: bool,
        add_generation_prompt: bool,
        continue_final_message: bool = False,
    ) -> BatchFeature:
        """A batch of checked arguments; the last three as for :meth:`render`."""
        for conversation, own in zip(batch, items):
            prompt.parse(conversation, len(own))  # refused before anything is decoded
        clips = [self.clip_of(item, options) for row in items for item in row]
        features: dict[str, Any] = {}
        lengths: list[int] = []
        if clips:
            inputs = self.media_inputs(clips)
            lengths = self.media_lengths(inputs)
            features = {name: getattr(inputs, name) for name in MediaInputs.names()}
            questions = [question_of(row) for row, own in zip(batch, items) for _ in own]
            pair = self.instruction(questions)
            if pair is not None:
                features["instruction_ids"], features["instruction_mask"] = pair
        rendered, at = [], 0
        for conversation, own in zip(batch, items):
            own_lengths = lengths[at : at + len(own)]
            rendered.append(
                self.render(
                    conversation,
                    own_lengths,
                    add_generation_prompt=add_generation_prompt,
                    continue_final_message=continue_final_message,
                )
            )
            at += len(own)
        features |= pad_rows(rendered, self.pad_id, left=not with_labels)
        if not with_labels:
            features.pop("labels")
        return BatchFeature({name: value for name, value in features.items() if value is not None})

    def apply_chat_template(
        self,
        conversation: Any,
        chat_template: str | None = None,
        *,
        tokenize: bool = False,
        return_dict: bool = False,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        **kwargs: Any,
    ) -> Any:
        """transformers' form: messages whose media parts bring their own sources, as pipelines and servers send them.

        Args:
            conversation: messages, or a list of them. A media part is ``{"type": "video" | "audio" | "image"}`` with
                its source under that name, ``url``, ``path`` or ``base64``.
            chat_template: must be None: the model's own prompt form is used.
            tokenize: make ids; else the prompt's text, with ``<media>`` where media go.
            return_dict: all tensors, as :meth:`__call__` makes them; else ``input_ids``.
            add_generation_prompt: leave the prompt open for an answer: what :meth:`__call__` does by itself and
                ``generate`` needs. Off by default, as in transformers. Conversations that end with an answer are then
                in training form, with labels and padding on the right.
            continue_final_message: the last message is the beginning of an answer that the model is to continue.
            **kwargs: keywords of :meth:`__call__`, here or in ``processor_kwargs``.

        Raises:
            as :meth:`__call__`; ConfigError also for what this model's prompt does not do (tools, documents …).
        """
        if chat_template is not None:
            raise ConfigError("a chat_template of the caller's is not used: the model has its own prompt form")
        tokenize, return_dict = switch(tokenize, "tokenize"), switch(return_dict, "return_dict")
        add_generation_prompt = switch(add_generation_prompt, "add_generation_prompt")
        continue_final_message = switch(continue_final_message, "continue_final_message")
        rest = chat_options(kwargs)
        keywords = {name: rest.pop(name, None) for name in KINDS}
        sampling_rate = rest.pop("sampling_rate", None)
        options = decoding_options(rest)
        batch = as_batch(conversation)
        single = isinstance(conversation, str) or isinstance(conversation[0], Mapping)
        if continue_final_message:
            if not all(map(answered, batch)):
                raise ConfigError("continue_final_message needs an assistant's message at the end")
            add_generation_prompt = False
        items = as_items(batch, None, keywords, sampling_rate)
        if not tokenize:
            texts = []
            for row, own in zip(batch, items):
                turns = prompt.parse(row, len(own))
                pieces = self._pieces(turns, add_generation_prompt, continue_final_message)
                texts.append("".join(MEDIA_TOKEN if piece.kind == "media" else piece.text for piece in pieces))
            return texts[0] if single else texts
        made = self._built(
            batch,
            items,
            options,
            with_labels=any(map(answered, batch)) and not (add_generation_prompt or continue_final_message),
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
        )
        return made if return_dict else made["input_ids"]

    @property
    def media_token(self) -> str:
        """The token that stands for media in ids (of models of earlier versions another one of the vocabulary)."""
        return str(self.tokenizer.convert_ids_to_tokens(self.config.media_token_id))

    @property
    def pad_id(self) -> int:
        """Id that fills short rows (masked everywhere)."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors this processor makes."""
        return ["input_ids", "attention_mask", *MediaInputs.names()]


def answered(conversation: Any) -> bool:
    """Whether a conversation ends with an assistant's message; False for what is no conversation."""
    if not isinstance(conversation, Sequence) or isinstance(conversation, str) or not conversation:
        return False
    return isinstance(conversation[-1], Mapping) and conversation[-1].get("role") == "assistant"


def question_of(conversation: Conversation) -> str:
    """The text of the last user message, which InstructBLIP's Q-Former reads."""
    if isinstance(conversation, str):
        return conversation
    for message in reversed(list(conversation)):
        if message.get("role") == "user":
            content = message.get("content", "")
            if isinstance(content, str):
                return content
            texts = (part if isinstance(part, str) else part.get("text", "") for part in content)
            return " ".join(text for text in texts if text)
    return ""


def pad_rows(rows: Sequence[prompt.Rendered], pad_id: int, *, left: bool) -> dict[str, torch.Tensor]:
    """Pad rendered conversations to ``input_ids``, ``attention_mask`` and ``labels``, each ``(B, L)`` int64."""
    return {
        "input_ids": padded([row.input_ids for row in rows], pad_id, left=left),
        "attention_mask": padded([[1] * len(row.input_ids) for row in rows], 0, left=left),
        "labels": padded([row.labels for row in rows], prompt.IGNORED, left=left),
    }


def padded(rows: Sequence[Sequence[int]], filler: int, *, left: bool) -> torch.Tensor:
    """Rows of numbers as one tensor ``(B, longest)`` int64, shorter ones filled up on one side."""
    width = max(map(len, rows))
    fill = [[filler] * (width - len(row)) for row in rows]
    return torch.tensor([[*more, *row] if left else [*row, *more] for row, more in zip(rows, fill)])


AutoProcessor.register(VideoSalmonnConfig, VideoSalmonnProcessor, exist_ok=True)
