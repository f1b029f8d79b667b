"""Sentences that widen the vocabulary: WordNet's glosses and examples, chosen for words that the recordings lack.

A connector that aligns words with sound cannot spell a word it was never trained on. One held-out word in nine occurs
nowhere in the real transcripts; 57,000 words of WordNet's text, spoken by synthetic voices, halve that.
WordNet 3.0 may be used freely (its licence); Debian has it as ``wordnet-base``.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from video_salmonn.errors import ManifestError

FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
WANTED = 8
"""Occurrences of a word after which it needs no more."""
COMMON = 4
"""Occurrences in WordNet's own texts that make a word worth learning."""
GAINS = (0.55, 0.45, 0.38, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)
"""What a sentence must bring, as a share of its words: the richest sentences are taken first."""

_QUOTED = re.compile(r'"([^"]+)"')
_OTHER = re.compile(r"[^a-z' ]")


def check_files(folder: Path) -> None:
    """Raise ManifestError unless a folder holds WordNet's data files."""
    for name in FILES:
        if not (folder / name).is_file():
            raise ManifestError(f"{folder / name}: no such file", remedy="apt-get install wordnet-base")


def read_texts(folder: Path) -> list[str]:
    """Example sentences, then definitions, as plain lower-case words; those with digits or of odd length are left out.

    Raises:
        ManifestError: the folder lacks WordNet's data files.
    """
    examples: list[str] = []
    glosses: list[str] = []
    for name in FILES:
        try:
            lines = (folder / name).read_text(encoding="latin-1").splitlines()
        except OSError as error:
            raise ManifestError(
                f"{folder / name}: cannot be read ({error.strerror})", remedy="apt-get install wordnet-base"
            ) from error
        for line in lines:
            if line.startswith("  ") or "|" not in line:  # the licence is at the head of every file
                continue
            text = line.split("|", 1)[1]
            examples += _QUOTED.findall(text)
            glosses.append(re.split(r"[;(]", _QUOTED.sub("", text))[0])
    plain = [_plain(text) for text in (*examples, *glosses) if not any(char.isdigit() for char in text)]
    return [text for text in dict.fromkeys(plain) if 3 <= len(text.split()) <= 16]


def _plain(text: str) -> str:
    words = (word.strip("'") for word in _OTHER.sub(" ", text.lower()).split())
    return " ".join(word for word in words if word)


def choose(texts: list[str], known: Iterable[str], words: int, seed: int = 0) -> list[str]:
    """Sentences of about the given number of words in total that add words missing in ``known``; deterministic.

    Args:
        texts: what to choose from.
        known: texts that are spoken anyway.
        words: when to stop.
        seed: of the order in which they are looked at.
    """
    corpus = Counter(word for text in texts for word in text.split())
    count = Counter(word for text in known for word in text.split())
    left = list(texts)
    random.Random(f"{seed}/wordnet").shuffle(left)
    chosen: list[str] = []
    taken = 0
    for gain in GAINS:
        rest = []
        for text in left:
            spoken = text.split()
            new = sum(max(0.0, 1 - count[word] / WANTED) for word in set(spoken) if corpus[word] >= COMMON)
            if new < gain * len(spoken):
                rest.append(text)
                continue
            chosen.append(text)
            count.update(spoken)
            taken += len(spoken)
            if taken >= words:
                return chosen
        left = rest
    return chosen


def packs(texts: Iterable[str], words: int = 24, characters: int = 140) -> Iterator[list[str]]:
    """Neighbours put together while they fit into one segment of sound, which costs the same however short they are."""
    group: list[str] = []
    for text in texts:
        joined = " ".join([*group, text])
        if group and (len(joined.split()) > words or len(joined) > characters):
            yield group
            group = []
        group.append(text)
    if group:
        yield group
