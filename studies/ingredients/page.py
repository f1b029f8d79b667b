"""``docs/ingredients.md``, from the results file alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from studies.ablations.compare import cost
from studies.ablations.page import NOTHING, TITLES, paragraph, shown
from studies.ablations.results import Line, comparisons, read_results, value_of
from studies.ingredients.parts import PARTS, ROWS

from video_salmonn.evaluation.report_markdown import table_lines
from video_salmonn.files import write_text
from video_salmonn.wording import counted


def _figure(line: Line | None, row: str) -> str:
    """In percent."""
    found = None if line is None else line["rows"].get(row)
    value = None if found is None else value_of(found["metric"], found["marks"])
    return NOTHING if value is None else f"{100 * value:.1f}"


def _cost(whole: Line | None, line: Line | None, row: str) -> str:
    """What is worse without, in percentage points."""
    return shown(None if whole is None or line is None else cost([whole], [line], (row,)))


def page(lines: Sequence[Line]) -> str:
    """The whole page."""
    alike = comparisons([line for line in lines if line["variant"] in PARTS])
    trained = {line["variant"]: line for line in alike[0]} if alike else {}
    shipped = {line["settings"]["change"]["decoding"]: line for line in lines if line["variant"] not in PARTS}
    out = [
        "# What each ingredient gives",
        "",
        *paragraph(
            "The small model's second edition added decoding with the connector's own CTC, speech made by voices,",
            "names from the encoders' own heads, everyday questions with refusals, and a stage of words for all",
            "senses. This page switches each of them off in turn. It is made from",
            "`results/ingredients.jsonl` by `python -m",
            "studies.ingredients page`.",
        ),
        *_decoding(shipped),
        *_training(trained),
        *_repeat(),
    ]
    return "\n".join(out).rstrip("\n") + "\n"


def _decoding(shipped: dict[str, Line]) -> list[str]:
    out = ["## Decoding", ""]
    whole = shipped.get("as shipped")
    if whole is None:
        return [*out, f"{NOTHING.capitalize()}.", ""]
    out += paragraph(
        f"The shipped weights (files `{whole['settings']['weights']}`), asked with one option of decoding off. What",
        "that costs stands in percentage points, positive where it is worse, with the 95 % interval of a paired",
        "bootstrap over the questions. A row without a change is not listed.",
    )
    rows = []
    for name, line in shipped.items():
        for row in ROWS if line is not whole else ():
            if line["rows"].get(row, {}).get("marks") != whole["rows"].get(row, {}).get("marks"):
                rows.append((name, TITLES[row], _figure(whole, row), _figure(line, row), _cost(whole, line, row)))
    return [*out, *table_lines(("asked with", "row", "as shipped", "so", "cost"), rows), ""]


def _training(trained: dict[str, Line]) -> list[str]:
    out = ["## Training", ""]
    whole = trained.get("nothing")
    if whole is None:
        return [*out, f"{NOTHING.capitalize()}.", ""]
    steps, data = whole["settings"]["steps"], whole["data"]
    questions = max(len(row["marks"]) for row in whole["rows"].values())
    out += paragraph(
        f"A new connector and adapter, {steps[0]} steps of 4 items of the stage of words and {steps[1]} of reading,",
        f"from the same {data['items']['all']} items (data",
        f"`{data['fingerprint']}`, made speech by one neural voice), once",
        f"with everything and once without each ingredient; one seed; at most {counted(questions, 'question')} a row,",
        "on held-out media. Costs in percentage points as above. In bold: the rows that the ingredient is there for.",
        "So short a training shows what an ingredient does to its own questions and what it takes from the others,",
        f"since all share the same steps: {4 * steps[0]} items of the stage of words are drawn, and",
        "what is left without an ingredient is drawn more often. Where the figure with everything is",
        "no better than chance, or hardly a word is",
        "right, it was too short to tell.",
    )
    head = ("row", "with everything", *(f"without {part.title}" for name, part in PARTS.items() if name != "nothing"))
    rows = []
    for row in ROWS:
        cells = []
        for name, part in PARTS.items():
            if name == "nothing":
                continue
            line = trained.get(name)
            text = NOTHING if line is None else f"{_figure(line, row)}: {_cost(whole, line, row)}"
            cells.append(f"**{text}**" if row in part.rows else text)
        rows.append((TITLES[row], _figure(whole, row), *cells))
    out += [*table_lines(head, rows), ""]
    left = (
        f"without {part.title}: {trained[name]['data']['items']['all']}"
        for name, part in PARTS.items()
        if name in trained and name != "nothing" and part.words
    )
    if told := "; ".join(left):
        out += paragraph("Items that were left to train on:", f"{told}.")
    return out


def _repeat() -> list[str]:
    return [
        "## Not switched off",
        "",
        *paragraph(
            "Reading of noisy words from text alone is not built, since the connector's outputs are mixtures of words",
            "that text does not have; expectations over words as inputs (`word_inputs`) are built, but no shipped",
            "weights were trained with them. What long sound gains from pieces",
            "is on [the page of the model](embedded.md#decoding).",
        ),
        "## Again",
        "",
        "```console",
        "$ python -m studies.ingredients choose --data runs/embedded-data",
        "$ video-salmonn data encode-embedded --manifests runs/ingredient-data --out runs/features --split train \\",
        "    --split test",
        "$ video-salmonn data time-embedded --manifests runs/ingredient-data --features runs/features",
        "$ python -m studies.ingredients run",
        "$ python -m studies.ingredients shipped",
        "$ python -m studies.ingredients page",
        "```",
        "",
    ]


def write(results: Path, docs: Path) -> None:
    """Write the page; the results file may be missing."""
    write_text(docs / "ingredients.md", page(read_results(results)))
