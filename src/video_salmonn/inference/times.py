"""Answers with times: a question is asked of one short piece of the media after another.

No model here was trained to say a time. What it can do is answer about a piece, so a question with times becomes the
same question about every piece:

* "When is the dog heard?" is asked as "Is the dog heard?", and the answer is the pieces answered by yes.
* Any other question gets a timeline: what is answered about which time, neighbours that agree put together.

How well that works is how well the model answers the question about a few seconds; the times are those of pieces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from video_salmonn.errors import ConfigError
from video_salmonn.inference.options import number
from video_salmonn.inference.pieces import Piece, is_yes_or_no, says_yes, timeline
from video_salmonn.types import Answer, PieceReport

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

SECONDS = 5.0
"""Longest piece by default."""
_WHEN = re.compile(
    r"^\W*(?:when|at (?:what|which) times?)\s+((?:is|are|was|were|do|does|did|has|have|can|could)\b.*)$",
    re.IGNORECASE | re.DOTALL,
)


def yes_or_no(question: str) -> str | None:
    """The question of a piece for one that asks when: "When is a dog heard?" -> "Is a dog heard?"; None for others."""
    found = _WHEN.match(question.strip())
    return None if found is None else found[1][:1].upper() + found[1][1:]


def ask_times(
    engine: VideoSalmonn, media: Any, question: str, *, seconds: float = SECONDS, sound: Any = None, **options: Any
) -> Answer:
    """Answer a question with times.

    Args:
        engine: the model.
        media, sound: one media item, as for :meth:`VideoSalmonn.ask`.
        question: any; one that begins with "When is …" asks for the times at which something is so.
        seconds: longest piece that is asked about, 1 or more.
        **options: as for :meth:`VideoSalmonn.ask`, but ``piece_seconds`` and ``long``.

    Returns:
        the answer; ``report["times"]`` lists ``from``, ``to`` and ``answer``, and a warning says how it was made.

    Raises:
        ConfigError: several media items, or an option that pieces do not have. And as :meth:`VideoSalmonn.ask`.
    """
    number(seconds, "seconds", low=1)
    if isinstance(media, list) and len(media) != 1:
        raise ConfigError("times need exactly one media item", remedy="ask about one file")
    for name in ("piece_seconds", "long"):
        if options.get(name) not in (None, "error"):
            raise ConfigError(f"{name} cannot be combined with times", remedy=f"leave {name} out")
    if not engine.model.connector.config.synchronise:
        raise ConfigError("a model without synchronisation has no time axis to cut", remedy="ask without times")
    options = {name: value for name, value in options.items() if name != "long"}
    asked = yes_or_no(question)
    answer = engine.ask(media, asked or question, sound=sound, piece_seconds=seconds, **options)
    told = answer.report.get("pieces") or [_whole(answer, float(options.get("start") or 0))]
    pieces = [Piece(one["from"], one["to"], one["answer"]) for one in told]
    how = f"asked about {len(pieces)} pieces of up to {seconds:g} s one by one; the model itself does not state times"
    warnings = [note for note in answer.report["warnings"] if not note.startswith("long media:")] + [f"times: {how}"]
    if asked is not None and is_yes_or_no(pieces):
        text = moments(pieces)
    else:
        text = timeline(pieces)
        if asked is not None:
            warnings.append(f"{asked!r} was not answered with yes or no; the answers are shown")
    times = [piece.to_dict() for piece in pieces]
    return Answer(text, {**answer.report, "answer": text, "times": times, "warnings": warnings})


def moments(pieces: Sequence[Piece]) -> str:
    """When it is so, out of pieces answered by yes or no: "From 0:05 to 0:10 and from 0:20 to 0:25."."""
    found = []
    for yes, same in groupby(pieces, key=lambda piece: says_yes(piece.answer)):
        group = list(same)
        if yes:
            found.append(f"from {_exact(group[0].start)} to {_exact(group[-1].end)}")
    if not found:
        return "At no time."
    text = " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
    return f"{text[:1].upper()}{text[1:]}."


def _exact(seconds: float) -> str:
    """``m:ss``, with tenths where there are any: pieces begin and end at half seconds."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes}:{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")


def _whole(answer: Answer, start: float) -> PieceReport:
    """The only piece of a short clip."""
    length = max((media["duration"] for media in answer.report["media"]), default=0.0)
    return {"from": start, "to": start + length, "answer": answer.text}
