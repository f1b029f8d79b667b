"""The list of pages in docs/index.md, made from the pages: title and first sentence. Run it to write the list."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- pages: begin (written by tests/docs_index.py) -->\n", "<!-- pages: end -->\n"
FIRST = (
    "ask",
    "transcribe",
    "batch",
    "inspect",
    "media",
    "embedded",
    "training",
    "embedded-training",
    "evaluation",
    "huggingface",
    "released",
    "connector",
)
"""The order for a reader who is new; other pages follow by name."""
WRITTEN_BY_PROGRAMS = {
    "embedded-results": "How good the embedded model is on held-out media, with intervals and baselines.",
    "save-mini": "The embedded model on SAVE-mini, all tasks under all conditions.",
}


def about(page: Path) -> tuple[str, str]:
    """Title and first sentence of a page.

    Raises:
        ValueError: the page does not begin with a title and a sentence.
    """
    text = page.read_text("utf-8")
    title = re.match(r"# (.+)\n", text)
    if title and page.stem in WRITTEN_BY_PROGRAMS:
        return title[1], WRITTEN_BY_PROGRAMS[page.stem]
    found = re.match(r"# (?P<title>[^\n]+)\n\n(?P<first>[A-Z`*][^|]*?[.:?])(?:\s|$)", text, re.DOTALL)
    if not found:
        raise ValueError(f"{page.name}: begin it with '# Title', an empty line and a sentence on what it is for")
    sentence = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", " ".join(found["first"].split()))
    return found["title"], sentence.removesuffix(":") + ("." if sentence.endswith(":") else "")


def table() -> str:
    """The rows, between their marks."""
    names = [page.stem for page in sorted(DOCS.glob("*.md")) if page.stem != "index"]
    rows = []
    for name in sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        title, sentence = about(DOCS / f"{name}.md")
        rows.append(f"| [{title}]({name}.md) | {sentence} |\n")
    return BEGIN + "\n| page | what it is about |\n|---|---|\n" + "".join(rows) + "\n" + END


def renewed(text: str) -> str:
    """The text of docs/index.md with the list as it should be."""
    before, _, rest = text.partition(BEGIN)
    return before + table() + rest.partition(END)[2]


if __name__ == "__main__":
    index = DOCS / "index.md"
    index.write_text(renewed(index.read_text("utf-8")), "utf-8")
