"""Ask a model every item of a task; answers are written to disk as they come, so that a killed run can be resumed.

Decisions:

- Nothing is drawn at random and every item is asked on its own, so neither batch size nor shards can change an answer;
  the finished file is written in the annotation file's order, so they cannot change the file either.
- A process appends to its own file and syncs every batch. Several processes (started by ``torchrun`` or
  ``accelerate launch``) each write ``<task>.shard-R.jsonl``; the first one joins them.
- What was asked is written down before the first question (``OUT/settings.json``). Going on with another model,
  prompt or annotation file is refused: it would mix two experiments in one number.
- A broken item fails alone: it is asked again by itself, counts as wrong, and is listed with its reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_salmonn.errors import ConfigError, ContextError, EvaluationError, MediaError
from video_salmonn.evaluation.conditions import FULL, inapplicable, requests
from video_salmonn.evaluation.engine import Engine, Request
from video_salmonn.evaluation.item import BenchmarkItem, Prediction
from video_salmonn.evaluation.predictions import (
    PredictionWriter,
    check_ids,
    in_order,
    mend,
    read_predictions,
    write_whole,
)
from video_salmonn.evaluation.save.locate import MediaIndex
from video_salmonn.evaluation.save.task import Task
from video_salmonn.evaluation.shards import Shards
from video_salmonn.types import AnswerReport, Likelihood
from video_salmonn.wording import agree, counted

Progress = Callable[[str, int, int], None]
"""Called with (what, items done, items in all)."""


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task ready to run: its items, how many the annotation file has, and what identifies them."""

    task: Task
    items: list[BenchmarkItem]
    total: int
    identity: dict[str, Any]


def load(task: Task, data: Path, index: MediaIndex, *, limit: int | None, allow_missing: bool) -> LoadedTask:
    """Read a task's items.

    Args:
        task: which.
        data: the data folder.
        index: of that folder.
        limit: maximum number of items, spread evenly over the file (its parts and speakers come in blocks).
        allow_missing: leave out items whose media are not there, instead of refusing to start.

    Raises:
        EvaluationError: without annotations or media, naming what is missing.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, not {limit}")
    entries, located, file = task.load(data, index)
    lacking = [*located.missing, *located.ambiguous]
    items = task.items(entries, located)
    remedy = f"`video-salmonn eval save check --data {data}` lists them and says where to get them"
    if not items:
        raise EvaluationError(
            f"task {task.id}: no media at all: none of the {counted(len(entries), 'item')} can be asked", remedy=remedy
        )
    if lacking and not allow_missing:
        name, media = lacking[0]
        raise EvaluationError(
            f"task {task.id}: {len(lacking)} of {counted(len(entries), 'item')} {agree(len(lacking), 'lack')} "
            f"media, among them {name}: {media}",
            remedy=f"{remedy}; or evaluate the others with --allow-missing (the result then says so)",
        )
    if limit is not None and limit < len(items):
        items = [items[place * len(items) // limit] for place in range(limit)]
    identity = {
        "prompt": {"template": task.prompt.template, "version": task.prompt.version},
        "max_new_tokens": task.max_new_tokens,
        "senses": list(task.senses),
        "annotations": {"file": file.name, "sha256": digest(file)},
        "items": len(items),
        "of": len(entries),
        "expected": task.expected,
        "lacking_media": len(lacking),
        "stand_ins": sum(bool(item.notes) for item in items),
    }
    return LoadedTask(task, items, len(entries), identity)


def digest(path: Path) -> str:
    """SHA-256 of an annotation file, or of all transcripts of a corpus folder."""
    hashed = hashlib.sha256()
    for file in sorted(path.rglob("*.trans.txt")) if path.is_dir() else [path]:
        hashed.update(file.read_bytes())
    return hashed.hexdigest()


def predictions_file(out: Path, task: str, condition: str = FULL) -> Path:
    """``OUT/predictions/<task>.jsonl``; baselines have their name before the suffix."""
    return out / "predictions" / (f"{task}.jsonl" if condition == FULL else f"{task}.{condition}.jsonl")


def run_condition(
    engine: Engine,
    loaded: LoadedTask,
    out: Path,
    condition: str = FULL,
    *,
    batch_size: int = 1,
    seed: int = 0,
    likelihood: bool = False,
    shards: Shards | None = None,
    progress: Progress | None = None,
) -> Path:
    """Ask every item that has no answer yet; returns the finished predictions file.

    Args:
        engine: who is asked.
        loaded: the task.
        out: the evaluation's folder.
        condition: under which condition.
        batch_size: requests given to the engine at once.
        seed: of ``shuffled``.
        likelihood: also ask how likely each candidate is.
        shards: which part of the work is this process'.
        progress: called after every batch.

    Raises:
        ConfigError: if the condition says nothing about this task, or the batch size is less than 1.
        EvaluationError: if the folder's predictions are of other items, or the engine loses an answer.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size must be at least 1, not {batch_size}")
    shards = shards or Shards()
    if condition != FULL and (reason := inapplicable(condition, loaded.task, loaded.items)):
        raise ConfigError(f"task {loaded.task.id}: baseline {condition} does not apply: {reason}")
    file = predictions_file(out, loaded.task.id, condition)
    ids = [item.id for item in loaded.items]
    done = _answered(file, ids)
    shards.wait()  # everybody has read before anybody writes
    asked = requests(loaded.task, loaded.items, condition, seed, likelihood=likelihood)
    # Shared out by place in the file, not among what is left: no process can take an item for another's.
    share = list(zip(loaded.items, asked))[shards.rank :: shards.count]
    mine = [pair for pair in share if pair[0].id not in done]
    label = f"{loaded.task.id} · {condition}"
    with PredictionWriter(shards.file(file)) as writer:
        for start in range(0, len(mine), batch_size):
            batch = mine[start : start + batch_size]
            writer.write(_ask(engine, batch))
            if progress:
                progress(label, len(share) - len(mine) + start + len(batch), len(share))
    shards.wait()
    if shards.first:
        _join(file, ids)
    shards.wait()
    return file


