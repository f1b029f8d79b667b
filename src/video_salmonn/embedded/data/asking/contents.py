"""What the speech is about: words in it, the first and the last, the one of a category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import NO, YES, clean_speech, heard, question
from video_salmonn.embedded.data.sources import Source
from video_salmonn.embedded.data.stock import Stock
from video_salmonn.embedded.data.wordings import sentence

CATEGORIES: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "animal": "dog cat horse cow bird lion tiger bear wolf fox sheep lamb goat pig rabbit mouse rat elephant "
        "monkey snake fish duck goose hen eagle owl crow frog bee fly spider deer donkey camel panda swan parrot whale",
        "fruit": "apple orange lemon banana pear peach plum cherry grape grapes strawberry melon fig berry apples "
        "oranges lemons berries peaches cherries",
        "number": "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen twenty "
        "thirty forty fifty sixty hundred thousand million",
        "colour": "red blue green yellow white black brown grey gray pink purple orange scarlet crimson golden silver",
        "part of the body": "hand hands head eye eyes ear ears nose mouth arm arms leg legs foot feet finger fingers "
        "heart shoulder neck knee knees face lips",
        "member of the family": "mother father brother sister son daughter uncle aunt cousin grandfather grandmother "
        "wife husband mom dad mum",
        "month": "january february april june july august september october november december",
        "day": "monday tuesday wednesday thursday friday saturday sunday",
        "season": "spring summer autumn winter",
        "meal": "breakfast lunch dinner supper",
        "drink": "water tea coffee milk wine beer juice",
        "food": "bread cheese butter rice soup cake meat eggs sugar salt honey potatoes pizza",
        "profession": "doctor teacher captain soldier king queen priest lawyer farmer nurse sailor cook servant artist "
        "driver shepherd policeman",
        "building": "house church castle palace school hospital station bridge tower tent cottage temple hotel",
        "vehicle": "car bus train ship boat bicycle carriage plane airplane taxi wagon cart",
        "country": "england france germany china india america italy spain russia egypt japan australia canada ireland",
        "city": "london paris rome beijing shanghai berlin venice york boston moscow athens madrid",
    }.items()
}
"""Words of which exactly one may occur in an utterance that is asked about."""

NONE_OF_IT = "No {category} is mentioned."


def word_presence(stock: Stock, count: int) -> Iterator[Item]:
    """Is a word said? Each word is asked once where it is said and once where it is not."""
    speech = [source for source in clean_speech(stock) if 3 <= len(source.text.split()) <= 20]
    holding: dict[str, list[Source]] = {}
    for source in speech:
        for word in set(source.text.split()):
            if len(word) > 3 and "'" not in word:
                holding.setdefault(word, []).append(source)
    words = sorted(word for word, sources in holding.items() if 2 <= len(sources) <= len(speech) // 8 + 2)
    for index in range(count if words else 0):
        present = index % 2 == 0
        if present:
            word = stock.rng.choice(words)
        source = stock.rng.choice(holding[word] if present else speech)
        if not present and any(other.startswith(word[:5]) for other in source.text.split()):
            continue
        media, name = heard(stock, source, 0.8), f"yesno-word/{index}"
        yield question(stock, "word?", name, "yesno-word", media, YES if present else NO, word=word)


def categories(stock: Stock, count: int) -> Iterator[Item]:
    """Which animal, number, colour … is mentioned; one in seven times there is none."""
    speech = clean_speech(stock)
    pools = _pools(speech)
    names = sorted(name for name, found in pools.items() if found)
    for index in range(count if names else 0):
        category, name = names[index % len(names)], f"which/{index}"
        if index % 7 == 6:
            source = stock.rng.choice(speech)
            if not CATEGORIES[category] & set(source.text.split()):
                answer = NONE_OF_IT.format(category=category)
                yield question(
                    stock, "which", name, "which-none", heard(stock, source, 0.85), answer, category=category
                )
            continue
        source, word = stock.rng.choice(pools[category])
        yield question(stock, "which", name, "which", heard(stock, source, 0.85), sentence(word), category=category)


def _pools(speech: list[Source]) -> dict[str, list[tuple[Source, str]]]:
    """Utterances with exactly one word of a category, with the word, by category."""
    found: dict[str, list[tuple[Source, str]]] = {name: [] for name in CATEGORIES}
    for source in speech:
        words = Counter(source.text.split())
        for name, members in CATEGORIES.items():
            own = [word for word in words if word in members]
            if len(own) == 1 and len(words) <= 24:
                found[name].append((source, own[0]))
    return found


def edge_words(stock: Stock, count: int) -> Iterator[Item]:
    """The first or the last word of an utterance."""
    speech = [source for source in clean_speech(stock) if 2 <= len(source.text.split()) <= 24]
    for index in range(count if speech else 0):
        source = stock.rng.choice(speech)
        kind, place = (("first-word", 0), ("last-word", -1))[index % 2]
        answer = sentence(source.text.split()[place])
        yield question(stock, kind, f"{kind}/{index}", kind, heard(stock, source, 0.85), answer)
