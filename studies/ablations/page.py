"""``docs/ablations.md`` and its pictures, from the results file alone: ``python -m studies.ablations.page``.

Every number of ours is computed from the lines of one comparison; what has no line is said to be not measured.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from studies.ablations.again import repeats
from studies.ablations.compare import Cost, cost, spread
from studies.ablations.paper import CLAIMS, OURS_FOR, PAPER_COLUMNS, PAPER_FULL, PAPER_ROWS, Claim
from studies.ablations.pictures import forest
from studies.ablations.results import Line, comparisons, read_results
from studies.ablations.variants import VARIANTS

from video_salmonn.embedded.held_out.groups import GROUPS
from video_salmonn.evaluation.report_markdown import table_lines
from video_salmonn.files import write_text
from video_salmonn.wording import counted

NOTHING = "not measured"
SHOWN = (
    "speech", "speech-with-picture", "sounds", "pictures", "events", "match", "both-speech", "both-sound",
    "yesno-sense", "picture-with-speech",
)  # fmt: skip
TITLES = {group.name: group.title for group in GROUPS}
METRICS = {group.name: group.metric for group in GROUPS}
ROOT = Path(__file__).parents[2]


def paragraph(*sentences: str) -> list[str]:
    """A paragraph, wrapped."""
    return [*textwrap.wrap(" ".join(sentences), 130, break_long_words=False, break_on_hyphens=False), ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [*table_lines(head, rows), ""]


def shown(found: Cost | None) -> str:
    """``+3.1 (0.4 to 5.9)``."""
    if found is None:
        return NOTHING
    interval = "" if found.low is None else f" ({found.low:+.1f} to {found.high:+.1f})"
    return f"{found.value:+.1f}{interval}"


IN_SIGHT = 25  # times as many questions as there are: five times the precision


def would_decide(found: Cost | None) -> str:
    """What is missing for a verdict."""
    if found is None:
        return "a line of each, with the same seed"
    if found.verdict != "not decided":
        return "decided" if len(found.seeds) > 1 else "a second seed: one says nothing of how seeds differ"
    needed = found.questions_needed
    if needed is None:
        return f"nothing cheap: the measured difference has the other sign; {counted(len(found.seeds), 'seed')} so far"
    if needed > IN_SIGHT * found.items:
        return (
            f"none in sight: the measured difference is {(found.items / needed) ** 0.5:.0%} of what can be told "
            f"({counted(len(found.seeds), 'seed')} so far)"
        )
    return (
        f"about {needed} questions in place of {found.items}, if the difference is real and seeds agree "
        f"({counted(len(found.seeds), 'seed')} so far)"
    )


def of(lines: Sequence[Line], name: str) -> list[Line]:
    """The lines of a variant, by seed."""
    return sorted((line for line in lines if line["variant"] == name), key=lambda line: line["seed"])


def decided(lines: Sequence[Line], claim: Claim, rows: Sequence[str] | None = None) -> Cost | None:
    """What a claim's change costs."""
    return cost(of(lines, "full"), of(lines, claim.variant), rows or claim.rows, zeroed=claim.zeroed or None)


def verdict(found: Cost | None) -> str:
    """``holds``, ``does not hold``, ``not decided`` or ``not measured``."""
    return NOTHING if found is None else found.verdict


def picture(lines: Sequence[Line], claim: Claim) -> str:
    """The picture of a claim."""
    costs = [(TITLES[name], decided(lines, claim, (name,))) for name in claim.rows]
    return forest(claim.text, [(_short(name), found) for name, found in costs])


def _short(title: str, most: int = 58) -> str:
    return title if len(title) <= most else title[: most - 1].rstrip(" ,:") + "…"


def page(every: Sequence[Line], again: Sequence[Line] = ()) -> str:
    """The whole page, from the lines of the results and those that were measured again."""
    groups = comparisons(every)
    lines = groups[0] if groups else []
    return "\n".join(
        [
            "# The paper's ablations at this scale",
            "",
            *paragraph(
                "This page says which of the paper's claims hold for the small model, by how much, and what would",
                "decide the rest. It is made from `results/ablations.jsonl` by `python -m",
                "studies.ablations.page`; every number of ours comes from that file. The paper's come from",
                "reading notes of it.",
            ),
            *_method(lines),
            *_claims(lines),
            *_paper(lines),
            *_all(lines),
            *_zeroed(lines),
            *_cosines(lines),
            *_elsewhere(lines, groups[1:]),
            *_again(lines, again),
            *_pictures(),
        ]
    )


