"""Which sentences to speak, in which order, so that the words that matter are heard often enough, and soon.

A word that training heard twenty times is mostly right, one that it never heard is always wrong. Sentences are chosen
greedily: each brings its words' worth for every second that it lasts, where a word's worth grows with how common it is
and falls with every time that it was heard. The order is that of the choice, so that any beginning of it is a good
set. A sentence may come again, for another voice to say. What no text has often enough stands in short lists of words.

Texts: sentences of the data folder (``text/ljspeech.txt``, ``text/librispeech-dev-clean.txt``) and WordNet's examples
and definitions. Nothing that shares six words in a row with a held-out recording's text is in.
"""

from __future__ import annotations

import heapq
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from video_salmonn.embedded.data.sources import plain_words
from video_salmonn.embedded.data.wordnet import read_texts
from video_salmonn.errors import ManifestError
from video_salmonn.files import numbered_lines

COMMON_WORDS = 12_000
"""The commonest words, each of which is to be heard :data:`TIMES` times."""
TIMES = 20
RARE_TIMES = 4
"""For the less common words of the list."""
SHORTEST, LONGEST = 1.0, 9.3
"""Seconds of a sentence."""
AGAIN = 6
"""How often one sentence may be spoken."""
LISTS = 0.3
"""Share of the time that goes to lists of words: all their words count, where a sentence mostly has common ones."""
LIST_WORDS, LIST_BLOCK = 6, 1200
OVERLAP = 6
"""So many words in a row that a held-out text has too leave a sentence out."""

_TITLES = (("Mr.", "mister"), ("Mrs.", "missus"), ("Dr.", "doctor"), ("St.", "saint"), ("Messrs.", "messers"))
_ODD = re.compile(
    r"[^A-Za-z'’,;:.!?\"“”\- ]|\b[A-Za-z]\.|\w[.:]\w|\b(?:etc|vs|Co|Jr|Sr|No|Capt|Col|Gen|Lt|Rev|Hon|Esq)\."
)
_KEPT = re.compile(r"[^A-Za-z',;:.!? ]")


@dataclass(frozen=True)
class Sentence:
    """What is spoken and what its transcript is.

    Attributes:
        say: as it is given to a voice, with punctuation.
        words: plain lower-case words.
    """

    say: str
    words: str

    @property
    def seconds(self) -> float:
        """About how long it lasts at pace 1."""
        return seconds_of(self.say)


def seconds_of(say: str) -> float:
    """About how long a text lasts at pace 1."""
    return 0.4 + 0.062 * len(say) + 0.15 * sum(say.count(mark) for mark in ",;:.!?")


def tidy(line: str) -> Sentence | None:
    """A line of text as a sentence, or None where a reader could say it in several ways."""
    for short, full in _TITLES:
        line = line.replace(short, full)
    if not line.strip() or _ODD.search(line):
        return None
    say = " ".join(_KEPT.sub(" ", line.replace("’", "'").replace("-", " ")).split()).strip(" ,;:'")
    say = re.sub(r"\s+([,;:.!?])", r"\1", say)
    words = plain_words(say)
    return Sentence(say, words) if words else None


def word_counts(folder: Path) -> dict[str, int]:
    """How often words occur in LibriSpeech's training text, the commonest first.

    Raises:
        ManifestError: the data folder lacks the list.
    """
    path = folder / "text" / "librispeech-word-counts.txt"
    lines = [line for _, line in numbered_lines(path, ManifestError)]
    try:
        return {word: int(count) for word, count in (line.split("\t") for line in lines)}
    except ValueError as error:
        raise ManifestError(f"{path}: lines are a word, a tab and a number ({error})") from error


def candidates(folder: Path, held_out: Iterable[str], wordnet: Path | None = None) -> list[Sentence]:
    """Every sentence that may be spoken, each once.

    Args:
        folder: the data folder.
        held_out: plain texts of recordings that training must not know.
        wordnet: WordNet's folder; None without.
    """
    lines: list[str] = []
    for name in ("ljspeech.txt", "librispeech-dev-clean.txt"):
        path = folder / "text" / name
        if path.is_file():
            lines += [line for _, line in numbered_lines(path, ManifestError)]
    if wordnet is not None:
        lines += read_texts(wordnet)
    kept_out = {run for text in held_out for run in _runs(text)} | set(held_out)
    found: dict[str, Sentence] = {}
    for line in lines:
        sentence = tidy(line)
        if sentence is None or not SHORTEST <= sentence.seconds <= LONGEST or sentence.words in kept_out:
            continue
        if not any(run in kept_out for run in _runs(sentence.words)):
            found.setdefault(sentence.words, sentence)
    return list(found.values())


