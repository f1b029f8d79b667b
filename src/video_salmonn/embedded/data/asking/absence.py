"""Questions about a sense that is not there: no picture, no sound, nothing said, or a silent track."""

from __future__ import annotations

from collections.abc import Iterator

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import (
    NO_PICTURE,
    NO_SOUND,
    NOTHING_SAID,
    SILENT,
    Media,
    clean_speech,
    question,
    silence,
)
from video_salmonn.embedded.data.asking.wordings import put
from video_salmonn.embedded.data.stock import Stock, words_of
from video_salmonn.embedded.data.wordings import named, sentence

ABOUT_SIGHT = ("picture", "wall", "animal", "produce", "garment", "count-people", "first-picture", "colour", "material")
ABOUT_SOUND = ("sound", "transcribe", "gender", "language", "heard-animal", "first-word", "count-speakers", "weather")
ABOUT_SPEECH = ("transcribe", "gender", "language", "first-word", "last-word", "digits", "spoken-colour", "which")
THINGS = ("wall", "car", "shirt", "sky", "house", "bag", "table", "cat", "hat", "chair", "bottle", "flower")
CATEGORIES = ("animal", "fruit", "number", "colour", "name", "city", "country")


def _fields(stock: Stock, kind: str) -> dict[str, str]:
    return {"colour": {"thing": stock.rng.choice(THINGS)}, "which": {"category": stock.rng.choice(CATEGORIES)}}.get(
        kind, {}
    )


def no_picture(stock: Stock, count: int) -> Iterator[Item]:
    """Sound alone, asked what is to be seen."""
    pools = [clean_speech(stock), stock.of("sound")]
    for index in range(count if all(pools) else 0):
        source = stock.rng.choice(pools[index % 2])
        kind = ABOUT_SIGHT[index // 2 % len(ABOUT_SIGHT)]
        media: Media = ({"audio": silence(stock.rng)}, ()) if index % 14 == 0 else ({"audio": source.path}, (source,))
        name = f"no-picture/{index}"
        yield question(stock, kind, name, "absent-picture", media, NO_PICTURE, True, **_fields(stock, kind))


def no_sound(stock: Stock, count: int) -> Iterator[Item]:
    """A picture alone, asked what is to be heard."""
    photos = stock.of("photo") + stock.of("caption")
    for index in range(count if photos else 0):
        source = stock.rng.choice(photos)
        kind = ABOUT_SOUND[index % len(ABOUT_SOUND)]
        media: Media = {"image": source.path}, (source,)
        if index % 5 == 4:
            other = stock.rng.choice(photos)
            slides = [{"file": source.path, "at": 0.0}, {"file": other.path, "at": 2.0}]
            media = {"video": {"length": 4.0, "slides": slides}, "audio": None}, (source, other)
        name = f"no-sound/{index}"
        known = index % 5 != 4
        yield question(stock, kind, name, "absent-sound", media, NO_SOUND, known, **_fields(stock, kind))


def nothing_said(stock: Stock, count: int) -> Iterator[Item]:
    """Sounds and music without speech, asked about the speech; some beside a picture."""
    sounds, photos = stock.of("sound"), stock.of("photo")
    for index in range(count if sounds and photos else 0):
        sound, photo = stock.rng.choice(sounds), stock.rng.choice(photos)
        kind = ABOUT_SPEECH[index % len(ABOUT_SPEECH)]
        media: Media = {"audio": sound.path}, (sound,)
        if index % 10 == 3:
            music = {"music": stock.rng.randrange(10**6), "level": -20}
            media = {"audio": {"length": stock.rng.choice((4, 6, 8)), "layers": [music]}}, ()
        elif index % 3 == 0:
            media = {"image": photo.path, "audio": sound.path}, (sound, photo)
        name = f"nothing-said/{index}"
        yield question(stock, kind, name, "absent-speech", media, NOTHING_SAID, True, **_fields(stock, kind))


def silent_track(stock: Stock, count: int) -> Iterator[Item]:
    """A track that is there and silent, alone and beside a picture; and the picture asked for all the same."""
    photos = stock.of("photo")
    for index in range(count if photos else 0):
        photo = stock.rng.choice(photos)
        kind = ABOUT_SOUND[index % len(ABOUT_SOUND)]
        media: Media = {"audio": silence(stock.rng)}, ()
        if index % 3:
            media = {"image": photo.path, **media[0]}, (photo,)
        name = f"silent/{index}"
        if index % 9 == 4:
            yield question(stock, "picture", name, "picture-av", media, sentence(named(photo.label)))
        elif index % 9 == 7:
            asked = put("general-both", name, stock.split)
            answer = f"It is silent. I see {named(photo.label)}."
            yield stock.item(
                name,
                "both-silent",
                media[0],
                asked,
                answer,
                *media[1],
                words=words_of(*media[1]) | {"heard": "silence"},
            )
        else:
            yield question(stock, kind, name, "silent", media, SILENT, True, **_fields(stock, kind))