def _method(lines: Sequence[Line]) -> list[str]:
    out = [
        "## How it was measured",
        "",
        *paragraph(
            "Each variant has a new connector and a new adapter, and goes through the two stages of the small",
            "model as its recipes were when the first line was measured (`studies/ablations/words.yaml`, then",
            "`reading.yaml`), shortened alike, with the same data, steps and seeds. It is then asked about",
            "held-out media. The full system is the recipe with the diversity loss of the paper (λ = 0.1, released",
            "form). Without mixing, no training item puts a picture beside a sound that was not recorded with it,",
            "and matching questions, which need such pairs, are not trained either. A connector whose mask is",
            "`none` has no block attention, so these two of the paper's changes are one variant.",
        ),
        "```console",
        "$ make ablations                          # what has a line is not run again",
        "$ make ablations SEEDS=0 ABLATION_OPTIONS='--only full --only no-mixing'",
        "```",
        "",
        *paragraph(
            "The second line trains two variants with one seed. The items are kept with the code",
            "(`studies/ablations/items.jsonl.xz`), so that lines of different days and machines are of the same",
            "ones; what only rounds differently from machine to machine (bfloat16 or float32, items a pass) does",
            "not keep lines apart. Their speech states when each word is said, as the embedded model aligned it",
            "(`video-salmonn data time-embedded`): with CTC alone hardly a word is said within such a budget. All",
            "variants get the same times. Once, before, the manifests are written and the media encoded; on a card",
            "see [GPU runs](gpu-runs.md).",
        ),
        "```console",
        "$ video-salmonn data prepare-further --clones CLONES --source DATA --out FURTHER",
        "$ python -m studies.ablations.items write --source DATA --further FURTHER",
        "$ video-salmonn data encode-embedded --manifests runs/ablation-data --out runs/features --split train \\",
        "    --split test --bf16",
        "```",
        "",
        *paragraph(
            "`DATA` and `FURTHER` are the folders of [the small model's data](embedded-training.md#data).",
        ),
    ]
    if not lines:
        return [*out, "Nothing has been measured yet: the results file has no line.", ""]
    settings, data = lines[0]["settings"], lines[0]["data"]
    devices = sorted({line["device"] for line in lines})
    commits = sorted({line["commit"] for line in lines})
    took = [sum(line["seconds"].values()) for line in lines]
    most = max(len(row["marks"]) for line in lines for row in line["rows"].values())
    out += _table(
        ("what", "figure"),
        [
            ("lines", f"{len(lines)}, of {counted(len({line['variant'] for line in lines}), 'variant')}"),
            ("stage of words", f"{settings['word_steps']} steps of {counted(settings['word_batch'], 'item')}"),
            ("stage of reading", f"{settings['steps']} steps of {counted(settings['batch'], 'item')}"),
            ("training items", str(data["items"]["all"])),
            ("questions", f"at most {most} a row, {len(SHOWN)} rows"),
            ("precision", " or ".join(sorted({_precision(line) for line in lines}))),
            ("device", "; ".join(devices)),
            ("seconds of one variant", f"{min(took):.0f} to {max(took):.0f}"),
            ("data", f"`{data['fingerprint']}`"),
            ("commit", ", ".join(f"`{commit}`" for commit in commits)),
        ],
    )
    return out


def _precision(line: Line) -> str:
    """Of multiplications; the machine decides it, and lines are compared all the same."""
    return "bfloat16" if line["settings"]["precision"] == "bf16" else "float32"


def _claims(lines: Sequence[Line]) -> list[str]:
    rows = []
    for claim in CLAIMS:
        found = decided(lines, claim)
        change = f"`{claim.variant}`" if claim.variant else f"`full`, {claim.zeroed} zeroed"
        rows.append((claim.text, change, claim.paper, shown(found), verdict(found), would_decide(found)))
    return [
        "## Claims",
        "",
        *paragraph(
            "The cost of a change in percentage points: the mean over the rows of questions that test the claim",
            "(its picture below names them), full system against variant, positive where the full system is",
            "better. In brackets 95 % intervals of a paired bootstrap over seeds and questions. A claim holds",
            "where the whole interval is above zero and does not hold where it is below; all else is not decided.",
            f"With {len(CLAIMS)} claims, one of those that are decided may be so by chance.",
        ),
        *_table(("claim", "change", "paper", "here", "verdict", "what would decide it"), rows),
    ]


