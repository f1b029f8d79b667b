"""The measured figures as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from video_salmonn.embedded.held_out.answers import CONDITIONS
from video_salmonn.embedded.held_out.groups import GROUPS, SYNONYMS
from video_salmonn.evaluation.report_markdown import table_lines
from video_salmonn.wording import counted

_ABSENT = "·"


def figure(scored: Mapping[str, Any] | None, *, items: int | None = None) -> str:
    """``40.1 % (38.3 to 42.1)``, with ``, 24 items`` where ``items`` is given; a dot where nothing was measured.

    A figure without an interval (a single item, or one that the bootstrap cannot give) says so.
    """
    if scored is None or scored.get("value") is None:
        return _ABSENT
    text = f"{100 * scored['value']:.1f} %"
    if scored.get("low") is not None:
        text += f" ({100 * scored['low']:.1f} to {100 * scored['high']:.1f})"
    else:
        text += " (no interval)"
    return text + (f", {counted(items, 'item')}" if items is not None else "")


def page(results: Mapping[str, Any], facts: Mapping[str, str]) -> str:
    """Markdown: what was measured on what, the main table, the conditions, synonyms.

    Args:
        results: ``groups`` as :func:`~video_salmonn.embedded.held_out.measure.measure` returns them, ``beside`` with
            figures of other systems by group and name.
        facts: lines for the top: model, data, command.
    """
    groups, beside = results["groups"], results.get("beside", {})
    titles = {group.name: group.title for group in GROUPS}
    lines = ["# The embedded model on held-out media", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += [
        "",
        "Figures in brackets are 95 % bootstrap intervals over items. For word error rates less is better. A figure",
        "covers all items of its row unless it states a number of items. An interval without width means that all",
        "items scored alike, which does not mean certainty.",
        "Nothing here was trained on: other speakers, folds, pictures, and wordings of the questions.",
        "",
    ]
    rows = []
    for name, result in groups.items():
        conditions = result["conditions"]
        fewer = result["compared"] if result["compared"] < result["items"] else None
        others = "; ".join(f"{who} {figure(scored)}" for who, scored in beside.get(name, {}).items())
        note = conditions["full"].get("note")
        cells = [titles.get(name, name) + (f" ({note})" if note else ""), str(result["items"]), result["metric"]]
        cells += [figure(conditions["full"]), figure(conditions.get("no_media"), items=fewer), others or _ABSENT]
        rows.append(cells)
    lines += table_lines(("what", "items", "metric", "the model", "no media", "others"), rows)
    shown = [name for name in CONDITIONS if name not in ("full", "no_media")]
    shown = [name for name in shown if any(name in result["conditions"] for result in groups.values())]
    if shown:
        lines += [
            "",
            "## With something taken away",
            "",
            "`full` here is of the same items as the others of its row, drawn from those of the first table.",
            "",
        ]
        rows = []
        for name, result in groups.items():
            conditions = result["conditions"]
            if any(condition in conditions for condition in shown):
                cells = [figure(conditions.get(condition)) for condition in ("same_items", *shown)]
                rows.append([titles.get(name, name), str(result["compared"]), *cells])
        lines += table_lines(("what", "items", "full", *shown), rows)
        lines += [
            "",
            "`zeroed`: the media's tokens are there, and zero. `shuffled`: another item's media. `fine_only`,",
            "`coarse_only`: the other resolution is zero. `no_speech_encoder`, `no_event_encoder`: features of",
            "that encoder are zero.",
        ]
    pairs = "; ".join(f"{name}: {', '.join(others)}" for name, others in SYNONYMS.items())
    lines += [
        "",
        "An answer names something if it is its name or a synonym, and nothing else. Synonyms: " + pairs + ".",
    ]
    return "\n".join(lines) + "\n"
