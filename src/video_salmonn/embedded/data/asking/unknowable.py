"""Questions that the media cannot answer. Every topic belongs to one split: what is tested is not learned by heart."""

from __future__ import annotations

from collections.abc import Iterator

from video_salmonn.data.manifest import Item
from video_salmonn.embedded.data.asking.common import (
    NO_TRANSLATION,
    NOT_UNDERSTOOD,
    UNKNOWN,
    Media,
    clean_speech,
    seen,
)
from video_salmonn.embedded.data.asking.grammar import readings, styled
from video_salmonn.embedded.data.stock import Stock

_WHO = "(the speaker|this speaker|the person|this person|the one who speaks)"
_WHOSE = "(the speaker's|this person's|the person's)"

LINES: dict[str, dict[str, tuple[str, ...]]] = {
    "person": {
        "train": (
            f"(What is|Tell me|Do you know) {_WHOSE} (name|address|birthday|job|email address|salary|shoe size|"
            f"blood type|hobby|"
            "favourite food|nationality|star sign|surname|password|income|religion|education)?",
            f"How (old|tall|heavy|rich|happy|tired) is {_WHO}?",
            f"(Where|In which city|In which street) (does|did) {_WHO} (live|grow up|work|go to school)?",
            f"Is {_WHO} (married|rich|hungry|angry|happy|a doctor|a teacher|left-handed|on holiday|tired|famous)?",
            f"Does {_WHO} (have children|own a dog|like coffee|play football|have a car|wear glasses at home|smoke)?",
            "(When|On what day|In which year|At what time) was (this|it) (recorded|said|filmed)?",
            f"(What|Which) (car|phone|food|sport|film) does {_WHO} (own|like|prefer|like best)?",
            f"(Who|Which person) is {_WHO} (talking to|thinking of|married to|in love with|working for)?",
            f"What (did|will) {_WHO} (do|say) (before|after|next|the day before|tomorrow)?",
            f"How many (brothers|children|friends|cats|houses) does {_WHO} have?",
            f"What is {_WHO} (thinking|dreaming of|feeling|planning)?",
        ),
        "dev": (f"What is {_WHOSE} (bank|eye colour|height)?",
        "Who was in the room next door?", f"Has {_WHO} slept well?"),
        "test": (
            f"What is {_WHOSE} (phone number|mother called|weight|favourite song|bank account number|middle name)?",
            f"Where was {_WHO} born?",
            f"Does {_WHO} (own a boat|speak Chinese as well|prefer tea)?",
            f"What did {_WHO} have for breakfast?",
            f"How many languages does {_WHO} know?",
            f"Which school did {_WHO} visit?",
            f"Is {_WHO} (an engineer|in good health)?",
            "Who paid for this recording?",
            "What microphone was used?",
            f"When did {_WHO} get up that day?",
        ),
    },
    "sound": {
        "train": (
            "(When|On what day|In which year|In which country|In which town|At what time) was (this|it) recorded?",
            "(Who|Which person) (recorded|made|owns|is responsible for) (this|it)?",
            "How (far away|old|big|heavy|expensive|fast) is (it|what I hear|what you hear|the thing that I hear)?",
            "(What is|Tell me) the (temperature|date|time|name of the place|name of the street|height above the "
            "sea)( there|)?",
            "(What|Who) (is|stands|was) (next to it|behind the microphone|in front of the house|nearby)?",
            "What (will happen|happens|happened) (next|afterwards|before|later that day|the day after)?",
            "How many (people|cars|trees|houses|birds) are (nearby|around|behind it|out of earshot)?",
            "How (much|long) (did|does) (it cost|it last in all|the whole thing take)?",
            "(Does|Did) (somebody|anybody) (like|enjoy|complain about) (the noise|this|it)?",
            "(Who|What) is (listening|the owner|to blame|the maker)?",
            "What is (its|the owner's|the neighbour's) (name|age|address)?",
        ),
        "dev": ("Which make is it?", "Who is annoyed by this?"),
        "test": (
            "What's the postcode of that place?",
            "Which brand of recorder was used?",
            "How warm was it that day?",
            "Is the owner at home?",
            "What had happened an hour earlier?",
            "How many metres away is it?",
            "What does the neighbour think?",
            "Which month is it?",
            "Who called the police?",
        ),
    },
    "photo": {
        "train": (
            "(Who|Which person) (took|made|owns|bought|sold|edited) (this|this picture|the photograph|it)?",
            "(When|On what day|In which year|In which country|In which town|At what time) was (this|the picture|it) "
            "(taken|made)?",
            "How (much does it cost|expensive is it|heavy is it|old is it|long is it in metres|much did somebody "
            "pay for it)?",
            "(What|Who) (is|stands|was) (behind the camera|outside the frame|to the left of the frame|on the other "
            "side)?",
            "What (will happen|happens|happened) (next|afterwards|before|later that day|a minute before)?",
            "(What|Which) (camera|lens|phone|film) (took this|was used)( for it|)?",
            "(What is|Tell me) the (owner's name|serial number|price|address|temperature|date|maker's name)?",
            "How does it (smell|taste|feel to the touch|sound)?",
            "(Where|In which shop) (was it|did somebody|did they) (bought|buy it|find it)?",
            "Is (it|this) (for sale|still in use|a present|stolen|insured|clean inside|expensive|rare)?",
            "What is (inside|under|written on the back of|hidden in) it?",
            "How many (people|others) (have owned|have touched|like|have seen) it?",
        ),
        "dev": ("Whose is it?", "Did the photographer use a flash?", "What does it weigh?"),
        "test": (
            "What was the photographer's name?",
            "Which year is this from?",
            "How much would I pay for that?",
            "Who gave it to them?",
            "What is its owner called?",
            "Did it rain that morning?",
            "What lies behind the thing?",
            "Will it break soon?",
            "In what street is that?",
            "How many of these were sold?",
        ),
    },
}  # fmt: skip

