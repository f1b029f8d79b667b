"""Many wordings out of few lines: ``(Do|Can) you hear {x}( here|)?`` stands for all its readings."""

from __future__ import annotations

import random
import re
from functools import lru_cache

_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")


@lru_cache(maxsize=4096)
def expand(line: str) -> tuple[str, ...]:
    """All readings of a line, in order, each once. Choices may be nested; spaces are tidied."""
    found = _CHOICE.search(line)
    if found is None:
        return (" ".join(line.split()).replace(" ?", "?").replace(" .", ".").replace(" ,", ","),)
    found_readings: list[str] = []
    for choice in found[1].split("|"):
        found_readings += expand(line[: found.start()] + choice + line[found.end() :])
    return tuple(dict.fromkeys(found_readings))


@lru_cache(maxsize=4096)
def readings(lines: tuple[str, ...]) -> tuple[str, ...]:
    """All readings of several lines."""
    return tuple(dict.fromkeys(reading for line in lines for reading in expand(line)))


def styled(question: str, rng: random.Random, keep: tuple[str, ...] = ()) -> str:
    """A question as people type it: one in five in lower case, one in eight without its mark, one in twenty-five with a
    slip of the fingers (never in the words to ``keep``)."""
    words = question.split()
    protected = {word.strip("?.,'\"").lower() for phrase in keep for word in phrase.split()}
    if rng.random() < 0.04:
        places = [
            i for i, word in enumerate(words) if len(word) > 4 and word.isalpha() and word.lower() not in protected
        ]
        if places:
            place = rng.choice(places)
            word = words[place]
            at = rng.randrange(1, len(word) - 2)
            words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    text = " ".join(words)
    if rng.random() < 0.2:
        text = text.lower()
    if rng.random() < 0.125:
        text = text.rstrip("?.")
    return text
