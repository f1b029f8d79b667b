"""How questions are put. Every task has wordings for training and others, never trained on, for dev and test."""

from __future__ import annotations

import random
from typing import TypeVar

from video_salmonn.embedded.data.sources import bucket

WORDINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "transcribe": (
        (
            "Transcribe the speech.",
            "Write down what is said.",
            "What does the speaker say?",
            "What words are spoken?",
            "Give the transcript of the speech.",
            "Repeat the spoken words in writing.",
        ),
        ("Please write out what you hear the person say.", "What is being said here?"),
    ),
    "sound": (
        (
            "What sound is this?",
            "What do you hear?",
            "Name the sound.",
            "Which sound can be heard?",
            "What is making the noise?",
        ),
        ("Tell me what the sound is.", "What can you hear in this recording?"),
    ),
    "background": (
        ("What is heard besides the voice?", "Which sound is in the background?", "What other sound is there?"),
        ("What else can be heard behind the speaker?",),
    ),
    "picture": (
        (
            "What is in the picture?",
            "What can you see there?",
            "Name what the picture shows.",
            "What is shown?",
            "What object is this?",
        ),
        ("Tell me what you can see.", "What does the image show?"),
    ),
    "caption": (
        ("Describe the picture.", "What is happening in the picture?", "Write a short caption."),
        ("Describe this image in one sentence.",),
    ),
    "both": (
        (
            "What is said, and what is shown?",
            "Write down the speech and name what you see.",
            "What do you hear and what do you see?",
        ),
        ("Tell me both what is spoken and what is visible.",),
    ),
    "both-sound": (
        ("What do you hear and what do you see?", "Name the sound and the picture."),
        ("Tell me what can be heard and what can be seen.",),
    ),
    "match": (
        (
            "Does the sound fit the picture?",
            "Do sound and picture belong together?",
            "Could what you see make what you hear?",
        ),
        ("Does what you hear match what you see?",),
    ),
    "speech-present": (
        ("Does anybody speak?", "Is there speech?", "Can a voice be heard?"),
        ("Does somebody talk in this recording?",),
    ),
    "first": (
        ("Which sound comes first?", "What is heard first?"),
        ("With which sound does it begin?",),
    ),
    "last": (
        ("Which sound comes last?", "What is heard at the end?"),
        ("With which sound does it end?",),
    ),
    "order": (
        ("In which order do the sounds come?", "Name the sounds in order."),
        ("List what you hear from first to last.",),
    ),
    "said-before": (
        (
            "What is said before {event}?",
            "Write down the words before {event}.",
            "What does the speaker say until {event} is heard?",
            "What was spoken earlier than {event}?",
            "Transcribe what comes before {event}.",
            "Give the speech that precedes {event}.",
        ),
        ("Which words come ahead of {event}?",),
    ),
    "said-after": (
        (
            "What is said after {event}?",
            "Write down the words after {event}.",
            "What does the speaker say once {event} is over?",
            "What was spoken later than {event}?",
            "Transcribe what comes after {event}.",
            "Give the speech that succeeds {event}.",
        ),
        ("Which words follow {event}?",),
    ),
    "count-digits": (
        (
            "How many digits are spoken?",
            "Count the spoken digits.",
            "How many digits does the speaker say?",
            "Tell me how many digits there are.",
        ),
        ("What is the number of digits you hear?",),
    ),
    "digits": (
        ("Which digits are spoken?", "Write down the digits."),
        ("List the digits you hear.",),
    ),
    "order-drink": (
        (
            "Which drink is ordered?",
            "What does the customer want to drink?",
            "Name the drink that is ordered.",
            "What would they like to drink?",
        ),
        ("What drink is asked for?",),
    ),
    "order-slot": (
        (
            "Which {slot} is asked for?",
            "What {slot} does the customer want?",
            "Name the {slot} that is ordered.",
            "What is the {slot} they would like?",
            "Say which {slot} the customer names.",
        ),
        ("Tell me the {slot} of the order.",),
    ),
    "grid-slot": (
        ("Which {slot} is spoken?", "What {slot} does the speaker say?"),
        ("Tell me the {slot} you hear.",),
    ),
    "spoken-question": (
        (
            "Answer the spoken question.",
            "Listen to the question and answer it.",
            "Somebody asks something: give the answer.",
            "What is the answer to what the voice asks?",
            "Reply to the question you hear.",
            "Hear the question about the picture and answer it.",
        ),
        ("Please answer what you are asked in the recording.",),
    ),
    "first-picture": (
        (
            "Which picture comes first?",
            "What is shown first?",
            "What is seen when the video starts?",
            "Which thing starts the film?",
            "What is the first thing shown in the video?",
            "Name what is on screen first.",
        ),
        ("With what does the video begin?",),
    ),
    "last-picture": (
        (
            "Which picture comes last?",
            "What is shown at the end?",
            "What is seen when the video stops?",
            "Which thing finishes the film?",
            "What is the last thing shown in the video?",
            "Name what is on screen last.",
        ),
        ("With what does the video end?",),
    ),
}

