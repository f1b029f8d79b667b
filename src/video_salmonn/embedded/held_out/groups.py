"""Which held-out items make a figure, how it is scored, and under which conditions it says something."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from video_salmonn.data.manifest import Item
from video_salmonn.errors import ConfigError
from video_salmonn.metrics.intervals import bootstrap, mean, mean_interval
from video_salmonn.metrics.scored import Scored
from video_salmonn.metrics.text import contains_words, normalise_answer
from video_salmonn.metrics.wer import wer, word_errors
from video_salmonn.metrics.yesno import read_yes_no

SYNONYMS: dict[str, tuple[str, ...]] = {
    "pants": ("trousers",),
    "coat": ("jacket",),
    "airplanes": ("airplane", "plane", "aeroplane"),
    "motorbikes": ("motorbike", "motorcycle"),
    "leopards": ("leopard",),
    "cellphone": ("mobile phone", "phone"),
    "headphone": ("headphones",),
    "car side": ("car",),
    "cougar body": ("cougar",),
    "cougar face": ("cougar",),
    "crocodile head": ("crocodile",),
    "flamingo head": ("flamingo",),
    "wild cat": ("wildcat",),
    "binocular": ("binoculars",),
    "carrots": ("carrot",),
    "satsumas": ("satsuma", "mandarin"),
    "shoes": ("shoe",),
    "water lilly": ("water lily",),
    "sea horse": ("seahorse",),
    "panda": ("giant panda",),
    "crab": ("rock crab", "dungeness crab", "red king crab", "fiddler crab", "hermit crab"),
    "single shot": ("one", "one shot", "single"),
    "double shot": ("two", "two shots", "double"),
    "triple shot": ("three", "three shots", "triple"),
}
"""What else counts as a name: another number, another spelling, the whole for a part, a kind of it, or the number of
shots (which is what is asked for)."""

Score = Callable[[Sequence[Item], Sequence[str]], Scored]

BOTH = re.compile(r"it says:? (?P<said>.*?)[.,;]? (?:it shows|i see) (?P<seen>.*)", re.IGNORECASE | re.DOTALL)
HEARD = re.compile(r"i hear (?P<heard>.*?)[.,;]? i see (?P<seen>.*)", re.IGNORECASE | re.DOTALL)


def names(answer: str, reference: str) -> bool:
    """Whether an answer names what the reference does, a synonym included, and nothing else."""
    said, wanted = normalise_answer(answer), normalise_answer(reference)
    return said in (wanted, *(normalise_answer(name) for name in SYNONYMS.get(wanted, ())))


def _shares(items: Sequence[Item], answers: Sequence[str], right: Callable[[Item, str], bool]) -> Scored:
    marks = [float(right(item, answer)) for item, answer in zip(items, answers)]
    return Scored(mean(marks), *mean_interval(marks), items=tuple(marks))


def named(items: Sequence[Item], answers: Sequence[str]) -> Scored:
    """Share of answers that are the reference or a synonym of it."""
    return _shares(items, answers, lambda item, answer: names(answer, item.answer))


def word_error_rate(items: Sequence[Item], answers: Sequence[str]) -> Scored:
    """WER over all words."""
    return wer([item.answer for item in items], list(answers))


def balanced(items: Sequence[Item], answers: Sequence[str]) -> Scored:
    """Mean of the shares of right answers among the Yes and among the No items; unreadable answers are wrong."""
    rows = []
    for item, answer in zip(items, answers):
        wanted = bool(read_yes_no(item.answer))
        right = read_yes_no(answer) == wanted
        rows.append([wanted, wanted and right, not wanted, not wanted and right])
    table = np.asarray(rows, dtype=np.float64)

    def statistic(sums: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (sums[:, 1] / sums[:, 0] + sums[:, 3] / sums[:, 2]) / 2

    value = float(statistic(table.sum(axis=0, keepdims=True))[0])
    return Scored(value, *bootstrap(table, statistic))


def both_parts(item: Item, answer: str) -> tuple[bool, bool]:
    """(transcript with a WER of at most 0.3, or sound named; object named) of an answer about both."""
    for pattern, part in ((BOTH, "said"), (HEARD, "heard")):
        wanted, found = pattern.fullmatch(item.answer.strip()), pattern.fullmatch(answer.strip())
        if wanted is None:
            continue
        if found is None:
            return False, False
        if part == "said":
            heard = word_errors(wanted["said"], found["said"]).rate <= 0.3
        else:
            heard = names(found["heard"], wanted["heard"])
        return heard, names(found["seen"], wanted["seen"])
    return False, False


def both(items: Sequence[Item], answers: Sequence[str]) -> Scored:
    """Share of answers right in both parts; the note gives the parts and their product."""
    parts = [both_parts(item, answer) for item, answer in zip(items, answers)]
    heard, seen = (mean([float(pair[i]) for pair in parts]) for i in (0, 1))
    scored = _shares(items, answers, lambda item, answer: all(both_parts(item, answer)))
    note = f"heard {heard:.3f}, seen {seen:.3f}, product {heard * seen:.3f}"
    return Scored(scored.value, scored.low, scored.high, items=scored.items, note=note)


def contains(items: Sequence[Item], answers: Sequence[str]) -> Scored:
    """Share of answers that hold the reference's words."""
    return _shares(
        items, answers, lambda item, answer: contains_words(normalise_answer(answer), normalise_answer(item.answer))
    )


