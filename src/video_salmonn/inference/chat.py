"""A conversation about media that are encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from video_salmonn.types import Answer

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn


class ChatSession:
    """Questions and answers so far, and the media they are about.

    Args:
        engine: answers.
        media: the media of the whole conversation; they stand before the first question.
        options: for every question, as for :meth:`VideoSalmonn.ask`.
    """

    def __init__(self, engine: VideoSalmonn, media: Sequence[Any], options: dict[str, Any] | None = None) -> None:
        self.engine = engine
        self.media = list(media)
        self.options = dict(options or {})
        self.messages: list[dict[str, Any]] = []

    def ask(self, question: str, **options: Any) -> Answer:
        """Ask the next question; the answer becomes part of the conversation."""
        messages = [*self.messages, {"role": "user", "content": question}]
        answer = self.engine.ask(self.media, messages, **{**self.options, **options})
        self.messages = [*messages, {"role": "assistant", "content": answer.text}]
        return answer

    def reset(self) -> None:
        """Forget what was said; the media stay."""
        self.messages = []
