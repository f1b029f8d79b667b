"""``VideoSalmonnProcessor``: files or clips and text in, tensors out, with the account of what was seen and heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.processing_utils import MultiModalData

from video_salmonn.connector import ConnectorConfig
from video_salmonn.encoders.chunking import Segments, cut
from video_salmonn.errors import ConfigError
from video_salmonn.features.fbank import beats_fbank
from video_salmonn.features.frames import prepare_frames
from video_salmonn.features.logmel import log_mel
from video_salmonn.features.patches import yamnet_patches
from video_salmonn.media import Limits, MediaOptions
from video_salmonn.model import prompt
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.cost import media_tokens
from video_salmonn.model.inputs import MediaInputs
from video_salmonn.types import Clip
from video_salmonn.wording import counted

Conversation = str | Sequence[Mapping[str, Any]]
INSTRUCTION_TOKENS = 512
"""Longest instruction InstructBLIP's Q-Former reads; the left is cut, as released."""


class VideoSalmonnProcessor(ProcessorMixin):
    """Turns media and conversations into the model's inputs.

    Args:
        tokenizer: of the language model.
        qformer_tokenizer: of InstructBLIP's Q-Former (``bert-base-uncased`` in the release); the language model's
            where a model has no such Q-Former.
        settings: the model's configuration without its networks, as :meth:`settings_of` gives it.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        qformer_tokenizer: PreTrainedTokenizerBase | None = None,
        settings: dict[str, Any] | None = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, qformer_tokenizer or tokenizer, chat_template=chat_template)
        self.settings = dict(settings or {})
        self.config = VideoSalmonnConfig(**self.settings)

    @staticmethod
    def settings_of(config: VideoSalmonnConfig) -> dict[str, Any]:
        """What of a configuration the processor needs, JSON-ready."""
        text: Any = config.text_config
        return {
            "text_config": {
                "model_type": text.model_type,
                "hidden_size": text.hidden_size,
                "max_position_embeddings": text.max_position_embeddings,
            },
            "vision": config.vision,
            "instruction_qformer": config.instruction_qformer,
            "speech": config.speech,
            "audio": config.audio,
            "connector": config.connector,
            "media": config.media,
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
        return cls(tokenizer, qformer_tokenizer, settings=cls.settings_of(config))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form (the configuration object is rebuilt from ``settings``)."""
        config, self.config = self.config, None  # type: ignore[assignment]
        try:
            values = super().to_dict()
        finally:
            self.config = config
        values.pop("config", None)
        return values

    # ------------------------------------------------------------------------------------------------- media

    @property
    def connector(self) -> ConnectorConfig:
        """The connector's configuration."""
        return self.config.connector_config

    def media_options(self, **overrides: Any) -> MediaOptions:
        """How this model wants media decoded; any field of :class:`MediaOptions` may be overridden."""
        media = self.config.media
        size = int(media["image_size"])
        values: dict[str, Any] = {
            "frame_times": media["frame_times"],
            "spotlight": media["spotlight"],
            "sound_mode": "released" if media["first_channel"] else "mix",
            # The released filter for videos is torch's own; everything else is resized while it is decoded.
            "frame_size": None if media["resize"] == "released" else (size, size),
            "picture_size": (size, size),
            "use_video": self.config.vision is not None,
            "use_audio": self.connector.has_sound,
        }
        limits = overrides.pop("limits", Limits(max_seconds=media["max_seconds"]))
        return MediaOptions(**{**values, "limits": limits, **overrides})

    def load(self, source: Any, sound: Any = None, **overrides: Any) -> Clip:
        """Decode one media item as this model wants it. Arguments as :func:`video_salmonn.media.load_clip`.

        Raises:
            MissingPartError: PyAV is not installed; clips and features that were made before need no decoder.
        """
        from video_salmonn.media import load_clip  # here, so that cached features need no decoder

        return load_clip(source, sound=sound, options=self.media_options(**overrides))

    def _picture(self, clip: Clip) -> bool:
        return any(s.get("kind") == "picture" and s.get("chosen") for s in clip.report.streams)

    def _still_frames(self, clip: Clip, sound: Segments | None) -> int:
        """Frames a picture is shown for; 0 for moving pictures and spotlight crops."""
        if clip.frames is None or len(clip.frames) != 1 or not self._picture(clip):
            return 0
        if sound is None:
            return int(self.config.media["picture_frames"])
        return self._sound_length(sound)

    def _sound_length(self, sound: Segments) -> int:
        """Frames the sound takes on the connector's axis."""
        if self.connector.trim_padding:
            return sound.frames
        return round(sound.waveform.numel() / 16_000 / self.connector.frame_seconds)

    def _segments(self, clip: Clip) -> Segments | None:
        if clip.sound is None or not len(clip.sound.samples):
            return None
        media = self.config.media
        samples = torch.from_numpy(clip.sound.samples)
        if media["max_sound_seconds"]:
            samples = samples[: round(media["max_sound_seconds"] * clip.sound.rate)]
        return cut(samples, media["segment_seconds"], pad_last=media["pad_last_segment"])

    def _audio_inputs(self, segments: Segments) -> torch.Tensor | None:
        if self.config.audio is None:
            return None
        if self.config.audio["kind"] == "beats":
            return beats_fbank(segments.waveform)
        return yamnet_patches(segments.waveform)

    def media_inputs(self, clips: Sequence[Clip]) -> MediaInputs:
        """Encoder inputs of decoded clips, packed (see :class:`MediaInputs`)."""
        media, sounds = self.config.media, [self._segments(clip) for clip in clips]
        frames = [None if self.config.vision is None else clip.frames for clip in clips]
        size = (int(media["image_size"]),) * 2
        pixels = [
            prepare_frames(
                torch.from_numpy(batch.frames),
                size,
                how="picture" if self._picture(clip) else media["resize"],
                mean=tuple(media["image_mean"]),
                std=tuple(media["image_std"]),
            )
            for clip, batch in zip(clips, frames)
            if batch is not None and len(batch)
        ]
        mels, events, samples = [], [], []
        for sound in sounds:
            if sound is None:
                continue
            samples.append(sound.lengths)
            if self.config.speech is not None:
                mels.append(log_mel(sound.waveform, media["mel_bins"]))
            made = self._audio_inputs(sound)
            if made is not None:
                events.append(made)
        counts = torch.tensor([0 if b is None else len(b) for b in frames])
        return MediaInputs(
            pixel_values=torch.cat(pixels) if pixels else None,
            frame_counts=counts,
            log_mel=_stack_segments(mels, -1) if mels else None,
            audio_inputs=_stack_segments(events, 1) if events else None,
            segment_counts=torch.tensor([0 if s is None else len(s.waveform) for s in sounds]),
            segment_samples=torch.cat(samples) if samples else None,
            sound_frames=torch.tensor([0 if s is None else s.frames for s in sounds]),
            still_frames=torch.tensor([self._still_frames(c, s) for c, s in zip(clips, sounds)]),
        )

    def media_lengths(self, inputs: MediaInputs) -> list[int]:
        """Tokens each item of the inputs makes."""
        assert inputs.frame_counts is not None and inputs.segment_counts is not None
        assert inputs.sound_frames is not None and inputs.still_frames is not None
        per_segment = round(self.config.media["segment_seconds"] / self.connector.frame_seconds)
        lengths = []
        columns = (inputs.frame_counts, inputs.segment_counts, inputs.sound_frames, inputs.still_frames)
        for frames, segments, heard, still in zip(*(column.tolist() for column in columns)):
            sound = heard if self.connector.trim_padding else segments * per_segment
            axis = self.connector.axis_frames(still or frames, sound)
            lengths.append(self.connector.tokens_for(axis) if frames or segments else 0)
        return lengths

    def _get_num_multimodal_tokens(self, durations: Sequence[float] | None = None, **kwargs: Any) -> MultiModalData:
        """Media tokens of clips with picture and sound, from their durations in seconds, before anything is decoded."""
        counts = [media_tokens(self.config, seconds) for seconds in durations or ()]
        return MultiModalData(num_video_tokens=counts)

    # -------------------------------------------------------------------------------------------------- text

    def render(
        self, conversation: Conversation, media_lengths: Sequence[int], *, open_answer: bool = True
    ) -> prompt.Rendered:
        """One conversation to token ids and labels; see :mod:`video_salmonn.model.prompt`."""
        turns = prompt.parse(conversation, len(media_lengths))
        pieces = self._pieces(turns, open_answer)
        begin = self.config.prompt != "chat"
        return prompt.tokenise(pieces, self.tokenizer, media_lengths, self.config.media_token_id, begin=begin)

    def _pieces(self, turns: Sequence[prompt.Turn], open_answer: bool) -> list[prompt.Piece]:
        config = self.config
        return prompt.build_pieces(config.prompt, turns, self.tokenizer, open_answer=open_answer, system=config.system)

    def instruction(self, questions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Questions for InstructBLIP's Q-Former, (ids, mask) each ``(M, n)``; None for models without it."""
        if not self.config.depends_on_question:
            return None
        tokenizer = self.qformer_tokenizer
        rows = [tokenizer(q, split_special_tokens=True)["input_ids"] for q in questions]
        limit = min(
            INSTRUCTION_TOKENS, int((self.config.instruction_qformer or {}).get("max_position_embeddings", 512))
        )
        rows = [row if len(row) <= limit else [row[0], *row[1 - limit :]] for row in rows]  # [CLS] stays in front
        width = max(len(row) for row in rows)
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return ids, mask

    def __call__(
        self,
        conversations: Conversation | Sequence[Conversation] | None = None,
        media: Sequence[Any] | None = None,
        *,
        with_labels: bool = False,
        text: Conversation | Sequence[Conversation] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Build a batch.

        Args:
            conversations: one question or message list, or a batch of them (``text`` is an alias).
            media: for each conversation its media: a list of clips, files, ``(picture, sound)`` pairs; or one of them.
            with_labels: training form: answers are kept, labels made, padding goes right. Else the prompt is left open
                for an answer and padding goes left.
            text: alias of ``conversations``.
            **kwargs: options for decoding.

        Returns:
            ``input_ids``, ``attention_mask``, ``labels`` (training), and the tensors of :class:`MediaInputs`.
        """
        kwargs.pop("return_tensors", None)
        given = conversations if conversations is not None else text
        batch = _as_batch(given)
        items = _as_media(media, len(batch))
        clips = [self._clip(item, **kwargs) for row in items for item in row]
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
            rendered.append(self.render(conversation, lengths[at : at + len(own)], open_answer=not with_labels))
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
        add_generation_prompt: bool = True,
        **kwargs: Any,
    ) -> Any:
        """transformers' form: messages whose media parts bring their own sources, as pipelines and servers send them.

        Args:
            conversation: messages, or a list of them. A media part is ``{"type": "video" | "audio" | "image"}`` with
                its source under that name, ``url`` or ``path``.
            chat_template: not used: the model's own prompt form is.
            tokenize: make ids; else the prompt's text, with ``<media>`` where media go.
            return_dict: all tensors, as :meth:`__call__` makes them; else ``input_ids``.
            add_generation_prompt: leave the prompt open for an answer; False keeps the last answer, for training.
            **kwargs: ignored, but for decoding options in ``processor_kwargs``.
        """
        messages = list(conversation)
        batch = [messages] if messages and isinstance(messages[0], Mapping) else [list(row) for row in messages]
        media = [[source for message in row for source in _sources(message)] for row in batch]
        if not tokenize:
            texts = []
            for row, own in zip(batch, media):
                pieces = self._pieces(prompt.parse(row, len(own)), add_generation_prompt)
                texts.append("".join("<media>" if piece.kind == "media" else piece.text for piece in pieces))
            return texts[0] if batch and batch[0] is messages else texts
        options = {k: v for k, v in (kwargs.get("processor_kwargs") or {}).items() if k in ("start", "end")}
        made = self(batch, media, with_labels=not add_generation_prompt, **options)
        return made if return_dict else made["input_ids"]

    @property
    def pad_id(self) -> int:
        """Id that fills short rows (masked everywhere)."""
        pad = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad is None else pad

    def _clip(self, item: Any, **options: Any) -> Clip:
        if isinstance(item, Clip):
            return item
        if isinstance(item, (tuple, list)) and len(item) == 2:
            return self.load(item[0], sound=item[1], **options)
        return self.load(item, **options)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors this processor makes."""
        return ["input_ids", "attention_mask", *MediaInputs.names()]


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


def _sources(message: Mapping[str, Any]) -> list[Any]:
    """Sources of a message's media parts, in order."""
    content = message.get("content", "")
    found = []
    for part in [] if isinstance(content, str) else content:
        if isinstance(part, Mapping) and part.get("type") in prompt.MEDIA_TYPES:
            source = next((part[name] for name in (part["type"], "url", "path") if part.get(name) is not None), None)
            if source is None:
                raise ConfigError(f"a {part['type']} part brings no source", remedy="put it under url or path")
            found.append(source)
    return found


def pad_rows(rows: Sequence[prompt.Rendered], pad_id: int, *, left: bool) -> dict[str, torch.Tensor]:
    """Pad rendered conversations to ``input_ids``, ``attention_mask`` and ``labels``, each ``(B, L)`` int64."""
    width = max(len(row.input_ids) for row in rows)

    def padded(values: list[int], filler: int) -> list[int]:
        fill = [filler] * (width - len(values))
        return fill + values if left else values + fill

    return {
        "input_ids": torch.tensor([padded(row.input_ids, pad_id) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row.input_ids), 0) for row in rows]),
        "labels": torch.tensor([padded(row.labels, prompt.IGNORED) for row in rows]),
    }


