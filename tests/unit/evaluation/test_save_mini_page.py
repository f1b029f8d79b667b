"""docs/save-mini.md names the weights it was measured with, and is refused when it claims those that ship and they are
not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from video_salmonn.checkpoints.shipped import shipped_weights
from video_salmonn.evaluation.report_page import write_page

ROOT = Path(__file__).parents[3]
OLDER = "the ones before those that are shipped now"
"""What a page says that was measured with other weights and is kept until there is a new one."""


def fault(page: str, shipped: str) -> str | None:
    """What is wrong with the weights that a page names; None if nothing is."""
    if not re.search(r"Weights measured: (?:[\w.-]+, fingerprint )?[0-9a-f]{12,64}", page):
        return "names no weights"
    claimed = re.search(r"of the shipped files ([0-9a-f]+)", page)
    if claimed is None:
        return None if OLDER in page else "says neither which shipped files were measured nor that they were older ones"
    return None if claimed[1] == shipped else f"was measured with {claimed[1]}, and {shipped} is shipped"


def test_the_page_is_of_the_shipped_weights_or_says_that_it_is_older() -> None:
    page = (ROOT / "docs/save-mini.md").read_text("utf-8")
    assert fault(page, shipped_weights()) is None, "make save-mini MEDIA=FOLDER"


@pytest.mark.parametrize(
    ("page", "wrong"),
    [
        ("# Results", "names no weights"),
        ("Weights measured: embedded, fingerprint 0123456789abcdef.", "says neither"),
        ("Weights measured: embedded, fingerprint 0123456789abcdef, of the shipped files 0123456789ab.", "is shipped"),
        ("Weights measured: embedded, fingerprint 0123456789abcdef, of the shipped files aaaaaaaaaaaa.", None),
        (f"**Weights measured: 0123456789abcdef, {OLDER}**", None),
    ],
)
def test_a_page_of_other_weights_is_refused(page: str, wrong: str | None) -> None:
    found = fault(page, "a" * 12)
    assert (found is None) if wrong is None else (found is not None and wrong in found)


def test_a_page_that_is_written_names_the_shipped_files_that_were_measured(tmp_path: Path) -> None:
    model = {"name": "embedded", "weights": "0123456789abcdef", "shipped": shipped_weights()}
    results = {"benchmark": "SAVE-mini 1", "model": model, "tasks": {}, "intervals": {"resamples": 10}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    page = write_page(tmp_path, tmp_path / "page.md", command="make").read_text("utf-8")
    assert fault(page, shipped_weights()) is None and f"of the shipped files {shipped_weights()}." in page
