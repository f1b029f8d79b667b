"""The auxiliary loss: the connector goes on saying words while the language model learns to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from video_salmonn.data.mixing import PLAIN
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.training.batching import Prepared
from video_salmonn.training.ctc import WordHead, Words, word_losses
from video_salmonn.training.examples import ExampleMaker


def words_for(head: WordHead, words: Mapping[str, str]) -> Words | None:
    """What an item's outputs are to say, of all that is ``said``, ``seen`` and ``heard`` in it; None where the head's
    vocabulary lacks any of it."""
    said, seen, heard = (head.columns_of(words[part]) if words.get(part) else () for part in ("said", "seen", "heard"))
    if said is None or seen is None or heard is None or not (said or seen or heard):
        return None
    return Words(said, seen, heard)


class WordAuxiliary:
    """Holds the head: the language model's own embeddings, frozen.

    Args:
        model: gives the embeddings.
        processor: gives the tokenizer.
        maker: its items' words are the vocabulary.
        device: where the model trains.
    """

    def __init__(
        self,
        model: VideoSalmonnForConditionalGeneration,
        processor: VideoSalmonnProcessor,
        maker: ExampleMaker,
        device: torch.device,
    ) -> None:
        texts = {text for item in maker.items for text in item.extra.get("words", {}).values() if text}
        embeddings: torch.Tensor = model.language_model.get_input_embeddings().weight.detach()
        self.head = WordHead(embeddings, sorted(texts), processor.tokenizer).to(device)
        self.per_frame = model.connector.config.tokens_for(1)

    def __call__(self, rows: Sequence[Prepared], tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Summed loss of those items of a pass all of whose words are known; mixed items are left out. A scalar.

        Args:
            rows: the items that have media, in order.
            tokens: the connector's outputs ``(L_m, D_llm)`` for each.
        """
        outputs: list[torch.Tensor] = []
        words: list[Words] = []
        for row, own in zip(rows, tokens):
            wanted = words_for(self.head, row.example.words) if row.example.rule == PLAIN else None
            if wanted is not None:
                outputs.append(own)
                words.append(wanted)
        if not words:
            return self.head.rows.new_zeros(())
        padded = torch.nn.utils.rnn.pad_sequence(outputs, batch_first=True)
        lengths = torch.tensor([len(own) for own in outputs], device=padded.device)
        mask = torch.arange(padded.shape[1], device=padded.device)[None] < lengths[:, None]
        return word_losses(self.head, padded, mask, words, self.per_frame).sum()
