"""Numbers in sentences: "1 frame", "2 frames", "1 item has", "3 items have"."""

from __future__ import annotations

_VERBS = {"are": "is", "were": "was", "have": "has", "do": "does", "lack": "lacks", "need": "needs", "leave": "leaves"}


def counted(number: float, noun: str, verb: str = "", *, form: str = "") -> str:
    """``number`` with its noun, and a verb that agrees with it.

    Args:
        number: how many there are.
        noun: in the singular; an adjective may precede it.
        verb: as it follows a plural, such as ``are``.
        form: format specification of the number, such as ``,``.
    """
    one = number == 1
    words = [format(number, form), noun if one else _plural(noun)]
    if verb:
        words.append(agree(number, verb))
    return " ".join(words)


def agree(number: float, verb: str) -> str:
    """``verb``, given as it follows a plural, as it follows ``number`` things."""
    return _VERBS[verb] if number == 1 else verb


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")
