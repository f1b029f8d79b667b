"""What the runner asks of a model: answers to a batch of requests, in order. Nothing else of it is known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from video_salmonn.evaluation.item import Media
from video_salmonn.types import Answer


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    Attributes:
        media: what to show and play; empty media means the language model alone.
        question: the whole prompt of the task, without the model's own template.
        max_new_tokens: how long the answer may be. Decoding is greedy: nothing else is left open.
        use_video: False switches the picture off (not the file: the model gets "absent").
        use_audio: False switches the sound off.
        zero_levels: indices of the connector's resolutions to set to zero (paper, table 5).
        candidates: answers whose likelihood is wanted beside the generated answer.
    """

    media: Media
    question: str
    max_new_tokens: int
    use_video: bool = True
    use_audio: bool = True
    zero_levels: tuple[int, ...] = ()
    candidates: tuple[str, ...] = ()


@runtime_checkable
class Engine(Protocol):
    """Anything that answers requests.

    An answer must depend on its own request alone, not on its neighbours in the batch. ``ask_many`` raises
    :class:`~video_salmonn.errors.MediaError` or :class:`~video_salmonn.errors.ContextError` where one request cannot
    be answered; the runner then asks the batch one by one and counts only that item as failed.

    Where a request has ``candidates``, the answer's report has ``likelihoods``: one mapping a candidate, in order, with
    ``text``, ``log`` (natural logarithm of the probability that exactly this is the answer) and ``tokens``.
    """

    def describe(self) -> dict[str, Any]:
        """What identifies the model and its numerics (name, dtype, device …), JSON-ready; stored with the results."""
        ...

    def ask_many(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer a request, in order."""
        ...


@runtime_checkable
class HasDecoder(Protocol):
    """An engine that knows the speech recogniser its own speech encoder was taken from."""

    def own_decoder(self) -> Engine:
        """That recogniser, which transcribes a request's sound and reads nothing else of it.

        Raises:
            MissingPartError: there is none; the message is the reason a report prints.
        """
        ...