def _stack_segments(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    """Join segments of several items, zero-padded on the time axis ``dim`` to the longest."""
    longest = max(part.shape[dim] for part in parts)
    padded = []
    for part in parts:
        shape = list(part.shape)
        shape[dim] = longest - part.shape[dim]
        padded.append(torch.cat([part, part.new_zeros(shape)], dim=dim) if shape[dim] else part)
    return torch.cat(padded)


def _as_batch(conversations: Conversation | Sequence[Conversation] | None) -> list[Conversation]:
    if conversations is None:
        raise ValueError("conversations (a question, a list of messages, or a batch of them) is needed")
    if isinstance(conversations, str):
        return [conversations]
    rows = list(conversations)
    if rows and isinstance(rows[0], Mapping):
        return [rows]  # type: ignore[list-item]
    return rows  # type: ignore[return-value]


def _as_media(media: Sequence[Any] | None, rows: int) -> list[list[Any]]:
    if media is None:
        return [[] for _ in range(rows)]
    if not isinstance(media, (list, tuple)) or (rows == 1 and (len(media) != 1 or not isinstance(media[0], list))):
        media = [media if isinstance(media, list) else [media]]
    if len(media) != rows:
        raise ValueError(f"{counted(rows, 'conversation', 'need')} as many lists of media, got {len(media)}")
    return [list(own) if isinstance(own, list) else [own] for own in media]


AutoProcessor.register(VideoSalmonnConfig, VideoSalmonnProcessor, exist_ok=True)
