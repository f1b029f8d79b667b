"""Yes/no answers.

The grammar (docs/evaluation.md has it with examples):

1. "yes" and "no" as words of their own decide: the first word of the answer, else the only one of the two that occurs.
   A "no" before a noun ("no idea", "no sound") is not an answer; "not true" is turned round.
2. Else a statement decides: that things go together or not ("they match", "the sound does not fit the picture", "a
   mismatch"), or the short form of an answer ("it does not", "they are").

Unparsed: both words, a statement against the word ("Yes, they do not match"), questions, and what is left open
("whether they match", "they may match", "I cannot tell").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from video_salmonn.errors import EvaluationError
from video_salmonn.metrics.choice import Choices
from video_salmonn.metrics.intervals import RESAMPLES, mean, mean_interval
from video_salmonn.metrics.scored import Scored, same_length
from video_salmonn.metrics.text import APOSTROPHES

_VALUES = dict.fromkeys(("yes", "yeah", "yep", "true"), True) | dict.fromkeys(("no", "nope", "false"), False)
_WORD = re.compile(r"(?P<not>\b(?:not|isn't)\s+)?\b(?P<word>yes|yeah|yep|true|no|nope|false)\b(?P<next>\s+[\w']+)?")
_FIRST = re.compile(r"\W*(?:yes|yeah|yep|true|no|nope|false)\b")
_BOTH = re.compile(r"\W*(?:yes\W+(?:(?:and|or)\W+)?no|no\W+(?:(?:and|or)\W+)?yes)\b(?!\s+\w)")
_PRONOUNS = ("it", "they", "this", "that", "these", "those", "there", "he", "she", "we", "you", "i")
_AFTER_NO = frozenset((*_PRONOUNS, "because", "since", "as", "not", "but", "and", "or", "sorry"))
"""Words before which "no" is an answer by itself; before any other it belongs to a noun ("no idea")."""
_MARKUP = re.compile(r"[*`#~]+|(?<!\w)_+|_+(?!\w)")
_CLAUSE = re.compile(r"[.,;:!\n]+|\b(?:but|while|although|because)\b")
_AGREES = re.compile(
    r"\b(?:(?:is|are|be|not|it's) an? (?:\w+ )?match|(?<!\ba )(?<!the )(?<!ball )(?<!nis )"
    r"(?:match(?:es|ed)?|fits?|corresponds?|agrees?|(?:go(?:es)?|belongs?) (?:well )?together))\b"
)
_DIFFERS = re.compile(r"\b(?:mismatch(?:es|ed)?|no match|no correspondence|unrelated)\b")
_NEGATION = re.compile(
    r"\b(?:not|never|neither|nor|cannot|nothing|none|no way|no(?= mismatch)|without|fails? to|\w+n't|dont|doesnt)\b"
)
_OPEN = re.compile(
    r"\b(?:if|whether|may|might|could|would|should|perhaps|maybe|possibly|partly|partially|sometimes|hardly|either|only|"
    r"unclear|unsure|uncertain|hard to|difficult to|impossible|unable|not (?:sure|certain|clear)|"
    r"(?:cannot|can not|can't|could not|couldn't|do not|don't) (?:tell|say|determine|know|see|hear|decide))\b"
)
_SHORT = re.compile(
    r"(?:it|they|this|that|these|those|he|she|there) (?:do|does|did|is|are|was|were|has|have)(?P<no> not|n't)?(?: so)?"
)
_THINK = re.compile(r"i (?P<no>do not |don't )?(?:think|believe) so")


def read_yes_no(answer: str) -> bool | None:
    """True for yes, False for no, None where the answer is neither or both ("I cannot tell", "yes and no")."""
    text = unicodedata.normalize("NFKC", answer).translate(APOSTROPHES).casefold()
    text = " ".join(_MARKUP.sub("", text).split(" ")).strip()
    words = [value for hit in _WORD.finditer(text) if (value := _word(hit)) is not None]
    first = _FIRST.match(text) is not None and _word(_WORD.search(text)) is not None  # type: ignore[arg-type]
    if _BOTH.match(text) or (not first and (len(set(words)) > 1 or text.endswith("?"))):
        return None
    stated = None if text.endswith("?") else _statement(text)
    if not words:
        return stated
    return None if stated is (not words[0]) else words[0]


def _word(hit: re.Match[str]) -> bool | None:
    """The meaning of a yes or no in its context; None for the "no" of a noun."""
    following = (hit["next"] or "").strip()
    if hit["word"] == "no" and following and following not in _AFTER_NO:
        return None
    value = _VALUES[hit["word"]]
    return not value if hit["not"] else value


def _statement(text: str) -> bool | None:
    """Whether the clauses of a text state agreement; None where none does, they differ, or one leaves it open."""
    verdicts: set[bool | None] = set()
    for clause in map(str.strip, _CLAUSE.split(text)):
        if short := _SHORT.fullmatch(clause) or _THINK.fullmatch(clause):
            verdicts.add(short["no"] is None)
            continue
        agrees, differs = bool(_AGREES.search(clause)), bool(_DIFFERS.search(clause))
        if _OPEN.search(clause) and (agrees or differs or len(verdicts) == 0):
            return None
        if agrees or differs:
            denials = len(_NEGATION.findall(clause))
            verdicts.add(None if denials > 1 else bool(denials) == differs)
    return verdicts.pop() if len(verdicts) == 1 else None


def yes_no_accuracy(
    predictions: Sequence[str], references: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Choices:
    """Share of right answers; unreadable ones are wrong and counted.

    Raises:
        EvaluationError: on sequences of unequal length, or a reference that is neither yes nor no, naming the item.
    """
    same_length(predictions=predictions, references=references)
    items: list[float] = []
    unparsed = 0
    for index, (said, right) in enumerate(zip(predictions, references)):
        wanted = read_yes_no(right)
        if wanted is None:
            raise EvaluationError(f"item {index} (counted from 0): the reference {right!r} is neither yes nor no")
        read = read_yes_no(said)
        unparsed += read is None
        items.append(float(read == wanted))
    return Choices(Scored(mean(items), *mean_interval(items, resamples=resamples, seed=seed), tuple(items)), unparsed)