_TRANSLATE = {
    "train": (
        "(Translate|Put|Turn) (this|it|the speech|what you hear) (into|to) (French|Spanish|Italian|Dutch|Polish|"
        "Swedish|Latin).",
        "(What is|How do you say) (this|that) in (French|Spanish|Italian|Dutch|Japanese|Turkish)?",
    ),
    "dev": ("Give it to me in Portuguese.",),
    "test": (
        "Say what they said in Russian, please.",
        "Can I have a Danish translation?",
        "Put these words into Greek.",
    ),
}
_KEYS = "asdfghjklqwertyuiopzxcvbnm"


def unknowable(stock: Stock, count: int) -> Iterator[Item]:
    """Things that cannot be known from a clip: of persons, sounds and pictures."""
    pools = {"person": clean_speech(stock) + stock.of("talk"), "sound": stock.of("sound"), "photo": stock.of("photo")}
    for index in range(count if all(pools.values()) else 0):
        about = ("person", "photo", "sound", "person", "photo")[index % 5]
        source = stock.rng.choice(pools[about])
        media: Media = {"audio": source.path}, (source,)
        if source.kind == "talk":
            media = {"video": source.path, "audio": source.path}, (source,)
        elif about == "photo":
            media = seen(stock, source, 0.75)
        name = f"unknowable/{index}"
        text = styled(stock.rng.choice(readings(LINES[about][stock.split])), stock.rng)
        yield stock.item(name, "unknowable", media[0], text, UNKNOWN, *media[1], words=True)


def not_understood(stock: Stock, count: int) -> Iterator[Item]:
    """Keys struck at random, and requests for translations, which a small model cannot make."""
    speech, photos = clean_speech(stock), stock.of("photo")
    for index in range(count if speech and photos else 0):
        source = stock.rng.choice((speech, photos)[index // 2 % 2])
        if index % 2:
            source = stock.rng.choice(speech)
            text, answer = stock.rng.choice(readings(_TRANSLATE[stock.split])), NO_TRANSLATION
        else:
            lengths = [stock.rng.randrange(3, 8) for _ in range(stock.rng.randrange(1, 4))]
            text = " ".join("".join(stock.rng.choice(_KEYS) for _ in range(length)) for length in lengths)
            text, answer = text + stock.rng.choice(("?", "", ".")), NOT_UNDERSTOOD
        media = {"image" if source.kind == "photo" else "audio": source.path}
        task = "translate" if index % 2 else "nonsense"
        yield stock.item(f"not-understood/{index}", task, media, text, answer, source, words=True)
