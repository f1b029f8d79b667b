"""Synthetic speech by the hour: sentences chosen by :mod:`~video_salmonn.embedded.data.coverage`, spoken by engines in
given shares, most of them in rooms or noise, several short sentences to a segment of sound."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.coverage import (
    COMMON_WORDS,
    Sentence,
    Worth,
    candidates,
    in_order,
    reached,
    seconds_of,
    word_counts,
)
from video_salmonn.embedded.data.synthesis import random_noise, random_voice
from video_salmonn.embedded.data.voices import gender_of_voice, neural_layer
from video_salmonn.embedded.data.wordings import ask

SEGMENT = 9.6
"""Seconds that an item lasts at most, by estimate."""
ALONE = 0.25
"""Share of items that hold one sentence only."""
IN_ROOM, IN_NOISE = 0.55, 0.55


@dataclass
class _Open:
    """An item that is being filled."""

    voice: dict[str, Any]
    limit: float
    sentences: list[Sentence] = field(default_factory=list)
    seconds: float = 0.0


def _voice(engine: str, rng: random.Random) -> dict[str, Any]:
    """A layer without its text: voice, pace, level, room."""
    layer = random_voice("", rng) if engine == "espeak" else neural_layer("", engine, rng)
    layer |= {"level": rng.randrange(-26, -14)}
    if engine != "espeak" and rng.random() < 0.6:
        layer["speed"] = round(rng.uniform(0.9, 1.12), 2)
    layer.pop("room", None)
    if rng.random() < IN_ROOM:
        layer["room"] = rng.randrange(1000)
    return layer


def _pace(layer: dict[str, Any]) -> float:
    """How many times faster than by estimate a layer is spoken."""
    own = 1.35 if layer["engine"] == "piper" else 1.0
    return own * float(layer.get("pace", layer.get("rate", 160) / 160)) * float(layer.get("speed", 1.0))


def spoken_items(
    hours: dict[str, float], sentences: list[Sentence], worth: Worth, seed: int = 0, split: str = "train"
) -> Iterator[Item]:
    """Items of transcribed synthetic speech, the most useful first.

    Args:
        hours: of each engine, see :func:`parse_hours`.
        sentences: to choose from.
        worth: what real speech has; counts what is spoken.
        seed: decides every choice.
        split: decides the questions' wordings.
    """
    budget = {engine: value * 3600 for engine, value in hours.items()}
    used = dict.fromkeys(budget, 0.0)
    fresh: Counter[str] = Counter()
    open_items: dict[str, _Open] = {}

    def closed(engine: str) -> Item:
        done = open_items.pop(engine)
        number, fresh[engine] = fresh[engine], fresh[engine] + 1
        return _item(f"transcribe/spoken:{engine}/{number}", done, split)

    for sentence in in_order(sentences, worth, 1.5 * sum(budget.values()) + 60, seed):
        left = [engine for engine in budget if used[engine] < budget[engine]]
        if not left:
            break
        engine = min(left, key=lambda name: used[name] / budget[name])
        current = open_items.get(engine)
        if current is not None:
            lasting = sentence.seconds / _pace(current.voice) + 0.2
            if current.seconds + lasting > current.limit:
                yield closed(engine)
                current = None
        if current is None:
            name = f"{seed}/spoken/{engine}/{fresh[engine]}"
            own = random.Random(name)
            voice = _voice(engine, own)
            limit = 0.0 if own.random() < ALONE else SEGMENT
            current = open_items[engine] = _Open(voice | {"at": round(own.uniform(0.0, 0.5), 2)}, limit)
            current.seconds = voice.get("at", 0.25)
        lasting = sentence.seconds / _pace(current.voice) + 0.2
        current.sentences.append(sentence)
        current.seconds += lasting
        used[engine] += lasting
    for engine in sorted(open_items):
        yield closed(engine)


def _item(name: str, done: _Open, split: str) -> Item:
    own = random.Random(name + done.sentences[0].words)
    say = " ".join(part.say if part.say[-1] in ".!?" else part.say.rstrip(",;:") + "." for part in done.sentences)
    words = " ".join(part.words for part in done.sentences)
    layers = [done.voice | {"say": say}]
    gender = gender_of_voice(done.voice)
    if own.random() < IN_NOISE:
        level = done.voice["level"] - own.randrange(5, 21)
        layers.append(random_noise(own) | {"level": level})
    turns = [
        {"role": "user", "content": ask("transcribe", name, split)},
        {"role": "assistant", "content": words},
    ]
    return Item(
        name,
        {"audio": {"layers": layers}},
        turns,
        "transcribe",
        1.0,
        "synthetic speech",
        "synthetic speech",
        split,
        extra={"words": {"said": words} | ({"voice": gender} if gender else {})},
    )


def speech_by_the_hour(
    folder: Path, wordnet: Path | None, hours: dict[str, float], known: Iterable[str], held_out: set[str], seed: int = 0
) -> tuple[list[Item], dict[str, Any]]:
    """Items of the given hours, and a table of their contribution.

    Args:
        folder: the data folder, with ``text/``.
        wordnet: WordNet's folder; None without.
        hours: of each engine.
        known: transcripts of real training speech.
        held_out: transcripts that must not be spoken.
        seed: decides every choice.
    """
    counts = word_counts(folder)
    heard: Counter[str] = Counter(word for text in known for word in text.split())
    worth = Worth(counts, heard)
    before = reached(counts, heard)
    items = list(spoken_items(hours, candidates(folder, held_out, wordnet), worth, seed))
    voices: dict[str, set[str]] = {}
    seconds: dict[str, float] = {}
    for item in items:
        layer = item.media["audio"]["layers"][0]
        lasting = seconds_of(layer["say"]) / _pace(layer)
        seconds[layer["engine"]] = seconds.get(layer["engine"], 0.0) + lasting
        for word in set(item.extra["words"]["said"].split()):
            voices.setdefault(word, set()).add(f"{layer['engine']} {layer['voice']}")
    common = list(counts)[:COMMON_WORDS]
    table = {
        "items": len(items),
        "hours": {engine: round(value / 3600, 2) for engine, value in sorted(seconds.items())},
        "heard 20 times": {"before": before[0], "after": reached(counts, worth.heard)[0]},
        "heard 5 times": {"before": reached(counts, heard, 5)[0], "after": reached(counts, worth.heard, 5)[0]},
        "never heard": {
            "before": len(common) - reached(counts, heard, 1)[0],
            "after": len(common) - reached(counts, worth.heard, 1)[0],
        },
        "in four voices": sum(len(voices.get(word, ())) >= 4 for word in common),
    }
    return items, table
