"""Questions about names that only the encoders' own heads know: labels that no collection gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import NO, YES, Media, clean_speech, heard, in_turn, question
from video_salmonn.embedded.data.further.heard import ESC50
from video_salmonn.embedded.data.further.seen import VAGUE, WIDER, imagenet_names, seen_phrase
from video_salmonn.embedded.data.sources import UNSEEN_CLASSES, Source
from video_salmonn.embedded.data.stock import Stock, words_of
from video_salmonn.embedded.data.wordings import named, plain_name, sentence

PICTURES = ("stamp", "caption", "material", "photo")
LASTS = 600.0
"""Seconds, longer than any item."""
CONTRADICTED = 2
"""Photographs with another label than the name that the head is sure of, from which on it is not taught."""


def _taught(stock: Stock) -> list[Source]:
    """Pictures that the head has a name for and no label of training: what has one is called by it."""
    return [
        source
        for kind in PICTURES
        for source in stock.of(kind)
        if source.extra.get("names") and (kind != "photo" or source.label in UNSEEN_CLASSES)
    ]


def _fresh(known: set[str], source: Source) -> str:
    """The head's name for a picture where neither its own label nor any of the known ones is that, or ""."""
    name = str(source.extra["names"][0])
    own = {source.label.lower(), named(source.label or "x").lower()}
    return "" if name.lower() in known | own else name


def teacher_pictures(stock: Stock, count: int) -> Iterator[Item]:
    """Pictures by the name that the head is sure of, where no label says it."""
    known = {named(photo.label).lower() for photo in stock.of("photo")}
    pool = [(source, name) for source in _taught(stock) if (name := _fresh(known, source))]
    by_name: dict[str, list[Source]] = {}
    for source, name in pool:
        by_name.setdefault(name, []).append(source)
    names = stock.rng.sample(sorted(by_name), len(by_name))
    limit = len(pool) if stock.split == "test" else count
    for index in range(limit if names else 0):
        name = names[index % len(names)]
        if stock.split == "test":
            source, name = pool[index]
        else:
            source = stock.rng.choice(by_name[name])
        media: Media = {"image": source.path}, (source,)
        words = {"seen": plain_name(sentence(name))}
        yield question(stock, "picture", f"taught/{index}", "picture-teacher", media, sentence(name), words)


def imagined_pictures(stock: Stock, count: int) -> Iterator[Item]:
    """Names of the head without a picture of them: photographs in whose features it sees another thing
    (:mod:`video_salmonn.encoders.imagined`), each name as often as any other; two of three are named, the third is
    asked for by yes or no. A third has speech or a sound beside it. The test has none: its pictures are real.
    """
    photos = stock.of("photo")
    others = [pool for pool in (clean_speech(stock), stock.of("sound")) if pool]
    refused = _contradicted(photos)
    numbers = [n for n, name in enumerate(imagenet_names()) if name not in VAGUE and seen_phrase(n) not in refused]
    order = stock.rng.sample(numbers, len(numbers))
    for index in range(count if photos and stock.split != "test" else 0):
        turn, place = divmod(index, len(order))
        number, photo = order[place], stock.rng.choice(photos)
        used = [photo]
        media: dict[str, Any] = {"image": {"file": photo.path, "imagine": number, "seed": index}}
        if others and stock.rng.random() < 1 / 3:
            used.append(stock.rng.choice(stock.rng.choice(others)))
            media["audio"] = used[-1].path
        name, whole, beside = f"imagined/{index}", (media, tuple(used)), words_of(*used[1:])
        if (turn + place) % 3 < 2:
            answer = sentence(seen_phrase(number))
            item = question(stock, "picture", name, "picture-imagined", whole, answer, beside)
        else:
            present = stock.rng.random() < 0.5
            asked = stock.rng.choice(_called(number) if present else [_absent(stock, number, numbers)])
            item = question(stock, "see-x", name, "yesno-picture", whole, YES if present else NO, beside, x=asked)
        yield in_turn(item, "seen", [(0.0, LASTS)], [seen_phrase(number)])


def _contradicted(photos: list[Source]) -> set[str]:
    """Names that the head is sure of in photographs that are called otherwise."""
    found = Counter(
        source.extra["names"][0]
        for source in photos
        if source.extra.get("names") and source.extra["names"][0].lower() != named(source.label).lower()
    )
    return {name for name, times in found.items() if times >= CONTRADICTED}


def _called(number: int) -> list[str]:
    """A name of the head, and those of the groups that it belongs to."""
    return [seen_phrase(number), *(group for group, members in WIDER.items() if number in members)]


def _absent(stock: Stock, number: int, numbers: list[int]) -> str:
    """Another name, of no group of this one."""
    groups = set(_called(number))
    while groups & set(_called(other := stock.rng.choice(numbers))):
        pass
    return stock.rng.choice(_called(other))


def teacher_sounds(stock: Stock, count: int) -> Iterator[Item]:
    """Held-out sounds of ESC-50's other classes (test only; in training they are sounds like any other, by the head's
    name); ``count`` is ignored."""
    for source in stock.of("unnamed-sound"):
        phrase = ESC50.get(source.label)
        if phrase:
            media: Media = {"audio": source.path}, (source,)
            yield question(stock, "sound", f"taught/{source.id}", "sound-teacher", media, sentence(phrase), False)


def teacher_presence(stock: Stock, count: int) -> Iterator[Item]:
    """Is it there? Of pictures and sounds, by what a head is sure is there and what it is sure is not; every name as
    often with the one answer as with the other."""
    pictures = [source for kind in PICTURES for source in stock.of(kind) if "names" in source.extra]
    sounds = [source for source in stock.of("sound") if "names" in source.extra]
    for kind, task, pool in (("see-x", "yesno-picture", pictures), ("hear-x", "yesno-sound", sounds)):
        there, absent = _by_name(pool, "names"), _by_name(pool, "absent")
        names = sorted(set(there) & set(absent))
        for index in range(count // 2 if names else 0):
            name = names[index // 2 % len(names)]
            present = index % 2 == 0
            source = stock.rng.choice((there if present else absent)[name])
            alone: Media = {"image": source.path}, (source,)
            media = heard(stock, source) if kind == "hear-x" else alone
            known = source.kind != "caption"
            answer = YES if present else NO
            yield question(stock, kind, f"{task}/taught/{index}", task, media, answer, known, x=name)


def _by_name(pool: list[Source], field: str) -> dict[str, list[Source]]:
    found: dict[str, list[Source]] = {}
    for source in pool:
        for name in source.extra[field]:
            found.setdefault(name, []).append(source)
    return found
