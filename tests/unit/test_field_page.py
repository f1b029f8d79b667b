"""docs/field.md: figures of our own models are what ``info`` and ``plan`` compute, those of others have a link."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from video_salmonn.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs/field.md").read_text("utf-8")
LENGTHS = ("15s", "30s", "60s", "120s")


def computed(*words: str) -> dict:
    result = CliRunner().invoke(app, [*words, "--json"])
    return json.loads(result.stdout)


def table(heading: str) -> list[list[str]]:
    """Cells of the rows of a section's last table, without its head."""
    lines = [line for line in PAGE.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return rows[2:]


OURS = [row for row in table("Memory by length") if row[0].startswith("`")]


@pytest.mark.parametrize("row", OURS, ids=lambda row: f"{row[0]} {row[1]}")
def test_memory_is_what_plan_computes(row: list[str]) -> None:
    for length, shown in zip(LENGTHS, row[2:], strict=True):
        if shown != "–":
            found = computed("plan", "--model", row[0].strip("`"), "--clip", length, "--dtype", row[1])
            assert shown == f"{found['peak'] / 1e9:.2f}", length


def test_tokens_are_what_info_computes() -> None:
    own = [row for row in table("Tokens per second of video") if "video-salmonn info" in row[2]]
    assert len(own) == 2
    for _, tokens, command in own:
        found = computed("info", command.strip("`").split()[-1])
        assert float(tokens) == found["media_tokens_per_second"]


def test_every_figure_of_others_has_a_link_beside_it() -> None:
    assert len(OURS) == 4
    for row in [row for row in table("Memory by length") if row not in OURS]:
        assert "](https://" in row[0] or "(the same)" in row[0]
    for row in table("Tokens per second of video"):
        assert "](https://" in row[-1] or "video-salmonn" in row[-1]
    first = PAGE.split("## Benchmarks\n")[1].split("\n|")[0]
    assert re.search(r"\]\(https://huggingface\.co/[\w./-]+\)", first)
