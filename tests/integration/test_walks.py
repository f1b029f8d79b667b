"""The walks in docs/architecture.md lead through files that a question and a step of training pass through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import video_salmonn
from walks import ROOT, ROUTES, walked

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PACKAGE = Path(video_salmonn.__file__).parent
ELSEWHERE = {
    "disk_entries.py": "for a cache with a folder",
    "feature_store.py": "for features that were stored before",
    "train.py": "the trainer is built without the command",
    "words.py": "for the loss of words",
    "ctc.py": "for the loss of words",
    "logbook.py": "after a step",
    "validation.py": "after a step",
    "checkpointing.py": "after a step",
}
"""Files of a walk that the traced example does not reach, and why."""


def named(heading: str) -> set[str]:
    """Names of the files in the numbered list below a heading."""
    text = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return {Path(name).name for name in re.findall(r"`([\w/]+\.py)`", text)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("route", "heading"),
    [("ask", "A clip, from `ask` to text"), ("train", "An item, from `train` to the loss")],
)
def test_every_file_of_a_walk_is_passed(route, heading, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("VIDEO_SALMONN_HOME", str(tmp_path))
    with walked(PACKAGE) as walk:
        ROUTES[route]()
    assert named(heading) - {Path(file).name for file in walk.functions} - set(ELSEWHERE) == set()
