"""What the composers of questions share: answers that mean the same are worded the same, and media beside media."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.wordings import put
from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.data.stock import NO_PICTURE, NO_SOUND, NOT_SAID, NOTHING_SAID, Stock, spans_of, words_of

SILENT = "It is silent."
UNKNOWN = "I can't tell from this clip."
NOT_UNDERSTOOD = "I don't understand the question."
NO_TRANSLATION = "I can't translate."
YES, NO = "Yes.", "No."
_CLEAN = "speech known word by word"
"""Kind under which a stock keeps what :func:`clean_speech` found."""
AUDIBLE = -75
"""Level (dB) below which a layer counts as silence."""
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

__all__ = ["NOTHING_SAID", "NOT_SAID", "NO_PICTURE", "NO_SOUND"]

Media = tuple[dict[str, Any], tuple[Source, ...]]
"""(an item's media, the sources in them)."""


def question(
    stock: Stock,
    kind: str,
    name: str,
    task: str,
    media: Media,
    answer: str,
    words: dict[str, str] | bool = True,
    **fields: str,
) -> Item:
    """An item that asks a question of a kind about some media; silence and made-up music are stated as heard."""
    if words is True and (backdrop := heard_behind(media[0])):
        words = words_of(*media[1]) | {"heard": backdrop}
    return stock.item(name, task, media[0], put(kind, name, stock.split, **fields), answer, *media[1], words=words)


def in_turn(item: Item, part: str, times: Iterable[tuple[float, float]], names: Iterable[str]) -> Item:
    """The item, which states when each of some things is ``heard`` or ``seen`` (:func:`spans_of`)."""
    return replace(item, extra={**item.extra, "spans": spans_of(part, times, names)})


def heard_behind(media: dict[str, Any]) -> str:
    """``silence`` for a recipe of silence, ``music`` for one with made-up music, else ""."""
    audio = media.get("audio")
    if not isinstance(audio, dict):
        return ""
    if any("music" in layer for layer in audio["layers"]):
        return "music"
    return "silence" if all(layer.get("level", 0) < AUDIBLE for layer in audio["layers"]) else ""


def clean_speech(stock: Stock) -> list[Source]:
    """Speech whose text is known word by word."""
    found = stock.sources.get(_CLEAN)
    if found is None:
        found = stock.sources[_CLEAN] = [
            source
            for source in stock.of("speech")
            if source.text and not source.extra.get("machine") and not any(char.isdigit() for char in source.text)
        ]
    return found


def one(stock: Stock, sources: list[Source]) -> Source:
    """One of them."""
    return stock.rng.choice(sources)


def heard(stock: Stock, sound: Source, alone: float = 0.6) -> Media:
    """A sound, alone or beside a picture that has nothing to do with it."""
    photos = stock.of("photo")
    if not photos or stock.rng.random() < alone:
        return {"audio": sound.path}, (sound,)
    photo = stock.rng.choice(photos)
    return {"image": photo.path, "audio": sound.path}, (sound, photo)


def seen(stock: Stock, photo: Source, alone: float = 0.5) -> Media:
    """A picture, alone or beside speech or a sound that has nothing to do with it."""
    kind = stock.rng.choice(("speech", "sound"))
    others = clean_speech(stock) if kind == "speech" else stock.of("sound")
    if not others or stock.rng.random() < alone:
        return {"image": photo.path}, (photo,)
    other = stock.rng.choice(others)
    return {"image": photo.path, "audio": other.path}, (photo, other)


def silence(rng: random.Random) -> dict[str, Any]:
    """A sound recipe of silence: digital, or so weak that nobody hears it."""
    length = rng.choice((1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0))
    layers: list[dict[str, Any]] = []
    if rng.random() < 0.4:
        colour = rng.choice(("white", "pink", "brown"))
        layers = [{"noise": colour, "seed": rng.randrange(10_000), "level": rng.randrange(-96, -78)}]
    return {"length": length, "layers": layers}
