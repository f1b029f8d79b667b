"""From predictions of one task to its metrics: which metric reads which kind of answer.

Items are sorted by id before anything is computed, so the order of a file (shards, batches) cannot change a number.
A failed item (broken media) counts as an empty answer, hence as wrong, and is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.conditions import YES_NO
from video_salmonn.evaluation.item import Prediction
from video_salmonn.evaluation.save.task import Kind, Task
from video_salmonn.metrics.caption import caption_scores
from video_salmonn.metrics.choice import choice_accuracy
from video_salmonn.metrics.intervals import RESAMPLES, mean, mean_interval
from video_salmonn.metrics.judge import Judge, judged_accuracy
from video_salmonn.metrics.keyword import keyword_accuracy
from video_salmonn.metrics.likelihood import likelihood_accuracy
from video_salmonn.metrics.scored import Scored
from video_salmonn.metrics.vqa import contained_accuracy, contains_answer, normalise_vqa, vqa_accuracy
from video_salmonn.metrics.wer import wer
from video_salmonn.metrics.yesno import read_yes_no, yes_no_accuracy
from video_salmonn.wording import counted

Rows = Sequence[Prediction]
Result = tuple[dict[str, Scored], int]


@dataclass(frozen=True, slots=True)
class Draws:
    """How intervals are drawn."""

    resamples: int = RESAMPLES
    seed: int = 0

    def __call__(self) -> dict[str, Any]:
        """As keyword arguments of a metric."""
        return {"resamples": self.resamples, "seed": self.seed}


@dataclass(slots=True)
class TaskScore:
    """The score of one task.

    Attributes:
        task: its id.
        n: items scored, failed ones included.
        metrics: by name of the contract; per-item scores in the order of ``ids``.
        unparsed: answers that could not be read as a choice, or as yes or no.
        ids: of the items, sorted.
        failed: (id, reason) of items that could not be asked.
        parts: for tasks of several parts, (n, metrics) by part.
    """

    task: str
    n: int
    metrics: dict[str, Scored]
    unparsed: int
    ids: tuple[str, ...]
    failed: list[tuple[str, str]] = field(default_factory=list)
    parts: dict[str, tuple[int, dict[str, Scored]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of the contract."""
        out: dict[str, Any] = {
            "task": self.task,
            "n": self.n,
            "metrics": {name: scored.to_dict() for name, scored in self.metrics.items()},
            "unparsed": self.unparsed,
            "failed": [{"id": name, "error": reason} for name, reason in self.failed],
        }
        if self.parts:
            out["parts"] = {
                part: {"n": n, "metrics": {name: scored.to_dict() for name, scored in metrics.items()}}
                for part, (n, metrics) in sorted(self.parts.items())
            }
        return out


def score(
    task: Task, predictions: Rows, *, resamples: int = RESAMPLES, seed: int = 0, judge: Judge | None = None
) -> TaskScore:
    """Score the predictions of one task.

    Args:
        task: decides how answers are read.
        predictions: in any order.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        judge: for sound sources, adds ``judged_accuracy``.

    Raises:
        EvaluationError: on predictions that the task cannot be scored from, naming the item by its id.
    """
    rows = sorted(predictions, key=lambda row: row.id)
    if not rows:
        raise EvaluationError(f"task {task.id}: there is nothing to score: no predictions")
    _check(task, rows)
    draws = Draws(resamples, seed)
    try:
        metrics, unparsed = _SCORERS[task.kind](task, rows, draws)
        if judge is not None and task.kind == "source":
            judged = judged_accuracy(judge, *_columns(rows), **draws())
            metrics["judged_accuracy"] = judged.accuracy
            unparsed += judged.unparsed
        metrics |= _by_likelihood(task, rows, draws)
        parts = {}
        names = {row.part for row in rows} - {""}
        if len(names) > 1:
            for name in sorted(names):
                some = [row for row in rows if row.part == name]
                parts[name] = (
                    len(some),
                    _SCORERS[task.kind](task, some, draws)[0] | _by_likelihood(task, some, draws),
                )
    except EvaluationError as error:
        raise EvaluationError(f"task {task.id}: {error}", remedy=error.remedy) from error
    failed = [(row.id, row.error) for row in rows if row.error]
    return TaskScore(task.id, len(rows), metrics, unparsed, tuple(row.id for row in rows), failed, parts)


