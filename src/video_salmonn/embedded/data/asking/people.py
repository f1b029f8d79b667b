"""Who speaks: man or woman, how many, in which language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import NO, NUMBERS, YES, Media, clean_speech, heard, question
from video_salmonn.embedded.data.asking.labels import group_of
from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.embedded.data.wordings import sentence

LANGUAGES = {
    "train": ("French", "Spanish", "Italian", "Dutch", "Chinese", "Arabic", "Polish", "Japanese", "Turkish"),
    "dev": ("Portuguese", "Hindi"),
    "test": ("Russian", "German", "Korean", "Swedish"),
}


def by_gender(stock: Stock) -> dict[str, dict[str, list[Source]]]:
    """Speech by its speaker's gender and by speaker, of grown-ups whose gender is known."""
    found: dict[str, dict[str, list[Source]]] = {"man": {}, "woman": {}}
    for source in stock.of("speech") + stock.of("talk"):
        gender = source.extra.get("gender")
        if gender in found:
            found[gender].setdefault(source.extra.get("speaker") or source.label, []).append(source)
    return found


def _media(stock: Stock, source: Source) -> Media:
    if source.kind == "talk":
        return {"video": source.path, "audio": source.path}, (source,)
    return heard(stock, source, 0.7)


def genders(stock: Stock, count: int) -> Iterator[Item]:
    """Man or woman, as often the one as the other, one utterance of many speakers; and yes/no about it."""
    speakers = by_gender(stock)
    for index in range(count if all(speakers.values()) else 0):
        gender = ("man", "woman")[index % 2]
        source = stock.rng.choice(speakers[gender][stock.rng.choice(sorted(speakers[gender]))])
        media, name = _media(stock, source), f"gender/{index}"
        if index % 6 < 4:
            yield question(stock, "gender", name, "gender", media, f"A {gender}.")
        else:
            asked = stock.rng.choice(("man", "woman"))
            yield question(stock, "gender?", name, "yesno-gender", media, YES if asked == gender else NO, who=asked)


def languages(stock: Stock, count: int) -> Iterator[Item]:
    """All speech here is English; other languages are asked for with the answer No."""
    speech = clean_speech(stock) + stock.of("talk")
    for index in range(count if speech else 0):
        media, name = _media(stock, stock.rng.choice(speech)), f"language/{index}"
        if index % 2:
            yield question(stock, "language", name, "language", media, "English.")
        else:
            asked = "English" if index % 4 == 0 else stock.rng.choice(LANGUAGES[stock.split])
            answer = YES if asked == "English" else NO
            yield question(stock, "language?", name, "yesno-language", media, answer, language=asked)


def speaker_counts(stock: Stock, count: int) -> Iterator[Item]:
    """One to three people speak in turn, of different gender where two follow each other; or nobody."""
    speakers = by_gender(stock)
    sounds, photos = stock.of("sound"), stock.of("photo")
    short = {
        gender: {name: own for name, sources in known.items() if (own := [s for s in sources if s.kind == "speech"])}
        for gender, known in speakers.items()
    }
    for index in range(count if all(short.values()) and sounds and photos else 0):
        wanted, name = (1, 2, 3, 2, 1, 0)[index % 6], f"speakers/{index}"
        if wanted == 0:
            source = stock.rng.choice(sounds)
            yield question(
                stock, "count-speakers", name, "count-speakers", ({"audio": source.path}, (source,)), "None."
            )
            continue
        first = stock.rng.randrange(2)
        used: list[Source] = []
        layers: list[dict[str, Any]] = []
        for place in range(wanted):
            known = short[("man", "woman")[(first + place) % 2]]
            names = [entry for entry in sorted(known) if not any(entry == s.extra.get("speaker") for s in used)]
            if not names:
                break
            used.append(stock.rng.choice(known[stock.rng.choice(names)]))
            piece: dict[str, Any] = {"file": used[-1].path, "to": 3.0, "at": 3.2 * place, "level": -20}
            layers.append(piece | ({"from": 0.0}))
        answer = sentence(NUMBERS[len(used)])
        media: Media = {"audio": {"layers": layers}}, tuple(used)
        yield question(stock, "count-speakers", name, "count-speakers", media, answer, False)


def people_seen(stock: Stock, count: int) -> Iterator[Item]:
    """How many people are seen: one who speaks to the camera; as many as a picture's boxes say; nobody among things."""
    talks, captions = stock.of("talk"), [s for s in stock.of("caption") if s.extra.get("counts")]
    things = [photo for photo in stock.of("photo") if group_of(photo.label) in ("produce", "dairy")]
    for index in range(count if talks and things else 0):
        name = f"people/{index}"
        kind = index % 3
        if kind == 0:
            source = stock.rng.choice(talks)
            media: Media = {"video": source.path, "audio": source.path}, (source,)
            yield question(stock, "count-people", name, "count-people", media, "One.")
        elif kind == 1 and captions:
            source = stock.rng.choice(captions)
            people = source.extra["counts"].get("person", 0)
            answer = "None." if not people else sentence(NUMBERS[people]) if people < 5 else "Many."
            yield question(
                stock, "count-people", name, "count-people", ({"image": source.path}, (source,)), answer, False
            )
        else:
            source = stock.rng.choice(things)
            yield question(stock, "count-people", name, "count-people", ({"image": source.path}, (source,)), "None.")
