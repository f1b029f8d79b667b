"""The words that a connector's outputs spell, with their times: what a model heard before its language model reads it.

Only connectors that were trained to say words (CTC) spell any. Every media token says a word or a pause, so a word's
time is known to one token. The language model corrects these words where it transcribes; the two may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from video_salmonn.model.words import BLANK, WordOutputs, without_names


@dataclass(frozen=True)
class Word:
    """A word and its time: seconds on the clip axis, to one media token."""

    text: str
    start: float
    end: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of ``inspect --json``."""
        return {"text": self.text, "from": round(self.start, 3), "to": round(self.end, 3)}


@dataclass(frozen=True)
class Transcript:
    """Words in the order of time; none where the outputs say nothing but pauses."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The words, joined by spaces."""
        return " ".join(word.text for word in self.words)


def spelled(outputs: torch.Tensor, words: WordOutputs, tokenizer: Any, *, per_frame: int, seconds: float) -> Transcript:
    """The likeliest token of every output (greedy CTC), put together to words.

    Args:
        outputs: media tokens ``(L, D_llm)``, in the order of time.
        words: the model's word outputs.
        tokenizer: of the language model.
        per_frame: media tokens of a frame of 0.5 s.
        seconds: length of a media token.
    """
    if not len(outputs):
        return Transcript(())
    best = without_names(words.log_posteriors(outputs[None])[0], per_frame).argmax(-1).tolist()
    columns = words.columns.tolist()
    found: list[Word] = []
    last = BLANK
    for place, column in enumerate(best):
        start, end = place * seconds, (place + 1) * seconds
        if column == last and column != BLANK:  # one token held for longer
            found[-1] = Word(found[-1].text, found[-1].start, end)
        elif column != BLANK:
            text = tokenizer.decode([columns[column]])
            if found and not text.startswith(" "):  # the rest of a word
                found[-1] = Word(found[-1].text + text, found[-1].start, end)
            else:
                found.append(Word(text.strip(), start, end))
        last = column
    return Transcript(tuple(word for word in found if word.text))
