"""The rows of one generation, followed token by token: text that can be sent already, and rows that end early."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria

from video_salmonn.model.repeats import settled

UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class RowText:
    """The text of one answer as it grows: what is certain of it is passed on.

    Args:
        decode: token ids to text.
        ends: tokens that end an answer or pad it.
        stop: strings that end it; they are not part of it.
        repeats: whether loops are cut, so that what may begin one is held back.
        emit: gets new text.
        hold: tokens that an answer must exceed before any of it is sent, since until then it may be declined.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        ends: frozenset[int],
        stop: Sequence[str],
        repeats: bool,
        emit: Callable[[str], None],
        hold: int = 0,
    ) -> None:
        self._decode, self._ends, self._stop, self._repeats, self._emit = decode, ends, tuple(stop), repeats, emit
        self._hold = hold
        self.sent = ""
        self.ended = False
        """A token that ends an answer, or a stop string, came."""

    def update(self, ids: Sequence[int]) -> None:
        """Take the tokens of the answer so far."""
        count = next((place for place, token in enumerate(ids) if token in self._ends), len(ids))
        spoken = list(ids[:count])
        if count < len(ids):
            self.ended = True
        text = self._decode(spoken).lstrip()
        if self.cut(text) != text:
            self.ended = True
        if self._repeats and not self.ended:
            text = self._decode(spoken[: settled(spoken)]).lstrip()
        if self.ended or len(spoken) <= self._hold:  # what is not sent now is sent with the whole answer
            return
        self.advance(text)

    def advance(self, text: str) -> None:
        """Pass on what is certain of a text that is not complete."""
        held = max((n for stop in self._stop for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
        text = text[: len(text) - held].rstrip()
        if text.startswith(self.sent) and not text.endswith(UNFINISHED):
            self._send(text)

    def finish(self, whole: str) -> str:
        """Pass on what is left of the whole answer, and return it as it was sent."""
        whole = self.cut(whole)
        if whole.startswith(self.sent):
            self._send(whole)
        return self.sent

    def cut(self, text: str) -> str:
        """A text before the first stop string in it."""
        found = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        return text[: min(found)].rstrip() if found else text

    def _send(self, text: str) -> None:
        if len(text) > len(self.sent):
            new, self.sent = text[len(self.sent) :], text
            self._emit(new)


class Rows(StoppingCriteria):
    """Tells every row of a batch of its tokens, and ends those that need not continue; the others never notice.

    Args:
        rows: texts, in the order of the batch.
        left: for each row, whether nobody waits for it any more.
        on_token: called at every step.
    """

    def __init__(
        self, rows: Sequence[RowText], left: Sequence[Callable[[], bool]], on_token: Callable[[], None]
    ) -> None:
        self._rows, self._left, self._on_token = rows, left, on_token
        self._prompt: int | None = None
        self.first: float | None = None
        """When the first tokens were there."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """True for every row that ends here."""
        if len(input_ids) != len(self._rows):
            raise RuntimeError(f"{len(input_ids)} rows are generated where {len(self._rows)} were asked for")
        if self._prompt is None:
            self._prompt = input_ids.shape[1] - 1
            self.first = time.monotonic()
        self._on_token()
        done = []
        for row, left, ids in zip(self._rows, self._left, input_ids[:, self._prompt :].tolist()):
            if not row.ended:
                row.update(ids)
            done.append(row.ended or left())
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)
