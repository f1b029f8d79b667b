"""VQA accuracy by the official formula, and accuracy of short answers.

The formula (Antol et al., ICCV 2015; the same for TextVQA, Singh et al., CVPR 2019): an answer is compared with every
choice of nine of the ten human answers, and scores ``min(matches / 3, 1)`` each time; the item's score is the mean.
With ten answers that is 0, 0.3, 0.6, 0.9, 1, 1 … for 0, 1, 2, 3, 4, 5 … people who agree.

Answers are normalised as the official evaluation does it, peculiarities included (its punctuation rule looks at the
whole string; ``none`` becomes ``0``), because published numbers were computed so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.intervals import RESAMPLES, mean, mean_interval
from video_salmonn.metrics.scored import Scored, same_length
from video_salmonn.metrics.text import contains_words, normalise_answer

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0"} | {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())}
# The official table maps spellings without their apostrophes. Forms with two of them lack either one or the other.
_PLAIN_WORDS = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's "
    "isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't "
    "should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's "
    "there'd there're there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's "
    "what've when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't "
    "y'all you'd you'll you're you've"
)
_DOUBLE_WORDS = (
    "couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've "
    "there'd've they'd've we'd've who'd've wouldn't've you'd've"
)
_CONTRACTIONS = {word.replace("'", ""): word for word in _PLAIN_WORDS.split()}
for _word in _DOUBLE_WORDS.split():
    _stem, _middle, _end = _word.split("'")
    _CONTRACTIONS[f"{_stem}{_middle}'{_end}"] = _word
    _CONTRACTIONS[f"{_stem}'{_middle}{_end}"] = _word
_CONTRACTIONS |= {
    "somebody'd": "somebodyd",  # the official table has this one the wrong way round
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "yall'll": "y'all'll",
    "y'allll": "y'all'll",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


def normalise_vqa(answer: str) -> str:
    """An answer as the official VQA evaluation compares it: "The two dogs, please." -> "2 dogs please"."""
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    joins = _DIGITS_COMMA.search(text) is not None
    out = text
    for mark in _PUNCTUATION:
        gone = joins or f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if gone else " ")
    out = _PERIOD.sub("", out).lower()
    words = (_NUMBERS.get(word, word) for word in out.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_item(prediction: str, answers: Sequence[str]) -> float:
    """Score of one item in [0, 1]; ``answers`` are the human answers, normally ten."""
    said = normalise_vqa(prediction)
    given = [normalise_vqa(answer) for answer in answers]
    if len(given) == 1:
        return float(said == given[0])
    agree = sum(answer == said for answer in given)
    # Leaving one answer out leaves agree - 1 matches if it agreed (agree times), else agree matches.
    left_out = agree * min((agree - 1) / 3, 1.0) + (len(given) - agree) * min(agree / 3, 1.0)
    return left_out / len(given)


def vqa_accuracy(
    predictions: Sequence[str], answers: Sequence[Sequence[str]], *, resamples: int = RESAMPLES, seed: int = 0
) -> Scored:
    """Mean official VQA accuracy.

    Raises:
        EvaluationError: on sequences of unequal length or an item without answers, naming the item.
    """
    same_length(predictions=predictions, answers=answers)
    _answered(answers)
    items = tuple(vqa_item(p, a) for p, a in zip(predictions, answers))
    return Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), items)


def contains_answer(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction contains any answer as whole words.

    Both are normalised as above or, since that keeps quotation marks and colons and joins words at some marks, as
    :func:`plain_words` does it: either containment counts.
    """
    return any(
        contains_words(normalise(prediction), normalise(answer))
        for answer in answers
        for normalise in (normalise_vqa, plain_words)
    )


def plain_words(text: str) -> str:
    """Words alone, lower case, numbers as digits: "The sign says 'STOP'." -> "sign says stop"."""
    text = re.sub(r"(?<=\d),(?=\d)", "", text)
    text = re.sub(r"(?<=\d)[.:](?=\d)", lambda hit: "dot" if hit[0] == "." else "colon", text)  # "3.5" holds no "5"
    words = normalise_answer(text).split()
    return " ".join(_NUMBERS.get(word, word) for word in words)


def contained_accuracy(
    predictions: Sequence[str], answers: Sequence[Sequence[str]], *, resamples: int = RESAMPLES, seed: int = 0
) -> Scored:
    """Share of predictions that contain one of their answers: kinder than the formula to a model that speaks in
    sentences. Raises as :func:`vqa_accuracy` does."""
    same_length(predictions=predictions, answers=answers)
    _answered(answers)
    items = tuple(float(contains_answer(p, a)) for p, a in zip(predictions, answers))
    return Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), items)


def _answered(answers: Sequence[Sequence[str]]) -> None:
    for index, given in enumerate(answers):
        if not any(answer.strip() for answer in given):
            raise EvaluationError(f"item {index} (counted from 0) has no reference answer")