_REFUSES = re.compile(
    r"\b(?:can(?:no|')t (?:tell|say|know|be known|answer)|can not (?:tell|say|know)|do(?: not|n't) know|unknown|"
    r"not (?:clear|known)|no way (?:to tell|of knowing)|impossible to (?:tell|say|know))\b"
)
_UNHEARD = r"\b(?:no sound|silen(?:t|ce)|nothing (?:is |can be |to be )?(?:heard|to hear)|hear nothing)\b"
_UNSEEN = r"\b(?:no (?:picture|image|video|photo)|nothing (?:is |can be |to be )?(?:seen|shown|to see)|see nothing)\b"
_UNSAID = r"\b(?:nothing (?:is )?said|no(?:body| one) (?:is )?(?:speak|talk|sa(?:y|id))\w*|no speech|no words)"
_MISSING = {
    "silent": re.compile(_UNHEARD),
    "no sound": re.compile(_UNHEARD),
    "no picture": re.compile(_UNSEEN),
    "nothing is said": re.compile(_UNSAID),
}
"""By what a reference says is missing: how an answer may say so."""


def refuses(answer: str) -> bool:
    """Whether an answer says that the question cannot be answered."""
    return _REFUSES.search(normalise_answer(answer)) is not None


def refused(items: Sequence[Item], answers: Sequence[str]) -> Scored:
    """Share of answers that refuse."""
    return _shares(items, answers, lambda item, answer: refuses(answer))


def says_missing(items: Sequence[Item], answers: Sequence[str]) -> Scored:
    """Share of answers that say what the references say is missing: silence, sound, picture or speech."""

    def right(item: Item, answer: str) -> bool:
        wanted = normalise_answer(item.answer)
        pattern = next((pattern for name, pattern in _MISSING.items() if name in wanted), None)
        said = normalise_answer(answer)
        return said == wanted or (pattern is not None and pattern.search(said) is not None)

    return _shares(items, answers, right)


