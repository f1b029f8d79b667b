"""What labels are and are not: groups, wider names, and pairs that no question may set against each other."""

from __future__ import annotations

from video_salmonn.embedded.data.wordings import ANIMALS, named

HEARD_AS: dict[str, tuple[str, ...]] = {
    "dog bark": ("a dog", "a dog barking", "barking", "a barking dog"),
    "rain": ("rain", "the rain", "rain falling", "raindrops"),
    "sea waves": ("the sea", "waves", "sea waves", "the ocean"),
    "baby cry": ("a baby", "a baby crying", "crying", "a crying baby"),
    "clock tick": ("a clock", "ticking", "a clock ticking", "a ticking clock"),
    "person sneeze": ("a sneeze", "sneezing", "a person sneezing", "somebody sneezing"),
    "helicopter": ("a helicopter", "a helicopter flying", "rotor blades"),
    "chainsaw": ("a chainsaw", "a saw", "a chain saw running"),
    "rooster": ("a rooster", "a cock crowing", "a rooster crowing", "crowing"),
    "fire crackling": ("a fire", "crackling", "a crackling fire", "fire"),
}
"""Names for an ESC-10 sound in yes/no questions."""

LIKE: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "rain",
            "sea waves",
            "fire crackling",
            "a stream",
            "wind",
            "a waterfall",
            "thunder",
            "running water",
            "water dripping",
            "a splash",
            "frying",
            "a toilet flushing",
            "people clapping",
        }
    ),
    frozenset(
        {
            "helicopter",
            "chainsaw",
            "an engine",
            "a vacuum cleaner",
            "an airplane",
            "a lawn mower",
            "a car",
            "a truck",
            "a train",
            "a motorcycle",
            "a motorboat",
            "a drill",
            "a hair dryer",
            "a blender",
        }
    ),
    frozenset(
        {
            "clock tick",
            "a click",
            "typing on a keyboard",
            "footsteps",
            "somebody knocking on a door",
            "horse hooves",
            "water dripping",
            "a camera",
        }
    ),
    frozenset(
        {
            "rooster",
            "a hen clucking",
            "a turkey gobbling",
            "a goose honking",
            "a duck quacking",
            "a crow cawing",
            "birds singing",
            "an owl hooting",
            "a pigeon cooing",
        }
    ),
    frozenset(
        {
            "person sneeze",
            "somebody coughing",
            "somebody breathing",
            "somebody snoring",
            "somebody laughing",
            "baby cry",
            "somebody screaming",
            "a cat meowing",
            "somebody burping",
        }
    ),
    frozenset(
        {
            "an alarm",
            "an alarm clock",
            "a telephone ringing",
            "a beep",
            "beeping",
            "a siren",
            "a doorbell",
            "a chime",
            "church bells",
            "wind chimes",
            "a car horn",
            "a whistle",
            "a train whistle",
        }
    ),
    frozenset({"a punch", "a cannon shot", "an explosion", "a gunshot", "fireworks", "thunder", "glass breaking"}),
    frozenset(
        {
            "a cow mooing",
            "a sheep bleating",
            "a goat bleating",
            "a pig grunting",
            "a horse neighing",
            "a lion roaring",
            "dog bark",
        }
    ),
    frozenset({"insects buzzing", "crickets", "a mosquito"}),
    frozenset({"a whoosh", "wind"}),
    frozenset({"sawing", "somebody brushing teeth", "scissors", "a door creaking"}),
)
"""Sounds that people take for each other: never asked of each other with the answer No."""

HEARD_ANIMALS = {"dog bark": "a dog", "rooster": "a rooster"}

