"""Multiple choice: which candidate did the model mean?

The grammar (docs/evaluation.md has it with examples):

1. the whole answer is a letter ("B", "(b)", "**B.**") or one candidate's text: that one;
2. an answer given by name ("Answer: B", "the answer is: B", "option C is right") decides, if it names one letter;
3. else a letter marked as the choice decides, if no other letter occurs: at the start of a line ("B. lay on floor"),
   after a word of choosing ("it is B", "I choose B") or before its verb ("B is correct");
4. else a candidate's text: the only one contained as whole words (a candidate inside another that is contained as well
   does not count: "floor" in "lay on floor").

Unparsed, hence wrong and counted: several letters ("A, B and C are all possible"), an echo of all candidates, a letter
with the text of *another* candidate, what is denied ("not B", "B is wrong"), questions, refusals. "A" before a word is
the article and "I" the pronoun, unless set off by punctuation.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.intervals import RESAMPLES, mean, mean_interval
from video_salmonn.metrics.scored import Scored, same_length
from video_salmonn.metrics.text import contains_words, normalise_answer

LETTERS = string.ascii_uppercase
_MASK = "¤"
"""Stands for a candidate's text where only letters are looked for."""
_OPEN, _CLOSE = r"[\(\[\{\"'‘“]*", r"[\)\]\}\"'’”]*"
_JOIN = r"(?:\s*(?:,|/|&|\+|-|–|\band\b|\bor\b|\bto\b|\bnor\b))+\s*"
_MARKUP = re.compile(r"[*`#$~>]+|(?<!\w)_+|_+(?!\w)|\\(?:boxed|text|textbf|mathrm)\b")
_TAG = re.compile(r"</?[A-Za-z][\w-]*>")
_LETTER = re.compile(r"(?<!\w)(?<!\w['’])[A-Za-z](?!\w|['’]\w)")
_ALONE = re.compile(r"\W*([A-Za-z])\W*")
# Before a letter.
_WITHIN_WORD = re.compile(r"(?:\w\.|\w\w-|\d\s?°?\s?)$")
_NAMED = re.compile(
    r"\b(?:answer|option|choice|letter)\b(?:\s+(?:is|was|should be|would be|must be))?\s*[:=\-–—]?\s*"
    rf"(?:(?:option|choice|letter|answer)\b\s*[:=]?\s*)?{_OPEN}$",
    re.IGNORECASE,
)
_CHOSEN = re.compile(
    r"(?:\b(?:is|be|it['’]?s|that['’]?s|was|but|choose|chose|picks?|picked|select(?:ed)?|go with|say|think|guess|"
    r"believe|probably|likely|definitely|clearly|therefore|thus|hence|so)\b\s*|[:=]\s*)"
    rf"(?:(?:that\s+)?it['’]?s\s+)?{_OPEN}$",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|neither|nor|never|except|than|instead of|rule out|exclude)|n['’]t)\s+"
    rf"(?:(?:be|the|answer|option|choice)\s+)*{_OPEN}$",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    rf"(?:^|[.,;:!?\n]|\b(?:that|think|say|guess|believe|so|and|but|therefore|because))\s*{_OPEN}$", re.I
)
_LISTED_BEFORE = re.compile(rf"(?<![\w'’])[A-Za-z]{_CLOSE}{_JOIN}{_OPEN}$")
# After a letter.
_COMPOUND = re.compile(r"-\w\w|\.\w")
_SET_OFF = re.compile(r"\s*\n|\s*(?:[\)\]\}\.,:;!?\"'’”/&+=]|$)")
_START_OFF = re.compile(rf"\s*(?:[\)\]\}}:,]|\.(?!\w\.)|{_MASK}|$)|\s+[-–—]\s|\s*\n")
_VERB = re.compile(rf"{_CLOSE}\s+(?:is|was|seems|looks|fits|because|since|isn['’]t)\b")
_JOINED = re.compile(rf"{_CLOSE}{_JOIN}{_OPEN}[A-Za-z](?![\w'’])")
_DENIED_AFTER = re.compile(
    rf"{_CLOSE}\s+(?:(?:is|was|can|does)\s*(?:not|n['’]t)\b|cannot\b|(?:is|was|seems)\s+(?:wrong|incorrect|false|impossible)\b)"
)
_REFUSED = re.compile(
    r"\b(?:(?:can\s?not|can['’]t|could\s?not|couldn['’]t|unable to|impossible to|hard to|difficult to|no way to)\s+"
    r"(?:be\s+)?(?:tell|say|determin\w+|answer|decide\w*|know|see|hear|choose|identify)|"
    r"(?:do not|don['’]t) (?:know|see|hear)|"
    r"no idea|unclear|unknown|not (?:sure|certain|clear|possible|enough)|"
    r"(?:all|none|any|either|neither|each|both) of (?:the|them|these|those|it)|all (?:\w+ )?are\b)",
    re.IGNORECASE,
)
_DENIALS = frozenset({"not", "isn't", "no", "never", "neither", "nor", "than", "without", "wasn't", "doesn't", "don't"})


