"""Questions that are decided: is it so, which of these, how much; and how the model is asked them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from video_salmonn.errors import ConfigError
from video_salmonn.model import prompt
from video_salmonn.wording import counted

MAX_CHOICES = 255
_ASKS = re.compile(
    r"(?:please )?(?:is|are|am|was|were|do|does|did|has|have|had|can|could|will|would|should|any|(?:tell me|say|i want "
    r"to know) (?:whether|if))\b",
    re.IGNORECASE,
)
"""How a predicate begins that is a question though no question mark ends it."""


@dataclass(frozen=True)
class Option:
    """One possible answer.

    Attributes:
        value: the answer; True and False are read as yes and no.
        description: what it means, where its name does not say it.
    """

    value: str | bool
    description: str = ""


@dataclass(frozen=True)
class Predicate:
    """Is it so? Best put as a question that is answered by yes or no; a statement works, too.

    Attributes:
        instructions: the question.
        name: comes back with the answer.
    """

    instructions: str
    name: str | None = None


@dataclass(frozen=True)
class Choice:
    """Which of these?

    Attributes:
        instructions: the question.
        choices: 2 to :data:`MAX_CHOICES` answers, all different.
        name: comes back with the answer.
    """

    instructions: str
    choices: tuple[Option, ...]
    name: str | None = None


@dataclass(frozen=True)
class Score:
    """How much? The answer is the expected level, counted from 0.

    Attributes:
        instructions: the question.
        levels: 2 or more, from the lowest to the highest.
        name: comes back with the answer.
    """

    instructions: str
    levels: tuple[Option, ...]
    name: str | None = None


Question = Predicate | Choice | Score


def question_of(given: Question | Mapping[str, Any]) -> Question:
    """A question from either form.

    Raises:
        ConfigError: it lacks something, or its answers are not different.
    """
    if isinstance(given, Mapping):
        given = _of_mapping(given)
    if not isinstance(given, (Predicate, Choice, Score)):
        raise ConfigError(f"a question is {type(given).__name__}", remedy='give {"type": "predicate", …}')
    prompt.readable(given.instructions, "instructions")
    if not given.instructions.strip():
        raise ConfigError("a question has no instructions", remedy="say what is asked")
    options = () if isinstance(given, Predicate) else given.choices if isinstance(given, Choice) else given.levels
    if isinstance(given, Predicate):
        return given
    if not isinstance(options, (list, tuple)) or not all(isinstance(option, Option) for option in options):
        raise ConfigError(f"the choices of a question are {options!r:.100}", remedy="give a tuple of Option(value)")
    if not 2 <= len(options) <= MAX_CHOICES:
        raise ConfigError(f"{counted(len(options), 'choice')} in a question", remedy=f"give 2 to {MAX_CHOICES}")
    values = [option.value if isinstance(option.value, bool) else _plain(option.value) for option in options]
    if "" in values or len({(type(value), value) for value in values}) != len(values):
        raise ConfigError("choices are empty or the same", remedy="give every choice a value of its own")
    return given


def _of_mapping(given: Mapping[str, Any]) -> Question:
    kind, text, name = given.get("type"), given.get("instructions", ""), given.get("name")
    if kind == "predicate":
        return Predicate(text, name)
    if kind == "choice":
        return Choice(text, _options(given, "choices", "value"), name)
    if kind == "score":
        return Score(text, _options(given, "levels", "label"), name)
    raise ConfigError(f"a question of type {kind!r}", remedy="types: predicate, choice, score")


def _options(given: Mapping[str, Any], name: str, key: str) -> tuple[Option, ...]:
    """The possible answers in a question's mapping. Raises ConfigError where they are none."""
    options = given.get(name) or ()
    if not isinstance(options, (list, tuple)):
        raise ConfigError(f"{name} is {type(options).__name__}", remedy=f"give a list of {{{key!r}: …}}")
    made = []
    for one in options:
        if not isinstance(one, Mapping) or key not in one:
            raise ConfigError(f"{name} holds {one!r:.100}", remedy=f"give {{{key!r}: …}} for each")
        made.append(Option(one[key], prompt.readable(one.get("description") or "", "a description")))
    return tuple(made)


def text_of(question: Question) -> str:
    """What the model is asked."""
    text = question.instructions.strip()
    if isinstance(question, Predicate):
        asks = text.endswith("?") or _ASKS.match(text)
        return text if asks else f'Is this true? "{text}" Answer yes or no.'
    options = question.choices if isinstance(question, Choice) else question.levels
    if isinstance(question, Score):
        return f"{text} Levels, from the lowest: {', '.join(_named(option) for option in options)}."
    if any(option.description for option in options):
        return f"{text} Choices: {'; '.join(_named(option) for option in options)}."
    return text


def _named(option: Option) -> str:
    value = word_of(option)
    return f"{value} ({option.description})" if option.description else value


def word_of(option: Option) -> str:
    """An answer in words."""
    return ("yes" if option.value else "no") if isinstance(option.value, bool) else option.value


def _plain(text: str) -> str:
    return " ".join(prompt.readable(text, "a choice").split())


def spellings_of(question: Question) -> list[list[str]]:
    """For every possible answer its spellings."""
    if isinstance(question, Predicate):
        return [["Yes"], ["No"]]
    options = question.choices if isinstance(question, Choice) else question.levels
    found = []
    for option in options:
        word = _plain(word_of(option))
        found.append(list(dict.fromkeys([word, f"{word[:1].upper()}{word[1:].rstrip('.')}."])))
    return found
