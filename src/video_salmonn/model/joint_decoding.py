"""Transcripts decoded jointly: the language model's probabilities and those of the connector's own CTC.

The connector's outputs, read as words (:mod:`video_salmonn.model.words`), are a CTC over time. For every hypothesis
of the decoder the CTC gives the probability that a transcript begins so (Watanabe et al., "Hybrid CTC/attention
architecture", 2017, one pass), hence the probability of every next token, and of the end. The two models' logarithms
are added, each with its weight. CTC knows how much sound is left, so an answer can't loop and can't stop early;
the language model knows which words make a sentence.

The whole vocabulary of the word outputs is scored at every step: with the forward probabilities of a hypothesis at all
times, the prefix probabilities of all its continuations are one matrix product.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor

from video_salmonn.model.words import BLANK

FLOOR = -12.0
"""Log-probability that CTC gives a token outside its vocabulary, and the least it gives any other."""
AGREED = 0.5
"""Probability that the language model has to give to first words which CTC heard (see :class:`JointDecoding`). With the
first edition's weights it was at least 0.73 where somebody speaks, and at most 0.04 where nobody does."""
SILENT = 0.5
"""CTC's probability that nothing is said from which on there is nothing to decode jointly."""
UNHEARD = -8.0
"""CTC's log-probability below which it did not hear a first word."""
NEVER = float("-inf")


@dataclass(frozen=True)
class Prefixes:
    """CTC's forward variables of R hypotheses over T outputs, natural logarithms in float64.

    Attributes:
        token: ``(R, T)``: the hypothesis ends with its last token at this output.
        blank: ``(R, T)``: … and with a blank after it.
        total: ``(R,)``: prefix probability.
        last: ``(R,)``: column of the last token; :data:`BLANK` where there is none.
    """

    token: torch.Tensor
    blank: torch.Tensor
    total: torch.Tensor
    last: torch.Tensor

    def take(self, rows: torch.Tensor) -> Prefixes:
        """Hypotheses by their places."""
        return Prefixes(self.token[rows], self.blank[rows], self.total[rows], self.last[rows])


