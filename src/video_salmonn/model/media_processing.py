"""The processor's media: files become clips, clips become the encoders' inputs, with the number of tokens they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from transformers import ProcessorMixin
from transformers.processing_utils import MultiModalData

from video_salmonn.connector import ConnectorConfig
from video_salmonn.encoders.chunking import Segments
from video_salmonn.errors import ConfigError, MediaError
from video_salmonn.media import Limits, MediaOptions
from video_salmonn.media.decoded import check_applicable, with_options
from video_salmonn.model.arguments import MediaArgument, decoding_options
from video_salmonn.model.configuration import VideoSalmonnConfig
from video_salmonn.model.inputs import MediaInputs
from video_salmonn.model.lengths import media_tokens
from video_salmonn.model.sub_processors import SAMPLE_RATE, VideoSalmonnFeatureExtractor, VideoSalmonnImageProcessor
from video_salmonn.types import Clip


class MediaProcessor(ProcessorMixin):
    """The half of :class:`~video_salmonn.model.processing.VideoSalmonnProcessor` that takes care of media."""

    if TYPE_CHECKING:  # of the other half
        config: VideoSalmonnConfig
        image_processor: VideoSalmonnImageProcessor
        feature_extractor: VideoSalmonnFeatureExtractor

    @property
    def connector(self) -> ConnectorConfig:
        """The connector's configuration."""
        return self.config.connector_config

    def media_options(self, **overrides: Any) -> MediaOptions:
        """How this model wants media decoded; any field of :class:`MediaOptions` may be overridden."""
        media, size = self.config.media_config, self.image_processor.size["height"]
        values: dict[str, Any] = {
            "frame_times": media.frame_times,
            "spotlight": media.spotlight,
            "sound_mode": "released" if media.first_channel else "mix",
            # The released filter for videos is torch's own; everything else is resized while it is decoded.
            "frame_size": None if self.image_processor.resize == "released" else (size, size),
            "picture_size": (size, size),
            "use_video": self.config.vision_config is not None,
            "use_audio": self.connector.has_sound,
        }
        limits = overrides.pop("limits", Limits(max_seconds=media.max_seconds))
        return MediaOptions(**{**values, "limits": limits, **overrides})

    def load(self, source: Any, sound: Any = None, **overrides: Any) -> Clip:
        """Decode one media item as this model wants it.

        Args:
            source: as for :func:`video_salmonn.media.load_clip`, or a clip that is decoded already: of that, ``start``,
                ``end`` and the switches of picture and sound are applied.
            sound: takes the place of the source's own sound; as ``source``.
            **overrides: fields of :class:`MediaOptions`.

        Raises:
            ConfigError: an option is impossible, or cannot be applied to a decoded clip.
            MediaError: the item cannot be used, or not be read.
            MissingPartError: PyAV is not installed; clips and features that were made before need no decoder.
        """
        options = self.media_options(**overrides)
        if not isinstance(source, Clip) and not isinstance(sound, Clip):
            return self._decoded(source, sound, options)
        if isinstance(source, Clip):
            check_applicable([name for name in overrides if overrides[name] is not None], source.report.source)
        else:  # a file with decoded sound
            whole = replace(options, use_video=True, use_audio=True, start=None, end=None)
            source = self._decoded(source, None, whole)
        if sound is not None and not isinstance(sound, Clip):
            whole = replace(options, use_video=False, use_audio=True, start=None, end=None)
            sound = self._decoded(sound, None, whole)
        return with_options(source, options, sound)

    def _decoded(self, source: Any, sound: Any, options: MediaOptions) -> Clip:
        from video_salmonn.media import load_clip, source_name  # here, so that cached features need no decoder

        try:
            return load_clip(source, sound=sound, options=options)
        except OSError as error:  # a disk or a network drive that fails while it is read
            raise MediaError(
                source_name(source), f"cannot be read ({error.strerror or error})", remedy="Copy the file again."
            ) from error

    def _picture(self, clip: Clip) -> bool:
        return any(s.get("kind") == "picture" and s.get("chosen") for s in clip.report.streams)

    def _still_frames(self, clip: Clip, sound: Segments | None) -> int:
        """Frames a picture is shown for; 0 for moving pictures and spotlight crops."""
        if clip.frames is None or len(clip.frames) != 1 or not self._picture(clip):
            return 0
        if sound is None:
            return int(self.config.media_config.picture_frames)
        return self._sound_length(sound)

    def _sound_length(self, sound: Segments) -> int:
        """Frames the sound takes on the connector's axis."""
        if self.connector.trim_padding:
            return sound.frames
        return round(sound.waveform.numel() / 16_000 / self.connector.frame_seconds)

    def media_inputs(self, clips: Sequence[Clip]) -> MediaInputs:
        """Encoder inputs of decoded clips, packed (see :class:`MediaInputs`)."""
        cuts = [
            self.feature_extractor.cut(clip.sound.samples)
            if clip.sound is not None and len(clip.sound.samples)
            else None
            for clip in clips
        ]
        frames = [None if self.config.vision_config is None else clip.frames for clip in clips]
        pixels = [
            self.image_processor(batch.frames, pictures=self._picture(clip))["pixel_values"]
            for clip, batch in zip(clips, frames)
            if batch is not None and len(batch)
        ]
        return MediaInputs(
            pixel_values=torch.cat(pixels) if pixels else None,
            frame_counts=torch.tensor([0 if b is None else len(b) for b in frames]),
            still_frames=torch.tensor([self._still_frames(clip, cut) for clip, cut in zip(clips, cuts)]),
            **self.feature_extractor.inputs(cuts),
        )

    def media_lengths(self, inputs: MediaInputs) -> list[int]:
        """Tokens each item of the inputs makes."""
        assert inputs.frame_counts is not None and inputs.segment_counts is not None
        assert inputs.sound_frames is not None and inputs.still_frames is not None
        per_segment = round(self.config.media_config.segment_seconds / self.connector.frame_seconds)
        lengths = []
        columns = (inputs.frame_counts, inputs.segment_counts, inputs.sound_frames, inputs.still_frames)
        for frames, segments, heard, still in zip(*(column.tolist() for column in columns)):
            sound = heard if self.connector.trim_padding else segments * per_segment
            axis = self.connector.axis_frames(still or frames, sound)
            lengths.append(self.connector.tokens_for(axis) if frames or segments else 0)
        return lengths

    def _get_num_multimodal_tokens(
        self,
        image_sizes: Sequence[Sequence[int]] | None = None,
        video_sizes: Sequence[Sequence[int]] | None = None,
        audio_lengths: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> MultiModalData:
        """Media tokens of items whose sizes are known, before anything is decoded; transformers' own signature.

        Args:
            image_sizes: (height, width) of pictures without sound.
            video_sizes: (frames, height, width) of videos at the model's frame rate, two frames a second; their sound
                takes no tokens of its own.
            audio_lengths: samples of sounds at 16 kHz.
            **kwargs: options of the processor, which change no number here.

        Raises:
            ConfigError: sizes of another form, negative numbers, or a keyword that the processor does not know.
        """
        decoding_options(kwargs)
        for name, values, width in (("image_sizes", image_sizes, 2), ("video_sizes", video_sizes, 3)):
            if values is not None and not all(_is_size(size, width) for size in values):
                form = "(height, width)" if width == 2 else "(frames, height, width)"
                raise ConfigError(f"{name} is {values!r}", remedy=f"give {form} of each, whole numbers")
        if audio_lengths is not None and not _is_size(audio_lengths, None):
            raise ConfigError(f"audio_lengths is {audio_lengths!r}", remedy="give the samples of each, whole numbers")
        config, found = self.config, MultiModalData()
        if image_sizes is not None:
            found.num_image_tokens = [self.connector.tokens_for(config.media_config.picture_frames)] * len(image_sizes)
            found.num_image_patches = [1] * len(image_sizes)  # rows of pixel_values
        if video_sizes is not None:
            lengths = [frames * self.connector.frame_seconds for frames, *_ in video_sizes]
            found.num_video_tokens = [media_tokens(config, seconds) for seconds in lengths]
        if audio_lengths is not None:
            lengths = [samples / SAMPLE_RATE for samples in audio_lengths]
            found.num_audio_tokens = [media_tokens(config, seconds, sight=False) for seconds in lengths]
        return found

    def clip_of(self, item: MediaArgument, options: dict[str, Any]) -> Clip:
        """Decode an item and see that it is what it was given as."""
        if item.kind == "audio":
            options = {**options, "use_video": False}
        clip = self.load(item.source, item.sound, **options)
        seen, name = clip.report.seen, clip.report.source
        if item.kind == "image" and not self._picture(clip) and seen.status != "off":
            raise MediaError(name, "is not a picture", remedy="Give it as a video (videos, or a part of that type).")
        if item.kind == "video" and self._picture(clip):
            raise MediaError(name, "is a picture, not a video", remedy="Give pictures as images; frames as one file.")
        if item.kind == "video" and seen.status in ("absent", "failed"):
            raise MediaError(name, f"has no picture: {seen.detail or seen.status}", remedy="Give it as audio.")
        return clip


def _is_size(values: Any, width: int | None) -> bool:
    """Whether this is a list of so many (None: of any number of) whole numbers of at least 0."""
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and width in (None, len(values))
        and all(isinstance(n, Integral) and not isinstance(n, bool) and int(n) >= 0 for n in values)
    )
