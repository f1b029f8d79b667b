"""What an answer rested on: the same question with sound, picture, or all media taken away (ablation at answer time).

Nothing here claims more than the comparison shows. A changed answer shows that what was taken away took part; an
unchanged one, that it was not needed for these words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from video_salmonn.inference.engine import VideoSalmonn
from video_salmonn.inference.media_store import EncodedMedia, Timer
from video_salmonn.inference.questions import MediaQuestion
from video_salmonn.inspection.scene import number
from video_salmonn.model.aliases import expand
from video_salmonn.types import PieceReport

WORTH_A_WORD = 0.05
"""Differences of mean log-probability below this are called none."""
RestsOn = Literal["sound", "picture", "both", "either", "not shown"]
TITLES = {
    "full": "everything",
    "no_sound": "sound taken away",
    "no_picture": "picture taken away",
    "zeroed": "connector outputs set to zero",
    "no_media": "no media at all",
}
"""Conditions in their order, in words."""


@dataclass(frozen=True)
class Condition:
    """The question under one condition.

    Attributes:
        name: key of ``TITLES``.
        answer: the text.
        same: it equals the full answer, word for word.
        media_tokens: tokens of the media the language model was given.
        log_probability: mean natural logarithm of the probabilities that the language model under this condition gives
            to the tokens of the *full* answer and to its end; None for an empty answer and for one made of pieces.
    """

    name: str
    answer: str
    same: bool
    media_tokens: int
    log_probability: float | None

    @property
    def title(self) -> str:
        """The condition in words."""
        return TITLES[self.name]


@dataclass(frozen=True)
class Comparison:
    """A question's answers under every condition that makes sense for the media.

    Attributes:
        question: as it was put to the model.
        conditions: ``full`` first.
        answer_tokens: tokens of the full answer that the log-probabilities are means over.
        prompt_tokens: of the full prompt, media tokens included.
        rests_on: what the comparison shows.
        finding: the same as a sentence.
        joint: the full answer was decoded jointly with the connector's CTC.
        pieces: of the full answer, where the media were understood in pieces; as in the report of ``ask``.
        warnings: of the full answer, as in the report of ``ask``.
    """

    question: str
    conditions: tuple[Condition, ...]
    answer_tokens: int
    prompt_tokens: int
    rests_on: RestsOn
    finding: str
    joint: bool = False
    pieces: tuple[PieceReport, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The answer with everything."""
        return self.conditions[0].answer

    def knowing(self, *, silent: bool) -> Comparison:
        """The same, with the finding qualified where the sound track holds nothing but silence."""
        if not silent or self.rests_on not in ("sound", "both", "either"):
            return self
        said = "The sound track is silent: what it contributes is silence and its length, nothing heard."
        return replace(self, finding=f"{self.finding} {said}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        names = ("answer", "same", "media_tokens", "log_probability")
        return {
            "question": self.question,
            "answer": self.answer,
            "answer_tokens": self.answer_tokens,
            "prompt_tokens": self.prompt_tokens,
            "conditions": {c.name: {name: getattr(c, name) for name in names} for c in self.conditions},
            "rests_on": self.rests_on,
            "finding": self.finding,
            **({"joint_ctc": True} if self.joint else {}),
            **({"pieces": list(self.pieces)} if self.pieces else {}),
        }


def compare(
    engine: VideoSalmonn, encoded: EncodedMedia, question: str, options: Mapping[str, Any], timer: Timer
) -> Comparison:
    """Ask with everything, then with one thing after another taken away, each time as ``engine.ask`` does.

    Args:
        engine: whose model answers.
        encoded: the media item.
        question: text or alias.
        options: of ``ask``, those of decoding media left out.
        timer: gets ``connect``, ``prefill`` and ``generate`` of the full answer; everything else counts as
            ``comparison``.

    Raises:
        ContextError: media and question do not fit the context, and ``long`` is ``error``.
        ConfigError: an option is impossible.
    """
    features, levels = encoded.features, range(len(engine.model.connector.config.levels))
    ways: dict[str, tuple[list[EncodedMedia], dict[str, Any]]] = {"full": ([encoded], {})}
    if features.visual is not None and (features.speech is not None or features.audio is not None):
        # media of their own: tokens are kept by an item's key, and these are not the item's tokens
        ways["no_sound"] = ([EncodedMedia(features.without(sound=True), encoded.report)], {})
        ways["no_picture"] = ([EncodedMedia(features.without(sight=True), encoded.report)], {})
    ways["zeroed"] = ([encoded], {"zero_levels": tuple(levels)})
    ways["no_media"] = ([], {})
    items = {name: MediaQuestion(question, media, {**options, **more}) for name, (media, more) in ways.items()}

    answers = {"full": engine.batch([items["full"]])[0]}
    report = answers["full"].report
    for stage in ("connect", "prefill", "generate"):
        timer.seconds[stage] = report["seconds"][stage]
    text, pieces = answers["full"].text, tuple(report.get("pieces", ()))
    with timer.stage("comparison"):
        answers |= {name: engine.batch([item])[0] for name, item in items.items() if name != "full"}
        # an answer put together of pieces is not a text that the model ever had to say
        likely = dict.fromkeys(items)
        if text and not pieces:
            likely = {name: engine.likelihoods(item, [text])[0] for name, item in items.items()}
    conditions = [
        Condition(
            name,
            answer.text,
            answer.text == text,
            answer.report["media_tokens"],
            None if (one := likely[name]) is None else one.mean,
        )
        for name, answer in answers.items()
    ]
    whole = likely["full"]
    rests_on, finding = conclude(conditions, "sound" if features.visual is None else "picture")
    return Comparison(
        question=expand(question),
        conditions=tuple(conditions),
        answer_tokens=report["new_tokens"] if whole is None else whole.tokens,
        prompt_tokens=report["prompt_tokens"],
        rests_on=rests_on,
        finding=finding,
        joint=bool(report.get("joint_ctc", False)),
        pieces=pieces,
        warnings=tuple(report["warnings"]),
    )


def conclude(conditions: Sequence[Condition], only: Literal["sound", "picture"]) -> tuple[RestsOn, str]:
    """What the comparison shows, as a word and as a sentence.

    Args:
        conditions: ``full``, ``zeroed``, ``no_media``, and, where there are two modalities, ``no_sound`` and
            ``no_picture``.
        only: the one modality there is, where there is only one.
    """
    found = {condition.name: condition for condition in conditions}
    unmoved = [found[name].title for name in ("zeroed", "no_media") if found[name].same]
    if unmoved:
        return "not shown", (
            f"The answer is the same, word for word, with {' and with '.join(unmoved)}: nothing here shows that it "
            f"rests on what was seen or heard."
        )
    if "no_sound" not in found:
        lead = f"The answer changes without its media. Only the {only} was in use, so it rested on the {only}"
        return only, lead + _firmly(found["full"], found["no_media"])
    sound, picture = found["no_sound"], found["no_picture"]
    if sound.same and picture.same:
        return "either", (
            "The answer stays the same, word for word, without the sound and without the picture, but changes when all "
            "media tokens are set to zero or left out: either of the two was enough for these words."
        )
    if not sound.same and not picture.same:
        lead = "The answer changes without the sound, and it changes without the picture: its words depend on both"
        return "both", lead + _costlier(found["full"], sound, picture)
    needed: Literal["sound", "picture"] = "sound" if picture.same else "picture"
    spared, without = ("picture", sound) if needed == "sound" else ("sound", picture)
    lead = (
        f"The answer changes when the {needed} is taken away and stays the same, word for word, when the {spared} is: "
        f"of the two, it rested on the {needed}"
    )
    return needed, lead + _firmly(found["full"], without)


def _firmly(full: Condition, without: Condition) -> str:
    """End of a sentence: whether the full answer also becomes less likely, or only just lost to another."""
    if full.log_probability is None or without.log_probability is None:
        return "."
    figures = f"{number(full.log_probability)} to {number(without.log_probability)} a token"
    if full.log_probability - without.log_probability < WORTH_A_WORD:
        return f", but only just: the full answer stays about as likely without it (log-probability {figures})."
    return f" (log-probability of the full answer: from {figures})."


def _costlier(full: Condition, sound: Condition, picture: Condition) -> str:
    """End of a sentence: which of the two the full answer misses more, where the difference is worth a word."""
    likely = (full.log_probability, sound.log_probability, picture.log_probability)
    if None in likely:
        return "."
    whole, deaf, blind = (float(value) for value in likely if value is not None)
    figures = (
        f"(mean log-probability a token: everything {number(whole)}, without sound {number(deaf)}, "
        f"without picture {number(blind)})"
    )
    if max(whole - deaf, whole - blind) < WORTH_A_WORD:
        return f", but only just: the full answer stays about as likely without either {figures}."
    if abs(deaf - blind) < WORTH_A_WORD:
        return f". It is about as likely without the one as without the other {figures}."
    return f". It is less likely without the {'sound' if deaf < blind else 'picture'} {figures}."
