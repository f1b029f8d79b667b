"""The connector's tokens of media that were asked about before: a second question starts with the language model."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from video_salmonn.inference.long import cut
from video_salmonn.inference.pieces import Span
from video_salmonn.model.inputs import MediaFeatures
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration

Stamp = tuple[tuple[int, int], ...]
Kept = list[tuple[MediaFeatures, tuple[int, ...], int, Span | None, Stamp, torch.Tensor]]


class ConnectedTokens:
    """Keeps tokens for as long as the features they were made of are kept (by the media cache).

    Not for models whose picture features depend on the question. Tokens are made anew when the connector's weights were
    changed, a level is switched off, or windows are stretched.

    Args:
        model: whose connector is used.
    """

    def __init__(self, model: VideoSalmonnForConditionalGeneration) -> None:
        self.model = model
        self._kept: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def get(
        self,
        features: Sequence[MediaFeatures],
        zero_levels: Collection[int] = (),
        stretch: int = 1,
        span: Span | None = None,
    ) -> list[torch.Tensor]:
        """Tokens ``(L_m, D_llm)`` of each item, or of a stretch of it (``span``, in frames).

        Only those not known yet go through the connector, in one pass.
        """
        levels = tuple(sorted(zero_levels))
        stamp = tuple((weight._version, weight.data_ptr()) for weight in self.model.connector.parameters())
        found = [self._find(item, levels, stretch, span, stamp) for item in features]
        missing = [place for place, tokens in enumerate(found) if tokens is None]
        if missing:
            wanted = [features[place] for place in missing]
            if span is not None:
                wanted = [cut(item, span, self.model.connector.config.audio_tokens) for item in wanted]
            made = self.model.connect_media(wanted, None, levels, stretch).tokens
            for place, tokens in zip(missing, made):
                found[place] = tokens
                self._keep(features[place], levels, stretch, span, stamp, tokens)
        return [tokens for tokens in found if tokens is not None]

    def _find(
        self, features: MediaFeatures, levels: tuple[int, ...], stretch: int, span: Span | None, stamp: Stamp
    ) -> torch.Tensor | None:
        anchor = _anchor(features)
        kept: Kept = self._kept.get(anchor, []) if anchor is not None else []
        for known, *settings, tokens in kept:
            if settings == [levels, stretch, span, stamp] and _same(known, features):
                return tokens
        return None

    def _keep(
        self,
        features: MediaFeatures,
        levels: tuple[int, ...],
        stretch: int,
        span: Span | None,
        stamp: Stamp,
        tokens: torch.Tensor,
    ) -> None:
        anchor = _anchor(features)
        if anchor is None:
            return
        kept: Kept = [entry for entry in self._kept.get(anchor, []) if entry[4] == stamp]
        # a copy of the features would keep the anchor itself alive: only the other streams are held
        visual, speech, audio = (None if t is anchor else t for t in _streams(features))
        others = MediaFeatures(visual, speech, audio, features.sound_frames, features.still_frames)
        self._kept[anchor] = [*kept, (others, levels, stretch, span, stamp, tokens)]


def _streams(features: MediaFeatures) -> tuple[torch.Tensor | None, ...]:
    return features.visual, features.speech, features.audio


def _anchor(features: MediaFeatures) -> torch.Tensor | None:
    """The stream an item is found by."""
    return next((t for t in reversed(_streams(features)) if t is not None), None)


def _same(known: MediaFeatures, features: MediaFeatures) -> bool:
    """Whether kept features (without their anchor) are these, not only equal to them."""
    anchor = _anchor(features)
    identical = all(a is (None if b is anchor else b) for a, b in zip(_streams(known), _streams(features)))
    frames = (known.sound_frames, known.still_frames) == (features.sound_frames, features.still_frames)
    return identical and frames
