"""A report of an evaluation: Markdown and HTML with the same content, from ``results.json`` and the files beside it.

Published numbers are printed in a column of their own and marked as published: they were measured elsewhere, with
another model, other prompts and unreleased scoring.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from video_salmonn.evaluation.benchmark import read_results
from video_salmonn.evaluation.conditions import LEVELS
from video_salmonn.evaluation.item import Prediction
from video_salmonn.evaluation.predictions import read_predictions, write_atomic
from video_salmonn.evaluation.report_blocks import Bars, Block, Link, ReportSection, Table
from video_salmonn.evaluation.report_html import to_html
from video_salmonn.evaluation.report_markdown import to_markdown
from video_salmonn.evaluation.runner import predictions_file
from video_salmonn.evaluation.save import task as task_of
from video_salmonn.evaluation.save.published import PUBLISHED, PUBLISHED_LEVELS
from video_salmonn.wording import counted

Draw = Callable[[str, str], str]

PUBLISHED_NOTE = (
    "Published: 13B model of the paper, measured by its authors (Sun et al., ICML 2024); not measured here, and their "
    "prompts and scoring were not released."
)

SMALLER = "↓: smaller is better; elsewhere larger is."

NOT_COMPARABLE = (
    "These are the tasks and schemas of SAVE over other data ({}): published numbers would not be comparable and are "
    "left out."
)


def report(out: Path, draw: Draw | None = None) -> tuple[Path, Path]:
    """Write ``OUT/report.md`` and ``OUT/report.html``; returns their paths.

    Args:
        out: the folder of an evaluation.
        draw: draws the timeline of an item of a task, and returns its path relative to ``out`` or "".

    Raises:
        EvaluationError: if ``OUT`` holds no results, or they do not fit its predictions.
    """
    results = read_results(out)
    sections = build(out, results, draw)
    title = f"Evaluation of {results.get('model', {}).get('name', 'a model')}"
    markdown, page = out / "report.md", out / "report.html"
    write_atomic(markdown, to_markdown(title, sections).encode())
    write_atomic(page, to_html(title, sections).encode())
    return markdown, page


def build(out: Path, results: dict[str, Any], draw: Draw | None = None) -> list[ReportSection]:
    """The report's content."""
    note = PUBLISHED_NOTE if results.get("benchmark") == "SAVE" else NOT_COMPARABLE.format(results.get("benchmark"))
    sections = [ReportSection("Results", [_summary(results), _overview(results), f"{SMALLER} {note}"])]
    if levels := _levels(results):
        sections.append(ReportSection("One resolution of the connector set to zero (paper, table 5)", levels))
    save = results.get("benchmark") == "SAVE"
    for name, entry in results["tasks"].items():
        # A title names the published data set; other data in its schema must not pass for it.
        title = (
            entry.get("title", name)
            if save
            else f"{name}: {results.get('benchmark')} in the schema of {entry['title']}"
        )
        sections.append(ReportSection(title, _task(out, name, entry, draw, save=save)))
    sections.append(ReportSection("Settings", [_settings(results)]))
    return sections


def _summary(results: dict[str, Any]) -> str:
    """What was measured, and what went wrong with it, in a few lines."""
    model, tasks = results.get("model", {}), results["tasks"]
    told = ", ".join(str(model[key]) for key in ("dtype", "device", "decoding") if model.get(key))
    items = sum(entry["n"] for entry in tasks.values())
    failed = sum(len(entry.get("failed", ())) for entry in tasks.values())
    unread = sum(entry.get("unparsed", 0) for entry in tasks.values())
    lines = [
        f"Model {model.get('name', 'unknown')} (weights {model.get('weights', 'unknown')}; {told}).",
        f"{counted(items, 'item')} of {counted(len(tasks), 'task')} of {results.get('benchmark')}.",
        f"{failed} could not be asked, {counted(unread, 'answer')} could not be read: both count as wrong."
        if failed or unread
        else "",
    ]
    lines += [f"Note: {notice}." for notice in model.get("notices", ())]
    return " ".join(filter(None, lines))


