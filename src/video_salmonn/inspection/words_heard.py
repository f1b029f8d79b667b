"""The words that were heard, with their times, for connectors that were trained to spell words (CTC).

Every media token says a word or a pause, so a word's time is known to one token. Two readings: what the outputs
themselves spell, before the language model reads them; and the words of an answer that is a transcript, each where the
outputs say it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from video_salmonn.inference.alignment import word_times
from video_salmonn.inference.transcript import Word
from video_salmonn.model.words import BLANK, WordOutputs, without_names


@dataclass(frozen=True)
class WordsHeard:
    """Words in the order of time, seconds on the clip axis; none where the outputs say nothing but pauses.

    Attributes:
        words: the words.
        answered: they are those of the answer; otherwise those that the connector's outputs spell.
    """

    words: tuple[Word, ...]
    answered: bool = False

    @property
    def text(self) -> str:
        """The words, joined by spaces."""
        return " ".join(word.text for word in self.words)

    def to_dict(self) -> list[dict[str, Any]]:
        """The JSON form of ``inspect --json``."""
        return [{"text": word.text, "from": round(word.start, 3), "to": round(word.end, 3)} for word in self.words]


def words_heard(
    outputs: torch.Tensor,
    words: WordOutputs,
    tokenizer: Any,
    *,
    per_frame: int,
    seconds: float,
    transcript: str = "",
) -> WordsHeard:
    """The words of media tokens with their times.

    Args:
        outputs: media tokens ``(L, D_llm)``, in the order of time.
        words: the model's word outputs.
        tokenizer: of the language model.
        per_frame: media tokens of a frame of 0.5 s.
        seconds: length of a media token.
        transcript: an answer that says these words; where empty, the outputs' own spelling is read.
    """
    if not len(outputs):
        return WordsHeard(())
    logs = without_names(words.log_posteriors(outputs[None])[0], per_frame)
    columns = words.columns.tolist()
    if transcript.split():
        places = {token: column for column, token in enumerate(columns) if column != BLANK}
        found = word_times(transcript, logs, tokenizer, places, start=0.0, per_second=1 / seconds)
        return WordsHeard(tuple(found), answered=True)
    return WordsHeard(_spelled(logs.argmax(-1).tolist(), lambda column: tokenizer.decode([columns[column]]), seconds))


def _spelled(best: list[int], text_of: Callable[[int], str], seconds: float) -> tuple[Word, ...]:
    """The likeliest column of every output (greedy CTC), put together to words."""
    found: list[Word] = []
    last = BLANK
    for place, column in enumerate(best):
        start, end = place * seconds, (place + 1) * seconds
        if column == last and column != BLANK:  # one token held for longer
            found[-1] = Word(found[-1].start, end, found[-1].text)
        elif column != BLANK:
            text = text_of(column)
            if found and not text.startswith(" "):  # the rest of a word
                found[-1] = Word(found[-1].start, end, found[-1].text + text)
            else:
                found.append(Word(start, end, text.strip()))
        last = column
    return tuple(word for word in found if word.text)
