"""One evaluation as one page of documentation: every task under every condition, in two tables.

Unlike the report of a run it has no items and no figures, and names no folder: it is made to be committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from video_salmonn.evaluation.benchmark import read_results
from video_salmonn.evaluation.conditions import FULL, LEVELS, WHISPER
from video_salmonn.evaluation.predictions import write_atomic
from video_salmonn.evaluation.report_blocks import Block, ReportSection, Table
from video_salmonn.evaluation.report_markdown import to_markdown
from video_salmonn.wording import counted

_MEDIA = (FULL, "no_media", "shuffled", "frames_only", "sound_only", WHISPER)
_LEVELS = (FULL, *LEVELS)
_MEANING = {
    FULL: "as the task is",
    "no_media": "the language model alone: what the question gives away",
    "shuffled": "another item's media of the same kind",
    "frames_only": "sound switched off, where a task has both",
    "sound_only": "picture switched off, where a task has both",
    WHISPER: "the decoder of the recogniser whose encoder the model hears by; transcripts only",
    "fine_only": "coarse resolution of the connector set to zero",
    "coarse_only": "fine resolution set to zero",
}


def write_page(out: Path, page: Path, *, command: str = "") -> Path:
    """Write ``page`` (Markdown) from ``OUT/results.json``.

    Args:
        out: the folder of an evaluation.
        page: where to.
        command: the command that repeats it, for the reader.

    Raises:
        EvaluationError: if ``OUT`` holds no results.
    """
    results = read_results(out)
    name = str(results.get("model", {}).get("name", "a model"))
    title = f"{results.get('benchmark', 'SAVE')}: results of {Path(name).name}"
    write_atomic(page, to_markdown(title, _sections(results, command)).encode())
    return page


def _sections(results: dict[str, Any], command: str) -> list[ReportSection]:
    tasks: dict[str, Any] = results["tasks"]
    # All but speech: several metrics, of which those without a value are named below the table.
    opening: list[Block] = [
        "Written by the evaluation itself, not by hand. Value and 95 % interval (percentile bootstrap over items, "
        f"{results.get('intervals', {}).get('resamples', '?')} resamples); ↓: smaller is better, else larger. CIDEr is "
        "on its implementation's scale, 0 to 10. An interval without width means that all items scored alike, no "
        "certainty.",
    ]
    model = results.get("model", {})
    if model.get("weights"):
        files = f", of the shipped files {model['shipped']}" if model.get("shipped") else ""
        opening.append(f"Weights measured: {Path(str(model.get('name'))).name}, fingerprint {model['weights']}{files}.")
    if results.get("benchmark") != "SAVE":
        opening.append("Not comparable with published SAVE numbers: the same tasks and schemas, other data.")
    opening += [f"{notice[:1].upper()}{notice[1:]}." for notice in results.get("model", {}).get("notices", ())]
    if command:
        opening.append(f"Repeat it: {command}")
    sections = [ReportSection("What the scores are made of", [*opening, *_table(tasks, _MEDIA)])]
    if any(c in entry.get("baselines", {}) for entry in tasks.values() for c in _LEVELS[1:]):
        told = "One resolution of the connector set to zero at test time, as in the paper's table 5; no retraining."
        sections.append(ReportSection("The connector's resolutions", [told, *_table(tasks, _LEVELS)]))
    sections.append(ReportSection("What to know when reading", list(_remarks(tasks))))
    sections.append(ReportSection("Settings", [_settings(results)]))
    return sections


def _table(tasks: dict[str, Any], conditions: Sequence[str]) -> list[Block]:
    shown = [c for c in conditions if c == FULL or any(c in entry.get("baselines", {}) for entry in tasks.values())]
    rows = []
    for name, entry in tasks.items():
        for metric, scored in entry["metrics"].items():
            if scored.get("value") is None:
                continue
            by = {FULL: entry["metrics"]} | {c: e["metrics"] for c, e in entry.get("baselines", {}).items()}
            values = [_value(by.get(condition, {}).get(metric)) for condition in shown]
            n = f"{entry['n']}" if entry["n"] == entry["of"] else f"{entry['n']} of {entry['of']}"
            rows.append((f"{name}: {metric}{' ↓' if metric == 'wer' else ''}", n, *values))
    meanings = [(condition, _MEANING[condition]) for condition in shown]
    return [
        Table(("task: metric", "items", *shown), rows),
        "–: says nothing about the task, or was not run.",
        Table(("condition", "what it is"), meanings),
    ]


def _value(scored: dict[str, Any] | None) -> str:
    if not scored or scored.get("value") is None:
        return "–"
    if scored.get("low") is None:
        return f"{scored['value']:.3f}"
    return f"{scored['value']:.3f} ({scored['low']:.3f} to {scored['high']:.3f})"


def _remarks(tasks: dict[str, Any]) -> Iterable[Block]:
    absent: dict[str, list[str]] = {}
    for name, entry in tasks.items():
        for metric, scored in entry["metrics"].items():
            if scored.get("value") is None:
                absent.setdefault(metric, []).append(name)
    for metric, names in absent.items():
        yield f"{metric}: n/a for {', '.join(names)} (it needs files this project may not ship; nothing stands in)."
    unread = {
        name: {FULL: entry.get("unparsed", 0)} | {c: e.get("unparsed", 0) for c, e in entry["baselines"].items()}
        for name, entry in tasks.items()
    }
    told = [
        f"{name} {', '.join(f'{c} {n}' for c, n in by.items() if n)}" for name, by in unread.items() if any(by.values())
    ]
    if told:
        yield f"Answers that could not be read as a choice, or as yes or no, count as wrong: {'; '.join(told)}."
    failed = {name: len(entry["failed"]) for name, entry in tasks.items() if entry.get("failed")}
    yield (
        "Items that could not be asked: " + (", ".join(f"{n} of {name}" for name, n in failed.items()) or "none") + "."
    )
    warned: dict[str, list[str]] = {}
    for name, entry in tasks.items():
        for warning, count in entry.get("warnings", {}).items():
            warned.setdefault(warning, []).append(f"{count} of {name}")
    for warning, where in warned.items():
        yield f"Warning of the model (N stands for a number): {warning} ({', '.join(where)})."
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, entry in tasks.items():
        for condition, reason in entry.get("skipped", {}).items():
            reasons.setdefault((condition, reason), []).append(name)
    for (condition, reason), names in reasons.items():
        yield f"Not run: {condition} of {', '.join(names)}: {reason}."


def _settings(results: dict[str, Any]) -> Table:
    tasks: dict[str, Any] = results["tasks"]
    model = results.get("model", {})
    rows = [(f"model {key}", Path(str(value)).name) for key, value in model.items() if key != "notices"]
    if whisper := results.get("whisper"):
        rows.append(
            (WHISPER, ", ".join(str(whisper[key]) for key in ("name", "weights", "decoding") if key in whisper))
        )
    rows += [
        (key, str(results[key])) for key in ("seed", "choices", "batch_size", "threads", "processes") if key in results
    ]
    rows.append(("items", str(sum(entry["n"] for entry in tasks.values()))))
    versions = sorted({entry["prompt"]["version"] for entry in tasks.values() if entry.get("prompt")})
    rows.append(("versions of prompts and reading rules", ", ".join(map(str, versions)) or "not recorded"))
    longest = max((entry["max_new_tokens"] for entry in tasks.values()), default=0)
    rows.append(("longest answer allowed", counted(longest, "token")))
    clock, cpu = (sum(sum(e.get(k, {}).values()) for e in tasks.values()) for k in ("seconds", "cpu_seconds"))
    told = f"{cpu / 60:.1f} minutes of processor time, {clock / 60:.1f} by the clock; loading and scoring not counted"
    if results.get("processes", 1) > 1:
        told += f"; of the first of {counted(results['processes'], 'process')}"
    rows.append(("time of all conditions", told))
    rows += [(f"version of {key}", str(value)) for key, value in results.get("versions", {}).items()]
    return Table(("setting", "value"), rows)