def _columns(rows: Rows) -> tuple[list[str], list[str], list[str]]:
    return [row.question for row in rows], [row.references[0] for row in rows], [row.prediction for row in rows]


def _check(task: Task, rows: Rows) -> None:
    """What the metrics would say by position is said here by id."""
    many = task.kind in ("caption", "vqa")
    for row in rows:
        where = f"task {task.id}: item {row.id!r}"
        if not many and len(row.references) != 1:
            raise EvaluationError(f"{where}: this task has one reference an item, not {len(row.references)}")
        # One of a person's ten answers may be blank in TextVQA; a blank caption or transcript is an error.
        blank = (
            not any(r.strip() for r in row.references)
            if task.kind == "vqa"
            else not all(map(str.strip, row.references))
        )
        if blank:
            raise EvaluationError(f"{where}: has an empty reference")
        if task.kind == "choice" and row.references[0] not in row.candidates:
            raise EvaluationError(
                f"{where}: the reference {row.references[0]!r} is none of its candidates {list(row.candidates)}",
                remedy="prediction lines of a multiple-choice task carry 'candidates'",
            )
        if task.kind == "yes_no" and read_yes_no(row.references[0]) is None:
            raise EvaluationError(f"{where}: the reference {row.references[0]!r} is neither yes nor no")


def _speech(task: Task, rows: Rows, draws: Draws) -> Result:
    return {"wer": wer([r.references[0] for r in rows], [r.prediction for r in rows], **draws())}, 0


def _caption(task: Task, rows: Rows, draws: Draws) -> Result:
    return caption_scores([r.prediction for r in rows], [r.references for r in rows], task.metrics, **draws()), 0


def _vqa(task: Task, rows: Rows, draws: Draws) -> Result:
    said, given = [r.prediction for r in rows], [r.references for r in rows]
    return {
        "vqa_accuracy": vqa_accuracy(said, given, **draws()),
        "accuracy": contained_accuracy(said, given, **draws()),
    }, 0


def _short(task: Task, rows: Rows, draws: Draws) -> Result:
    """A word or two: yes/no by its reading, else the reference contained as whole words, numbers as digits."""
    items = tuple(float(_short_right(row.prediction, row.references[0])) for row in rows)
    return {"accuracy": Scored(mean(items), *mean_interval(items, **draws()), items)}, 0


def _short_right(said: str, right: str) -> bool:
    wanted = normalise_vqa(right)
    if wanted in ("yes", "no"):
        return read_yes_no(said) is (wanted == "yes")
    return contains_answer(said, [right])


def _choice(task: Task, rows: Rows, draws: Draws) -> Result:
    done = choice_accuracy(
        [r.prediction for r in rows], [r.references[0] for r in rows], [r.candidates for r in rows], **draws()
    )
    return {"accuracy": done.accuracy}, done.unparsed


def _yes_no(task: Task, rows: Rows, draws: Draws) -> Result:
    done = yes_no_accuracy([r.prediction for r in rows], [r.references[0] for r in rows], **draws())
    return {"accuracy": done.accuracy}, done.unparsed


def _source(task: Task, rows: Rows, draws: Draws) -> Result:
    done = keyword_accuracy([r.prediction for r in rows], [r.references[0] for r in rows], **draws())
    return {"accuracy": done}, 0


def _by_likelihood(task: Task, rows: Rows, draws: Draws) -> dict[str, Scored]:
    """Choices by likelihood, where the predictions hold likelihoods; a failed item has none and is wrong."""
    known = [row for row in rows if row.likelihoods]
    if not known:
        return {}
    if lacking := [row.id for row in rows if not row.likelihoods and not row.error]:
        raise EvaluationError(
            f"{counted(len(lacking), 'item', 'have')} no likelihoods of their candidates and others do, among "
            f"them {lacking[0]!r}",
            remedy="a file holds the answers of one run: run again into another folder",
        )
    right = [row.references[0] for row in rows]
    if task.kind == "yes_no":
        right = [YES_NO[not read_yes_no(text)] for text in right]
    return likelihood_accuracy([row.likelihoods for row in rows], right, **draws())


_SCORERS: dict[Kind, Callable[[Task, Rows, Draws], Result]] = {
    "speech": _speech,
    "caption": _caption,
    "dialogue": _caption,
    "vqa": _vqa,
    "short": _short,
    "choice": _choice,
    "yes_no": _yes_no,
    "source": _source,
}
