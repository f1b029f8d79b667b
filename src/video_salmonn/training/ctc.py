"""Connector outputs as words: scores over the language model's own token embeddings.

An output is scored by its cosine with each token's embedding (both taken from the embeddings' mean), so to say a word
surely it must come near that word's embedding, which the language model can read. A plain product of the two is met as
well by vectors nearly orthogonal to the word (a cosine of 0.14, where it was measured), which it can't.

What is said is aligned with the outputs by CTC (the blank is a token that means a pause). Names of what is seen and
heard stay for the whole of an item, unless it states when: of the outputs of every frame the first is to say what is
seen and the second which sound is heard, a name's tokens in turn from frame to frame, wherever speech does not need
that output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from video_salmonn.model.words import HEARD, PAUSE, SEEN, WordOutputs, scores_of, tokens_of

NAME_WEIGHT = 0.3
"""Of an output that is to name something, beside the CTC loss of a spoken token."""
TIME_WEIGHT = 1.0
"""Of an output that is to say a word whose time is known, beside the same."""
LENGTH_WEIGHT = 0.1
"""Of an output's length, beside the same."""


@dataclass(frozen=True)
class Words:
    """What an item's outputs are to say, as columns of a head.

    Attributes:
        said: tokens of the speech; empty without any.
        seen: of the picture's name; empty without a picture, or where its name is not known.
        heard: of the sound's name, likewise.
        placed: (output, column) of names that are seen or heard for a part of the time.
        said_at: (output, column) of the speech's tokens whose time is known.
        complete: nothing else is there: outputs that neither speech nor a name needs are to be blank.
    """

    said: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()
    heard: tuple[int, ...] = ()
    placed: tuple[tuple[int, int], ...] = ()
    said_at: tuple[tuple[int, int], ...] = ()
    complete: bool = True

    @property
    def columns(self) -> set[int]:
        """All that it names."""
        return {*self.said, *self.seen, *self.heard, *(column for _, column in (*self.placed, *self.said_at))}

    def moved(self, place: Mapping[int, int]) -> Words:
        """The same in a head whose columns are elsewhere."""
        said, seen, heard = (tuple(place[column] for column in part) for part in (self.said, self.seen, self.heard))
        placed, said_at = (tuple((at, place[column]) for at, column in part) for part in (self.placed, self.said_at))
        return replace(self, said=said, seen=seen, heard=heard, placed=placed, said_at=said_at)

    @property
    def needed(self) -> int:
        """Outputs that the speech needs: one a token, and CTC puts a blank between equal ones."""
        return len(self.said) + sum(a == b for a, b in pairwise(self.said))

    def names(self, length: int, per_frame: int) -> list[int]:
        """The column that each output is to name, 0 for none."""
        targets = [0] * length
        for place, name in ((SEEN, self.seen), (HEARD, self.heard)):
            if name:
                for frame, output in enumerate(range(place, length, per_frame)):
                    targets[output] = name[frame % len(name)]
        return _placed(self.placed, targets)


