"""A whole batch: rows in, result lines out, resumable at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from video_salmonn.bulk.decoding import DecodingAhead, default_workers
from video_salmonn.bulk.openai_lines import completion, result_line
from video_salmonn.bulk.predicting import Decoded, Predictor, media_options
from video_salmonn.bulk.results import Results
from video_salmonn.bulk.rows import Row
from video_salmonn.errors import ConfigError
from video_salmonn.files import fingerprint

if TYPE_CHECKING:
    from video_salmonn.inference.engine import VideoSalmonn

Progress = Callable[[float, float | None], None]
"""Called with (rows done in this run, rows of this run)."""
FORM = 1
"""Raise it when the same rows, model and options become other answers by a change of this package."""


@dataclass
class Summary:
    """What a run did.

    Attributes:
        rows: of this shard.
        before: rows that were in the file already.
        answered, failed: rows of this run.
        seconds: that it took, without loading the model.
        failures: (id, message) of the first failed rows of this run.
    """

    rows: int = 0
    before: int = 0
    answered: int = 0
    failed: int = 0
    seconds: float = 0.0
    failures: list[tuple[str, str]] = field(default_factory=list)


def settings_of(engine: VideoSalmonn) -> dict[str, Any]:
    """What changes answers and is not part of a row: weights, numerics, and the form of this package's decisions."""
    return {"form": FORM, "weights": fingerprint(engine.model)[:32], "dtype": str(engine.model.dtype)}


def run(
    engine: VideoSalmonn,
    rows: Callable[[], Iterable[Row]],
    results: Results,
    *,
    batch_size: int = 16,
    workers: int | None = None,
    decode_seconds: float | None = None,
    decode_memory: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Answer what is not in the file of results yet.

    Args:
        engine: the model.
        rows: makes the rows of this shard anew; they are read twice, so that their media need not be kept.
        results: where answers go.
        batch_size: rows answered together.
        workers: decoding processes; one for each core but one by default.
        decode_seconds, decode_memory: limits of decoding one row's media.
        progress: see :data:`Progress`.

    Raises:
        ConfigError: the file of results holds other rows of the same ids.
        TooManyFailures: rows fail one after the other for a reason that is none of theirs.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size is {batch_size}", remedy="use 1 or more")
    summary = Summary()
    for row in rows():
        summary.rows += 1
        summary.before += results.has(row.id, row.key)
    todo = summary.rows - summary.before
    begun = time.monotonic()
    if progress is not None:
        progress(0, todo)
    if todo:
        _answer(
            engine, rows, results, summary, todo, batch_size, workers or default_workers(),
            {"seconds": decode_seconds, "memory": decode_memory}, progress,
        )  # fmt: skip
    summary.seconds = time.monotonic() - begun
    return summary


def _answer(
    engine: VideoSalmonn,
    rows: Callable[[], Iterable[Row]],
    results: Results,
    summary: Summary,
    todo: int,
    batch_size: int,
    workers: int,
    limits: Mapping[str, Any],
    progress: Progress | None,
) -> None:
    predictor = Predictor(engine)
    open_rows = (row for row in rows() if not results.has(row.id, row.key))

    def options_of(row: Row) -> Any:
        return media_options(engine.processor, row.options, threads=1)

    with DecodingAhead(options_of, workers=workers, ahead=2 * (workers + batch_size), **limits) as decoding:
        for batch in decoding.batches(open_rows, batch_size):
            good = [(row, made) for row, made in batch if isinstance(made, Decoded)]
            found: dict[str, Any] = {row.id: made for row, made in batch if not isinstance(made, Decoded)}
            found |= {row.id: one for (row, _), one in zip(good, predictor.answer([made for _, made in good]))}
            lines = []
            for row, _ in batch:
                name, one = results.name_of(row.key), found[row.id]
                if isinstance(one, Exception):
                    lines.append(result_line(name, row.id, None, one))
                    summary.failed += 1
                    summary.failures = [*summary.failures, (row.id, str(one))][:20]
                    continue
                body = completion(name, one.report, predictor.finish_of(one, row.options))
                lines.append(result_line(name, row.id, body, None))
                summary.answered += 1
            results.append(lines)
            if progress is not None:
                progress(summary.answered + summary.failed, todo)