@dataclass(frozen=True, slots=True)
class Choices:
    """Accuracy of a set of choices, and how many answers could not be read."""

    accuracy: Scored
    unparsed: int


@dataclass(frozen=True, slots=True)
class _FoundChoice:
    """A letter in an answer, and its context."""

    index: int
    named: bool
    marked: bool
    listed: bool
    denied: bool
    first: bool


def read_choice(answer: str, candidates: Sequence[str]) -> int | None:
    """Index of the candidate that ``answer`` means, or None if that is not clear.

    Args:
        answer: the generated text.
        candidates: at most 26 texts, shown to the model as A, B, C …

    Raises:
        EvaluationError: without candidates, or with more than there are letters.
    """
    count = len(candidates)
    if not 1 <= count <= len(LETTERS):
        raise EvaluationError(f"a choice has 1 to {len(LETTERS)} candidates, not {count}")
    answer, candidates = _plain(answer), [unicodedata.normalize("NFKC", candidate) for candidate in candidates]
    if alone := _ALONE.fullmatch(answer):
        index = LETTERS.index(alone[1].upper())
        return index if index < count else None
    texts = [normalise_answer(candidate) for candidate in candidates]
    said = normalise_answer(answer)
    if said and said in texts:
        return texts.index(said)
    masked = _mask(answer, candidates)
    found = list(_letters(masked))
    meant = [letter for letter in found if not letter.denied]
    named = {letter.index for letter in meant if letter.named}
    if len(named) > 1 or any(letter.named and letter.listed for letter in meant):
        return None
    mentioned = _contained(said, texts)
    if named:
        return _agreeing(named.pop(), texts, mentioned)
    inside = [letter for letter in meant if letter.index < count]
    if len({letter.index for letter in inside}) > 1 or len(mentioned) == len(set(texts)) > 1:
        return None
    if not any(letter.first for letter in inside) and (_REFUSED.search(masked) or answer.endswith("?")):
        return None
    if any(letter.marked for letter in inside):
        return _agreeing(inside[0].index, texts, mentioned)
    if len(mentioned) != 1:
        return None
    index = texts.index(mentioned[0])
    return None if any(letter.denied and letter.index == index for letter in found) else index


def _plain(answer: str) -> str:
    """An answer without markup and tags ("<answer>B</answer>"), full-width letters and colons as ordinary ones."""
    return _MARKUP.sub("", _TAG.sub(" ", unicodedata.normalize("NFKC", answer))).strip()


def _agreeing(index: int, texts: Sequence[str], mentioned: Sequence[str]) -> int | None:
    """A letter's index, unless there is no such candidate or the answer holds another candidate's text instead."""
    if index >= len(texts) or (mentioned and texts[index] not in mentioned):
        return None
    return index