class PrefixScorer:
    """CTC prefix scores of several items at once.

    Args:
        posteriors: for each item, log-probabilities ``(T_i, C)`` with the blank in column 0; T_i is at least 1.
    """

    def __init__(self, posteriors: Sequence[torch.Tensor]) -> None:
        self.lengths = torch.tensor([len(item) for item in posteriors], device=posteriors[0].device)
        padded = torch.nn.utils.rnn.pad_sequence(list(posteriors), batch_first=True, padding_value=NEVER)
        self.logs = padded  # (I, T, C)
        self.probabilities = padded.exp()

    def start(self, items: torch.Tensor) -> Prefixes:
        """The empty hypothesis of each of the items ``(R,)``."""
        blank = self.logs[items, :, BLANK].double().cumsum(1)
        nothing = torch.full_like(blank, NEVER)
        return Prefixes(nothing, blank, blank.new_zeros(len(items)), torch.full_like(items, BLANK))

    def _before(self, prefixes: Prefixes, same: torch.Tensor | None) -> torch.Tensor:
        """``(R, T)``: the hypothesis is complete before each output; ``same``: and its last token is to be repeated."""
        ended = torch.logaddexp(prefixes.token, prefixes.blank)
        if same is not None:
            ended = torch.where(same[:, None], prefixes.blank, ended)
        first = torch.where(prefixes.last == BLANK, 0.0, NEVER).to(ended)
        return torch.cat([first[:, None], ended[:, :-1]], dim=1)

    def following(self, prefixes: Prefixes, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of what follows each hypothesis.

        Args:
            prefixes: R hypotheses.
            items: ``(R,)``: the item each belongs to.

        Returns:
            ``(R, C)`` of every next token (column 0 means nothing), and ``(R,)`` of the end.
        """
        rows = torch.arange(len(items), device=items.device)
        before = self._before(prefixes, None)
        peak = before.amax(1, keepdim=True).clamp(min=-1e30)
        weights = (before - peak).exp().to(self.probabilities.dtype)
        whole = torch.empty(len(items), self.logs.shape[2], dtype=torch.float64, device=items.device)
        for item in items.unique().tolist():  # one product an item: its hypotheses share the posteriors
            mine = items == item
            whole[mine] = (weights[mine] @ self.probabilities[item]).double()
        logs = whole.log() + peak
        again = self._before(prefixes, torch.ones_like(items, dtype=torch.bool))
        repeated = torch.logsumexp(again + self.logs[items, :, prefixes.last], dim=1)
        logs[rows, prefixes.last] = torch.where(prefixes.last == BLANK, logs[rows, prefixes.last], repeated)
        end = torch.logaddexp(prefixes.token, prefixes.blank)[rows, self.lengths[items] - 1]
        lost = prefixes.total == NEVER  # more was said than there is sound for: all that is left is the end
        following = torch.where(lost[:, None], NEVER, logs - prefixes.total[:, None])
        return following, torch.where(lost, 0.0, end - prefixes.total)

    def extend(self, prefixes: Prefixes, items: torch.Tensor, columns: torch.Tensor) -> Prefixes:
        """The hypotheses, each with one more token ``(R,)``; where that is the blank's column they stay as they are."""
        before = self._before(prefixes, columns == prefixes.last)
        said = self.logs[items, :, columns].double()
        token = _accumulate(before, said)
        shifted = torch.cat([torch.full_like(token[:, :1], NEVER), token[:, :-1]], dim=1)
        blank = _accumulate(shifted, self.logs[items, :, BLANK].double())
        total = torch.logsumexp(before + said, dim=1)
        kept = columns == BLANK
        return Prefixes(
            torch.where(kept[:, None], prefixes.token, token),
            torch.where(kept[:, None], prefixes.blank, blank),
            torch.where(kept, prefixes.total, total),
            torch.where(kept, prefixes.last, columns),
        )


def _accumulate(arriving: torch.Tensor, staying: torch.Tensor) -> torch.Tensor:
    """``x[t] = (x[t-1] + arriving[t]) * staying[t]`` in logarithms, ``(R, T)``, without a loop over time."""
    least = torch.finfo(staying.dtype).min / 1e200  # finite: padding adds up to it, and no inf - inf arises
    reached = staying.clamp(min=least).cumsum(1)
    earlier = torch.cat([torch.zeros_like(reached[:, :1]), reached[:, :-1]], dim=1)
    return torch.logcumsumexp(arriving - earlier, dim=1) + reached


class JointDecoding(LogitsProcessor):
    """Adds CTC's log-probabilities of every next token to the language model's, under beams and in batches.

    An item is left to the language model alone where it has no outputs, and, unless ``forced``, where CTC hears no
    words, or where the two disagree from the start: the language model would rather begin with what CTC did not hear.

    Args:
        posteriors: for each item log-probabilities ``(T_i, C)``, or None for an item that is not to be touched.
        tokens: ``(C,)``: token of each column.
        openings: ``(C,)``: token of the column's word at the beginning of an answer, where no space is before it; or
            ``~piece`` where that takes several, of which ``piece`` is the first: such a word is begun with its own
            token, which is as likely to the language model as the piece.
        ends: tokens that end an answer.
        weight: of CTC's part; the language model's is the rest.
        forced: do not ask whether the two agree.

    Attributes:
        used: for each item whether it was decoded jointly.
    """

    def __init__(
        self,
        posteriors: Sequence[torch.Tensor | None],
        tokens: torch.Tensor,
        openings: torch.Tensor,
        ends: Collection[int],
        *,
        weight: float = 0.5,
        forced: bool = False,
    ) -> None:
        self.weight, self.forced, self.ends = weight, forced, sorted(ends)
        there = [place for place, item in enumerate(posteriors) if item is not None and len(item)]
        self.items = len(posteriors)
        self.used = [place in there for place in range(self.items)]
        self.scorer = PrefixScorer([item for item in posteriors if item is not None and len(item)]) if there else None
        self._place = {place: index for index, place in enumerate(there)}
        within, first = tokens[1:], openings[1:]  # of all columns but the blank's
        self._tokens = tokens[1:]
        self._openings = torch.where(first >= 0, first, within)
        self._pieces = torch.where(first >= 0, first, ~first)
        self._column = {token: column for column, token in enumerate(within.tolist(), 1)}
        self._opening = {token: column for column, token in enumerate(self._openings.tolist(), 1)}
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}
        self._states: Prefixes | None = None

    def _column_of(self, prefix: tuple[int, ...], place: int) -> int:
        """Column of a hypothesis's token; the blank's where it has none (it is then passed over)."""
        if place == 0 and prefix[0] in self._opening:
            return self._opening[prefix[0]]
        return self._column.get(prefix[place], BLANK)

    def _advance(self, rows: list[tuple[int, tuple[int, ...]]], items: torch.Tensor) -> Prefixes:
        """Forward variables of hypotheses (item, tokens), from those of the step before where they are known."""
        assert self.scorer is not None
        parents = [self._known.get((item, prefix[:-1])) if prefix else None for item, prefix in rows]
        if self._states is not None and all(parent is not None for parent in parents):
            found = self._states.take(torch.tensor(parents, device=items.device))
            newest = [self._column_of(prefix, len(prefix) - 1) for _, prefix in rows]
            return self.scorer.extend(found, items, torch.tensor(newest, device=items.device))
        found = self.scorer.start(items)
        for place in range(max(len(prefix) for _, prefix in rows)):
            columns = [self._column_of(prefix, place) if place < len(prefix) else BLANK for _, prefix in rows]
            found = self.scorer.extend(found, items, torch.tensor(columns, device=items.device))
        return found

    def _sum(self, spoken: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        return (1 - self.weight) * spoken + self.weight * heard.clamp(min=FLOOR)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """New tokens ``(R, n)`` and the language model's scores ``(R, V)`` -> joint log-probabilities ``(R, V)``."""
        each = max(len(scores) // self.items, 1)
        prefixes = [tuple(row) for row in input_ids.tolist()]
        live = [
            row for row, prefix in enumerate(prefixes) if self.used[row // each] and not set(self.ends) & set(prefix)
        ]
        if self.scorer is None or not live:
            return scores
        items = torch.tensor([self._place[row // each] for row in live], device=self.scorer.logs.device)
        keys = [(self._place[row // each], prefixes[row]) for row in live]
        states = self._advance(keys, items)
        self._states, self._known = states, {key: place for place, key in enumerate(keys)}
        following, end = self.scorer.following(states, items)
        places = torch.tensor(live, device=scores.device)
        spoken = scores[places].float().log_softmax(-1)
        heard = torch.full_like(spoken, FLOOR)
        words, ended = following[:, 1:].to(heard), end[:, None].to(heard)
        if prefixes[live[0]]:  # all rows are as long
            heard[:, self._tokens.to(heard.device)] = words
            heard[:, self.ends] = ended
            joint = self._sum(spoken, heard)
        else:
            openings, pieces = self._openings.to(heard.device), self._pieces.to(heard.device)
            heard[:, openings] = words
            heard[:, self.ends] = ended
            same = spoken.clone()
            same[:, openings] = spoken[:, pieces]
            joint = self._sum(same, heard)
            if not self.forced:
                begun = heard.scatter_reduce(1, pieces.expand_as(words), words, "amax")  # by words that begin so
                agreed = (spoken.exp() * (begun > UNHEARD)).sum(1)
                differ = (agreed < AGREED) | (ended[:, 0].exp() > SILENT)
                for row, other in zip(live, differ.tolist()):
                    self.used[row // each] &= not other
                joint = torch.where(differ[:, None], spoken, joint)
        result = scores.clone()
        result[places] = joint.to(scores)
        return result
