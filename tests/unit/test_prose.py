"""Text is plain technical English, and refers only to what a reader can open."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUFFIXES = {".py", ".md", ".yaml", ".toml", ".js", ".css", ".html"}
FOLDERS = ("src", "tests", "docs", "recipes", "benchmarks", "studies", "examples")
MADE_BY_PROGRAMS = {"docs/embedded-results.md", "docs/save-mini.md"}
PUBLIC = {"README.md", "LICENSE.md"}
"""Names of documents that also exist in model directories, data sets and other repositories."""
UNSEEN = {
    "a section of a document that is not here": r"§ ?[A-Z]|\bspec §",
    "a line of released code by an abbreviation": r"\(?\b[A-Z]:\d{2,}\b(?!\d*:)",
    "a document that is not here": r"\b(?:prose|contracts|system|RULES)\.md\b|\bshared/(?:design|spec)",
    "an issue": r"\b[Ii]ssue #?\d+",
}
PLAIN = {
    "advertising": r"\b(?:blazing|cutting-edge|effortless\w*|seamless\w*|state-of-the-art|world-class|powerful)\b",
    "'simply' and its like": r"\b(?:simply|obviously|of course|needless to say)\b",
    "'so many' for a number": r"\bby so many\b|\bwith so many\b|\bin so many\b",
    "'goes on' for continues": r"\b(?:goes|go|going|gone) on (?:where|with|from)\b",
    "'nothing/nobody' personified": r"\bnobody knows\b",
}


def texts() -> list[Path]:
    """Files of the repository that people read, this one left out."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a Git checkout")
    names = [name for name in listed.stdout.split("\0") if Path(name).suffix in SUFFIXES]
    kept = [name for name in names if name.startswith(FOLDERS) or name in ("README.md", "CONTRIBUTING.md")]
    return [ROOT / name for name in kept if "fixtures/" not in name and name not in MADE_BY_PROGRAMS]


def found(pattern: str, paths: list[Path]) -> list[str]:
    """Places in which a pattern occurs."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in paths
        if path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]


@pytest.mark.parametrize("name", UNSEEN)
def test_nothing_is_referred_to_that_a_reader_cannot_open(name):
    assert found(UNSEEN[name], texts()) == []


@pytest.mark.parametrize("name", PLAIN)
def test_expressions_to_avoid(name):
    said = [path for path in texts() if "tests" not in path.relative_to(ROOT).parts]
    assert found(PLAIN[name], said) == []


def test_documents_that_are_named_exist():
    known = {path.name for path in ROOT.rglob("*.md") if ".venv" not in path.parts}
    pattern = re.compile(r"(?<![\w/])docs/([\w-]+\.md)\b")
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in texts()
        if "tests" not in path.relative_to(ROOT).parts
        for name in pattern.findall(path.read_text("utf-8"))
        if name not in known
    ]
    assert missing == []