@dataclass(frozen=True)
class Group:
    """One row of the table.

    Attributes:
        name: short id.
        title: for readers.
        tasks: of the items.
        prefix: that the items' ids begin with.
        score: makes the figure.
        conditions: besides ``full`` and ``no_media``.
        metric: ``wer``, ``accuracy`` or ``balanced accuracy``.
        new_tokens: an answer may take.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    score: Score
    prefix: str = ""
    conditions: tuple[str, ...] = ()
    metric: str = "accuracy"
    new_tokens: int = 24

    def takes(self, item: Item) -> bool:
        """Whether an item belongs to it."""
        return item.task in self.tasks and item.id.startswith(self.prefix)


_LEVELS = ("zeroed", "shuffled", "fine_only", "coarse_only")
_SENSES = ("sound_only", "frames_only")

GROUPS: tuple[Group, ...] = (
    Group("speech", "read speech, held-out LibriSpeech speakers", ("transcribe",), word_error_rate,
          "transcribe/librispeech:", (*_LEVELS, "no_speech_encoder", "no_event_encoder"), "wer", 80),
    Group("speech-nonnative", "short sentences, held-out non-native speakers", ("transcribe",), word_error_rate,
          "transcribe/speechocean", (), "wer", 80),
    Group("sounds", "sounds, ESC-10 fold 4", ("sound",), named, "sound/esc10",
          (*_LEVELS, "no_speech_encoder", "no_event_encoder")),
    Group("pictures", "photographs of trained classes", ("picture",), named, "picture/photos", _LEVELS),
    Group("pictures-unseen", "photographs of classes never trained", ("picture-unseen",), named, "picture/photos"),
    Group("match", "does the sound fit the picture?", ("match",), balanced, "", _SENSES, "balanced accuracy"),
    Group("picture-with-speech", "picture named while somebody speaks about something else", ("picture-av",), named,
          "picture+speech", _SENSES),
    Group("picture-with-sound", "picture named beside any sound", ("picture-av",), named, "picture+sound", _SENSES),
    Group("sound-with-picture", "sound named beside any picture", ("sound-av",), named, "", _SENSES),
    Group("speech-with-picture", "speech written down beside any picture", ("transcribe-av",), word_error_rate, "",
          _SENSES, "wer", 80),
    Group("both-speech", "both at once: speech (WER <= 0.3) and picture", ("both-av",), both, "", _SENSES,
          new_tokens=96),
    Group("both-sound", "both at once: sound and picture", ("both-sound-av",), both, "", _SENSES),
    Group("grid-words", "talking head: what is said", ("transcribe-talk",), word_error_rate, "", _SENSES, "wer", 40),
    Group("grid-slots", "talking head: colour, letter or digit that was said", ("grid-slot-talk",), named, "", _SENSES),
    Group("speech-present", "is anybody speaking?", ("speech-present",), balanced, "", (), "balanced accuracy"),
    Group("absent", "asked about what is not there", ("absent",), named),
    Group("events", "which sound came first, last, in which order", ("event-first", "event-last", "event-order"),
          named, "events/"),
    Group("around", "what was said before or after a sound", ("said-before", "said-after"), word_error_rate, "", (),
          "wer", 48),
    Group("speech-over-sound", "speech over a sound 6 to 18 dB weaker", ("transcribe-over",), word_error_rate, "", (),
          "wer", 80),
    Group("sound-under-speech", "the sound behind speech", ("background-over",), named),
    Group("digits", "strings of spoken digits", ("digits",), word_error_rate, "digits/", (), "wer"),
    Group("count", "how many digits are spoken", ("count-digits",), named, "digits/"),
    Group("orders", "slots of spoken orders", ("order",), named),
    Group("spoken-question", "a spoken question about the picture", ("spoken-question",), named),
    Group("slides", "the first or last of two pictures", ("first-picture", "last-picture"), named, "slides/", _SENSES),
    Group("test-other", "read speech, LibriSpeech test-other, 10 speakers", ("transcribe",), word_error_rate,
          "transcribe/test_other:", (), "wer", 80),
    Group("common-voice", "read speech, Common Voice, 96 speakers", ("transcribe",), word_error_rate,
          "transcribe/common_voice:", (), "wer", 48),
    Group("children", "short sentences, held-out children", ("transcribe",), word_error_rate, "transcribe/children:",
          (), "wer", 48),
    Group("speech-free", "speech asked for in many wordings", ("transcribe-free", "transcribe-free-av"),
          word_error_rate, "", (), "wer", 80),
    Group("yesno-sounds", "is a certain sound to be heard?", ("yesno-sound",), balanced, "yesno-sound/", _SENSES,
          "balanced accuracy", 8),
    Group("yesno-pictures", "is a certain thing to be seen?", ("yesno-picture",), balanced, "yesno-picture/", _SENSES,
          "balanced accuracy", 8),
    Group("yesno-sense", "one sense asked where sound and picture disagree", ("yesno-sense",), balanced, "", _SENSES,
          "balanced accuracy", 8),
    Group("yesno-speech", "is anybody speaking? (music, silence, noise too)", ("yesno-speech",), balanced, "", (),
          "balanced accuracy", 8),
    Group("yesno-music", "is there music?", ("yesno-music",), balanced, "", (), "balanced accuracy", 8),
    Group("yesno-words", "is a certain word said?", ("yesno-word",), balanced, "", (), "balanced accuracy", 8),
    Group("yesno-colours", "is it of a certain colour?", ("yesno-colour",), balanced, "", (), "balanced accuracy", 8),
    Group("refusals", "what no clip can tell: refused", ("unknowable",), refused),
    Group("wrong-refusals", "questions that can be answered: refused (less is better)",
          ("sound-free", "picture-free", "which", "gender", "language", "kind-animal", "kind-garment", "kind-produce",
           "first-word", "last-word", "count-people", "wall-colour", "material"), refused, "", (), "refusals"),
    Group("silent-track", "a silent track: said to be silent", ("silent",), says_missing),
    Group("absent-senses", "a sense that is not there: said so", ("absent-picture", "absent-sound", "absent-speech"),
          says_missing),
    Group("gender", "is the speaker a man or a woman?", ("gender",), named),
    Group("wall-colour", "colour of the wall while another is spoken", ("wall-colour",), named, "", _SENSES),
    Group("spoken-colour", "the spoken colour before a wall of another", ("spoken-colour",), named),
    Group("colours", "colour of the thing in a picture", ("colour",), named),
    Group("materials", "what an object is made of", ("material",), named),
    Group("which", "the animal, number, place … that is mentioned", ("which", "which-none"), named),
    Group("sounds-taught", "sounds of classes that only the sound head knew (ESC-50)", ("sound-teacher",), named),
    Group("pictures-taught", "pictures by names that only the picture head knew", ("picture-teacher",), named),
    Group("speakers", "how many people speak", ("count-speakers",), named),
    Group("series", "the first, last, next or all of several sounds, free wordings",
          ("event-first", "event-last", "event-order", "after-sound", "before-sound"), named, "series/"),
    Group("digits-more", "one to eight digits, free wordings", ("digits",), word_error_rate, "digits-more/", (), "wer"),
    Group("count-more", "how many digits, one to eight", ("count-digits",), named, "digits-more/"),
)  # fmt: skip


def choose(names: str) -> list[Group]:
    """Groups of a comma-separated list, in the table's order; all of them for ``all``.

    Raises:
        ConfigError: a name that is not one of a group, or none at all; the remedy lists them.
    """
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    known = [group.name for group in GROUPS]
    remedy = f"choose among {', '.join(known)}, or say all"
    if unknown := sorted(wanted - {*known, "all"}):
        raise ConfigError(f"no such group: {', '.join(map(repr, unknown))}", remedy=remedy)
    if not wanted:
        raise ConfigError("no group named", remedy=remedy)
    return [group for group in GROUPS if "all" in wanted or group.name in wanted]