def _pieces(file: Path) -> list[Path]:
    """The file and the shards that a run with several processes left beside it."""
    return [piece for piece in (file, *sorted(file.parent.glob(f"{file.stem}.shard-*.jsonl"))) if piece.is_file()]


def _answered(file: Path, ids: Sequence[str]) -> set[str]:
    """Ids answered by earlier runs, whatever their number of processes; torn lines are cut off."""
    done: set[str] = set()
    for piece in _pieces(file):
        mend(piece)
        if piece.stat().st_size == 0:
            continue
        earlier = read_predictions(piece)
        check_ids(earlier, ids, piece, complete=False)
        done.update(prediction.id for prediction in earlier)
    return done


def _join(file: Path, ids: Sequence[str]) -> None:
    """Write all answers in the annotation file's order, then remove the shards."""
    pieces = _pieces(file)
    found = [p for piece in pieces if piece.stat().st_size for p in read_predictions(piece)]
    check_ids(found, ids, file)
    write_whole(file, in_order(found, ids))
    for piece in pieces:
        if piece != file:
            piece.unlink()


def _ask(engine: Engine, batch: Sequence[tuple[BenchmarkItem, Request]]) -> list[Prediction]:
    """Answers of a batch; if it fails, of its items one by one, so that only the broken ones fail.

    Equal requests (the same question without media, say) are asked once: decoding is greedy.
    """
    unique = list(dict.fromkeys(request for _, request in batch))
    try:
        found = engine.ask_many(unique)
    except (MediaError, ContextError) as error:
        if len(batch) > 1:
            return [prediction for pair in batch for prediction in _ask(engine, [pair])]
        return [_prediction(batch[0][0], "", error=str(error))]
    if len(found) != len(unique):
        raise EvaluationError(f"the model gave {counted(len(found), 'answer')} to {counted(len(unique), 'question')}")
    by_request = dict(zip(unique, found))
    answers = [by_request[request] for _, request in batch]
    return [
        _prediction(
            item,
            answer.text,
            media=_account(answer.report),
            warnings=_warnings(answer.report),
            likelihoods=_likelihoods(item, request, answer.report),
        )
        for (item, request), answer in zip(batch, answers)
    ]


def _likelihoods(item: BenchmarkItem, request: Request, report: AnswerReport) -> tuple[Likelihood, ...]:
    """What the engine said of a request's candidates, in their order."""
    found = tuple(Likelihood(**one) for one in report.get("likelihoods") or [])
    if tuple(one.text for one in found) != request.candidates:
        raise EvaluationError(
            f"item {item.id!r}: the model returned no likelihoods of {counted(len(request.candidates), 'candidate')}",
            remedy="run without --choices likelihood",
        )
    return found


def _prediction(item: BenchmarkItem, text: str, **more: Any) -> Prediction:
    annotation = item.annotation
    return Prediction(
        annotation.id,
        text,
        annotation.references,
        annotation.candidates,
        part=annotation.part,
        question=annotation.question,
        **more,
    )


def _warnings(report: AnswerReport) -> list[str]:
    """Warnings about the answer itself; those about its media are in the reports of the media."""
    media = report.get("media") or []
    told = {w for entry in media for w in (*(entry.get("cuts") or ()), *(entry.get("warnings") or ()))}
    return [warning for warning in report.get("warnings") or [] if warning not in told]


ACCOUNT = ("seen", "heard", "cuts", "warnings")


def _account(report: AnswerReport) -> list[dict[str, Any]]:
    """What was seen and heard, without timings and folders: the same bytes on every machine."""
    kept = []
    for media in report.get("media") or []:
        entry = {name: value for name, value in media.items() if name in ACCOUNT and value}
        kept.append({"source": Path(str(media.get("source", ""))).name, **entry})
    return kept
