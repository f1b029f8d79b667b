"""Items out of sources. Each function yields the items of one task group for one split.

Sound and picture are combined freely: a picture with speech about something else, with a sound that fits or does not,
speech over sounds, events in order, spoken questions. Combining an existing sound with a picture costs no encoding.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.data.media_recipes import MediaRecipe
from video_salmonn.embedded.data.sources import UNSEEN_CLASSES, Source, by_label
from video_salmonn.embedded.data.stock import NO_PICTURE, NO_SOUND, NOT_SAID, NOTHING_SAID, Stock, spans_of, words_of
from video_salmonn.embedded.data.synthesis import random_noise, random_voice, spoken_sentence
from video_salmonn.embedded.data.wordings import (
    ANIMALS,
    FITS,
    SPOKEN_QUESTIONS,
    named,
    pick,
    sentence,
    sound_phrase,
)
from video_salmonn.embedded.data.wordnet import packs

Composer = Callable[[Stock, int], Iterator[Item]]


def transcripts(stock: Stock, count: int) -> Iterator[Item]:
    """Real speech, each recording once (``count`` is ignored); machine-made transcripts weigh half."""
    for source in _transcribed(stock):
        yield _transcript(stock, f"transcribe/{source.id}", source.path, source)


def _transcribed(stock: Stock) -> list[Source]:
    """Speech with a text that has no digits, which could be spoken in several ways."""
    return [source for source in stock.of("speech") if source.text and not any(char.isdigit() for char in source.text)]


def _transcript(stock: Stock, name: str, sound: MediaRecipe, source: Source) -> Item:
    """What is said in a recording, itself or changed."""
    item = stock.asked("transcribe", name, {"audio": sound}, source.text, source, words=True)
    return Item(**{**vars(item), "weight": 0.5}) if source.extra.get("machine") else item


PACES = ((0.86, 0.94), (1.06, 1.14))
"""Of read speech that is heard again: slower and lower, faster and higher."""


def paced(stock: Stock, count: int) -> Iterator[Item]:
    """Read speech again at other speeds, in rooms and noise: more voices than there are readers (training only;
    ``count`` is ignored)."""
    for source in _transcribed(stock) if stock.split == "train" else ():
        if not source.id.startswith("librispeech"):
            continue
        for place, (slowest, fastest) in enumerate(PACES):
            rng = random.Random(f"paced/{source.id}/{place}")
            layer = {"file": source.path, "speed": round(rng.uniform(slowest, fastest), 2)}
            if rng.random() < 0.5:
                layer |= {"room": rng.randrange(1000)}
            layers: list[dict[str, Any]] = [layer | {"level": rng.randrange(-26, -14)}]
            if rng.random() < 0.3:
                layers.append(random_noise(rng))
            yield _transcript(stock, f"transcribe/paced:{source.id}/{place}", {"layers": layers}, source)


def synthetic(stock: Stock, count: int) -> Iterator[Item]:
    """Synthetic speech: every sentence once, then again with another voice until ``count``."""
    for index in range(count if stock.sentences else 0):
        again, place = divmod(index, len(stock.sentences))
        text = stock.sentences[place]
        name = f"transcribe/synthetic:{place}/{again}"
        recipe = spoken_sentence(text, f"{text}/{again}")
        yield stock.asked("transcribe", name, {"audio": recipe}, text, words={"said": text})


def vocabulary(stock: Stock, count: int) -> Iterator[Item]:
    """Synthetic speech of sentences chosen for their words, several to a segment (``count`` is ignored)."""
    for index, group in enumerate(packs(stock.vocabulary)):
        name = f"transcribe/vocabulary:{index}"
        recipe = spoken_sentence(". ".join(group), f"vocabulary/{index}/{group[0]}")
        text = " ".join(group)
        yield stock.asked("transcribe", name, {"audio": recipe}, text, words={"said": text})


def sounds(stock: Stock, count: int) -> Iterator[Item]:
    """Every sound by name."""
    for source in stock.of("sound"):
        name = f"sound/{source.id}"
        answer = sentence(sound_phrase(source.label))
        yield stock.asked("sound", name, {"audio": source.path}, answer, source, words=True)


def pictures(stock: Stock, count: int) -> Iterator[Item]:
    """Every photograph by its class, stamps and captioned pictures by their captions."""
    for source in stock.of("photo"):
        name = f"picture/{source.id}"
        answer = sentence(named(source.label))
        task = "picture-unseen" if source.label in UNSEEN_CLASSES else ""
        yield stock.asked("picture", name, {"image": source.path}, answer, source, task=task, words=True)
    for source in stock.of("stamp") + stock.of("caption"):
        if len(source.text) < 90 and not source.text.endswith("!"):
            kind = "picture" if source.kind == "stamp" else "caption"
            name = f"{kind}/{source.id}"
            answer = source.text.rstrip(".") + "."
            yield stock.asked(kind, name, {"image": source.path}, answer, source, words=True)


def picture_with_speech(stock: Stock, count: int) -> Iterator[Item]:
    """A photograph with speech about something else: one asked for, the other, or both."""
    for index, (photo, speech) in enumerate(zip(stock.some("photo", count), stock.some("speech", count))):
        if any(char.isdigit() for char in speech.text):
            continue
        media = {"image": photo.path, "audio": speech.path}
        task = ("transcribe", "picture", "both")[index % 3]
        name = f"picture+speech/{index}"
        seen = named(photo.label)
        answer = {
            "transcribe": speech.text,
            "picture": sentence(seen),
            "both": f"It says: {speech.text}. It shows {seen}.",
        }[task]
        yield stock.asked(task, name, media, answer, photo, speech, task=f"{task}-av", words=True)


def picture_with_sound(stock: Stock, count: int) -> Iterator[Item]:
    """A photograph with any sound: sound, picture, or both asked for."""
    for index, (photo, sound) in enumerate(zip(stock.some("photo", count), stock.some("sound", count))):
        task = ("sound", "picture", "both-sound")[index % 3]
        name = f"picture+sound/{index}"
        heard, seen = sound_phrase(sound.label), named(photo.label)
        answer = {
            "sound": sentence(heard),
            "picture": sentence(seen),
            "both-sound": f"I hear {heard}. I see {seen}.",
        }[task]
        media = {"image": photo.path, "audio": sound.path}
        yield stock.asked(task, name, media, answer, photo, sound, task=f"{task}-av", words=True)


def matches(stock: Stock, count: int) -> Iterator[Item]:
    """Does the sound fit the picture? Half of the pairs do; sounds and pictures are the same in both halves.

    The answer names both before it decides: the verdict then depends on words that were already written.
    """
    shown = by_label(stock.of("photo"))
    fitting: list[tuple[Source, Source]] = []
    for sound in stock.of("sound"):
        photos = [photo for label in FITS.get(sound.label, ()) for photo in shown.get(label, ())]
        fitting += [(photo, sound) for photo in photos]
    fitting = pick(stock.rng, fitting, min(count // 2, len(fitting)))
    for index, (photo, sound) in enumerate(fitting):
        others = [other for _, other in fitting if photo.label not in FITS[other.label]]
        if not others:
            continue
        wrong = stock.rng.choice(others)
        for verdict, heard in (("Yes.", sound), ("No.", wrong)):
            name = f"match/{index}/{verdict[0].lower()}"
            media = {"image": photo.path, "audio": heard.path}
            answer = f"I hear {sound_phrase(heard.label)}. I see {named(photo.label)}. {verdict}"
            yield stock.asked("match", name, media, answer, photo, heard, words=True)
    stamps = [stamp for stamp in stock.of("stamp") if stamp.extra.get("sound") and len(stamp.text) < 30]
    for index, stamp in enumerate(stamps):
        other = stock.rng.choice([entry for entry in stamps if entry.text != stamp.text])
        for verdict, heard in (("Yes.", stamp), ("No.", other)):
            name = f"match/stamp/{index}/{verdict[0].lower()}"
            media = {"image": stamp.path, "audio": heard.extra["sound"]}
            answer = f"I hear {_phrase(heard.text)}. I see {_phrase(stamp.text)}. {verdict}"
            yield stock.asked("match", name, media, answer, stamp)


def _phrase(caption: str) -> str:
    """``A duck.`` -> ``a duck``."""
    text = caption.rstrip(".!")
    return text[:1].lower() + text[1:]


def speech_presence(stock: Stock, count: int) -> Iterator[Item]:
    """Is anybody speaking? Speech against sounds and bare noise."""
    for index in range(count):
        name = f"speech-present/{index}"
        if index % 2:
            (source,) = stock.some("speech", 1)
            yield stock.asked("speech-present", name, {"audio": source.path}, "Yes.", source)
        elif index % 10 == 0:
            recipe = {"length": 5, "layers": [random_noise(stock.rng)]}
            yield stock.asked("speech-present", name, {"audio": recipe}, "No.")
        else:
            (source,) = stock.some("sound", 1)
            yield stock.asked("speech-present", name, {"audio": source.path}, "No.", source)


def unanswerable(stock: Stock, count: int) -> Iterator[Item]:
    """Questions about what is not there."""
    for index in range(count):
        name = f"absent/{index}"
        there, asked, answer = (
            ("photo", "transcribe", NO_SOUND),
            ("sound", "transcribe", NOTHING_SAID),
            (("speech", "sound")[index % 2], "picture", NO_PICTURE),
        )[index % 3]
        (source,) = stock.some(there, 1)
        media = {"image" if there == "photo" else "audio": source.path}
        yield stock.asked(asked, name, media, answer, source, task="absent")


def event_order(stock: Stock, count: int) -> Iterator[Item]:
    """Two or three different sounds one after the other."""
    for index in range(count):
        drawn: dict[str, Source] = {}
        for source in stock.some("sound", 8):
            drawn.setdefault(source.label, source)
        events = list(drawn.values())[: 2 + index % 2]
        layers: list[dict[str, Any]] = []
        for place, source in enumerate(events):
            layers.append({"file": source.path, "to": 3.0, "at": 3.2 * place, "level": -20})
        names = [sound_phrase(source.label) for source in events]
        task = ("first", "last", "order")[index % 3]
        answer = {"first": sentence(names[0]), "last": sentence(names[-1]), "order": sentence(", then ".join(names))}
        name = f"events/{index}"
        media = {"audio": {"length": 3.2 * len(events), "layers": layers}}
        spans = spans_of("heard", [(layer["at"], layer["at"] + 3.0) for layer in layers], names)
        yield stock.asked(task, name, media, answer[task], *events, task=f"event-{task}", spans=spans)


def said_around_event(stock: Stock, count: int) -> Iterator[Item]:
    """A sentence, a sound, another sentence: what was said before or after?"""
    short = [source for source in stock.of("speech") if len(source.text.split()) <= 7 and source.text.isascii()]
    short = [source for source in short if source.id.startswith("speechocean")]
    for index in range(count if len(short) > 1 else 0):
        first, second = stock.rng.sample(short, 2)
        (event,) = stock.some("sound", 1)
        layers: list[dict[str, Any]] = [
            {"file": first.path, "to": 4.5, "level": -20},
            {"file": event.path, "to": 2.0, "at": 4.6, "level": -20},
            {"file": second.path, "at": 6.8, "level": -20},
        ]
        task = ("said-before", "said-after")[index % 2]
        answer = (first, second)[index % 2].text
        name = f"around/{index}"
        heard, used = sound_phrase(event.label), (first, second, event)
        media = {"audio": {"layers": layers}}
        said = {"said": f"{first.text} {second.text}"}
        spans = spans_of("heard", [(4.6, 6.6)], [heard])
        yield stock.asked(task, name, media, answer, *used, words=said, spans=spans, event=heard)


def speech_over_sound(stock: Stock, count: int) -> Iterator[Item]:
    """Speech with a sound behind it, 6 to 18 dB weaker."""
    voices = [source for source in stock.some("speech", 2 * count) if not any(c.isdigit() for c in source.text)]
    for index, (voice, sound) in enumerate(zip(voices[:count], stock.some("sound", count))):
        weaker = stock.rng.randrange(6, 18)
        layers: list[dict[str, Any]] = [
            {"file": voice.path, "level": -20, "at": 0.2},
            {"file": sound.path, "level": -20 - weaker},
        ]
        task = ("transcribe", "transcribe", "background")[index % 3]
        answer = voice.text if task == "transcribe" else sentence(sound_phrase(sound.label))
        name = f"over/{index}"
        media = {"audio": {"layers": layers}}
        yield stock.asked(task, name, media, answer, voice, sound, task=f"{task}-over", words=True)


def digit_strings(stock: Stock, count: int) -> Iterator[Item]:
    """One to six spoken digits of one speaker."""
    words = ["one", "two", "three", "four", "five", "six"]
    by_speaker: dict[str, list[Source]] = {}
    for source in stock.of("digit"):
        by_speaker.setdefault(source.extra["speaker"], []).append(source)
    for index in range(count if by_speaker else 0):
        speaker = stock.rng.choice(sorted(by_speaker))
        chosen = stock.rng.sample(by_speaker[speaker], stock.rng.randint(1, 6))
        layers = [
            {"file": source.path, "at": round(0.2 + 0.95 * place, 2), "level": -20}
            for place, source in enumerate(chosen)
        ]
        task = ("digits", "count-digits")[index % 2]
        spoken = " ".join(source.text for source in chosen)
        answer = spoken if task == "digits" else sentence(words[len(chosen) - 1])
        name = f"digits/{index}"
        yield stock.asked(task, name, {"audio": {"layers": layers}}, answer, *chosen)


_SLOTS = {"size": "size", "roast": "roast", "numberOfShots": "number of shots"}


def orders(stock: Stock, count: int) -> Iterator[Item]:
    """Slots of spoken orders, also those that are not said."""
    for source in stock.of("order"):
        name = f"order/{source.id}/drink"
        drink = sentence(source.extra["coffeeDrink"])
        yield stock.asked("order-drink", name, {"audio": source.path}, drink, source, task="order")
        for slot, words in _SLOTS.items():
            value = source.extra.get(slot)
            if value or stock.rng.random() < 0.25:
                name = f"order/{source.id}/{slot}"
                answer, media = sentence(value) if value else NOT_SAID, {"audio": source.path}
                yield stock.asked("order-slot", name, media, answer, source, task="order", slot=words)


def talking_heads(stock: Stock, count: int) -> Iterator[Item]:
    """GRID: what is said, who is seen, single words, and sound alone."""
    for index, source in enumerate(stock.of("talk")):
        media = {"video": source.path, "audio": source.path}
        for task in ("transcribe", "grid-slot", "picture", "both"):
            name = f"talk/{source.id}/{task}"
            slots: dict[str, Any] = {"slot": ("colour", "letter", "digit")[index % 3]} if task == "grid-slot" else {}
            answer = {
                "transcribe": source.text,
                "picture": sentence(f"{source.label} speaking"),
                "both": f"It says: {source.text}. It shows {source.label} speaking.",
                "grid-slot": sentence(source.extra[slots["slot"]]) if slots else "",
            }[task]
            yield stock.asked(task, name, media, answer, source, task=f"{task}-talk", words=True, **slots)
        name = f"talk/{source.id}/sound-only"
        words = {"said": source.text}
        yield stock.asked("transcribe", name, {"audio": source.path}, source.text, source, words=words)


def spoken_questions(stock: Stock, count: int) -> Iterator[Item]:
    """A picture, and a (synthetic) voice that asks about it."""
    for index, photo in enumerate(stock.some("photo", count)):
        kind = ("picture", "picture", "animal")[index % 3]
        training, held_out = SPOKEN_QUESTIONS[kind]
        asked = stock.rng.choice(training if stock.split == "train" else held_out)
        answer = sentence(named(photo.label)) if kind == "picture" else "Yes." if photo.label in ANIMALS else "No."
        media = {"image": photo.path, "audio": {"layers": [random_voice(asked, stock.rng) | {"at": 0.3}]}}
        name = f"spoken/{index}"
        yield stock.asked("spoken-question", name, media, answer, photo)


def picture_order(stock: Stock, count: int) -> Iterator[Item]:
    """Two pictures one after the other, with or without unrelated sound."""
    for index in range(count):
        first, second = stock.some("photo", 2)
        if first.label == second.label:
            continue
        slides = [{"file": first.path, "at": 0.0}, {"file": second.path, "at": 3.0}]
        media: dict[str, Any] = {"video": {"length": 6.0, "slides": slides}}
        used = [first, second]
        if index % 2:
            used += stock.some("sound", 1)
            media["audio"] = used[-1].path
        task = ("first-picture", "last-picture")[index // 2 % 2]
        answer = sentence(named((first, second)[index // 2 % 2].label))
        name = f"slides/{index}"
        spans = spans_of("seen", [(0.0, 3.0), (3.0, 6.0)], [named(photo.label) for photo in (first, second)])
        words = words_of(*used[2:])
        yield stock.asked(task, name, media, answer, *used, words=words, spans=spans)


COMPOSERS: dict[str, tuple[Composer, int]] = {
    "transcripts": (transcripts, 0),
    "synthetic": (synthetic, 2232),
    "vocabulary": (vocabulary, 0),
    "sounds": (sounds, 0),
    "pictures": (pictures, 0),
    "picture_with_speech": (picture_with_speech, 5000),
    "picture_with_sound": (picture_with_sound, 2500),
    "matches": (matches, 600),
    "speech_presence": (speech_presence, 400),
    "unanswerable": (unanswerable, 600),
    "event_order": (event_order, 600),
    "said_around_event": (said_around_event, 900),
    "speech_over_sound": (speech_over_sound, 700),
    "digit_strings": (digit_strings, 900),
    "orders": (orders, 0),
    "talking_heads": (talking_heads, 0),
    "spoken_questions": (spoken_questions, 1500),
    "picture_order": (picture_order, 1500),
    "paced": (paced, 0),
}
"""Task group -> (function, items in the training split; 0 where the sources decide)."""
