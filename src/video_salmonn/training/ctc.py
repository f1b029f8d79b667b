"""Connector outputs as words: logits over the language model's own token embeddings.

What is said is aligned with the outputs by CTC. A name of what is seen or heard has no place in time: there every
output is to give the name's tokens alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

BLANK_FILE = "ctc.safetensors"
"""Blank of the warm-up's head, beside the connector that it exports."""
SHRUNK = "shrunk"
"""Tensor in that file: what the exported connector's outputs were multiplied by, to be as long as word embeddings."""


class CtcHead(nn.Module):
    """Connector outputs -> log-probabilities over the training vocabulary and a blank (column 0).

    Args:
        embeddings: ``(vocabulary, D)``, the language model's input embeddings; only the rows used are kept.
        texts: transcripts that the vocabulary is taken from.
        tokenizer: the language model's; texts are tokenised as they stand in an answer, after a space.
    """

    rows: torch.Tensor

    def __init__(self, embeddings: torch.Tensor, texts: Sequence[str], tokenizer: Any) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        used = sorted({token for text in texts for token in self.tokens(text)})
        self.tokens_of_column = used
        self.column_of_token = {token: column for column, token in enumerate(used, 1)}
        self.register_buffer("rows", embeddings[used].float().clone(), persistent=False)
        self.blank = nn.Parameter(torch.zeros(embeddings.shape[1]))
        self.blank_bias = nn.Parameter(torch.zeros(()))

    def tokens(self, text: str) -> list[int]:
        """Token ids of a transcript."""
        ids: list[int] = self.tokenizer(" " + text, add_special_tokens=False).input_ids
        return ids

    def columns(self, text: str) -> list[int] | None:
        """Columns of a transcript's tokens, or None where one is outside the vocabulary."""
        found = [self.column_of_token.get(token, 0) for token in self.tokens(text)]
        return found if found and all(found) else None

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """``(B, L, D)`` -> log-probabilities ``(B, L, columns)``, float32."""
        outputs = outputs.float()
        blank = (outputs @ self.blank + self.blank_bias)[..., None]
        return torch.cat([blank, outputs @ self.rows.T], dim=-1).log_softmax(-1)

    def decode(self, log_probabilities: torch.Tensor, mask: torch.Tensor) -> list[str]:
        """Greedy CTC: best column a step, repeats merged, blanks dropped. ``(B, L, columns)``, ``(B, L)`` -> texts."""
        texts = []
        for best, real in zip(log_probabilities.argmax(-1), mask):
            merged = torch.unique_consecutive(best[real])
            texts.append(self.tokenizer.decode([self.tokens_of_column[int(c) - 1] for c in merged if c > 0]).strip())
        return texts


def ctc_sum(head: CtcHead, tokens: Sequence[torch.Tensor], texts: Sequence[str]) -> torch.Tensor:
    """Summed CTC loss of items' connector outputs; what has words outside the head's vocabulary or too few outputs
    adds nothing.

    Args:
        head: makes log-probabilities.
        tokens: ``(L_m, D_llm)`` each.
        texts: one an item.

    Returns:
        a scalar with gradient, in float32.
    """
    columns = [head.columns(text) for text in texts]
    known = [(rows, target) for rows, target in zip(tokens, columns) if target is not None]
    if not known:
        return head.rows.new_zeros(())
    outputs = nn.utils.rnn.pad_sequence([rows for rows, _ in known], batch_first=True)
    device = outputs.device
    return F.ctc_loss(
        head(outputs).transpose(0, 1),
        torch.tensor([column for _, target in known for column in target], device=device),
        torch.tensor([len(rows) for rows, _ in known], device=device),
        torch.tensor([len(target) for _, target in known], device=device),
        reduction="sum",
        zero_infinity=True,
    )


def name_sum(head: CtcHead, tokens: Sequence[torch.Tensor], texts: Sequence[str]) -> torch.Tensor:
    """Summed :func:`name_losses` of items' connector outputs ``(L_m, D_llm)``; unknown words add nothing. A scalar."""
    columns = [head.columns(text) for text in texts]
    known = [(rows, target) for rows, target in zip(tokens, columns) if target is not None]
    if not known:
        return head.rows.new_zeros(())
    outputs = nn.utils.rnn.pad_sequence([rows for rows, _ in known], batch_first=True)
    lengths = torch.tensor([len(rows) for rows, _ in known], device=outputs.device)
    mask = torch.arange(outputs.shape[1], device=outputs.device)[None] < lengths[:, None]
    return name_losses(head(outputs), mask, [target for _, target in known]).sum()


def name_losses(log_probabilities: torch.Tensor, mask: torch.Tensor, columns: Sequence[Sequence[int]]) -> torch.Tensor:
    """For each item, minus the mean log-probability of its name's tokens over its outputs, times their number.

    Args:
        log_probabilities: ``(B, L, columns)``.
        mask: ``(B, L)`` bool of real outputs.
        columns: of each item's name.

    Returns:
        ``(B,)``.
    """
    means = (log_probabilities * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.stack([-row[list(target)].sum() for row, target in zip(means, columns)])


class Names:
    """All known names, to tell one from the others by the mean of an item's outputs.

    Args:
        head: gives logits over tokens.
        names: those with tokens outside its vocabulary are left out.
    """

    def __init__(self, head: CtcHead, names: Sequence[str]) -> None:
        self.head = head
        columns = [(name, head.columns(name)) for name in names]
        known = [(name, found) for name, found in columns if found is not None]
        self.place = {name: place for place, (name, _) in enumerate(known)}
        self.average = torch.zeros(len(known), len(head.tokens_of_column) + 1)
        for place, (_, found) in enumerate(known):
            for column in found:
                self.average[place, column] += 1 / len(found)

    def choice_sum(self, tokens: Sequence[torch.Tensor], texts: Sequence[str]) -> torch.Tensor:
        """Summed cross entropy of items' names among all names; unknown ones add nothing. A scalar in float32.

        Args:
            tokens: connector outputs ``(L_m, D_llm)`` each.
            texts: names.
        """
        known = [(rows.float().mean(0), self.place[text]) for rows, text in zip(tokens, texts) if text in self.place]
        if not known:
            return self.head.rows.new_zeros(())
        log_probabilities = self.head(torch.stack([mean for mean, _ in known])[:, None])[:, 0]
        scores = log_probabilities @ self.average.to(log_probabilities).T
        labels = torch.tensor([place for _, place in known], device=scores.device)
        return F.cross_entropy(scores, labels, reduction="sum")


def best_names(
    log_probabilities: torch.Tensor, mask: torch.Tensor, candidates: Mapping[str, Sequence[int]]
) -> list[str]:
    """The candidate whose tokens are likeliest, by the mean over tokens and outputs, for each item."""
    means = (log_probabilities * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    texts = list(candidates)
    scores = torch.stack([means[:, list(candidates[text])].mean(1) for text in texts], dim=1)
    return [texts[int(index)] for index in scores.argmax(1)]


def plain_name(answer: str) -> str:
    """``A dog barking.`` -> ``dog barking``: an answer as a name, without article and full stop."""
    text = answer.strip().rstrip(".")
    for article in ("A ", "An ", "The "):
        text = text.removeprefix(article)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