class WordHead(WordOutputs):
    """Connector outputs -> scores over the training vocabulary and a blank (column 0). Nothing in it is trained.

    Args:
        embeddings: the language model's input embeddings, ``(vocabulary, D)`` or the module that holds them.
        texts: transcripts and names that the vocabulary is taken from.
        tokenizer: the language model's; texts are tokenised as in an answer, after a space.
        blank: token of the blank; by default that of :data:`PAUSE`.
        known: further tokens, of words that no text has.
    """

    def __init__(
        self,
        embeddings: torch.Tensor | nn.Module,
        texts: Iterable[str],
        tokenizer: Any,
        blank: int | None = None,
        known: Iterable[int] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.blank_token: int = self.tokens(PAUSE.strip())[-1] if blank is None else blank
        spoken = tokens_of(tokenizer, [" " + text for text in texts])
        used = sorted({*(token for ids in spoken for token in ids), *known} - {self.blank_token})
        super().__init__([self.blank_token, *used], embeddings)
        self.tokens_of_column = [self.blank_token, *used]
        self._columns_of: dict[str, tuple[int, ...] | None] = {}
        self.column_of_token = {token: column for column, token in enumerate(self.tokens_of_column) if column}

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text."""
        ids: list[int] = self.tokenizer(" " + text, add_special_tokens=False).input_ids
        return ids

    def columns_of(self, text: str) -> tuple[int, ...] | None:
        """Columns of a text's tokens, or None where one is outside the vocabulary. A text is tokenised once."""
        if text not in self._columns_of:
            found = [self.column_of_token.get(token, 0) for token in self.tokens(text)]
            self._columns_of[text] = tuple(found) if found and all(found) else None
        return self._columns_of[text]

    def length_errors(self, outputs: torch.Tensor) -> torch.Tensor:
        """``(B, L, D)`` -> ``(B, L)``: squared relative error of each output's length, 0 for that of a word."""
        return ((outputs.float() - self.mean).norm(dim=-1) / self.radius - 1).square()

    def narrowed(self, words: Sequence[Words], others: int) -> tuple[NarrowHead, list[Words]]:
        """A head of the columns that some items are to say and ``others`` random ones, and their words in its columns.

        A softmax over a sample costs a fraction of one over 10,000 words. It suits names; speech needs all words.
        """
        wanted = {0, *(column for item in words for column in item.columns)}
        drawn = torch.randperm(len(self.tokens_of_column))[:others].tolist()
        kept = sorted(wanted | set(drawn))
        place = {column: index for index, column in enumerate(kept)}
        return NarrowHead(self, torch.tensor(kept, device=self.rows.device)), [item.moved(place) for item in words]

    def decode(self, scores: torch.Tensor, mask: torch.Tensor) -> list[str]:
        """Greedy CTC: best column a step, repeats merged, blanks dropped. ``(B, L, columns)``, ``(B, L)`` -> texts."""
        texts = []
        for best, real in zip(scores.argmax(-1), mask):
            merged = torch.unique_consecutive(best[real])
            texts.append(self.tokenizer.decode([self.tokens_of_column[int(c)] for c in merged if c > 0]).strip())
        return texts


class NarrowHead:
    """Some columns of a head, for the loss alone."""

    def __init__(self, head: WordHead, columns: torch.Tensor) -> None:
        self.mean, self.rows, self.length_errors = head.mean, head.rows[columns], head.length_errors

    def __call__(self, outputs: torch.Tensor) -> torch.Tensor:
        """Scores as of the whole head, ``(B, L, D)`` -> ``(B, L, columns)``."""
        return scores_of(outputs, self.rows, self.mean)


def word_losses(
    head: WordHead | NarrowHead, outputs: torch.Tensor, mask: torch.Tensor, words: Sequence[Words], per_frame: int
) -> torch.Tensor:
    """What each item's outputs lack of saying its words.

    For speech minus the log-likelihood under CTC, in which the names count as blanks; plus, for every output that is to
    name something, minus the log-probability of that token, weighted by how likely the output is not needed by speech;
    and, for every output at which a word is known to be said, the same of its token. CTC alone begins with blanks
    everywhere and takes long to leave them.

    Args:
        head: scores the outputs.
        outputs: ``(B, L, D)``.
        mask: ``(B, L)`` bool of real outputs, which come first.
        words: one an item.
        per_frame: outputs of a frame.

    Returns:
        ``(B,)``; the CTC part is zero where a text has more tokens than there are outputs.
    """
    scores = head(outputs)
    normaliser = scores.logsumexp(-1)
    lengths = mask.sum(1)
    width, device = outputs.shape[1], outputs.device
    targets = torch.tensor([item.names(width, per_frame) for item in words], device=device)
    named = scores.gather(-1, targets[..., None])[..., 0] - normaliser
    spoken = torch.tensor([bool(item.said) for item in words], device=device)[:, None]

    alphabets = [sorted(set(item.said)) for item in words]
    silent = [sorted({0, *item.seen, *item.heard, *dict(item.placed).values()} - set(item.said)) for item in words]
    blank = (_gathered(scores, silent, float("-inf")).logsumexp(-1) - normaliser)[..., None]
    letters = _gathered(scores, alphabets, 0.0) - normaliser[..., None]
    places = [{column: place for place, column in enumerate(alphabet, 1)} for alphabet in alphabets]
    said = [[place[column] for column in item.said] for place, item in zip(places, words)]
    aligned = F.ctc_loss(
        torch.cat([blank, letters], dim=-1).transpose(0, 1),
        torch.tensor([place for row in said for place in row], device=device, dtype=torch.long),
        lengths,
        torch.tensor([len(row) for row in said], device=device),
        reduction="none",
        zero_infinity=True,
    )
    free = torch.where(spoken, blank[..., 0].detach().exp(), torch.ones_like(normaliser))
    whole = torch.tensor([item.complete for item in words], device=device)[:, None]
    free = free * torch.where(targets > 0, 1.0, (whole & ~spoken).float())  # blanks of speech are CTC's affair
    lost = NAME_WEIGHT * -named * free + LENGTH_WEIGHT * head.length_errors(outputs)
    if any(item.said_at for item in words):
        timed = torch.tensor([_placed(item.said_at, [0] * width) for item in words], device=device)
        spelled = scores.gather(-1, timed[..., None])[..., 0] - normaliser
        lost = lost - TIME_WEIGHT * spelled * (timed > 0)
    return torch.where(spoken[:, 0], aligned, 0.0) + (lost * mask).sum(1)


def _placed(placed: Iterable[tuple[int, int]], columns: list[int]) -> list[int]:
    """Columns of outputs with those of some outputs put in, as far as there are such outputs."""
    for output, column in placed:
        if output < len(columns):
            columns[output] = column
    return columns


def _gathered(scores: torch.Tensor, columns: Sequence[Sequence[int]], filler: float) -> torch.Tensor:
    """``(B, L, C)`` and some columns for each item -> ``(B, L, n)``; items with fewer have ``filler`` at the end."""
    widest = max(1, *(len(row) for row in columns))
    index = torch.tensor([[*row, *[0] * (widest - len(row))] for row in columns], device=scores.device)
    there = torch.tensor([[True] * len(row) + [False] * (widest - len(row)) for row in columns], device=scores.device)
    found = scores.gather(-1, index[:, None].expand(-1, scores.shape[1], -1))
    return torch.where(there[:, None], found, filler)


def best_names(
    head: WordHead,
    outputs: torch.Tensor,
    mask: torch.Tensor,
    candidates: Mapping[str, tuple[int, ...]],
    per_frame: int,
    *,
    seen: bool,
) -> list[str]:
    """The candidate that fits best the outputs that name what is seen (or heard), for each item."""
    logs = head(outputs).log_softmax(-1)
    texts = list(candidates)
    named = [Words(seen=columns) if seen else Words(heard=columns) for columns in candidates.values()]
    table = torch.tensor([words.names(outputs.shape[1], per_frame) for words in named], device=outputs.device)
    found = []
    for row, real in zip(logs, mask):
        steps = torch.arange(len(row), device=row.device)
        fit = (row[steps, table] * ((table > 0) & real)).sum(1)
        found.append(texts[int(fit.argmax())])
    return found