_CLOTHES = {
    "dress", "hat", "long-sleeved shirt", "coat", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt", "blazer",
    "blouse", "bodysuit", "hoodie", "polo shirt", "top", "undershirt",
}  # fmt: skip
_DRINKS = {"juice", "yoghurt", "milk", "soy milk", "soyghurt", "sour cream", "oatghurt", "oat milk", "sour milk"}
_PRODUCE = {
    "apple", "melon", "pear", "tomato", "pepper", "satsumas", "potato", "carrots", "kiwi", "red grapefruit",
    "nectarine", "mushroom", "lime", "cabbage", "onion", "cucumber", "orange", "banana", "pomegranate", "zucchini",
    "red beet", "lemon", "leek", "avocado", "ginger", "mango", "peach", "passion fruit", "plum", "aubergine", "papaya",
    "asparagus", "garlic", "pineapple", "strawberry",
}  # fmt: skip
_VEHICLES = {"airplanes", "motorbikes", "car side", "ferry", "helicopter", "ketch", "schooner", "wheelchair"}
_INSTRUMENTS = {"accordion", "electric guitar", "euphonium", "grand piano", "mandolin", "saxophone", "gramophone"}
_FURTHER_ANIMALS = {"bass", "cougar body", "cougar face", "crocodile head", "flamingo head", "gerenuk", "hawksbill",
                    "mayfly", "nautilus", "tick", "brontosaurus", "stegosaurus", "trilobite"}  # fmt: skip

GROUPS: dict[str, set[str]] = {
    "clothes": _CLOTHES,
    "dairy": _DRINKS,
    "produce": _PRODUCE,
    "vehicle": _VEHICLES,
    "instrument": _INSTRUMENTS,
    "animal": (ANIMALS | _FURTHER_ANIMALS) - {"tick"},
}
"""What a picture's label belongs to, at most one."""

WIDER: dict[str, tuple[str, ...]] = {
    "clothes": ("clothes", "a piece of clothing", "something to wear", "a garment"),
    "produce": ("food", "something to eat", "fruit or vegetables"),
    "vehicle": ("a vehicle", "something that moves people"),
    "instrument": ("a musical instrument", "an instrument"),
    "animal": ("an animal", "a creature"),
}
"""Names of a whole group in yes/no questions."""

NEVER_AT_ONCE = {("clothes", "clothes"), ("dairy", "dairy"), ("produce", "produce"), ("produce", "dairy"),
                 ("dairy", "produce"), ("clothes", "person")}  # fmt: skip
"""Groups whose things occur together in the same pictures, so that No would be a guess."""

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "airplanes": ("an airplane", "a plane"),
    "motorbikes": ("a motorbike", "a motorcycle"),
    "leopards": ("a leopard",),
    "car side": ("a car",),
    "cougar body": ("a cougar",),
    "cougar face": ("a cougar",),
    "crocodile head": ("a crocodile",),
    "flamingo head": ("a flamingo",),
    "dalmatian": ("a dalmatian", "a dog"),
    "pigeon": ("a pigeon", "a bird"),
    "flamingo": ("a flamingo", "a bird"),
    "rooster": ("a rooster", "a bird"),
    "ibis": ("an ibis", "a bird"),
    "emu": ("an emu", "a bird"),
    "satsumas": ("satsumas", "fruit"),
    "pants": ("pants", "trousers"),
    "cellphone": ("a mobile phone", "a cellphone", "a phone"),
    "laptop": ("a laptop", "a computer"),
    "yin yang": ("a yin yang sign",),
    "binocular": ("binoculars",),
    "headphone": ("headphones",),
    "shoes": ("shoes", "a pair of shoes"),
    "watch": ("a watch", "a wristwatch"),
}


def group_of(label: str) -> str:
    """The group of a picture's label, or ""."""
    return next((name for name, labels in GROUPS.items() if label in labels), "")


def seen_as(label: str) -> tuple[str, ...]:
    """Names for a picture's label in yes/no questions."""
    return OTHER_NAMES.get(label, (named(label),))


def seen_apart(first: str, second: str) -> bool:
    """Whether a picture of the one surely shows nothing of the other."""
    if set(seen_as(first)) & set(seen_as(second)) or first in second or second in first:
        return False
    one, other = group_of(first), group_of(second)
    return (one, other) not in NEVER_AT_ONCE


def heard_apart(first: str, second: str) -> bool:
    """Whether the two sounds are clearly different."""
    return first != second and not any(first in group and second in group for group in LIKE)
