"""The code blocks of the documentation, as a reader would copy them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELL = ("bash", "sh", "console")
_BLOCK = re.compile(r"^(?P<note><!--[^\n]*-->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run by the tests: (?P<reason>.+) -->")
SETS_UP = ("pip install", "apt-get install", "make ", "source ", "python -m pip")
"""Beginnings of lines that set up a machine; what runs the tests has been set up."""


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: file, from the repository's root.
        line: of the opening fence, from 1.
        language: of the fence.
        text: what is between the fences.
        not_run: why the tests cannot run it; empty where they do.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"

    def commands(self) -> list[tuple[str, str]]:
        """Shell lines with their standard input: prompts are taken off, continued lines joined, set-up left out."""
        text = re.sub(r"\\\n\s*", "", self.text)
        found: list[tuple[str, str]] = []
        for line in text.splitlines():
            line = line.removeprefix("$ ") if self.language == "console" else line
            if self.language == "console" and line.startswith("> "):
                command, typed = found.pop()
                found.append((command, typed + line[2:] + "\n"))
            elif line.strip() and not line.startswith(SETS_UP):
                found.append((line, ""))
        return found


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = (ROOT / page).read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        reason = _NOT_RUN.match(match["note"] or "")
        line = text.count("\n", 0, match.start()) + 1 + bool(match["note"])
        found.append(Block(page, line, match["language"], match["text"], reason["reason"] if reason else ""))
    return found


def own_arguments(command: str) -> list[list[str]]:
    """Arguments of every call of ``video-salmonn`` (or ``-m video_salmonn``) in a shell line."""
    words = shlex.split(command, comments=True)
    calls: list[list[str]] = []
    current: list[str] | None = None
    for position, word in enumerate(words):
        if word in ("|", "||", "&&", ";", "&", ">", "2>", "do", "done", "done;"):
            current = None
        elif word == "video-salmonn" or (word == "video_salmonn" and words[position - 1] == "-m"):
            current = []
            calls.append(current)
        elif current is not None:
            current.append(word.rstrip(";") if word.endswith(";") else word)
    return calls


def pages() -> list[str]:
    """README and every page under docs/."""
    return ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))]
