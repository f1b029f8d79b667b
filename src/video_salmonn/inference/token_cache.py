"""The connector's tokens of media that were asked about before: a second question starts with the language model."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from video_salmonn.cache import Cache, Entry
from video_salmonn.files import digest
from video_salmonn.inference.long import cut
from video_salmonn.inference.media_store import EncodedMedia
from video_salmonn.inference.pieces import Span
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration

MEMORY_BYTES = 256 << 20
"""Most bytes of tokens that are kept: hours of media."""


class TokenCache:
    """Keeps tokens of media by :attr:`EncodedMedia.key`; those used longest ago are forgotten first.

    Not for models whose picture features depend on the question. Tokens are made anew when the connector's weights were
    changed, a level is switched off, or windows are stretched.

    Args:
        model: whose connector is used.
        memory_bytes: most bytes of tokens that are kept.
    """

    def __init__(self, model: VideoSalmonnForConditionalGeneration, memory_bytes: int = MEMORY_BYTES) -> None:
        self.model = model
        self.kept = Cache(memory_bytes)

    def get(
        self,
        media: Sequence[EncodedMedia],
        zero_levels: Collection[int] = (),
        coarseness: int = 1,
        span: Span | None = None,
    ) -> list[torch.Tensor]:
        """Tokens ``(L_m, D_llm)`` of each item, or of a stretch of it (``span``, in frames).

        Only those not known yet go through the connector, in one pass.
        """
        keys = self._keys(media, zero_levels, coarseness, span)
        known = {key: entry.tensors["tokens"] for key in keys if (entry := self.kept.get(key)) is not None}
        new = {key: item.features for key, item in zip(keys, media) if key not in known}
        if new:
            wanted = list(new.values())
            if span is not None:
                wanted = [cut(item, span, self.model.connector.config.audio_tokens) for item in wanted]
            for key, tokens in zip(new, self.model.connect_media(wanted, None, zero_levels, coarseness).tokens):
                self.kept.put(key, Entry({"tokens": tokens}))
                known[key] = tokens
        return [known[key] for key in keys]

    def forget(self, media: Sequence[EncodedMedia]) -> None:
        """Keep no tokens of whole items any more that nobody will ask about again."""
        for key in self._keys(media, (), 1, None):
            self.kept.drop(key)

    def _keys(
        self, media: Sequence[EncodedMedia], zero_levels: Collection[int], coarseness: int, span: Span | None
    ) -> list[str]:
        weights = [(weight._version, weight.data_ptr()) for weight in self.model.connector.parameters()]
        return [digest(item.key, sorted(zero_levels), coarseness, span, weights) for item in media]
