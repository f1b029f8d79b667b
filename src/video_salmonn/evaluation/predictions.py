"""Predictions files: one JSON object a line, appended and synced as answers come, read strictly.

A process that is killed while it writes leaves at most one torn last line. :func:`read_predictions` refuses such a
file by default; a resuming run drops the torn line (:func:`mend`) and asks that item again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from video_salmonn.errors import EvaluationError
from video_salmonn.evaluation.item import Prediction
from video_salmonn.files import json_value, written
from video_salmonn.types import Likelihood
from video_salmonn.wording import agree, counted


def read_predictions(file: Path, *, task: str | None = None) -> list[Prediction]:
    """Every line of a predictions file, checked.

    Args:
        file: ``*.jsonl`` with the fields of the contract: ``id``, ``prediction``, ``reference`` or ``references``,
            and ``candidates`` where the task offers choices. Numbers are accepted as ids and read as texts.
        task: the task the predictions must be of: a line that says another one is foreign.

    Raises:
        EvaluationError: naming file, line and id: no JSON, a missing or empty field, a prediction that is not text, a
            foreign or repeated id, an empty file.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise EvaluationError(f"{file}: cannot be read: {error.strerror}") from error
    found: dict[str, Prediction] = {}
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file}: line {number}"
        try:
            fields = json_value(line)
        except ValueError as error:
            remedy = "a killed run leaves a torn last line: run again with --resume" if number == len(lines) else ""
            raise EvaluationError(f"{where}: {error}", remedy=remedy) from error
        prediction = _prediction(fields, where, task)
        if prediction.id in found:
            raise EvaluationError(
                f"{where}: the id {prediction.id!r} occurs twice (first in line {first[prediction.id]})"
            )
        found[prediction.id], first[prediction.id] = prediction, number
    if not found:
        raise EvaluationError(f"{file}: holds no predictions")
    return list(found.values())


def _prediction(fields: Any, where: str, task: str | None) -> Prediction:
    if not isinstance(fields, dict):
        raise EvaluationError(f"{where}: must be a JSON object, not {fields!r}")
    name = fields.get("id")
    if isinstance(name, bool) or not isinstance(name, str | int) or str(name) == "":
        raise EvaluationError(f"{where}: field 'id' is missing or no text")
    where = f"{where} (id {name!r})"
    if task and fields.get("task") not in (None, task):
        raise EvaluationError(
            f"{where}: belongs to task {fields['task']!r}, not {task!r}", remedy="score every task from its own file"
        )
    text, error = fields.get("prediction"), fields.get("error") or ""
    if text is None and error:
        text = ""
    if not isinstance(text, str):
        raise EvaluationError(f"{where}: field 'prediction' must be a text, not {text!r}")
    if ("reference" in fields) == ("references" in fields):
        raise EvaluationError(f"{where}: needs either 'reference' or 'references'")
    references = [fields["reference"]] if "reference" in fields else fields["references"]
    good = isinstance(references, list) and all(isinstance(entry, str) for entry in references)
    if not good or not any(entry.strip() for entry in references):
        raise EvaluationError(f"{where}: the reference is empty or no text: {references!r}")
    candidates = fields.get("candidates") or []
    if not isinstance(candidates, list) or not all(isinstance(entry, str) for entry in candidates):
        raise EvaluationError(f"{where}: field 'candidates' must be a list of texts, not {candidates!r}")
    return Prediction(
        id=str(name),
        prediction=text,
        references=tuple(references),
        candidates=tuple(candidates),
        part=str(fields.get("part") or ""),
        question=str(fields.get("question") or ""),
        error=str(error),
        media=fields.get("media") or [],
        warnings=fields.get("warnings") or [],
        likelihoods=_likelihoods(fields.get("likelihoods") or [], where),
    )


def _likelihoods(entries: Any, where: str) -> tuple[Likelihood, ...]:
    """What a line says about candidates: texts, finite logarithms of at most 0, counts of at least 1."""
    found = []
    for entry in entries if isinstance(entries, list) else [entries]:
        fields = entry if isinstance(entry, dict) else {}
        text, log, tokens = fields.get("text"), fields.get("log"), fields.get("tokens")
        known = isinstance(text, str) and isinstance(log, int | float) and isinstance(tokens, int)
        if not known or not math.isfinite(log) or log > 0 or tokens < 1:  # type: ignore[arg-type,operator]
            raise EvaluationError(
                f"{where}: a likelihood needs 'text', 'log' (finite, at most 0) and 'tokens', not {entry!r}"
            )
        found.append(Likelihood(str(text), float(log), int(tokens)))  # type: ignore[arg-type]
    return tuple(found)


def check_ids(predictions: Sequence[Prediction], expected: Iterable[str], file: Path, *, complete: bool = True) -> None:
    """Compare the ids of predictions with a task's.

    Raises:
        EvaluationError: on ids the task does not have and, if ``complete``, on ids without a prediction.
    """
    wanted = list(expected)
    have = {prediction.id for prediction in predictions}
    if unknown := sorted(have.difference(wanted)):
        raise EvaluationError(
            f"{file}: {len(unknown)} id(s) are not of this task, among them {unknown[0]!r}",
            remedy="these predictions belong to other data; use another output folder",
        )
    lacking = [name for name in wanted if name not in have]
    if complete and lacking:
        raise EvaluationError(
            f"{file}: {len(lacking)} of {counted(len(wanted), 'item')} {agree(len(lacking), 'have')} no "
            f"prediction, among them {lacking[0]!r}",
            remedy="run again with --resume to finish them",
        )


def mend(file: Path) -> bool:
    """Cut a torn last line off a predictions file; True if there was one."""
    if not file.is_file():
        return False
    data = file.read_bytes()
    kept = data[: data.rfind(b"\n") + 1]
    tail = data[len(kept) :]
    if not tail:
        return False
    if _is_json(tail):
        # Only the line end is missing: the answer is whole, so it is kept.
        with file.open("ab") as stream:
            stream.write(b"\n")
        return False
    os.truncate(file, len(kept))
    return True


def _is_json(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


class PredictionWriter:
    """Appends predictions to a file; every line is on disk before the next is asked for."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = file.open("ab")

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, predictions: Iterable[Prediction]) -> None:
        """Append lines and sync them."""
        for prediction in predictions:
            self._stream.write(dump(prediction))
        self._stream.flush()
        os.fsync(self._stream.fileno())


def dump(prediction: Prediction) -> bytes:
    """One line, with its end; the same bytes for the same prediction."""
    return json.dumps(prediction.to_dict(), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_whole(file: Path, predictions: Iterable[Prediction]) -> None:
    """Replace a file by these predictions, atomically."""
    write_atomic(file, b"".join(map(dump, predictions)))


def write_atomic(file: Path, data: bytes) -> None:
    """Write a file and sync it under another name, and move it into place: it is never seen half written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with written(file) as partial, partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def in_order(predictions: Iterable[Prediction], ids: Sequence[str]) -> Iterator[Prediction]:
    """Predictions in the order of ``ids``; those of other ids are left out."""
    by_id = {prediction.id: prediction for prediction in predictions}
    return (by_id[name] for name in ids if name in by_id)
