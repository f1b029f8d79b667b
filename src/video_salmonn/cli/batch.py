"""``video-salmonn batch INPUT``: a folder, a glob or a file of requests; results as OpenAI batch lines, resumable."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from video_salmonn.bulk.results import Results, check_results
from video_salmonn.bulk.rows import parse_shards, read_rows, shard
from video_salmonn.cli import options as shared
from video_salmonn.cli.checks import check_out
from video_salmonn.cli.output import emit_json, report_error, reports_errors, stderr, stdout
from video_salmonn.cli.progress import counting
from video_salmonn.errors import ConfigError
from video_salmonn.inference.options import checked
from video_salmonn.wording import counted

if TYPE_CHECKING:
    from video_salmonn.bulk.run import Summary

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@reports_errors
@shared.with_placement
@shared.answering(
    *("no_audio", "no_video", "max_new_tokens", "num_beams", "piece_seconds", "joint_ctc", "decline_below"),
    long=typer.Option(None, "--long", help="Media beyond the context: error, segments or coarse."),
)
def command(
    source: str = typer.Argument(
        ..., metavar="INPUT", help="A folder, a quoted glob, or JSON lines (also OpenAI's batch format)."
    ),
    question: str = typer.Option(None, "--question", help="Question for rows that have none."),
    out: Path = typer.Option(..., "--out", help="File of results; an existing file is continued."),
    shards: str = typer.Option(None, "--shards", help="i/n: answer the i-th of n parts only; each has its own --out."),
    retry_failed: bool = typer.Option(False, "--retry-failed", help="Answer the failed rows in --out again."),
    model: str = shared.MODEL,
    batch_size: int = typer.Option(16, "--batch-size", help="Rows answered together."),
    workers: int = typer.Option(None, "--workers", help="Decoding processes; by default all cores but one, at most 4."),
    decode_seconds: float = typer.Option(
        1800.0, "--decode-seconds", help="A row whose media take longer to decode fails."
    ),
    as_json: bool = shared.JSON,
    *,
    options: dict[str, Any],
    placement: dict[str, Any],
) -> None:
    """Ask about thousands of files; the same command continues where it was stopped. Exit code 1 if any row failed."""
    number, count = parse_shards(shards)
    defaults = checked({name: value for name, value in options.items() if value is not False})
    for name, value in (("--batch-size", batch_size), ("--workers", workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}", remedy="use 1 or more")
    if not (math.isfinite(decode_seconds) and decode_seconds > 0):
        raise ConfigError(f"--decode-seconds is {decode_seconds:g}", remedy="give a number of seconds above 0")
    if sum(1 for _ in read_rows(source, question, defaults)) == 0:  # every line is read before a model is loaded
        raise ConfigError(f"{source}: holds no rows", remedy="give lines to answer")
    check_out(out)
    check_results(out)
    engine = shared.load_engine(model, **placement)
    from video_salmonn.bulk.run import run, settings_of

    results = Results(out, settings_of(engine), retry=retry_failed)
    try:
        with results, counting("answering", "rows") as progress:
            summary = run(
                engine,
                lambda: shard(read_rows(source, question, defaults), number, count),
                results,
                batch_size=batch_size,
                workers=workers,
                decode_seconds=decode_seconds,
                progress=progress,
            )
    except KeyboardInterrupt:
        told = f"interrupted: {counted(len(results.done), 'row', 'are')} in {out}"
        report_error("Interrupted", told, "the same command continues", as_json=as_json)
        raise typer.Exit(INTERRUPTED) from None
    left = len(results.failures)
    if as_json:
        emit_json(_told(summary, out, left))
    else:
        _show(summary, out, left)
    if left:
        raise typer.Exit(1)


def _told(summary: Summary, out: Path, left: int) -> dict[str, Any]:
    made = summary.answered + summary.failed
    return {
        "out": str(out),
        "rows": summary.rows,
        "before": summary.before,
        "answered": summary.answered,
        "failed": left,
        "seconds": round(summary.seconds, 3),
        "rows_per_minute": round(60 * made / summary.seconds, 2) if made and summary.seconds else None,
        "failures": [{"custom_id": name, "message": message} for name, message in summary.failures],
    }


def _show(summary: Summary, out: Path, left: int) -> None:
    made = summary.answered + summary.failed
    if summary.before:
        stdout.print(f"{counted(summary.before, 'row', 'were')} in {out} already", soft_wrap=True)
    pace = f", {60 * made / summary.seconds:.0f} a minute" if made and summary.seconds else ""
    stdout.print(f"{counted(summary.answered, 'row')} answered{pace}: {out}", soft_wrap=True)
    for name, message in summary.failures:
        stderr.print(f"not answered: {name}: {message}", style="yellow", soft_wrap=True)
    if left:
        stderr.print(
            f"{counted(left, 'row', 'have')} an error in {out}; --retry-failed answers them again",
            style="yellow",
            soft_wrap=True,
        )
