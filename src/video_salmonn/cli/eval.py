"""``video-salmonn eval``: run SAVE, check its data, score predictions, write a report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from video_salmonn.cli import options as shared
from video_salmonn.cli.held_out import held_out
from video_salmonn.cli.output import emit_json, reports_errors, stderr, stdout
from video_salmonn.errors import ConfigError
from video_salmonn.wording import counted

if TYPE_CHECKING:
    from video_salmonn.evaluation.runner import Progress
    from video_salmonn.inference.engine import VideoSalmonn
    from video_salmonn.metrics.judge import Judge

command = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Run, score and report evaluations."
)
save = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Run SAVE, the paper's benchmark; `check` only looks at the data.",
)
command.add_typer(save, name="save")
command.command("held-out")(held_out)

_JSON = typer.Option(False, "--json", help="Print one JSON value.")
_DATA = typer.Option(None, "--data", help="Folder with annotation files and media.")
_TASKS = typer.Option("all", "--tasks", help="Comma-separated task ids, or all.")
_JUDGE = typer.Option(None, "--judge-url", help="OpenAI-compatible endpoint (up to /v1) that judges sound sources.")
_JUDGE_MODEL = typer.Option(None, "--judge-model", help="Name of the judge there.")
_JUDGE_KEY = "VIDEO_SALMONN_JUDGE_KEY"
_RESAMPLES = typer.Option(1000, "--resamples", min=1, help="Bootstrap resamples of the 95 % intervals.")
_SEED = typer.Option(0, "--seed", min=0, max=2**63 - 1, help="Seed of the bootstrap and of shuffled media.")


@save.callback(invoke_without_command=True)
@reports_errors
@shared.with_placement
def run_save(
    context: typer.Context,
    data: Path | None = _DATA,
    tasks: str = _TASKS,
    model: str | None = typer.Option(None, "--model", help="Model name or folder."),
    out: Path | None = typer.Option(None, "--out", help="Folder for predictions, scores and results."),
    limit: int | None = typer.Option(None, "--limit", help="Ask only N items a task, spread evenly over its file."),
    resume: bool = typer.Option(False, "--resume", help="Continue the evaluation in --out."),
    baselines: str = typer.Option(
        "",
        "--baselines",
        help="no_media, frames_only, sound_only, shuffled, whisper (these: all), fine_only, coarse_only.",
    ),
    choices: str = typer.Option(
        "generated", "--choices", help="generated: read the answer; likelihood: also rank the candidates by likelihood."
    ),
    whisper: Path | None = typer.Option(
        None, "--whisper", help="Folder of the Whisper whose encoder the model uses; the embedded model's is known."
    ),
    max_new_tokens: int | None = typer.Option(
        None, "--max-new-tokens", min=1, help="End answers here where a task allows longer ones."
    ),
    batch_size: int = typer.Option(1, "--batch-size", min=1, help="Questions given to the model at once."),
    allow_missing: bool = typer.Option(False, "--allow-missing", help="Leave out items whose media are missing."),
    profile: str | None = shared.PROFILE,
    num_beams: int | None = shared.BEAMS,
    judge_url: str | None = _JUDGE,
    judge_model: str | None = _JUDGE_MODEL,
    resamples: int = _RESAMPLES,
    seed: int = _SEED,
    as_json: bool = _JSON,
    *,
    placement: dict[str, Any],
) -> None:
    """Ask a model the tasks of SAVE, score the answers, write OUT/predictions and OUT/results.json."""
    if context.invoked_subcommand is not None:
        return
    given = {"--data": data, "--model": model, "--out": out}
    if lacking := [name for name, value in given.items() if value is None]:
        raise ConfigError(f"eval save needs {', '.join(lacking)}", remedy="see `video-salmonn eval save --help`")
    assert data is not None and model is not None and out is not None

    from video_salmonn.evaluation.conditions import parse_baselines
    from video_salmonn.evaluation.save import tasks as tasks_of

    wanted = tasks_of(tasks)
    conditions = parse_baselines(baselines)
    if choices not in ("generated", "likelihood"):
        raise ConfigError(f"--choices is {choices!r}", remedy="use generated or likelihood")
    shared.check_loading(model, profile=profile, **placement)
    if not data.is_dir():
        raise ConfigError(f"{data}: no such folder", remedy="give the folder with annotation files and media")

    from video_salmonn.evaluation.benchmark import Options, evaluate, prepare

    options = Options(
        batch_size=batch_size,
        limit=limit,
        resume=resume,
        allow_missing=allow_missing,
        baselines=conditions,
        resamples=resamples,
        seed=seed,
        judge=_judge(judge_url, judge_model),
        likelihood=choices == "likelihood",
        max_new_tokens=max_new_tokens,
    )
    ready = prepare(wanted, data, out, options)
    from video_salmonn.evaluation.own_model import OwnModel
    from video_salmonn.evaluation.shards import Shards

    device = shared.choose_device(placement.pop("device"))
    shards = Shards.from_environment(device)
    loaded = shared.load_engine(model, shards.device(device), profile=profile, **placement)
    engine = OwnModel(loaded, num_beams=num_beams, profile=profile, whisper=whisper, known_whisper=_whisper)
    with _Bar(shards.first and not as_json) as progress:
        results = evaluate(engine, wanted, data, out, options, shards=shards, progress=progress, ready=ready)
    if not shards.first:
        return
    if as_json:
        emit_json(results)
        return
    for name, entry in results["tasks"].items():
        _print_score({"task": name, **entry})
    stdout.print(f"results: {out / 'results.json'}; a report: video-salmonn eval report {out}", soft_wrap=True)


@save.command("check")
@reports_errors
def check_save(
    data: Path = typer.Option(..., "--data", help="Folder with annotation files and media."),
    tasks: str = _TASKS,
    as_json: bool = _JSON,
) -> None:
    """Say what of SAVE is there, what is missing, and where to get it (exit code 1 if anything is)."""
    from video_salmonn.evaluation.save import tasks as tasks_of
    from video_salmonn.evaluation.save.check import check

    found = check(data, tasks_of(tasks))
    if as_json:
        emit_json([entry.to_dict() for entry in found])
    else:
        table = Table("task", "items", "media", "state")
        for entry in found:
            items = f"{entry.items}" + (f" of {entry.expected}" if entry.expected else " (published count not known)")
            state = "complete" if entry.ok else (entry.problem or f"{counted(entry.lacking, 'item', 'lack')} media")
            table.add_row(entry.task, items, str(entry.found), state)
        stdout.print(table)
        for entry in found:
            for name, media in [*entry.missing, *entry.ambiguous]:
                stdout.print(f"{entry.task}: {name}: {media}", soft_wrap=True, markup=False)
            if entry.remedy:
                stdout.print(f"{entry.task}: {entry.remedy}", soft_wrap=True, markup=False)
    if not all(entry.ok for entry in found):
        raise typer.Exit(1)


@save.command("build-mini")
@reports_errors
def build_mini(
    source: Path = typer.Option(..., "--source", help="Folder of open media with manifests."),
    out: Path = typer.Option(..., "--out", help="New folder for SAVE-mini."),
    seed: int = typer.Option(0, "--seed", min=0, max=2**63 - 1, help="Seed of all random choices."),
    tasks: str = _TASKS,
    most: int | None = typer.Option(None, "--most", min=1, help="Maximum items of each sort, for quick tests."),
    redistributable: bool = typer.Option(
        False, "--redistributable", help="Only sources under CC0, CC BY, CC BY-SA or in the public domain."
    ),
    as_json: bool = _JSON,
) -> None:
    """Build SAVE-mini: SAVE's tasks and schemas from held-out open media (about 350 items)."""
    from video_salmonn.embedded.data.sources import check_folder

    check_folder(source)
    from video_salmonn.embedded.save_mini.build import build
    from video_salmonn.evaluation.save import tasks as tasks_of

    wanted = [task.id for task in tasks_of(tasks)]
    told = stderr.print if not as_json else None
    marker = build(source, out, seed=seed, tasks=wanted, most=most, redistributable=redistributable, progress=told)
    if as_json:
        emit_json({name: marker[name] for name in ("name", "version", "seed", "items", "counts")})
    else:
        stdout.print(f"{counted(marker['items'], 'item')} in {out}", soft_wrap=True)