def _overview(results: dict[str, Any]) -> Table:
    save = results.get("benchmark") == "SAVE"
    rows = []
    for name, entry in results["tasks"].items():
        for metric, scored in entry.get("metrics", {}).items():
            published = PUBLISHED.get(name) if save else None
            same = published is not None and published.metric == metric
            told = f"{number(published.value)} ({published.source})" if published and same else ""
            row = (name, _metric(metric), _value(scored), f"{entry['n']} of {entry['of']}")
            rows.append((*row, told) if save else row)
    header: tuple[str, ...] = ("task", "metric", "measured (95 % interval)", "items")
    return Table((*header, "published") if save else header, rows)


def _metric(name: str) -> str:
    return f"{name} ↓" if name == "wer" else name


def _known(metrics: dict[str, Any]) -> list[str]:
    """Names of the metrics that have a value; the others are in the first table, with the reason at their task."""
    return [name for name, scored in metrics.items() if scored.get("value") is not None]


def _levels(results: dict[str, Any]) -> list[Block]:
    """Test-time zeroing of each level beside the paper's; [] where it was not run."""
    save = results.get("benchmark") == "SAVE"
    rows = []
    for name, entry in results["tasks"].items():
        runs = [entry["metrics"], *(entry["baselines"].get(c, {}).get("metrics", {}) for c in LEVELS)]
        if not any(runs[1:]):
            continue
        for metric in _known(entry["metrics"]):
            measured = [_value(metrics.get(metric, {})) for metrics in runs]
            published = PUBLISHED_LEVELS.get(name)
            told = ("", "", "")
            if save and published and published.metric == metric:
                told = (published.both, published.fine_only, published.coarse_only)
            rows.append((name, _metric(metric), *measured, *(told if save else ())))
    if not rows:
        return []
    header: tuple[str, ...] = ("task", "metric", "both", "fine only", "coarse only")
    header += ("published: both", "published: fine only", "published: coarse only") if save else ()
    return [Table(header, rows), "Set to zero at test time, without retraining and without a change of the prompt."]


def _task(out: Path, name: str, entry: dict[str, Any], draw: Draw | None, *, save: bool) -> list[Block]:
    blocks: list[Block] = []
    main = next(iter(task_of(name).metrics))
    main = main if entry["metrics"].get(main, {}).get("value") is not None else _first_value(entry["metrics"])
    conditions = {"full": entry["metrics"]} | {c: e["metrics"] for c, e in entry.get("baselines", {}).items()}
    bars = [
        (condition, m[main]["value"], m[main]["low"], m[main]["high"])
        for condition, m in conditions.items()
        if main and m.get(main, {}).get("value") is not None
    ]
    metrics = _known(entry["metrics"])
    rows = [(c, *(_value(m.get(metric, {})) for metric in metrics)) for c, m in conditions.items()]
    rows += [
        (f"full, part {part}", *(_value(e["metrics"].get(m, {})) for m in metrics))
        for part, e in entry.get("parts", {}).items()
    ]
    blocks.append(Table(("condition", *map(_metric, metrics)), rows))
    if bars:
        blocks.append(Bars(main, bars))
    blocks += [f"{metric}: {m['note']}" for metric, m in entry["metrics"].items() if m.get("note")]
    blocks += [f"Baseline {c} left out: {reason}." for c, reason in entry.get("skipped", {}).items()]
    told = [f"{counted(entry['n'], 'item')} of {entry['of']} in the file"]
    if save and entry.get("expected") and entry["of"] != entry["expected"]:
        told.append(f"the published file has {entry['expected']}")
    told += [f"{entry[k]} {what}" for k, what in _COUNTS.items() if entry.get(k)]
    blocks.append("; ".join(told) + ".")
    blocks.append(f"Prompt (version {entry['prompt']['version']}): {json.dumps(entry['prompt']['template'])}")
    if entry.get("failed"):
        rows = [(f["id"], f["error"]) for f in entry["failed"]]
        blocks += ["Items that could not be asked (they count as wrong):", Table(("item", "reason"), rows)]
    if entry.get("warnings"):
        rows = [(warning, str(count)) for warning, count in entry["warnings"].items()]
        blocks += [
            "Warnings of the model about answers and media (N stands for a number):",
            Table(("warning", "items"), rows),
        ]
    blocks += _extremes(out, name, main, draw)
    return blocks


