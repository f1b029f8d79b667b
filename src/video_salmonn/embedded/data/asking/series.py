"""One thing after another: sounds, pictures and digits, in order and in number.

Items of sounds or pictures state ``spans``: by ``heard`` or ``seen`` a list of [from, to, name], in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import NUMBERS, Media, clean_speech, in_turn, question
from video_salmonn.embedded.data.sources import Source, by_label
from video_salmonn.embedded.data.stock import Stock, words_of
from video_salmonn.embedded.data.wordings import named, sentence, sound_phrase

KINDS = ("first-sound", "last-sound", "order-sounds", "after-sound", "before-sound", "count-sounds")


def _different(stock: Stock, known: dict[str, list[Source]], wanted: int) -> list[Source]:
    """So many sources of different labels, each label as likely as any other."""
    labels = stock.rng.sample(sorted(known), min(wanted, len(known)))
    return [stock.rng.choice(known[label]) for label in labels]


def sound_series(stock: Stock, count: int) -> Iterator[Item]:
    """Two or three sounds, of varied length and distance: the first, the last, all, the next, how many."""
    sounds = by_label(stock.of("sound"))
    for index in range(count if sounds else 0):
        kind = KINDS[index % len(KINDS)]
        number = stock.rng.choice((1, 2, 3)) if kind == "count-sounds" else stock.rng.choice((2, 2, 3))
        events = _different(stock, sounds, number)
        if len(events) < number:
            return
        length = stock.rng.choice((2.0, 2.5, 3.0, 3.0))
        gap = stock.rng.choice((0.2, 0.5, 0.8))
        layers: list[dict[str, Any]] = [
            {"file": source.path, "to": length, "at": round(place * (length + gap), 2), "level": -20}
            for place, source in enumerate(events)
        ]
        names = [sound_phrase(source.label) for source in events]
        place = stock.rng.randrange(number - 1) if number > 1 else 0
        fields = {"after-sound": names[place], "before-sound": names[min(place + 1, number - 1)]}
        answer = {
            "first-sound": names[0],
            "last-sound": names[-1],
            "order-sounds": ", then ".join(names),
            "after-sound": names[min(place + 1, number - 1)],
            "before-sound": names[place],
            "count-sounds": NUMBERS[number],
        }[kind]
        task = {"first-sound": "event-first", "last-sound": "event-last", "order-sounds": "event-order"}.get(kind, kind)
        media: Media = {"audio": {"length": round(number * (length + gap), 2), "layers": layers}}, tuple(events)
        event = {"event": fields[kind]} if kind in fields else {}
        item = question(stock, kind, f"series/{index}", task, media, sentence(answer), False, **event)
        times = [(layer["at"], round(layer["at"] + length, 2)) for layer in layers]
        yield in_turn(item, "heard", times, names)


def picture_series(stock: Stock, count: int) -> Iterator[Item]:
    """One to four pictures in turn, some with speech or a sound that does not belong: the first, the last, how many."""
    others = {"speech": clean_speech(stock), "sound": stock.of("sound")}
    pictures = by_label(stock.of("photo"))
    for index in range(count if pictures else 0):
        kind = ("first-picture", "last-picture", "count-pictures")[index % 3]
        number = stock.rng.choice((1, 2, 3, 4)) if kind == "count-pictures" else stock.rng.choice((2, 2, 3))
        photos = _different(stock, pictures, number)
        if len(photos) < number:
            return
        shown = stock.rng.choice((1.5, 2.0, 2.5, 3.0))
        slides = [{"file": photo.path, "at": place * shown} for place, photo in enumerate(photos)]
        media: dict[str, Any] = {"video": {"length": number * shown, "slides": slides}, "audio": None}
        used = list(photos)
        pool = others[stock.rng.choice(("speech", "sound"))]
        if pool and stock.rng.random() < 0.4:
            used.append(stock.rng.choice(pool))
            media["audio"] = used[-1].path
        answer = {"first-picture": named(photos[0].label), "last-picture": named(photos[-1].label)}.get(
            kind, NUMBERS[number]
        )
        beside = words_of(*used[number:])
        times = [(place * shown, (place + 1) * shown) for place in range(number)]
        item = question(stock, kind, f"slides-more/{index}", kind, (media, tuple(used)), sentence(answer), beside)
        yield in_turn(item, "seen", times, [named(photo.label) for photo in photos])


def digit_series(stock: Stock, count: int) -> Iterator[Item]:
    """One to eight digits of one speaker, at varied pace: which, and how many. All lengths are as likely."""
    by_speaker: dict[str, list[Source]] = {}
    for source in stock.of("digit"):
        by_speaker.setdefault(source.extra["speaker"], []).append(source)
    for index in range(count if by_speaker else 0):
        own = by_speaker[stock.rng.choice(sorted(by_speaker))]
        number = stock.rng.randint(1, 8)
        chosen = [stock.rng.choice(own) for _ in range(number)]
        pace = stock.rng.choice((0.75, 0.85, 0.95, 1.1))
        layers = [
            {"file": source.path, "at": round(0.2 + pace * place, 2), "level": -20}
            for place, source in enumerate(chosen)
        ]
        kind = ("digits", "count-digits")[index % 2]
        spoken = " ".join(source.text for source in chosen)
        answer = spoken if kind == "digits" else sentence(NUMBERS[number])
        media: Media = {"audio": {"layers": layers}}, tuple(chosen)
        yield question(stock, kind, f"digits-more/{index}", kind, media, answer, {"said": spoken})
