"""The nouns of an evaluation: an entry of an annotation file, an item ready to be asked, a prediction."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from video_salmonn.types import Likelihood


@dataclass(frozen=True, slots=True)
class MediaNames:
    """Media as an annotation file names them, before they are found on this machine.

    Attributes:
        video: file name of the video.
        image: file name of the picture.
        sound: file name of the sound that goes with it, or alone.
        also: other names the sound goes by, tried in order.
        own_sound: the video's own track is this very sound, so it may replace a missing sound file
            (never for matching tasks, whose pairs are made of two clips).
        whole: a longer recording the clip was cut from, used with ``span`` where the clip itself is missing.
        span: (from, to) in seconds inside ``whole``.
    """

    video: str | None = None
    image: str | None = None
    sound: str | None = None
    also: tuple[str, ...] = ()
    own_sound: bool = False
    whole: str | None = None
    span: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """One question of an annotation file.

    Attributes:
        id: unique within its task and stable for one annotation file.
        question: as published ("" where the task has none).
        references: right answers; several for captions and for VQA.
        names: the media it is about.
        candidates: the choices offered, in published order.
        part: which of the task's parts it belongs to ("" for tasks of one part).
        history: earlier (question, answer) turns of the dialogue.
    """

    id: str
    question: str
    references: tuple[str, ...]
    names: MediaNames
    candidates: tuple[str, ...] = ()
    part: str = ""
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Media:
    """Media found on this machine. At most one of ``video`` and ``image``; start and end in seconds, or None."""

    video: Path | None = None
    image: Path | None = None
    sound: Path | None = None
    start: float | None = None
    end: float | None = None

    @property
    def picture(self) -> Path | None:
        """The video or the image."""
        return self.video or self.image

    @property
    def empty(self) -> bool:
        """Whether there is nothing to see or hear."""
        return self.picture is None and self.sound is None


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One question of a benchmark: its annotation, with the media found and the prompt written."""

    annotation: Annotation
    media: Media
    prompt: str
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The annotation's id."""
        return self.annotation.id


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was answered to one item, as one line of a predictions file.

    Attributes:
        id: the item's.
        prediction: the generated text; "" where the item failed.
        references: right answers.
        candidates: choices offered.
        part: the annotation's part.
        question: the annotation's question, for reports and judges.
        error: why the item failed, or "". A failed item counts as wrong.
        media: what was seen and heard, as the model reported it.
        warnings: what the model said about the answer (coarser windows for long media …).
        likelihoods: of every candidate answer, where they were asked for.
    """

    id: str
    prediction: str
    references: tuple[str, ...]
    candidates: tuple[str, ...] = ()
    part: str = ""
    question: str = ""
    error: str = ""
    media: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    likelihoods: tuple[Likelihood, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The line of the contract: ``reference`` for one right answer, ``references`` for several."""
        line: dict[str, Any] = {"id": self.id, "prediction": self.prediction}
        if len(self.references) == 1:
            line["reference"] = self.references[0]
        else:
            line["references"] = list(self.references)
        optional: dict[str, Any] = {"candidates": list(self.candidates), "part": self.part, "question": self.question}
        optional |= {"error": self.error, "media": self.media, "warnings": self.warnings}
        optional["likelihoods"] = [asdict(one) for one in self.likelihoods]
        return line | {name: value for name, value in optional.items() if value}