@save.command("export-lmms")
@reports_errors
def export_lmms(
    data: Path = typer.Option(..., "--data", help="Folder with annotation files and media."),
    out: Path = typer.Option(..., "--out", help="Folder for lmms-eval's --include_path."),
    tasks: str = _TASKS,
    limit: int | None = typer.Option(None, "--limit", help="Only N items a task, spread evenly over its file."),
    allow_missing: bool = typer.Option(False, "--allow-missing", help="Leave out items whose media are missing."),
    as_json: bool = _JSON,
) -> None:
    """Write SAVE as task files of lmms-eval, for any model it knows (tasks save_gqa, save_how2 …)."""
    from video_salmonn.evaluation.lmms_tasks import export
    from video_salmonn.evaluation.save import tasks as tasks_of

    written = export(tasks_of(tasks), data, out, limit=limit, allow_missing=allow_missing)
    if as_json:
        emit_json([str(file) for file in written])
    else:
        stdout.print("\n".join(str(file) for file in written), soft_wrap=True, markup=False)


@command.command("score")
@reports_errors
def score_predictions(
    task: str = typer.Option(..., "--task", help="Task id: decides how answers are read."),
    predictions: Path = typer.Option(
        ..., "--predictions", help="JSON lines: id, prediction, reference(s), candidates."
    ),
    data: Path | None = typer.Option(None, "--data", help="Compare the ids with the task's annotations found here."),
    judge_url: str | None = _JUDGE,
    judge_model: str | None = _JUDGE_MODEL,
    resamples: int = _RESAMPLES,
    seed: int = _SEED,
    as_json: bool = _JSON,
) -> None:
    """Score a predictions file."""
    from video_salmonn.evaluation.predictions import check_ids, read_predictions
    from video_salmonn.evaluation.save import task as task_of
    from video_salmonn.evaluation.scoring import score

    this = task_of(task)
    rows = read_predictions(predictions, task=task)
    if data is not None:
        entries, _, _ = this.load(data)
        check_ids(rows, [entry.id for entry in entries], predictions)
    found = score(this, rows, resamples=resamples, seed=seed, judge=_judge(judge_url, judge_model)).to_dict()
    if as_json:
        emit_json(found)
    else:
        _print_score(found)