_COUNTS = {
    "unparsed": "answers could not be read",
    "lacking_media": "left out for lack of media",
    "stand_ins": "with a stand-in for a missing file",
}


def _first_value(metrics: dict[str, Any]) -> str:
    return next((name for name, scored in metrics.items() if scored.get("value") is not None), "")


def _extremes(out: Path, name: str, metric: str, draw: Draw | None, count: int = 3) -> list[Block]:
    """The best and the worst items by the main metric, with what was seen and heard."""
    file = out / "scores" / f"{name}.json"
    if not metric or not file.is_file():
        return []
    scores = json.loads(file.read_text(encoding="utf-8"))
    values = scores["metrics"].get(metric)
    if not values:
        return []
    if min(values) == max(values):
        return [f"Every item scores {number(values[0])} by {metric}: there are no best and worst ones to show."]
    said = {p.id: p for p in read_predictions(predictions_file(out, name))}
    ranked = sorted(zip(scores["ids"], values), key=lambda pair: (pair[1] if metric == "wer" else -pair[1], pair[0]))
    blocks: list[Block] = []
    count = min(count, len(ranked) // 2)  # no item is among the best and the worst
    for label, some in (("Best", ranked[:count]), ("Worst", ranked[::-1][:count])):
        rows = [_shown(said[item], value) for item, value in some if item in said]
        blocks += [
            f"{label} items by {metric}:",
            Table(("item", metric, "answer", "reference", "seen and heard"), rows),
        ]
        blocks += [Link(f"timeline of {item}", page) for item, _ in some if draw and (page := draw(name, item))]
    return blocks


def _shown(prediction: Prediction, value: float) -> tuple[str, ...]:
    reference = " / ".join(prediction.references[:2])
    account = "; ".join(filter(None, (_senses(media) for media in prediction.media)))
    return prediction.id, number(value), _cut(prediction.prediction), _cut(reference), account


def _senses(media: dict[str, Any]) -> str:
    parts = []
    for sense in ("seen", "heard"):
        told = media.get(sense) or {}
        span = (
            f" {told['from']:.1f}–{told['to']:.1f} s"
            if told.get("from") is not None and told.get("to") is not None
            else ""
        )
        if told.get("status"):
            parts.append(f"{sense}: {told['status']}{span}")
    return ", ".join(parts)


def _settings(results: dict[str, Any]) -> Table:
    rows = [("benchmark", str(results.get("benchmark", "")))]
    rows += [(f"model {key}", str(value)) for key, value in results.get("model", {}).items() if key != "notices"]
    rows += [
        (key, str(results[key])) for key in ("seed", "choices", "batch_size", "threads", "processes") if key in results
    ]
    rows += [(f"whisper {key}", str(value)) for key, value in (results.get("whisper") or {}).items()]
    rows += [(f"intervals: {key}", str(value)) for key, value in results.get("intervals", {}).items()]
    if results.get("judge"):
        rows.append(("judge", f"{results['judge']['model']} (wording {results['judge']['wording']})"))
    rows += [(f"version of {key}", str(value)) for key, value in results.get("versions", {}).items()]
    for name, entry in results["tasks"].items():
        rows.append(
            (f"annotations of {name}", f"{entry['annotations']['file']}, SHA-256 {entry['annotations']['sha256']}")
        )
        cpu = entry.get("cpu_seconds", {})
        rows += [
            (f"seconds, {name}, {condition}", f"{s} (processor: {cpu.get(condition, 'not measured')})")
            for condition, s in entry.get("seconds", {}).items()
        ]
    return Table(("setting", "value"), rows)


def number(value: float | None) -> str:
    """Four digits after the point, ``n/a`` for None."""
    return "n/a" if value is None else f"{value:.4f}"


def _value(scored: dict[str, Any]) -> str:
    if scored.get("value") is None:
        return "n/a"
    if scored.get("low") is None:
        return number(scored["value"])
    return f"{number(scored['value'])} ({number(scored['low'])} to {number(scored['high'])})"


def _cut(text: str, limit: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