def _runs(text: str) -> Iterator[str]:
    words = text.split()
    for place in range(len(words) - OVERLAP + 1):
        yield " ".join(words[place : place + OVERLAP])


class Worth:
    """What it is worth to hear a word once more.

    Args:
        counts: how common words are; the first :data:`COMMON_WORDS` of them are wanted :data:`TIMES` times.
        heard: how often real training speech has them.
    """

    def __init__(self, counts: dict[str, int], heard: Counter[str]) -> None:
        self.heard = Counter(heard)
        self._weight = {word: count**0.7 for word, count in counts.items()}
        self._wanted = {word: TIMES if rank < COMMON_WORDS else RARE_TIMES for rank, word in enumerate(counts)}

    def lacking(self, word: str) -> int:
        """How many times more a word is to be heard."""
        return max(0, self._wanted.get(word, 0) - self.heard[word])

    def of(self, sentence: Sentence) -> float:
        """A sentence's worth a second."""
        total = 0.0
        for word in sorted(set(sentence.words.split())):  # a set has another order in every process
            heard = self.heard[word]
            if heard < self._wanted.get(word, 0):
                total += self._weight[word] / (1 + heard)
        return total / (sentence.seconds + 0.3)

    def most(self, count: int) -> list[str]:
        """The common words that are worth most to hear once more."""
        lacking = [word for word, wanted in self._wanted.items() if wanted == TIMES and self.lacking(word)]
        return heapq.nlargest(count, lacking, key=lambda word: self._weight[word] / (1 + self.heard[word]))

    def hear(self, words: str) -> None:
        """Count the words."""
        self.heard.update(words.split())


def in_order(sentences: Sequence[Sentence], worth: Worth, seconds: float, seed: int = 0) -> Iterator[Sentence]:
    """Sentences until they last so long, the most useful first; :data:`AGAIN` times at most each, and lists of words
    among them (:data:`LISTS` of the time).

    Args:
        sentences: what there is to choose from.
        worth: what was heard; counts what is given out.
        seconds: when to stop.
        seed: decides between equals.
    """
    rng = random.Random(f"{seed}/coverage")
    heap = [(-worth.of(sentence), rng.random(), number) for number, sentence in enumerate(sentences)]
    heapq.heapify(heap)
    lists = _word_lists(worth, rng)
    used: Counter[int] = Counter()
    taken = listed = 0.0
    while taken < seconds:
        chosen = next(lists, None) if listed < LISTS * taken or not heap else None
        if chosen is not None:
            listed += chosen.seconds
        elif heap:
            _, tie, number = heapq.heappop(heap)
            value = worth.of(sentences[number])
            if value <= 0:
                continue
            if heap and -value > heap[0][0] + 1e-9:  # others are better now: its words were heard since
                heapq.heappush(heap, (-value, tie, number))
                continue
            chosen = sentences[number]
            used[number] += 1
            if used[number] < AGAIN:  # worth less when its words were heard: found out when it is looked at again
                heapq.heappush(heap, (-value, rng.random(), number))
        else:
            return
        worth.hear(chosen.words)
        taken += chosen.seconds
        yield chosen


def _word_lists(worth: Worth, rng: random.Random) -> Iterator[Sentence]:
    """Lists of six words, of those that are worth most now; each block of them is drawn up anew."""
    while True:
        wanted = worth.most(LIST_BLOCK)
        if len(wanted) < LIST_WORDS:
            return
        rng.shuffle(wanted)
        for place in range(0, len(wanted) - LIST_WORDS + 1, LIST_WORDS):
            words = wanted[place : place + LIST_WORDS]
            yield Sentence(f"{' '.join(words[:3])}, {' '.join(words[3:])}.", " ".join(words))


def reached(counts: dict[str, int], heard: Counter[str], times: int = TIMES) -> tuple[int, float]:
    """How many of the commonest words were heard so often, and what share of all running words they make."""
    common = list(counts.items())[:COMMON_WORDS]
    enough = [count for word, count in common if heard[word] >= times]
    return len(enough), sum(enough) / max(1, sum(counts.values()))