def _paper(lines: Sequence[Line]) -> list[str]:
    full = of(lines, "full")
    rows = []
    for name, (title, figures) in PAPER_ROWS.items():
        cells = [f"{whole - part:+.1f}" for whole, part in zip(PAPER_FULL, figures)]
        ours = [shown(cost(full, of(lines, name), OURS_FOR[column])) for column in PAPER_COLUMNS]
        rows.append((title, *(cell for pair in zip(cells, ours) for cell in pair)))
    head = [cell for column in PAPER_COLUMNS for cell in (f"{column}, paper", f"{_named(OURS_FOR[column])}, here")]
    return [
        "## Table 4 of the paper beside ours",
        "",
        *paragraph(
            "What each change costs in percentage points. The questions differ, so compare directions and not",
            "sizes. What the authors put in place of the multi-resolution causal (MRC) Q-Former and of",
            "synchronisation is not published: here it is one window of 5 s without block attention, and sight",
            "and sound one after the other.",
        ),
        *_table(("change", *head), rows),
    ]


def _named(rows: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in rows)


def _all(lines: Sequence[Line]) -> list[str]:
    full = of(lines, "full")
    figures, costs = [], []
    for name, variant in VARIANTS.items():
        own = of(lines, name)
        cells = []
        for row in SHOWN:
            found = spread(own, row)
            if found is None:
                cells.append(NOTHING if not own else "·")
                continue
            mean, least, most, seeds = found
            cells.append(f"{100 * mean:.1f}" + (f" ({100 * least:.1f} to {100 * most:.1f})" if seeds > 1 else ""))
        figures.append((f"`{name}`", variant.title, str(len(own)), *cells))
        if name != "full":
            costs.append((f"`{name}`", *(shown(cost(full, own, (row,))) for row in SHOWN)))
    head = [f"`{row}`" for row in SHOWN]
    return [
        "## All variants",
        "",
        "Percent, mean over seeds, and the least and the largest of them.",
        "",
        *(f"- `{row}`: {TITLES[row]} ({_metric(row)})" for row in SHOWN),
        "",
        *_table(("variant", "what is changed", "seeds", *head), figures),
        "What each change costs, in percentage points, paired with the full system:",
        "",
        *_table(("variant", *head), costs),
    ]


def _metric(row: str) -> str:
    return "word error rate, less is better" if METRICS[row] == "wer" else METRICS[row]


def _zeroed(lines: Sequence[Line]) -> list[str]:
    full = of(lines, "full")
    levels = sorted({level for line in full for level in line["zeroed"]}) or ["0.5 s", "5 s"]
    names = [name for name in SHOWN if any(name in line["zeroed"].get(levels[0], {}) for line in full)]
    rows = [
        (f"{level} zeroed", *(shown(cost(full, full, (name,), zeroed=level)) for name in names)) for level in levels
    ]
    return [
        "## One level zeroed (Table 5 of the paper)",
        "",
        *paragraph(
            "The full system, trained with both levels and asked with one of them zero: what that costs. The",
            "paper: with 0.5 s alone WER 2.6 %, Video QA 14.4 %; with 5 s alone WER over 100 %, Video QA 41.9 %;",
            "with both 2.6 % and 49.6 %.",
        ),
        *(_table(("", *(f"`{name}`" for name in names)), rows) if names else [f"{NOTHING.capitalize()}.", ""]),
    ]


def _cosines(lines: Sequence[Line]) -> list[str]:
    rows = []
    for name in VARIANTS:
        own = of(lines, name)
        for level in sorted({level for line in own for level in line["cosines"]}):
            values = [line["cosines"][level] for line in own if level in line["cosines"]]
            cells = []
            for kind in ("mean", "absolute"):
                numbers = [value[kind] for value in values]
                text = f"{sum(numbers) / len(numbers):.2f}"
                cells.append(text + (f" ({min(numbers):.2f} to {max(numbers):.2f})" if len(numbers) > 1 else ""))
            rows.append((f"`{name}`", level, *cells))
    return [
        "## How alike the queries of a window are",
        "",
        *paragraph(
            "Cosine between the outputs of different queries of one window, mean over pairs, windows and items;",
            "mean over seeds, least and largest. The diversity loss acts on all levels but the finest, or on the",
            "only one.",
        ),
        *(_table(("variant", "level", "cosine", "absolute"), rows) if rows else [f"{NOTHING.capitalize()}.", ""]),
    ]