@command.command("report")
@reports_errors
def write_report(
    out: Path = typer.Argument(..., help="Folder of an evaluation (the --out of eval save)."),
    data: Path | None = typer.Option(None, "--data", help="With --model: draw the timelines of best and worst items."),
    model: str | None = typer.Option(None, "--model", help="The model that was evaluated."),
    docs: Path | None = typer.Option(None, "--docs", help="Also write all tables as one page of Markdown."),
    repeat: str = typer.Option("", "--repeat", help="With --docs: the command that repeats the run, for its readers."),
    device: str = shared.DEVICE,
    as_json: bool = _JSON,
) -> None:
    """Write OUT/report.md and OUT/report.html: results beside published numbers, baselines, items, settings."""
    from video_salmonn.evaluation.report import report
    from video_salmonn.evaluation.report_page import write_page

    if (data is None) != (model is None):
        raise ConfigError("timelines need both --data and --model")
    draw = None
    if data is not None and model is not None:
        from video_salmonn.evaluation.timelines import Timelines

        draw = Timelines(_evaluated(model, device, out), data, out).draw
    markdown, page = report(out, draw)
    written = {"markdown": str(markdown), "html": str(page)}
    if docs is not None:
        written["docs"] = str(write_page(out, docs, command=repeat))
    if as_json:
        emit_json(written)
    else:
        stdout.print("\n".join(written.values()), soft_wrap=True, markup=False)