def _mask(answer: str, candidates: Sequence[str]) -> str:
    """The answer with candidates' texts hidden, longest first: letters inside them ("Vitamin C") are not a choice."""
    for candidate in sorted(candidates, key=len, reverse=True):
        words = candidate.strip(" .!?,;:").split()
        if len("".join(words)) > 1:
            pattern = r"\s+".join(map(re.escape, words))
            answer = re.sub(rf"(?<!\w){pattern}(?!\w)", _MASK, answer, flags=re.IGNORECASE)
    return answer


def _letters(text: str) -> Iterator[_FoundChoice]:
    """Single letters of a text that can mean a candidate."""
    for hit in _LETTER.finditer(text):
        letter, before, after = hit[0], text[: hit.start()], text[hit.end() :]
        if _WITHIN_WORD.search(before) or _COMPOUND.match(after):
            continue
        listed = bool(_LISTED_BEFORE.search(before) or _JOINED.match(after))
        set_off = bool(_SET_OFF.match(after)) or before.endswith(("(", "[", "{"))
        told = bool(_VERB.match(after))
        verb = told and bool(_CLAUSE.search(before))
        named = bool(_NAMED.search(before))
        first = not before.rpartition("\n")[2].strip("([{\"'‘“ \t") and bool(_START_OFF.match(after))
        if letter in "aAiI" and not (set_off or listed or first):
            # The article and the pronoun, unless an "A" is said to be something, or is the named option's.
            said = letter == "A" and (told or re.search(r"\b(?:option|choice|letter)\s+$", before, re.IGNORECASE))
            if not said:
                continue
        bracketed = before.endswith(("(", "[", "{")) and after.lstrip().startswith((")", "]", "}"))
        if letter.islower() and not (named or listed or first or bracketed):
            continue
        yield _FoundChoice(
            LETTERS.index(letter.upper()),
            named=named,
            marked=first or verb or bool(_CHOSEN.search(before)),
            listed=listed,
            denied=bool(_DENIED_BEFORE.search(before) or _DENIED_AFTER.match(after)),
            first=first,
        )


def _contained(said: str, texts: Sequence[str]) -> list[str]:
    """Candidates that an answer holds and does not deny, without those inside a longer one; all normalised."""
    inside = {text for text in texts if contains_words(said, text) and not _denied(said, text)}
    return [text for text in inside if not any(text != other and contains_words(other, text) for other in inside)]


def _denied(said: str, text: str) -> bool:
    """Whether each place of a text follows a word that denies it: "not crawl"."""
    before = f" {said} ".split(f" {text} ")[:-1]
    return all(part.split()[-1:] and part.split()[-1] in _DENIALS for part in before)


def choice_accuracy(
    predictions: Sequence[str],
    references: Sequence[str],
    candidates: Sequence[Sequence[str]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Choices:
    """Share of items whose answer means the right candidate.

    Args:
        predictions: generated texts.
        references: the right candidate's text, literally one of the item's candidates.
        candidates: the texts offered.

    Raises:
        EvaluationError: on sequences of unequal length, or a reference that is not among its candidates.
    """
    same_length(predictions=predictions, references=references, candidates=candidates)
    items: list[float] = []
    unparsed = 0
    for index, (said, right, offered) in enumerate(zip(predictions, references, candidates)):
        wanted = normalise_answer(right)
        if right not in offered:
            raise EvaluationError(
                f"item {index} (counted from 0): the reference {right!r} is none of its candidates {list(offered)}"
            )
        chosen = read_choice(said, offered)
        unparsed += chosen is None
        items.append(float(chosen is not None and normalise_answer(offered[chosen]) == wanted))
    return Choices(Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), tuple(items)), unparsed)


def option_lines(candidates: Sequence[str]) -> str:
    """Candidates as shown to the model: one line each, "A. first"."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, candidates))
