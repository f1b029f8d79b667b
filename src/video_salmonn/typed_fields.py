"""Whether values are of the types that settings are annotated with. Light: no framework is imported.

Settings come from JSON that people write: a number in quotes or a NaN has to be refused where it is read, by name, and
not in the middle of a network's construction.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from video_salmonn.errors import ConfigError

_WORDS = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false", NoneType: "null"}


@cache
def hints(kind: type) -> Mapping[str, Any]:
    """Annotations of a class's own body, as objects; evaluated once, since every answer builds settings anew. They may
    name only what its module holds when it runs."""
    return inspect.get_annotations(kind, eval_str=True)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type. JSON has lists in the place of tuples; NaN and infinity are no numbers.

    Args:
        value: anything.
        hint: None, a class, or ``X | Y``, ``Literal[…]``, ``tuple[X, ...]``, ``list[X]`` of such.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin in (tuple, list):
        return isinstance(value, (tuple, list)) and all(fits(one, inner[0]) for one in value)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, NoneType if hint is None else hint)


def named(hint: Any) -> str:
    """An annotated type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(named(one) for one in inner)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (tuple, list):
        return f"a list of which each is {named(inner[0])}"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def check(where: str, values: Mapping[str, Any], types: Mapping[str, Any], least: Mapping[str, float] = {}) -> None:
    """Refuse values of other types than annotated, and numbers below a limit.

    Args:
        where: begins the message, such as ``media.``.
        values: by name; names without a type are not looked at.
        types: annotation of each name.
        least: the smallest number allowed of each name that has one.

    Raises:
        ConfigError: names the first value that does not fit, and what is needed.
    """
    for name, value in values.items():
        if name not in types:
            continue
        if not fits(value, types[name]):
            raise ConfigError(f"{where}{name} is {value!r}", remedy=f"needed: {named(types[name])}")
        if name in least and isinstance(value, Real) and value < least[name]:
            raise ConfigError(f"{where}{name} is {value!r}", remedy=f"needed: at least {least[name]}")
