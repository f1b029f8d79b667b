"""The loss of words: what a connector's outputs lack of saying what is said, seen and heard, in embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from video_salmonn.data.manifest import Item
from video_salmonn.model.modeling import VideoSalmonnForConditionalGeneration
from video_salmonn.model.processing import VideoSalmonnProcessor
from video_salmonn.model.words import HEARD, SEEN
from video_salmonn.training.batching import PreparedExample
from video_salmonn.training.ctc import WordHead, Words, best_names, word_losses
from video_salmonn.training.examples import Example
from video_salmonn.training.variation import frame_times

PLACES = {"seen": SEEN, "heard": HEARD}
"""Which output of a frame names what."""
PARTS = ("said", "seen", "heard", "voice")
"""What is said, the names of what is seen and heard, and whose voice it is (man or woman)."""


def stated(items: Iterable[Item]) -> dict[str, set[str]]:
    """All texts that items state (``words``, and ``spans`` of time), by part (:data:`PARTS`)."""
    found: dict[str, set[str]] = {part: set() for part in PARTS}
    for item in items:
        for part, spans in item.extra.get("spans", {}).items():
            found.setdefault(part, set()).update(name for *_, name in spans)
        for part, text in item.extra.get("words", {}).items():
            if text:
                found.setdefault(part, set()).add(text)
    return found


@dataclass(frozen=True)
class Timed:
    """A name that is seen or heard for a part of the time.

    Attributes:
        part: ``seen`` or ``heard``.
        name: of the thing or sound.
        frames: numbers of the frames that are wholly within its time.
    """

    part: str
    name: str
    frames: tuple[int, ...]


def timed(example: Example) -> list[Timed]:
    """The names of an example that are there for a part of the time, in its frames as they will be once varied."""
    named = {part: spans for part, spans in example.spans.items() if part in PLACES}
    if not named:
        return []
    times = frame_times(max(example.frames), example.variation)
    return [
        Timed(part, name, tuple(np.flatnonzero((times[:, 0] >= begin) & (times[:, 1] <= end)).tolist()))
        for part, spans in named.items()
        for begin, end, name in spans
    ]


def spoken_at(head: WordHead, example: Example, per_frame: int) -> tuple[tuple[int, int], ...]:
    """Which output is to say which token of the speech, where an example states when its words are said.

    A word's tokens are spread over the outputs of its time, each after the one before; what is said before or after
    the frames, or finds no output left, is left out.

    Args:
        head: knows the vocabulary.
        example: may state ``said`` in its spans.
        per_frame: outputs of a frame.

    Returns:
        (output, column) in order.
    """
    spans = example.spans.get("said")
    if not spans:
        return ()
    frames = frame_times(max(example.frames), example.variation)
    shares = np.arange(per_frame) / per_frame
    begins = (frames[:, :1] + shares * (frames[:, 1:] - frames[:, :1])).ravel()
    found: list[tuple[int, int]] = []
    following = 0
    for begin, end, word in spans:
        columns = head.columns_of(word) or ()
        for place, column in enumerate(columns):
            at = begin + (end - begin) * place / len(columns)
            output = max(following, int(np.searchsorted(begins, at, side="right")) - 1)
            if frames[0, 0] <= at < frames[-1, 1] and output < len(begins):
                found.append((output, column))
                following = output + 1
    return tuple(found)


def words_for(
    head: WordHead, words: Mapping[str, str], names: Sequence[Timed] = (), per_frame: int = 1
) -> Words | None:
    """What an item's outputs are to say; None where it states nothing, or something that the head's vocabulary lacks.

    Args:
        head: knows the vocabulary.
        words: what is ``said``, ``seen`` and ``heard`` all the time. Where nothing is heard beside a voice (``voice``),
            it is named in the place of a sound.
        names: what is there for a part of the time.
        per_frame: outputs of a frame.
    """
    named = words.get("heard") or words.get("voice")
    placed: list[tuple[int, int]] = []
    for name in names:
        columns, place = head.columns_of(name.name), PLACES[name.part]
        if columns is None:
            return None
        placed += [(frame * per_frame + place, columns[frame % len(columns)]) for frame in name.frames]
    said, seen, heard = (
        head.columns_of(text) if text else () for text in (words.get("said"), words.get("seen"), named)
    )
    if said is None or seen is None or heard is None or not (said or seen or heard or placed):
        return None
    return Words(said, seen, heard, tuple(placed), complete=not names)


class WordLoss:
    """Scores a connector's outputs by the language model's own embeddings, which stay as they are.

    Args:
        model: gives the embeddings.
        processor: gives the tokenizer.
        texts: by part (:func:`stated`): their tokens are the vocabulary.
        device: where the model trains.
        known: tokens of further words, which the connector could say before.
        sample: size of the random sample of words that replaces the vocabulary in passes without speech, besides the
            words that these name; 0 for the whole vocabulary.
    """

    def __init__(
        self,
        model: VideoSalmonnForConditionalGeneration,
        processor: VideoSalmonnProcessor,
        texts: Mapping[str, Iterable[str]],
        device: torch.device,
        known: Iterable[int] = (),
        sample: int = 0,
    ) -> None:
        self.sample = sample
        embeddings: torch.Tensor = model.language_model.get_input_embeddings().weight.detach()
        whole = sorted({text for part in texts.values() for text in part})
        self.head = WordHead(embeddings, whole, processor.tokenizer, known=known).to(device)
        self.per_frame = model.connector.config.tokens_for(1)
        self.names = {part: sorted(texts.get(part, ())) for part in ("seen", "heard")}

    def words_of(self, example: Example) -> Words | None:
        """What an example's outputs are to say; None where it states nothing, or something outside the vocabulary."""
        found = words_for(self.head, example.words, timed(example), self.per_frame)
        at = spoken_at(self.head, example, self.per_frame)
        return replace(found, said_at=at) if found is not None and found.said and at else found

    def __call__(self, rows: Sequence[PreparedExample], tokens: Sequence[torch.Tensor]) -> torch.Tensor:
        """Summed loss of those items all of whose words are known. A scalar.

        Args:
            rows: the items that have media, in order.
            tokens: the connector's outputs ``(L_m, D_llm)`` for each.
        """
        wanted = [(own, row.words) for own, row in zip(tokens, rows) if row.words is not None]
        if not wanted:
            return self.head.rows.new_zeros(())
        padded, mask = _padded([own for own, _ in wanted])
        words = [words for _, words in wanted]
        if self.sample and not any(own.said for own in words):
            narrow, words = self.head.narrowed(words, self.sample)
            return word_losses(narrow, padded, mask, words, self.per_frame).sum()
        return word_losses(self.head, padded, mask, words, self.per_frame).sum()

    def read(self, rows: Sequence[PreparedExample], tokens: Sequence[torch.Tensor]) -> list[str]:
        """What the outputs say: speech by greedy CTC, else the known name that fits best; several in turn as
        ``A, then B``.

        Args:
            rows, tokens: as for the loss.
        """
        padded, mask = _padded(tokens)
        texts = self.head.decode(self.head(padded), mask)
        for part, names in self.names.items():
            columns = {name: found for name in names if (found := self.head.columns_of(name)) is not None}
            named = [
                (i, outputs) for i, row in enumerate(rows) for outputs in self._naming(row.example, part, tokens[i])
            ]
            if not named or not columns:
                continue
            found_names = best_names(
                self.head, *_padded([outputs for _, outputs in named]), columns, self.per_frame, seen=part == "seen"
            )
            for place in sorted({place for place, _ in named}):
                texts[place] = ", then ".join(name for (own, _), name in zip(named, found_names) if own == place)
        return texts

    def _naming(self, example: Example, part: str, outputs: torch.Tensor) -> list[torch.Tensor]:
        """The outputs that name something, one tensor for each name that is asked for."""
        if example.words.get("said"):
            return []
        if example.words.get(part):
            return [outputs]
        frames = [name.frames for name in timed(example) if name.part == part and name.frames]
        return [outputs[own[0] * self.per_frame : (own[-1] + 1) * self.per_frame] for own in frames]


def _padded(tokens: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of several items ``(B, L, D)``, and the mask of real ones ``(B, L)``."""
    padded = pad_sequence(list(tokens), batch_first=True)
    lengths = torch.tensor([len(own) for own in tokens], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device)[None] < lengths[:, None]
