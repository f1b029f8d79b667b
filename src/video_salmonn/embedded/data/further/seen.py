"""ImageNet's classes as names for answers, and the wider groups that are asked for."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources


@lru_cache(maxsize=1)
def imagenet_names() -> tuple[str, ...]:
    """The 1,000 classes' short names, in the order of the head."""
    text = resources.files("video_salmonn.embedded.data").joinpath("facts/imagenet.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


_WITHOUT_ARTICLE = frozenset({
    "binoculars", "sunglasses", "jeans", "clogs", "pajamas", "broccoli", "mashed potatoes", "guacamole", "red wine",
    "espresso", "hay", "dough", "eggnog", "corn", "toilet paper", "carbonara", "chocolate syrup", "swim trunks",
    "parallel bars", "hair spray", "lotion", "sunscreen", "perfume", "chain mail", "wool", "velvet", "face powder",
    "rapeseed", "cauliflower", "zucchini", "consomme",
})  # fmt: skip


def seen_phrase(index: int) -> str:
    """A class as a phrase: ``a zebra``, ``an abacus``, ``binoculars``."""
    name = imagenet_names()[index]
    if name in _WITHOUT_ARTICLE:
        return name
    return f"{'an' if name[0].lower() in 'aeiou' and not name.startswith(('uni', 'Uni')) else 'a'} {name}"


def _span(*ranges: tuple[int, int]) -> tuple[int, ...]:
    return tuple(index for first, last in ranges for index in range(first, last + 1))


WIDER: dict[str, tuple[int, ...]] = {
    "a dog": _span((151, 268)),
    "a cat": _span((281, 285)),
    "a bird": _span((7, 24), (80, 100), (127, 146)),
    "a fish": _span((0, 6), (389, 397)),
    "a snake": _span((52, 68)),
    "a turtle": _span((33, 37)),
    "a lizard": _span((38, 48)),
    "a frog": _span((30, 32)),
    "a spider": _span((72, 77)),
    "a butterfly": _span((321, 326)),
    "an insect": _span((300, 326)),
    "a monkey": _span((369, 382)),
    "a bear": _span((294, 297)),
    "an elephant": (101, 385, 386),
    "a fox": _span((277, 280)),
    "a wolf": _span((269, 271)),
    "a rabbit": _span((330, 332)),
    "a horse": (339,),
    "a zebra": (340,),
    "a pig": (341,),
    "a car": (436, 468, 511, 609, 627, 656, 661, 751, 817),
    "a truck": (555, 569, 675, 717, 864, 867),
    "a bus": (654, 779, 874),
    "a train": (466, 547, 705, 820),
    "a boat": (472, 554, 576, 625, 780, 814, 871, 914, 484),
    "a ship": (403, 510, 628, 724, 913),
    "an airplane": (404, 895),
    "a bicycle": (444, 671),
    "a motorcycle": (665, 670),
    "a guitar": (402, 546),
    "a piano": (579, 881),
    "a drum": (541,),
    "a violin": (889,),
    "a hat": (439, 452, 515, 808),
    "a shoe": (502, 514, 630, 770, 774),
    "a dress": (578, 601, 689, 775),
    "a bottle": (440, 720, 737, 898, 907),
    "a cup": (504, 968),
    "a chair": (423, 559, 765),
    "a table": (532, 736),
    "a bed": (520, 564),
    "a clock": (409, 530, 892),
    "a telephone": (487, 528, 707),
    "a computer": (508, 527, 590, 620, 681),
    "a television": (598, 851),
    "a house": (425, 449, 500, 660, 853),
    "a church": (497, 663, 668),
    "a castle": (483, 698),
    "a bridge": (821, 839, 888),
    "a mountain": (970, 980),
    "a beach": (977, 978),
    "a flower": (985, 986),
    "a mushroom": (*_span((991, 997)), 947),
    "bread": (930, 931),
    "an ice cream": (928, 929),
    "a pizza": (963,),
    "a banana": (954,),
    "an orange": (950,),
    "an apple": (948,),
    "a lemon": (951,),
    "a strawberry": (949,),
    "a ball": (429, 430, 574, 722, 768, 805, 852, 890),
    "an umbrella": (879,),
    "a book": (917, 921),
    "sunglasses": (836, 837),
    "a tie": (457, 906),
    "a bag": (414, 636, 728, 748, 797),
}
"""Groups of classes that are asked for in yes/no questions, by the name of the group."""

VAGUE = {
    "website", "comic book", "envelope", "menu", "book jacket", "dust jacket", "crossword", "packet", "product packet",
    "velvet", "wool", "window shade", "window screen", "shower curtain", "front curtain", "spotlight", "stage",
    "web site",
    "screen", "monitor", "hook", "nail", "screw", "switch", "matchstick", "doormat", "quilt", "pillow", "lampshade",
    "safety pin", "mask", "bib", "band-aid", "mousetrap", "necklace",
}  # fmt: skip
"""Classes that the head takes plain pictures and cut-outs for; never a target."""
