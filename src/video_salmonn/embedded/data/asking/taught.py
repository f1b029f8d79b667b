"""Questions about names that only the encoders' own heads know: labels that no collection gives."""

from __future__ import annotations

from collections.abc import Iterator

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import NO, YES, Media, heard, question
from video_salmonn.embedded.data.further.heard import ESC50
from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.embedded.data.wordings import named, plain_name, sentence

PICTURES = ("stamp", "caption", "material", "photo")


def _taught(stock: Stock) -> list[Source]:
    return [source for kind in PICTURES for source in stock.of(kind) if source.extra.get("names")]


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
