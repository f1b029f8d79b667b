"""The loss of words: what a connector's outputs lack of saying what is said, seen and heard, in embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch
from torch.nn.utils.rnn import pad_sequence

from video_salmonn.data.manifest import Item
from video_salmonn.errors import ContextError
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training.batching import PreparedExample
from video_salmonn.training.ctc import WordHead, Words, best_names, word_losses
from video_salmonn.training.examples import Example
from video_salmonn.wording import counted

PARTS = ("said", "seen", "heard")


def stated(items: Iterable[Item]) -> dict[str, set[str]]:
    """All texts that items state (``words``), by part: ``said``, ``seen``, ``heard``."""
    found: dict[str, set[str]] = {part: set() for part in PARTS}
    for item in items:
        for part, text in item.extra.get("words", {}).items():
            if text:
                found.setdefault(part, set()).add(text)
    return found


def words_for(head: WordHead, words: Mapping[str, str]) -> Words | None:
    """What an item's outputs are to say, of all that is ``said``, ``seen`` and ``heard`` in it; None where the head's
    vocabulary lacks any of it."""
    said, seen, heard = (head.columns_of(words[part]) if words.get(part) else () for part in PARTS)
    if said is None or seen is None or heard is None or not (said or seen or heard):
        return None
    return Words(said, seen, heard)


class WordLoss:
    """Scores a connector's outputs by the language model's own embeddings, which stay as they are.

    Args:
        model: gives the embeddings.
        processor: gives the tokenizer.
        texts: by part (:func:`stated`): their tokens are the vocabulary.
        device: where the model trains.
    """

    def __init__(
        self,
        model: VideoSalmonnForConditionalGeneration,
        processor: VideoSalmonnProcessor,
        texts: Mapping[str, Iterable[str]],
        device: torch.device,
    ) -> None:
        embeddings: torch.Tensor = model.language_model.get_input_embeddings().weight.detach()
        whole = sorted({text for part in texts.values() for text in part})
        self.head = WordHead(embeddings, whole, processor.tokenizer).to(device)
        self.per_frame = model.connector.config.tokens_for(1)
        self.names = {part: sorted(texts.get(part, ())) for part in ("seen", "heard")}

    def words_of(self, example: Example, outputs: int) -> Words:
        """What an example's outputs are to say.

        Args:
            example: with its words.
            outputs: how many outputs its media make.

        Raises:
            ContextError: it states no words that this head has, or more than its outputs can say.
        """
        words = words_for(self.head, example.words)
        if words is None:
            raise ContextError(f"{example.id}: states no words of this vocabulary")
        needed = len(words.said) + sum(a == b for a, b in pairwise(words.said))  # CTC puts a blank between equals
        if needed > outputs:
            raise ContextError(f"{example.id}: {counted(needed, 'token')} to be said by {counted(outputs, 'output')}")
        return words

    def __call__(self, rows: Sequence[PreparedExample], tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Summed loss of those items all of whose words are known. A scalar.

        Args:
            rows: the items that have media, in order.
            tokens: the connector's outputs ``(L_m, D_llm)`` for each.
        """
        known = [words_for(self.head, row.example.words) for row in rows]
        wanted = [(own, words) for own, words in zip(tokens, known) if words is not None]
        if not wanted:
            return self.head.rows.new_zeros(())
        padded, mask = _padded([own for own, _ in wanted])
        return word_losses(self.head, padded, mask, [words for _, words in wanted], self.per_frame).sum()

    def read(self, rows: Sequence[PreparedExample], tokens: Sequence[torch.Tensor]) -> list[str]:
        """What the outputs say: speech by greedy CTC, else the known name that fits best.

        Args:
            rows, tokens: as for the loss.
        """
        padded, mask = _padded(tokens)
        texts = self.head.decode(self.head(padded), mask)
        for part, names in self.names.items():
            named = [
                i for i, row in enumerate(rows) if row.example.words.get(part) and not row.example.words.get("said")
            ]
            columns = {name: found for name in names if (found := self.head.columns_of(name)) is not None}
            if named and columns:
                found_names = best_names(
                    self.head, padded[named], mask[named], columns, self.per_frame, seen=part == "seen"
                )
                for place, name in zip(named, found_names):
                    texts[place] = name
        return texts


def _padded(tokens: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of several items ``(B, L, D)``, and the mask of real ones ``(B, L)``."""
    padded = pad_sequence(list(tokens), batch_first=True)
    lengths = torch.tensor([len(own) for own in tokens], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device)[None] < lengths[:, None]
