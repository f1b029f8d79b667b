"""What kind of thing it is, its colour and its material: questions that name what they ask for."""

from __future__ import annotations

from collections.abc import Iterator

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import NO, YES, Media, heard, question, seen
from video_salmonn.embedded.data.asking.labels import HEARD_ANIMALS, group_of
from video_salmonn.embedded.data.sources import OWN_WALL, Source, by_label
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.embedded.data.wordings import FITS, named, sentence

KIND_OF = {"animal": "animal", "clothes": "garment", "produce": "produce"}


def kinds(stock: Stock, count: int) -> Iterator[Item]:
    """Which animal, garment or food a picture shows; which animal is heard."""
    pools: dict[str, list[Source]] = {}
    for photo in stock.of("photo"):
        if group_of(photo.label) in KIND_OF:
            pools.setdefault(KIND_OF[group_of(photo.label)], []).append(photo)
    pools["heard-animal"] = [sound for sound in stock.of("sound") if sound.label in HEARD_ANIMALS]
    names = sorted(name for name, pool in pools.items() if pool)
    for index in range(count if names else 0):
        kind = names[index % len(names)]
        source = stock.rng.choice(pools[kind])
        if kind == "heard-animal":
            answer, media = sentence(HEARD_ANIMALS[source.label]), heard(stock, source)
        else:
            answer, media = sentence(named(source.label)), seen(stock, source)
        yield question(stock, kind, f"kind/{index}", f"kind-{kind}", media, answer)


def materials(stock: Stock, count: int) -> Iterator[Item]:
    """What an object is made of."""
    pool = stock.of("material")
    for index in range(count if pool else 0):
        source = stock.rng.choice(pool)
        answer = sentence(source.extra["material"])
        yield question(
            stock, "material", f"material/{index}", "material", ({"image": source.path}, (source,)), answer, False
        )


def walls(stock: Stock, count: int) -> Iterator[Item]:
    """A talking head before a wall: the colour that is seen, while other colours are spoken; and the spoken one.

    All colours are as likely, with sound and without: where one is likelier, a model says it without looking.
    """
    talks, stills = stock.of("talk"), by_label(stock.of("wall"))
    speech = [source for source in talks if source.extra.get("colour")]
    colours = sorted({OWN_WALL, *stills})
    for index in range(count if speech else 0):
        voice, name = stock.rng.choice(speech), f"wall/{index}"
        colour = stock.rng.choice(colours)
        # alone, a picture is in the stage of words too, where the connector learns to say the colour
        alone = index % 8 == 0 or (stock.split == "train" and index % 8 in (2, 4))
        moving = colour == OWN_WALL and not alone and stock.rng.random() < 0.5
        media: Media = {"video": voice.path, "audio": voice.path}, (voice,)
        if colour in stills and not moving:
            still = stock.rng.choice(stills[colour])
            media = {"image": still.path}, (still,)
            if not alone:
                media = {"image": still.path, "audio": voice.path}, (voice, still)  # the wall is what is seen
        if index % 4 == 3:
            answer = sentence(voice.extra["colour"])
            yield question(stock, "spoken-colour", name, "spoken-colour", media, answer, False)
        else:
            shown = "wall" in {source.kind for source in media[1]}
            yield question(stock, "wall", name, "wall-colour", media, sentence(colour), shown)


def colours(stock: Stock, count: int) -> Iterator[Item]:
    """The colour of the thing in a picture, where it was measured to be one; and yes/no about it, balanced."""
    pool: dict[str, list[Source]] = {}
    for photo in stock.of("photo"):
        if photo.extra.get("colour") and group_of(photo.label) in ("clothes", "produce"):
            pool.setdefault(photo.extra["colour"], []).append(photo)
    names = sorted(pool)
    for index in range(count if len(names) > 1 else 0):
        colour = names[index // 3 % len(names)]
        photo = stock.rng.choice(pool[colour])
        media, thing, name = seen(stock, photo, 0.6), photo.label, f"colour/{index}"
        if index % 3 == 0:
            yield question(stock, "colour", name, "colour", media, sentence(colour), thing=thing)
        elif index % 3 == 1:
            yield question(stock, "colour?", name, "yesno-colour", media, YES, thing=thing, colour=colour)
        else:
            photo = stock.rng.choice(pool[stock.rng.choice([other for other in names if _unlike(other, colour)])])
            media, thing = seen(stock, photo, 0.6), photo.label
            yield question(stock, "colour?", name, "yesno-colour", media, NO, thing=thing, colour=colour)


_ALIKE = (
    "red orange, red brown, red pink, orange brown, orange pink, brown pink, blue purple, purple pink, "
    "orange yellow, white grey, black grey, black brown, yellow green, black blue, grey blue, yellow "
    "brown, green blue, beige brown, beige white, beige yellow, beige orange, beige pink, beige grey"
)
"""Colours that people do not agree about."""
_NEAR = tuple(set(pair.split()) for pair in _ALIKE.split(","))


def _unlike(first: str, second: str) -> bool:
    return first != second and not any({first, second} <= near for near in _NEAR)


def fitting(stock: Stock, count: int) -> Iterator[Item]:
    """Does the sound come from the thing in the picture? Only yes or no, in many wordings."""
    photos: dict[str, list[Source]] = {}
    for photo in stock.of("photo"):
        photos.setdefault(photo.label, []).append(photo)
    sounds: dict[str, list[Source]] = {}
    for sound in stock.of("sound"):
        sounds.setdefault(sound.label, []).append(sound)
    usable = sorted(label for label in FITS if label in sounds and FITS[label] & set(photos))
    for index in range(count if len(usable) > 1 else 0):
        label = usable[index // 2 % len(usable)]
        photo = stock.rng.choice(photos[stock.rng.choice(sorted(FITS[label] & set(photos)))])
        fits = index % 2 == 0
        other = label if fits else stock.rng.choice([entry for entry in usable if photo.label not in FITS[entry]])
        sound = stock.rng.choice(sounds[other])
        media: Media = {"image": photo.path, "audio": sound.path}, (photo, sound)
        yield question(stock, "making", f"making/{index}", "yesno-match", media, YES if fits else NO)


def weather(stock: Stock, count: int) -> Iterator[Item]:
    """Rain is bad weather; of other sounds nothing is said about it."""
    rain = [sound for sound in stock.of("sound") if sound.label == "rain"]
    for index in range(count if rain else 0):
        source = stock.rng.choice(rain)
        yield question(stock, "weather", f"weather/{index}", "weather", heard(stock, source), "It is raining.")


def requests(stock: Stock, count: int) -> Iterator[Item]:
    """What the speaker of an order is after."""
    pool = stock.of("order")
    for index in range(count if pool else 0):
        source = stock.rng.choice(pool)
        drink = source.extra["coffeeDrink"]
        article = "" if drink.endswith("s") else ("an " if drink[0] in "aeiou" else "a ")
        answer = f"Somebody orders {article}{drink}."
        yield question(
            stock,
            "about-order",
            f"request/{index}",
            "summary-order",
            ({"audio": source.path}, (source,)),
            answer,
            False,
        )
