"""A conversation about media that are encoded once."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from video_salmonn.inference.media_store import EncodedMedia, KeptMedia
from video_salmonn.inference.questions import is_pair
from video_salmonn.types import Answer

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn


class ChatSession:
    """Questions and answers so far, and the media they are about.

    Media are read at the first question only: URLs are not fetched again, and a file may be gone by the second. Several
    threads may ask; their questions join the conversation one after another.

    Args:
        engine: answers.
        media: the media of the whole conversation; they come before the first question.
        options: for every question, as for :meth:`VideoSalmonn.ask`.
    """

    def __init__(self, engine: VideoSalmonn, media: Sequence[Any], options: dict[str, Any] | None = None) -> None:
        self.engine = engine
        self.media = [_kept(item) for item in media]
        self.options = dict(options or {})
        self.messages: list[dict[str, Any]] = []
        self._lock = threading.RLock()

    def encode(self) -> list[EncodedMedia]:
        """Read and encode the media now rather than at the first question.

        Raises:
            MediaError, ConfigError: as :meth:`VideoSalmonn.ask`.
        """
        return self.engine.encode(self.media, **self.options)

    def ask(self, question: str, **options: Any) -> Answer:
        """Ask the next question; the answer becomes part of the conversation."""
        with self._lock:
            messages = [*self.messages, {"role": "user", "content": question}]
            answer = self.engine.ask(self.media, messages, **{**self.options, **options})
            self.messages = [*messages, {"role": "assistant", "content": answer.text}]
        return answer

    def stream(self, question: str, **options: Any) -> Generator[str, None, Answer]:
        """Ask the next question; yields the answer's text piece by piece, and returns the whole :class:`Answer`.

        Question and answer join the conversation when the answer is complete; of an answer that is closed before its
        end nothing does. Several threads may take the pieces, one at a time.
        """
        asked = {"role": "user", "content": question}
        with self._lock:
            messages = [*self.messages, asked]
        answer = yield from self.engine.stream(self.media, messages, **{**self.options, **options})
        with self._lock:  # not held meanwhile: who takes the last piece need not be who took the first
            self.messages = [*self.messages, asked, {"role": "assistant", "content": answer.text}]
        return answer

    def reset(self) -> None:
        """Forget what was said; the media stay."""
        with self._lock:
            self.messages = []


def _kept(item: Any) -> Any:
    if isinstance(item, (KeptMedia, EncodedMedia)):
        return item
    return KeptMedia(*item) if is_pair(item) else KeptMedia(item)
