"""Lists in the docs that are made of other pages agree with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest

from docs_index import DOCS, about, renewed

README = (DOCS.parent / "README.md").read_text("utf-8")


def test_the_index_lists_every_page():
    text = (DOCS / "index.md").read_text("utf-8")
    assert text == renewed(text), "run: python tests/docs_index.py"
    for page in DOCS.glob("*.md"):
        assert page.stem == "index" or f"({page.name})" in text


def test_a_page_without_a_first_sentence_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n| a | b |\n")
    with pytest.raises(ValueError, match=r"page\.md: begin it with"):
        about(page)
    page.write_text("# Title\n\nSee [the model](model.md) here. More.\n")
    assert about(page) == ("Title", "See the model here.")


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_what_the_readme_says_of_the_small_model_was_measured():
    """Every figure of the lists of what it can and cannot be asked is one of the page of results."""
    said = README.split("## What the small model can be asked")[1].split("\n## ")[0]
    measured = (DOCS / "embedded-results.md").read_text("utf-8")
    figures = re.findall(r"(\d+\.\d) %", said)
    assert len(figures) >= 12
    assert [figure for figure in figures if f"| {figure} % (" not in measured] == []


def test_files_that_the_readme_names_are_there():
    for name in re.findall(r"`((?:docs|examples|recipes|tests|src)/[\w./-]+)`", README):
        assert (Path(DOCS.parent) / name).exists(), name


def first_column(page: str, heading: str) -> list[str]:
    """Code names in the first column of the first table below a heading."""
    table = (DOCS / page).read_text("utf-8").split(heading, 1)[1].split("\n| ", 1)[1].split("\n\n")[0]
    return [name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_the_options_of_a_question_in_the_docs_are_those_there_are():
    from video_salmonn.inference.options import MEDIA_OPTIONS, OWN_OPTIONS, passed_on

    named = set(first_column("ask.md", "## Options"))
    assert sorted({*MEDIA_OPTIONS, *OWN_OPTIONS} - named) == []
    assert sorted(named - {*MEDIA_OPTIONS, *OWN_OPTIONS} - passed_on()) == []


def test_the_keys_of_a_recipe_in_the_docs_exist():
    from video_salmonn.training.recipe import Recipe

    def known(kind: type, name: str) -> bool:
        first, _, rest = name.partition(".")
        hints = get_type_hints(kind)
        return first in hints and (not rest or known(hints[first], rest))

    named = first_column("training.md", "What you will want to change first:")
    assert len(named) > 15
    assert [name for name in named if not known(Recipe, name)] == []