def _elsewhere(main: Sequence[Line], groups: Sequence[Sequence[Line]]) -> list[str]:
    """The claims in the comparisons that are not the main one, as far as they were measured there."""
    out = [
        "## With another budget, or other data",
        "",
        *paragraph(
            "What does not hold, or is not decided, may be so because training was short. The same change with a",
            "larger budget or more data tells scale from mistake: a verdict that changes with it was one of scale.",
            "`ABLATION_OPTIONS='--only full --only VARIANT --word-steps N --steps N'`.",
            "Such lines stand apart, since they cannot be compared with the others.",
        ),
    ]
    rows = []
    for lines in groups:
        settings, data = lines[0]["settings"], lines[0]["data"]
        budget = f"{settings['word_steps']} × {settings['word_batch']}, then {settings['steps']} × {settings['batch']}"
        for claim in CLAIMS:
            if (found := decided(lines, claim)) is not None:
                above = decided([line for line in main if line["seed"] in found.seeds], claim)
                items = str(data["items"]["all"])
                before = f"{shown(above)}: {verdict(above)}"
                rows.append((claim.text, budget, items, before, shown(found), verdict(found)))
    head = (
        "claim",
        "steps × items of words, then of reading",
        "training items",
        "above, same seeds",
        "here",
        "verdict",
    )
    return [*out, *(_table(head, rows) if rows else [f"{NOTHING.capitalize()}.", ""])]


def _again(lines: Sequence[Line], again: Sequence[Line]) -> list[str]:
    """Lines that were measured twice."""
    out = [
        "## The same line from a fresh clone",
        "",
        *paragraph(
            "A line measured again, from a fresh clone and features encoded anew, with the same seed",
            "(`results/ablations-again.jsonl`). Two machines round differently, so figures may differ; they agree",
            "where the new one lies within the range of the variant's seeds, or where the questions cannot tell",
            "the two apart (95 % interval of the paired difference, which is positive where the new line is worse).",
        ),
        "```console",
        "$ make ablations SEEDS=0 ABLATION_OPTIONS='--only no-block-attention --results results/ablations-again.jsonl'",
        "```",
        "",
    ]
    rows = []
    for line in again:
        for found in repeats(lines, line):
            figures = (f"{100 * value:.1f}" for value in (found.first, found.again))
            seeds = f"{100 * found.least:.1f} to {100 * found.most:.1f}"
            name = f"`{line['variant']}`, seed {line['seed']}, `{line['commit']}`"
            rows.append((name, f"`{found.row}`", *figures, seeds, shown(found.change), _agrees(found.within)))
    head = ("line", "row", "first", "again", "seeds", "difference", "agrees")
    return [*out, *(_table(head, rows) if rows else [f"{NOTHING.capitalize()}.", ""])]


def _agrees(within: bool) -> str:
    return "yes" if within else "no"


def _pictures() -> list[str]:
    out = ["## Pictures", "", "Dots: cost of the change in each row, in percentage points. Bars: 95 % intervals.", ""]
    for claim in CLAIMS:
        out += [f"![{claim.text}: cost by row](images/ablations/{claim.name}.svg)", ""]
    return out


def write(results: Path, docs: Path) -> None:
    """Write the page and the pictures.

    Args:
        results: the results file; it may be missing, as may ``…-again.jsonl`` beside it.
        docs: the folder of the documentation.
    """
    every = read_results(results)
    lines = next(iter(comparisons(every)), [])
    again = read_results(results.with_stem(f"{results.stem}-again"))
    write_text(docs / "ablations.md", page(every, again).rstrip("\n") + "\n")
    folder = docs / "images" / "ablations"
    folder.mkdir(parents=True, exist_ok=True)
    for claim in CLAIMS:
        write_text(folder / f"{claim.name}.svg", picture(lines, claim))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.ablations.page",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results/ablations.jsonl")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    arguments = parser.parse_args()
    write(arguments.results, arguments.docs)


if __name__ == "__main__":
    main()
