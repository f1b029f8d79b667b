"""What the connector's outputs say, as probabilities of words: scores over some of the language model's own tokens.

An output is scored by its cosine with a token's embedding (both taken from the embeddings' mean). Column 0 is the
blank: a token that stands for a pause. Nothing here is trained: the rows are the language model's embeddings, so all
that a model has to keep is which tokens they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

PAUSE = " ..."
"""Text of the token that stands for the blank."""
SHARPNESS = 16.0
"""What cosines are multiplied by. With 10,000 tokens a word of probability 0.9 then has a cosine of about 0.7."""
BLANK = 0
"""Column of the blank."""
SEEN, HEARD = 0, 1
"""Which output of a frame names the picture, and which the sound."""
NAMED = 0.2
"""Probability from which on an output says a name, and share of the frames in which it has to."""


def without_names(logs: torch.Tensor, per_frame: int) -> torch.Tensor:
    """Log-probabilities in which names of what is seen and heard count as pauses, as they did in training.

    A name is said by the same output of many frames (a name of several tokens by turns), which speech does not do: a
    word said in a fifth of all frames, and at least two, and a third as likely at the places where nothing is named.

    Args:
        logs: ``(L, C)``, frame after frame, blank in column 0.
        per_frame: outputs of a frame.

    Returns:
        ``(L, C)``.
    """
    if len(logs) < 4 * per_frame or per_frame <= max(SEEN, HEARD) + 1:
        return logs
    chances = logs.exp()
    elsewhere = torch.cat([chances[place::per_frame] for place in range(max(SEEN, HEARD) + 1, per_frame)]).mean(0)
    result = logs.clone()
    for place in (SEEN, HEARD):
        there = chances[place::per_frame]
        often = (there > NAMED).sum(0) >= max(2.0, NAMED * len(there))
        names = often & (there.mean(0) > 3 * elsewhere)
        names[BLANK] = False
        if names.any():
            rows = result[place::per_frame]
            rows[:, BLANK] = torch.logaddexp(rows[:, BLANK], rows[:, names].logsumexp(-1))
            rows[:, names] = float("-inf")
    return result


def full(weight: torch.Tensor) -> torch.Tensor:
    """A weight that is spread over processes, whole (all of them have to call this); any other as it is."""
    gather = getattr(weight, "full_tensor", None)
    return weight if gather is None else gather()


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of many texts, in a third of the time that calls of a fast tokenizer one by one take."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    backend.no_padding()  # an earlier call may have left either on; the next one sets its own
    backend.no_truncation()
    return [encoded.ids for encoded in backend.encode_batch(list(texts), add_special_tokens=False)]


def openings_of(tokenizer: Any, columns: Sequence[int]) -> list[int]:
    """How an answer begins with the words of columns, since its first word has no space before it.

    Args:
        tokenizer: of the language model.
        columns: tokens of words as they are within a sentence.

    Returns:
        for each column the token of its word without the space, or ``~piece`` where that takes several tokens, of which
        ``piece`` is the first ("illustration" is "ill", "ust", "ration").
    """
    space = tokenizer.convert_ids_to_tokens(tokenizer(" a", add_special_tokens=False).input_ids[0])[:1]
    texts = tokenizer.convert_ids_to_tokens(list(columns))
    bare = [tokenizer.convert_tokens_to_string([text]).lstrip() if text.startswith(space) else "" for text in texts]
    words = [word for word in bare if word]
    pieces = iter(tokens_of(tokenizer, words))
    found = []
    for token, word in zip(columns, bare):
        ids = next(pieces) if word else [token]
        found.append(ids[0] if len(ids) == 1 else ~ids[0])
    return found


def scores_of(outputs: torch.Tensor, rows: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """``(B, L, D)``, directions ``(C, D)``, mean ``(D,)`` -> scores ``(B, L, C)`` before the softmax, float32."""
    return SHARPNESS * F.normalize(outputs.float() - mean, dim=-1) @ rows.T


class WordOutputs(nn.Module):
    """Connector outputs -> scores over the tokens they were trained to say.

    Args:
        columns: token of each column, the blank's first; or how many there are, to be filled by ``load_state_dict``.
        embeddings: the language model's, as a module (read anew when its weights change; not a part of this module) or
            as its weights ``(vocabulary, D)``.
        openings: how an answer begins with each column's word (:func:`openings_of`); the columns' own tokens where not
            given.

    Attributes:
        columns, openings: ``(C,)`` int64, saved with a model.
    """

    columns: torch.Tensor
    openings: torch.Tensor

    def __init__(
        self,
        columns: Sequence[int] | int,
        embeddings: nn.Module | torch.Tensor,
        openings: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        ids = torch.zeros(columns, dtype=torch.long) if isinstance(columns, int) else torch.tensor(list(columns))
        self.register_buffer("columns", ids)
        self.register_buffer("openings", ids.clone() if openings is None else torch.tensor(list(openings)))
        self._source: tuple[nn.Module | torch.Tensor] = (embeddings,)  # in a tuple: it belongs to the language model
        self._made: tuple[tuple[object, ...], tuple[torch.Tensor, ...]] | None = None

    def bind(self, embeddings: nn.Module | torch.Tensor) -> None:
        """Take other embeddings."""
        self._source, self._made = (embeddings,), None

    def _tables(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Made when the embeddings change, float32: directions ``(C, D)`` of length 1, mean ``(D,)``, distance from it
        ``()``, embeddings of the columns ``(C, D)``."""
        source = self._source[0]
        weight = source.weight if isinstance(source, nn.Module) else source
        assert isinstance(weight, torch.Tensor)
        stamp = (weight.data_ptr(), weight._version, self.columns.data_ptr(), self.columns._version, device)
        if self._made is None or self._made[0] != stamp:
            with torch.inference_mode(False), torch.no_grad():
                if weight.is_meta and isinstance(source, nn.Module):  # it rests elsewhere until the module is called
                    weight = source(torch.arange(len(weight), device=device))
                whole = full(weight).detach().to(device).float()
                mean = whole.mean(dim=0)
                named = whole[self.columns.to(device)]
                radius = (whole - mean).norm(dim=1).mean()
                self._made = stamp, (F.normalize(named - mean, dim=1), mean, radius, named)
        return self._made[1]

    @property
    def rows(self) -> torch.Tensor:
        """``(C, D)``: direction of each column's embedding, seen from the mean; float32."""
        return self._tables(self.columns.device)[0]

    @property
    def mean(self) -> torch.Tensor:
        """``(D,)``: mean of all embeddings, float32."""
        return self._tables(self.columns.device)[1]

    @property
    def radius(self) -> torch.Tensor:
        """``()``: mean distance of an embedding from the mean, float32."""
        return self._tables(self.columns.device)[2]

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        """``(B, L, D)`` -> scores ``(B, L, C)`` before the softmax, float32."""
        rows, mean, *_ = self._tables(outputs.device)
        return scores_of(outputs, rows, mean)

    def log_posteriors(self, outputs: torch.Tensor) -> torch.Tensor:
        """``(B, L, D)`` -> natural log-probabilities ``(B, L, C)``, float32."""
        return self(outputs).log_softmax(-1)

    def expectation(self, outputs: torch.Tensor) -> torch.Tensor:
        """What a reader of these outputs may expect: ``Σ p(k) E[k]`` over the columns' embeddings, float32.

        However noisy an output is, this lies among the embeddings that the language model knows (LegoSLM,
        arXiv 2505.11352). ``(…, D)`` -> ``(…, D)``.
        """
        return self(outputs).softmax(-1) @ self._tables(outputs.device)[3]