SPOKEN_QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "picture": (
        (
            "What can you see in the picture?",
            "What does this picture show?",
            "What is in the photograph?",
            "Tell me what is shown here.",
            "What do you see?",
            "Which thing is in the picture?",
            "Please name the thing in the picture.",
            "What am I looking at?",
            "What is this a picture of?",
            "Can you tell me what this is?",
        ),
        ("What is shown in the picture?", "What can be seen in this photograph?", "Tell me what you see."),
    ),
    "animal": (
        (
            "Is there an animal in the picture?",
            "Does the picture show an animal?",
            "Can you see an animal?",
            "Is this an animal?",
            "Is an animal in the photograph?",
            "Do you see an animal here?",
        ),
        ("Is there an animal in this photograph?", "Can an animal be seen in the picture?"),
    ),
}
"""Kind -> (spoken in training, spoken in dev and test)."""


def ask(task: str, seed: str, split: str, **fields: str) -> str:
    """A wording of the task for this item: from the training list for ``train``, else from the held-out list."""
    training, held_out = WORDINGS[task]
    choices = training if split == "train" else held_out
    return choices[bucket(f"wording/{seed}", len(choices))].format(**fields)


SOUND_PHRASES = {
    "dog bark": "a dog barking",
    "rain": "rain",
    "sea waves": "sea waves",
    "baby cry": "a baby crying",
    "clock tick": "a clock ticking",
    "person sneeze": "a person sneezing",
    "helicopter": "a helicopter",
    "chainsaw": "a chainsaw",
    "rooster": "a rooster crowing",
    "fire crackling": "a crackling fire",
}
"""How an ESC-10 class is named in answers and questions."""


def sound_phrase(label: str) -> str:
    """How a sound's label is named in answers and questions: a class by its phrase, any other label is one itself."""
    return SOUND_PHRASES.get(label, label)


FITS = {"dog bark": {"dalmatian"}, "rooster": {"rooster"}, "helicopter": {"helicopter"}}
"""Which photograph classes could make an ESC-10 sound."""

ANIMALS = {
    "ant",
    "beaver",
    "butterfly",
    "crab",
    "crayfish",
    "crocodile",
    "dalmatian",
    "dolphin",
    "dragonfly",
    "elephant",
    "emu",
    "flamingo",
    "hedgehog",
    "ibis",
    "kangaroo",
    "llama",
    "lobster",
    "octopus",
    "okapi",
    "panda",
    "pigeon",
    "platypus",
    "rhino",
    "rooster",
    "scorpion",
    "sea horse",
    "starfish",
    "wild cat",
    "leopards",
}
"""Photograph classes that are animals; used for spoken yes/no questions only."""

_PLURAL = {"pants", "shoes", "shorts", "carrots", "satsumas", "leopards", "motorbikes", "airplanes", "scissors"}
_MASS = {
    "juice",
    "yoghurt",
    "milk",
    "soy milk",
    "soyghurt",
    "sour cream",
    "oatghurt",
    "oat milk",
    "sour milk",
    "ginger",
}
_MASS |= {"ginger", "asparagus", "garlic", "passion fruit"}


def named(label: str) -> str:
    """A picture's label as a phrase: ``a camera``, ``an anchor``, ``shoes``, ``milk``."""
    if label in _PLURAL or label in _MASS:
        return label
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def sentence(phrase: str) -> str:
    """A phrase as an answer: capital letter, full stop."""
    return phrase[:1].upper() + phrase[1:] + "."


def plain_name(answer: str) -> str:
    """``A dog barking.`` -> ``dog barking``: an answer as a name, without article and full stop."""
    text = answer.strip().rstrip(".")
    for article in ("A ", "An ", "The "):
        text = text.removeprefix(article)
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


T = TypeVar("T")


def pick(rng: random.Random, items: list[T], count: int) -> list[T]:
    """``count`` items in random order; repeats only once every item was taken."""
    out: list[T] = []
    while items and len(out) < count:
        out += rng.sample(items, min(len(items), count - len(out)))
    return out
