"""The report as GitHub-flavoured Markdown; figures are in the HTML only, their numbers are in the tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from video_salmonn.evaluation.report_blocks import Link, ReportSection, Table


def to_markdown(title: str, sections: Sequence[ReportSection]) -> str:
    """The report as text."""
    lines = [f"# {_escape(title)}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            if isinstance(block, str):
                lines += [_escape(block), ""]
            elif isinstance(block, Link):
                lines += [f"[{_escape(block.label)}]({block.href})", ""]
            elif isinstance(block, Table):
                rows = ([_escape(cell) for cell in row] for row in block.rows)
                lines += [*table_lines(block.header, rows), ""]
    return "\n".join(lines)


def table_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table's lines; what is in the cells stays as it is."""
    return [_row(header), "|" + "---|" * len(header), *map(_row, rows)]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    """Model output is data: it must not become a table cell, a tag or a link."""
    for mark in ("\\", "|", "`", "*", "_", "[", "]", "#"):
        text = text.replace(mark, "\\" + mark)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
