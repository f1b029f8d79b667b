"""Open questions, several turns about the same clip, and text alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import (
    NO,
    NO_PICTURE,
    NO_SOUND,
    NOTHING_SAID,
    UNKNOWN,
    YES,
    Media,
    clean_speech,
    question,
)
from video_salmonn.embedded.data.asking.grammar import readings
from video_salmonn.embedded.data.asking.labels import seen_apart, seen_as
from video_salmonn.embedded.data.asking.presence import heard_names
from video_salmonn.embedded.data.asking.unknowable import LINES
from video_salmonn.embedded.data.asking.wordings import put
from video_salmonn.embedded.data.sources import Source, bucket
from video_salmonn.embedded.data.stock import Stock, words_of
from video_salmonn.embedded.data.wordings import named, sentence, sound_phrase
from video_salmonn.errors import ManifestError
from video_salmonn.files import json_value, numbered_lines


def transcripts_again(stock: Stock, count: int) -> Iterator[Item]:
    """Speech asked for in many wordings, alone and beside pictures (every recording about as often)."""
    speech, photos = clean_speech(stock), stock.of("photo")
    order = stock.rng.sample(speech, len(speech))
    for index in range(count if speech and photos else 0):
        source = order[index % len(order)]
        media: Media = {"audio": source.path}, (source,)
        if index % 4 == 3:
            photo = stock.rng.choice(photos)
            media = {"image": photo.path, "audio": source.path}, (source, photo)
        task = "transcribe-free-av" if index % 4 == 3 else "transcribe-free"
        yield question(stock, "transcribe", f"said/{index}", task, media, source.text)


def names_again(stock: Stock, count: int) -> Iterator[Item]:
    """Sounds and pictures asked for in many wordings, alone and beside the other sense."""
    sounds, photos = stock.of("sound"), stock.of("photo")
    for index in range(count if sounds and photos else 0):
        sound, photo = stock.rng.choice(sounds), stock.rng.choice(photos)
        kind, source = (("sound", sound), ("picture", photo))[index % 2]
        media: Media = {"audio" if kind == "sound" else "image": source.path}, (source,)
        if index % 4 > 1:
            media = {"image": photo.path, "audio": sound.path}, (photo, sound)
        answer = sentence(sound_phrase(sound.label) if kind == "sound" else named(photo.label))
        task = f"{kind}-free" + ("-av" if index % 4 > 1 else "")
        yield question(stock, kind, f"named/{index}", task, media, answer)


def descriptions(stock: Stock, count: int) -> Iterator[Item]:
    """ "Describe this": what is heard, seen or both, in one or two short sentences of the same form."""
    sounds, photos, talks = stock.of("sound"), stock.of("photo"), stock.of("talk")
    speech = [source for source in clean_speech(stock) if len(source.text.split()) <= 20]
    for index in range(count if sounds and photos and speech else 0):
        sound, photo, voice = stock.rng.choice(sounds), stock.rng.choice(photos), stock.rng.choice(speech)
        name, kind = f"general/{index}", "general"
        case = index % 7
        if case == 0:
            media: Media = {"audio": sound.path}, (sound,)
            answer = f"I hear {sound_phrase(sound.label)}."
        elif case == 1:
            media, answer = ({"image": photo.path}, (photo,)), f"I see {named(photo.label)}."
        elif case == 2:
            media, answer = ({"audio": voice.path}, (voice,)), f"It says: {voice.text}."
        elif case == 3 and talks:
            talk = stock.rng.choice(talks)
            media = {"video": talk.path, "audio": talk.path}, (talk,)
            answer = f"It says: {talk.text}. It shows {talk.label} speaking."
        elif case in (3, 4):
            media = {"image": photo.path, "audio": voice.path}, (photo, voice)
            answer = f"It says: {voice.text}. It shows {named(photo.label)}."
            kind = ("general", "general-both")[index // 7 % 2]
        else:
            media = {"image": photo.path, "audio": sound.path}, (photo, sound)
            answer = f"I hear {sound_phrase(sound.label)}. I see {named(photo.label)}."
            kind = ("general", "general-both")[index // 7 % 2]
        yield question(stock, kind, name, "describe", media, answer)


def chats(stock: Stock, count: int) -> Iterator[Item]:
    """Two or three turns about one clip; every answer is learned."""
    sounds, photos = stock.of("sound"), stock.of("photo")
    speech = [source for source in clean_speech(stock) if len(source.text.split()) <= 24]
    for index in range(count if sounds and photos and speech else 0):
        sound, photo, voice = stock.rng.choice(sounds), stock.rng.choice(photos), stock.rng.choice(speech)
        name, case = f"chat/{index}", index % 3
        media: dict[str, Any]
        used: tuple[Source, ...]
        if case == 0:
            media, used = {"image": photo.path, "audio": sound.path}, (photo, sound)
            turns = [
                _turn(stock, name, "sound", sentence(sound_phrase(sound.label))),
                _turn(stock, name, "picture", sentence(named(photo.label))),
                _see(stock, name, photo, photos),
            ]
        elif case == 1:
            media, used = {"audio": voice.path}, (voice,)
            turns = [_turn(stock, name, "transcribe", voice.text), _turn(stock, name, "language", "English."),
                     _turn(stock, name, "picture", NO_PICTURE), _unknown(stock, name, "person")]  # fmt: skip
            if voice.extra.get("gender") in ("man", "woman"):
                turns.append(_turn(stock, name, "gender", f"A {voice.extra['gender']}."))
        elif index % 2:
            media, used = {"image": photo.path}, (photo,)
            turns = [_turn(stock, name, "picture", sentence(named(photo.label))), _turn(stock, name, "sound", NO_SOUND),
                     _see(stock, name, photo, photos), _unknown(stock, name, "photo")]  # fmt: skip
        else:
            media, used = {"audio": sound.path}, (sound,)
            asked = stock.rng.choice(heard_names(sound.label))
            turns = [_turn(stock, name, "sound", sentence(sound_phrase(sound.label))),
                     (put("hear-x", name, stock.split, x=asked), YES), _turn(stock, name, "transcribe", NOTHING_SAID),
                     _turn(stock, name, "picture", NO_PICTURE)]  # fmt: skip
        stock.rng.shuffle(turns)
        turns = turns[: 2 + index // 3 % 2]
        *before, (asked_last, answer) = turns
        item = stock.item(name, "chat", media, asked_last, answer, *used, words=words_of(*used))
        earlier = [
            {"role": role, "content": text} for pair in before for role, text in zip(("user", "assistant"), pair)
        ]
        yield Item(**{**vars(item), "conversation": [*earlier, *item.conversation]})


def _turn(stock: Stock, name: str, kind: str, answer: str) -> tuple[str, str]:
    return put(kind, name, stock.split), answer


def _see(stock: Stock, name: str, photo: Source, photos: list[Source]) -> tuple[str, str]:
    other = stock.rng.choice(photos)
    if stock.rng.random() < 0.5 and seen_apart(photo.label, other.label):
        return put("see-x", name, stock.split, x=seen_as(other.label)[0]), NO
    return put("see-x", name, stock.split, x=seen_as(photo.label)[0]), YES


def _unknown(stock: Stock, name: str, about: str) -> tuple[str, str]:
    return stock.rng.choice(readings(LINES[about][stock.split])), UNKNOWN


def text_alone(stock: Stock, count: int) -> Iterator[Item]:
    """Text without media, answered as the untouched language model answers it (``count`` is ignored)."""
    for index, (prompt, answer) in enumerate(stock.text):
        share = bucket(f"text/{prompt}", 20)
        split = {0: "dev", 1: "test"}.get(share, "train")
        if split == stock.split:
            turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            yield Item(
                f"text/{index}", {}, turns, "text", 1.0, "Apache-2.0", "SmolLM2-135M-Instruct's own answers", split
            )


def read_text(path: Path) -> list[tuple[str, str]]:
    """Prompts and the language model's answers, JSON lines.

    Raises:
        ManifestError: a line is not a prompt with its answer.
    """
    found: list[tuple[str, str]] = []
    for number, line in numbered_lines(path, ManifestError):
        try:
            row = json_value(line)
            found.append((row["prompt"], row["answer"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"{path}, line {number}: no prompt and answer ({error})") from error
    return found