def _evaluated(model: str, device: str, out: Path) -> VideoSalmonn:
    """The model of an evaluation, loaded as it was then.

    Raises:
        ConfigError: if its weights are others than those evaluated: its timelines would show another model.
    """
    from video_salmonn.evaluation.benchmark import read_results
    from video_salmonn.files import fingerprint

    then = read_results(out).get("model", {})
    profile = then.get("profile")
    engine = shared.load_engine(model, device, then.get("dtype"), None if profile == "own" else profile)
    now = fingerprint(engine.model)[:16]
    if now != then.get("weights", now):
        raise ConfigError(
            f"{model}: has other weights ({now}) than those evaluated in {out} ({then['weights']})",
            remedy="name the model that was evaluated",
        )
    return engine


@command.command("setup-spice")
@reports_errors
def setup_spice(
    source: Path | None = typer.Option(None, "--from", help="Folder that holds your Stanford CoreNLP 3.6.0 files."),
    as_json: bool = _JSON,
) -> None:
    """Say where SPICE's CoreNLP files belong, or copy them there (exit code 1 while they are missing)."""
    from video_salmonn.metrics.spice_setup import install, state

    found = install(source) if source else state()
    if as_json:
        emit_json(found)
    else:
        stdout.print(f"folder: {found['folder']}", soft_wrap=True, markup=False)
        for name in found["files"]:
            stdout.print(f"  {name}: {'missing' if name in found['missing'] else 'there'}", markup=False)
        if found["missing"]:
            stdout.print(found["remedy"], soft_wrap=True, markup=False)
    if found["missing"]:
        raise typer.Exit(1)


def _whisper() -> tuple[str, Path]:
    from video_salmonn.embedded.pretrained import whisper_folder

    return whisper_folder()


def _judge(url: str | None, model: str | None) -> Judge | None:
    if url is None and model is None:
        return None
    if url is None or model is None:
        raise ConfigError("a judge needs both --judge-url and --judge-model")
    from video_salmonn.metrics.judge import Judge

    return Judge(url, model, os.environ.get(_JUDGE_KEY))


def _print_score(found: dict[str, Any]) -> None:
    from video_salmonn.evaluation.report import number

    table = Table(f"{found['task']} (n = {found['n']})", "value", "95 % interval")
    conditions = {"": found["metrics"]} | {f" · {c}": e["metrics"] for c, e in found.get("baselines", {}).items()}
    conditions |= {f" · part {p}": e["metrics"] for p, e in found.get("parts", {}).items()}
    for suffix, metrics in conditions.items():
        for name, scored in metrics.items():
            interval = "" if scored["low"] is None else f"{number(scored['low'])} to {number(scored['high'])}"
            table.add_row(name + suffix, number(scored["value"]), interval)
    stdout.print(table)
    for name, scored in found["metrics"].items():
        if scored.get("note"):
            stdout.print(f"{name}: {scored['note']}", soft_wrap=True, markup=False)
    for condition, reason in found.get("skipped", {}).items():
        stdout.print(f"{condition} left out: {reason}", soft_wrap=True, markup=False)
    if found.get("unparsed"):
        stdout.print(f"{counted(found['unparsed'], 'answer')} could not be read, which counts as wrong")
    for entry in found.get("failed", []):
        stdout.print(f"failed: {entry['id']}: {entry['error']}", soft_wrap=True, markup=False)


class _Bar:
    """A progress bar on stderr; nothing if it is not wanted."""

    def __init__(self, wanted: bool) -> None:
        from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=stderr, disable=not wanted)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        self._bar.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _update(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done)
