"""Train the small model without each of its ingredients, and ask all of them the same.

``choose`` writes the manifests; then ``data encode-embedded`` and ``data time-embedded``; ``run`` appends a line for
each ingredient to the results; ``page`` writes ``docs/ingredients.md`` from them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results/ingredients.jsonl"


def parser() -> argparse.ArgumentParser:
    """The command line; nothing heavy is imported for it."""
    made = argparse.ArgumentParser(
        prog="python -m studies.ingredients",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    actions = made.add_subparsers(dest="action", required=True)
    choose = actions.add_parser("choose", help="write the manifests")
    choose.add_argument("--data", type=Path, default=Path("runs/embedded-data"), help="of data build-embedded")
    choose.add_argument("--limit", type=int, default=40, help="held-out items a row, at most")
    run = actions.add_parser("run", help="train and ask; what has a line is not run again")
    run.add_argument("--features", type=Path, default=Path("runs/features"), help="of data encode-embedded")
    run.add_argument("--out", type=Path, default=Path("runs/ingredients"), help="folder of the runs")
    run.add_argument("--only", action="append", help="an ingredient; repeatable; all by default")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--word-steps", type=int, default=2400, help="steps of 4 items of the stage of words")
    run.add_argument("--steps", type=int, default=250, help="steps of 4 items of the stage of reading")
    run.add_argument("--model", choices=["embedded", "tiny"], default="embedded", help="tiny: random, to try it out")
    shipped = actions.add_parser("shipped", help="ask the shipped weights, with each option of decoding off")
    shipped.add_argument("--features", type=Path, default=Path("runs/features"), help="of data encode-embedded")
    for one in (choose, run, shipped):
        one.add_argument(
            "--manifests", type=Path, default=Path("runs/ingredient-data"), help="of these short trainings"
        )
    page = actions.add_parser("page", help="write docs/ingredients.md")
    page.add_argument("--docs", type=Path, default=ROOT / "docs")
    for one in (run, shipped, page):
        one.add_argument("--results", type=Path, default=RESULTS, help="one line a training")
    return made


def main(words: list[str] | None = None) -> int:
    """The command. Returns 2 for bad input."""
    given = parser().parse_args(words)
    from video_salmonn.errors import VideoSalmonnError

    try:
        if given.action == "page":
            from studies.ingredients.page import write

            write(given.results, given.docs)
            return 0
        from studies.ingredients import running

        if given.action == "choose":
            print(running.choose(given.data, given.manifests, given.limit))
        elif given.action == "shipped":
            running.ask_shipped(given.manifests, given.features, given.results, print)
        else:
            steps = (given.word_steps, given.steps)
            work = running.Work(given.manifests, given.features, given.out, given.results)
            running.run(work, given.only, given.seed, steps, given.model, print)
    except VideoSalmonnError as error:
        from video_salmonn.cli.output import report_error

        report_error(type(error).__name__, str(error), error.remedy, as_json=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
