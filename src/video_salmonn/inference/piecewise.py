"""How an item's media are gone through: whole, in pieces, or in stretches one by one; and its answers as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from video_salmonn.connector import ConnectorConfig
from video_salmonn.errors import ContextError
from video_salmonn.inference.generating import Generated
from video_salmonn.inference.long import merge_answers
from video_salmonn.inference.pieces import (
    AT_ONCE,
    Piece,
    Span,
    agreed,
    is_yes_or_no,
    says_yes,
    spans,
    timeline,
    transcript,
)
from video_salmonn.inference.preparing import AskedQuestion, PreparedQuestion, Preparer
from video_salmonn.model.transcripts import asks_for_words
from video_salmonn.wording import counted

Likely = Callable[[PreparedQuestion, str], float]
"""Mean log-probability of a text as the answer to a prepared question."""


@dataclass(frozen=True)
class SpanPlan:
    """What of the media each prepared question is about.

    Attributes:
        form: ``whole``; ``pieces``: media longer than the model was trained on, see
            :mod:`video_salmonn.inference.pieces`; ``stretches``: media that do not fit the context, ``long=segments``.
        spans: in frames; None for everything.
    """

    form: Literal["whole", "pieces", "stretches"] = "whole"
    spans: Sequence[Span | None] = (None,)

    @property
    def at_once(self) -> int | None:
        """How many of them are generated for together; None for any number. A stretch fills the context by itself."""
        return {"whole": None, "pieces": AT_ONCE, "stretches": 1}[self.form]


@dataclass(frozen=True)
class JoinedAnswer:
    """An item's answer, with what goes into its report.

    Attributes:
        text: the answer.
        prompt_tokens, media_tokens, new_tokens: over all questions that were put to the language model for it.
        warnings: sentences for the report.
        joint: the connector's CTC took part.
        pieces: the answers about pieces of long media.
    """

    text: str
    prompt_tokens: int
    media_tokens: int
    new_tokens: int
    warnings: tuple[str, ...]
    joint: bool
    pieces: Sequence[Piece] = ()


def plan_of(asked: AskedQuestion, preparer: Preparer) -> SpanPlan:
    """How to go through an item's media.

    Raises:
        ContextError: ``long`` is ``segments``, and the media cannot be cut into stretches.
    """
    longest = preparer.model.config.media_config.longest(words=asks_for_words(asked.question))
    return _pieces(asked, preparer, longest) or _stretches(asked, preparer) or SpanPlan()


def _pieces(asked: AskedQuestion, preparer: Preparer, trained: float | None) -> SpanPlan | None:
    """Pieces as long as the model was trained on, where the media are longer."""
    config = preparer.model.connector.config
    longest = asked.options.get("piece_seconds", trained)
    if not longest or len(asked.media) != 1 or not config.synchronise or asked.options.get("long") == "coarse":
        return None
    (frames,), (item,) = preparer.frames(asked), asked.media
    found = spans(frames, max(int(longest / config.frame_seconds), 1), item.features.loudness)
    return SpanPlan("pieces", found) if len(found) > 1 else None


def _stretches(asked: AskedQuestion, preparer: Preparer) -> SpanPlan | None:
    """With ``long=segments``: stretches that fit the context, where the whole does not."""
    config, frames, room = preparer.model.connector.config, preparer.frames(asked), preparer.room(asked)
    if asked.options.get("long") != "segments" or sum(config.tokens_for(n) for n in frames) <= room:
        return None
    if not config.synchronise:
        raise ContextError(
            "long='segments' cuts along the time axis, which a model without synchronisation does not have",
            remedy="use long='coarse', or ask about a stretch of it (start, end)",
        )
    if len(frames) > 1:
        raise ContextError(
            "long='segments' cuts one media item, several were given", remedy="use long='coarse', or ask one by one"
        )
    longest = room * config.levels[0].frames // config.levels[0].queries // config.window_multiple
    longest *= config.window_multiple
    if longest < config.window_multiple:
        raise ContextError(
            f"a question of {counted(len(asked.prompt.input_ids), 'token')} and an answer of up to {asked.new_tokens} "
            f"leave no room for media in a context of {preparer.context}",
            remedy="ask a shorter question or for a shorter answer",
        )
    (total,) = frames
    return SpanPlan("stretches", list(pairwise([*range(0, total, longest), total]))) if total > longest else None


def outcome(
    plan: SpanPlan,
    asked: AskedQuestion,
    rows: Sequence[PreparedQuestion],
    made: Sequence[Generated],
    config: ConnectorConfig,
    likely: Likely,
) -> JoinedAnswer:
    """The answers to an item's questions as one.

    Args:
        plan: how its media were gone through.
        asked: the item.
        rows, made: one entry a span.
        config: of the connector.
        likely: computes how likely an answer is, if that decides.
    """
    begin, seconds = float(asked.options.get("start") or 0), config.frame_seconds
    pieces = [
        Piece(begin + span[0] * seconds, begin + span[1] * seconds, one.text, one.joint)
        for span, one in zip(plan.spans, made)
        if span is not None
    ]
    longest = max((piece.end - piece.start for piece in pieces), default=0)
    if plan.form == "whole":
        text, note = made[0].text, []
    elif plan.form == "stretches":
        text = merge_answers([piece.answer for piece in pieces], [piece.end - piece.start for piece in pieces])
        note = [f"long media: asked about {counted(len(pieces), 'stretch')} of up to {longest:g} s one by one"]
    else:
        text = _understood(asked, rows, pieces, likely)
        note = [f"long media: understood in {counted(len(pieces), 'piece')} of up to {longest:g} s"]
    said = [warning for row in rows for warning in row.warnings]
    said += [warning for one in made for warning in one.warnings]
    return JoinedAnswer(
        text,
        sum(len(row.input_ids) for row in rows),
        sum(row.media_tokens for row in rows),
        sum(one.new_tokens for one in made),
        tuple(dict.fromkeys([*note, *said])),
        any(one.joint for one in made),
        pieces if plan.form == "pieces" else (),
    )


def _understood(asked: AskedQuestion, rows: Sequence[PreparedQuestion], pieces: Sequence[Piece], likely: Likely) -> str:
    """The answers about pieces as one, by the first rule that fits (:mod:`video_salmonn.inference.pieces`)."""
    if asks_for_words(asked.question):
        return transcript(pieces)
    if (same := agreed(pieces)) is not None:
        return same
    if is_yes_or_no(pieces):
        yes = [(row, piece.answer) for row, piece in zip(rows, pieces) if says_yes(piece.answer)]
        if len({text for _, text in yes}) == 1:
            return yes[0][1]
        return max(yes, key=lambda one: likely(*one))[1]
    return timeline(pieces)
