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
}
"""What else counts as the name of a picture's class: another number, another spelling, or the whole for a part."""

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
          named),
    Group("around", "what was said before or after a sound", ("said-before", "said-after"), word_error_rate, "", (),
          "wer", 48),
    Group("speech-over-sound", "speech over a sound 6 to 18 dB weaker", ("transcribe-over",), word_error_rate, "", (),
          "wer", 80),
    Group("sound-under-speech", "the sound behind speech", ("background-over",), named),
    Group("digits", "strings of spoken digits", ("digits",), word_error_rate, "", (), "wer"),
    Group("count", "how many digits are spoken", ("count-digits",), named),
    Group("orders", "slots of spoken orders", ("order",), named),
    Group("spoken-question", "a spoken question about the picture", ("spoken-question",), named),
    Group("slides", "the first or last of two pictures", ("first-picture", "last-picture"), named, "", _SENSES),
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
