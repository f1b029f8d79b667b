"""Yes or no: is it there? The same things are asked for with both answers, so that the name alone says nothing."""

from __future__ import annotations

from collections.abc import Iterator

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import NO, YES, Media, clean_speech, heard, question, seen, silence
from video_salmonn.embedded.data.asking.labels import (
    HEARD_AS,
    WIDER,
    group_of,
    heard_apart,
    seen_apart,
    seen_as,
)
from video_salmonn.embedded.data.sources import by_label
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.embedded.data.synthesis import random_noise
from video_salmonn.embedded.data.wordings import sound_phrase


def heard_names(label: str) -> tuple[str, ...]:
    """Names for a sound in yes/no questions."""
    return HEARD_AS.get(label, (sound_phrase(label),))


def sound_presence(stock: Stock, count: int) -> Iterator[Item]:
    """Is a certain sound to be heard? Each sound's name is asked as often where it is as where it is not; some of the
    times there is only speech, or silence."""
    known = by_label(stock.of("sound"))
    labels = sorted(known)
    speech = clean_speech(stock)
    for index in range(count if len(labels) > 1 else 0):
        label = labels[index // 2 % len(labels)]
        names = heard_names(label)
        fields = {"x": stock.rng.choice(names)}
        name = f"yesno-sound/{index}"
        if index % 2 == 0:
            media = heard(stock, stock.rng.choice(known[label]))
            yield question(stock, "hear-x", name, "yesno-sound", media, YES, True, **fields)
            continue
        others = [other for other in labels if heard_apart(label, other)]
        draw = stock.rng.random()
        if draw < 0.12 and speech:
            media = heard(stock, stock.rng.choice(speech))
        elif draw < 0.18:
            media = {"audio": silence(stock.rng)}, ()
        elif others:
            media = heard(stock, stock.rng.choice(known[stock.rng.choice(others)]))
        else:
            continue
        yield question(stock, "hear-x", name, "yesno-sound", media, NO, True, **fields)


def picture_presence(stock: Stock, count: int) -> Iterator[Item]:
    """Is a certain thing to be seen? Names of things, and one in four times the name of a whole group."""
    known = by_label(stock.of("photo"))
    labels = sorted(known)
    groups = sorted({group_of(label) for label in labels} & set(WIDER))
    for index in range(count if len(labels) > 1 else 0):
        name = f"yesno-picture/{index}"
        present = index % 2 == 0
        if index // 2 % 4 == 3 and len(groups) > 1:
            group = groups[index // 8 % len(groups)]
            alike = {"produce", "dairy"} if group in ("produce", "dairy") else {group}
            pool = [
                label for label in labels if (group_of(label) == group if present else group_of(label) not in alike)
            ]
            asked = stock.rng.choice(WIDER[group])
        else:
            wanted = labels[index // 2 % len(labels)]
            pool = [wanted] if present else [label for label in labels if seen_apart(label, wanted)]
            asked = stock.rng.choice(seen_as(wanted))
        if pool:
            photo = stock.rng.choice(known[stock.rng.choice(pool)])
            answer = YES if present else NO
            yield question(stock, "see-x", name, "yesno-picture", seen(stock, photo), answer, x=asked)


def sense_presence(stock: Stock, count: int) -> Iterator[Item]:
    """Sound and picture that disagree, and a question about one sense: what is heard is not seen, and the other way."""
    sounds, photos = by_label(stock.of("sound")), by_label(stock.of("photo"))
    named_both = {"dog bark": ("dalmatian", "a dog"), "rooster": ("rooster", "a rooster"),
                  "helicopter": ("helicopter", "a helicopter")}  # fmt: skip
    usable = {label: pair for label, pair in named_both.items() if label in sounds and pair[0] in photos}
    for index in range(count if len(usable) > 1 else 0):
        label = sorted(usable)[index // 4 % len(usable)]
        own_photo, asked = usable[label]
        hears, sees = bool(index & 1), bool(index & 2)
        sound_label = (
            label if hears else stock.rng.choice([other for other in sorted(sounds) if heard_apart(other, label)])
        )
        photo_label = (
            own_photo if sees else stock.rng.choice([other for other in sorted(photos) if seen_apart(other, own_photo)])
        )
        sound, photo = stock.rng.choice(sounds[sound_label]), stock.rng.choice(photos[photo_label])
        media: Media = {"image": photo.path, "audio": sound.path}, (sound, photo)
        for kind, true in (("hear-x", hears), ("see-x", sees)):
            name = f"yesno-sense/{index}/{kind}"
            sense = {"hear-x": ("hear-sense", "hear"), "see-x": ("see-sense", "see")}[kind]
            yield question(stock, sense[0], name, "yesno-sense", media, YES if true else NO, x=asked)


def speech_present(stock: Stock, count: int) -> Iterator[Item]:
    """Is anybody speaking? Speech alone, beside a picture, over sounds and music; sounds, music, noise, silence."""
    speech, sounds = clean_speech(stock), stock.of("sound")
    for index in range(count if speech and sounds else 0):
        name = f"yesno-speech/{index}"
        voice, sound = stock.rng.choice(speech), stock.rng.choice(sounds)
        draw = stock.rng.random()
        if index % 2 == 0:
            media: Media = heard(stock, voice)
            if draw < 0.3:
                layers = [{"file": voice.path, "level": -20, "at": 0.2}, {"file": sound.path, "level": -34}]
                media = {"audio": {"layers": layers}}, (voice, sound)
            elif draw < 0.45:
                media = {"audio": {"layers": [{"file": voice.path, "level": -20}, music_layer(stock, -32)]}}, (voice,)
            yield question(stock, "speech?", name, "yesno-speech", media, YES)
            continue
        media = heard(stock, sound)
        if draw < 0.1:
            media = {"audio": {"length": 5, "layers": [random_noise(stock.rng)]}}, ()
        elif draw < 0.2:
            media = {"audio": silence(stock.rng)}, ()
        elif draw < 0.35:
            media = {"audio": {"length": stock.rng.choice((4, 6, 9)), "layers": [music_layer(stock, -20)]}}, ()
        yield question(stock, "speech?", name, "yesno-speech", media, NO, draw >= 0.1)


def music_layer(stock: Stock, level: int) -> dict[str, object]:
    """A layer of made-up music."""
    return {"music": stock.rng.randrange(10**6), "level": level}


def music_present(stock: Stock, count: int) -> Iterator[Item]:
    """Is there music? Made-up music alone, behind speech and beside pictures; against speech, sounds and silence."""
    speech, sounds, photos = clean_speech(stock), stock.of("sound"), stock.of("photo")
    for index in range(count if speech and sounds and photos else 0):
        name = f"yesno-music/{index}"
        voice, sound = stock.rng.choice(speech), stock.rng.choice(sounds)
        length = stock.rng.choice((4, 5, 6, 8, 10))
        alone = {"length": length, "layers": [music_layer(stock, stock.rng.randrange(-28, -14))]}
        behind = {"layers": [{"file": voice.path, "level": -20}, music_layer(stock, stock.rng.randrange(-34, -24))]}
        draw, musical = stock.rng.random(), index % 2 == 0
        if musical:
            media: Media = ({"audio": alone}, ()) if draw < 0.5 else ({"audio": behind}, (voice,))
            if draw > 0.8:
                photo = stock.rng.choice(photos)
                media = {"image": photo.path, **media[0]}, (*media[1], photo)
        else:
            media = heard(stock, voice if draw < 0.5 else sound)
            if draw > 0.92:
                media = {"audio": silence(stock.rng)}, ()
        if index % 8 == 0:
            yield question(stock, "sound", f"{name}/name", "sound-music", ({"audio": alone}, ()), "Music.")
        yield question(stock, "music?", name, "yesno-music", media, YES if musical else NO)


def silence_present(stock: Stock, count: int) -> Iterator[Item]:
    """Is it silent? Silence, also beside a picture, against all kinds of sound."""
    speech, sounds, photos = clean_speech(stock), stock.of("sound"), stock.of("photo")
    for index in range(count if speech and sounds and photos else 0):
        name = f"yesno-silent/{index}"
        if index % 2 == 0:
            media: Media = {"audio": silence(stock.rng)}, ()
            if index % 4 == 0:
                photo = stock.rng.choice(photos)
                media = {"image": photo.path, **media[0]}, (photo,)
        else:
            media = heard(stock, stock.rng.choice(speech if index % 4 == 1 else sounds))
        yield question(stock, "silent?", name, "yesno-silent", media, NO if index % 2 else YES)
