"""Answers in which the model does not believe itself are declined.

A small model names something for whatever it is shown. Its own probabilities tell what it knows from what it has to
name for want of anything better: among the first words of an answer about a thing that training never had there is
one that it holds unlikely. Such an answer is replaced by a sentence that the model learned for what no clip can tell.
Answers that quote speech are left: of these every word is uncertain by itself, and half a sentence is worth having.
Selective answering by the least likely token follows Geifman and El-Yaniv, "Selective Classification for Deep Neural
Networks" (2017): the threshold is chosen on development items, by the right answers that it may cost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

BEGINNING = 8
"""Tokens of an answer that are looked at. A stream waits for so many before its first word."""
HEARD = 0.25
"""Probability from which on the connector hears a token being spoken; answers about sights get 0.06 at most."""
QUOTED = 2
"""So many such tokens in the beginning of an answer make it a quotation."""
Spoken = Callable[[], torch.Tensor]


class Belief(LogitsProcessor):
    """Notes how likely the language model holds the tokens that answers begin with, hypothesis by hypothesis.

    It changes no score. Put it before processors that do; what transformers' own options changed is in already.

    Args:
        items: questions of the batch, each of which has equally many hypotheses.
    """

    def __init__(self, items: int) -> None:
        self._items = items
        self._known: list[dict[tuple[int, ...], float]] = [{(): 1.0} for _ in range(items)]
        self._rows: list[dict[tuple[int, ...], int]] = []
        self._logs: torch.Tensor | None = None
        self._prompt: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores ``(R, V)`` as they are."""
        if self._prompt is None:
            self._prompt = input_ids.shape[1]
        if self.length(input_ids) < BEGINNING:
            per_item = len(input_ids) // self._items
            rows: list[dict[tuple[int, ...], int]] = [{} for _ in range(self._items)]
            for row, tokens in enumerate(self.new(input_ids)):
                self.least(row // per_item, tokens)  # while the step before is at hand
                rows[row // per_item][tuple(tokens)] = row
            self._rows, self._logs = rows, scores.float().log_softmax(-1)
        return scores

    def length(self, input_ids: torch.Tensor) -> int:
        """Tokens of the answers so far."""
        return input_ids.shape[1] - (self._prompt or 0)

    def new(self, input_ids: torch.Tensor) -> list[list[int]]:
        """Ids ``(R, n)`` as a step of generation has them -> the tokens of each answer so far."""
        rows: list[list[int]] = input_ids[:, self._prompt or 0 :].tolist()
        return rows

    def least(self, item: int, tokens: Sequence[int]) -> float:
        """The probability of the least likely of an answer's first :data:`BEGINNING` tokens; 1 where there are none."""
        beginning = tuple(tokens[:BEGINNING])
        known = self._known[item]
        if beginning not in known:
            before = beginning[:-1]
            value = self.least(item, before)
            row = self._rows[item].get(before) if self._rows else None
            if row is not None and self._logs is not None:
                value = min(value, float(self._logs[row, beginning[-1]].exp()))
            known[beginning] = value
        return known[beginning]


class Declining:
    """Declines answers of one call of ``generate``.

    Args:
        below: answers whose least likely first token has a probability below this are declined.
        may: for each question whether it may be declined.
        answer: ids of the answer that takes the place, without the token that ends it.
        ends: tokens that end or pad an answer; the first one ends the answer that takes the place.
        spoken: for each question, made when it is needed, the probability ``(V,)`` with which the connector hears each
            token being spoken; None where it hears no words.
    """

    def __init__(
        self,
        below: float,
        may: Sequence[bool],
        answer: Sequence[int],
        ends: Sequence[int],
        spoken: Sequence[Spoken | None] = (),
    ) -> None:
        self.below, self.may, self.answer, self.ends = below, tuple(may), list(answer), list(ends)
        self.belief = Belief(len(self.may))
        self._spoken = list(spoken) or [None] * len(self.may)

    def declines(self, item: int, tokens: Sequence[int]) -> bool:
        """Whether an answer, so far as it is there, is declined."""
        if not self.may[item]:
            return False
        answer = before_end(tokens, self.ends)
        return self.belief.least(item, answer) < self.below and not self._quotes(item, answer)

    def _quotes(self, item: int, answer: Sequence[int]) -> bool:
        """Whether an answer begins with words that the connector hears being spoken."""
        spoken = self._spoken[item]
        return spoken is not None and int((spoken()[list(answer[:BEGINNING])] >= HEARD).sum()) >= QUOTED

    def added_to(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options of transformers' ``generate`` with what declining needs to see and to end."""
        options = dict(options)
        options["logits_processor"] = LogitsProcessorList([self.belief, *(options.get("logits_processor") or [])])
        options["stopping_criteria"] = StoppingCriteriaList([*(options.get("stopping_criteria") or []), _Decided(self)])
        if options.get("streamer") is not None:
            options["streamer"] = HeldBack(options["streamer"], self)
        return options

    def settled(self, new: torch.Tensor) -> torch.Tensor:
        """New tokens ``(R, n)`` of finished answers, the declined ones replaced: ``(R, m)``, padded on the right."""
        per_item = len(new) // len(self.may)
        rows = new.tolist()
        declined = [self.declines(row // per_item, tokens) for row, tokens in enumerate(rows)]
        if not any(declined):
            return new
        pad = self.ends[-1]
        rows = [[*self.answer, self.ends[0]] if out else tokens for out, tokens in zip(declined, rows)]
        width = max(map(len, rows))
        return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], dtype=new.dtype, device=new.device)


def before_end(tokens: Sequence[int], ends: Collection[int]) -> list[int]:
    """An answer's tokens before the first one that ends it."""
    return list(tokens[: next((place for place, token in enumerate(tokens) if token in ends), len(tokens))])


class _Decided(StoppingCriteria):
    """Ends an answer as soon as it is known that it will be declined."""

    def __init__(self, declining: Declining) -> None:
        self.declining = declining

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """True for the rows that are declined once their beginning is there."""
        declining = self.declining
        if declining.belief.length(input_ids) != BEGINNING:
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        per_item = len(input_ids) // len(declining.may)
        done = [declining.declines(row // per_item, ids) for row, ids in enumerate(declining.belief.new(input_ids))]
        return torch.tensor(done, device=input_ids.device)


class HeldBack:
    """A streamer before another, for one answer: it waits until the answer cannot be declined any more.

    Args:
        streamer: gets the tokens that are said.
        declining: decides.
    """

    def __init__(self, streamer: Any, declining: Declining) -> None:
        self.streamer, self.declining = streamer, declining
        self.ids: list[int] = []
        self.decided = False

    def put(self, value: torch.Tensor) -> None:
        """Take new tokens."""
        if self.decided:
            if self.ids:
                self.streamer.put(value)
            return
        self.ids += value.flatten().tolist()
        if len(self.ids) >= BEGINNING:
            self._decide()

    def end(self) -> None:
        """The answer is complete."""
        if not self.decided:
            self._decide()
        self.streamer.end()

    def _decide(self) -> None:
        self.decided = True
        declined = self.declining.declines(0, self.ids)
        if declined or self.ids:
            self.streamer.put(torch.tensor(self.declining.answer if declined else self.ids))
        if declined:
            self.ids = []  # and nothing after it
