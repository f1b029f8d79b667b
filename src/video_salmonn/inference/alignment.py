"""When each word of a known text is spoken, by the connector's own word outputs: a CTC forced alignment.

The connector makes six outputs a second, and those of models that were trained to say words
(:mod:`video_salmonn.model.words`) are a CTC over time. The best path (Viterbi) through the outputs that spells the
text says at which outputs each of its tokens is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch

from video_salmonn.inference.transcript import Word
from video_salmonn.model.words import BLANK

NOWHERE = -30.0
"""Log-probability of a token outside the word outputs' vocabulary at every output: any place is as good."""
LATER = 0.17
"""Seconds by which a word begins and ends after the beginning and end of its outputs. The embedded model's connector is
early: the median over 517 words of LibriSpeech's speaker 84, which was not trained on (`studies/transcribe.py`)."""
HELD = 0.2
"""Seconds that a word is given after its last output, where nothing follows so soon: the outputs are spikes."""


def best_path(logs: torch.Tensor, labels: Sequence[int | None]) -> list[tuple[int, int]] | None:
    """The likeliest CTC path that spells labels.

    Args:
        logs: log-probabilities ``(T, C)``, blank in column :data:`~video_salmonn.model.words.BLANK`.
        labels: a column for each token of the text, or None for a token that has none.

    Returns:
        for each label the first and the last output that say it; None where the text is longer than T outputs can
        spell.
    """
    if not labels:
        return []
    states = 2 * len(labels) + 1
    steps = len(logs)
    repeats = sum(a is not None and a == b for a, b in pairwise(labels))
    if len(labels) + repeats > steps:
        return None
    logs = logs.double().cpu()
    columns = [BLANK if state % 2 == 0 else labels[state // 2] for state in range(states)]
    known = torch.tensor([BLANK if column is None else column for column in columns])
    scores = logs[:, known]
    scores[:, [column is None for column in columns]] = NOWHERE
    skips = torch.zeros(states, dtype=torch.bool)
    for state in range(3, states, 2):
        skips[state] = columns[state] is None or columns[state] != columns[state - 2]
    never = float("-inf")
    reached = torch.full((states,), never, dtype=torch.float64)
    reached[:2] = scores[0, :2]
    back = torch.zeros(steps, states, dtype=torch.long)
    for step in range(1, steps):
        ways = torch.full((3, states), never, dtype=torch.float64)
        ways[0] = reached
        ways[1, 1:] = reached[:-1]
        ways[2, 2:] = torch.where(skips[2:], reached[:-2], never)
        best, back[step] = ways.max(0)
        reached = best + scores[step]
    state = states - 1 if reached[-1] >= reached[-2] else states - 2
    found = [[steps, -1] for _ in labels]
    for step in range(steps - 1, -1, -1):
        if state % 2:
            span = found[state // 2]
            span[0], span[1] = step, max(span[1], step)
        state -= int(back[step, state])
    return [(first, last) for first, last in found]


def columns_of(text: str, tokenizer: Any, places: Mapping[int, int]) -> tuple[list[str], list[list[int | None]]]:
    """Words of a text, and for each the columns of its tokens as they are within a sentence.

    Args:
        text: an answer.
        tokenizer: of the language model.
        places: column of each token that has one.
    """
    words = text.split()
    ids = [tokenizer(" " + word, add_special_tokens=False).input_ids for word in words]
    return words, [[places.get(token) for token in one] for one in ids]


def word_times(
    text: str, logs: torch.Tensor, tokenizer: Any, places: Mapping[int, int], *, start: float, per_second: float
) -> list[Word]:
    """Words of a text with their times.

    Args:
        text: what is said in this stretch.
        logs: log-probabilities ``(T, C)`` of the stretch's word outputs.
        tokenizer: of the language model.
        places: column of each token that has one.
        start: seconds into the file at which the stretch begins.
        per_second: outputs a second.

    Returns:
        one entry a word. A text with more words than there is sound for is spread evenly over it.
    """
    words, labels = columns_of(text, tokenizer, places)
    path = best_path(logs, [label for word in labels for label in word])
    length = len(logs) / per_second
    if path is None:
        share = length / len(words)
        return [Word(start + share * n, start + share * (n + 1), word) for n, word in enumerate(words)]
    begins, ends, place = [], [], 0
    for label in labels:
        spans = path[place : place + len(label)] or [(0, 0)]
        place += len(label)
        begins.append(spans[0][0] / per_second + LATER)
        ends.append((spans[-1][1] + 1) / per_second + LATER)
    made = []
    for index, word in enumerate(words):
        following = begins[index + 1] if index + 1 < len(words) else math.inf
        begin = min(begins[index], length)
        end = max(min(ends[index] + HELD, following, length), begin)
        made.append(Word(start + begin, start + end, word))
    return made
