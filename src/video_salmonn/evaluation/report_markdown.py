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
                lines += [*_markdown_table(block), ""]
    return "\n".join(lines)


def _markdown_table(table: Table) -> Iterable[str]:
    yield "| " + " | ".join(table.header) + " |"
    yield "|" + "---|" * len(table.header)
    for row in table.rows:
        yield "| " + " | ".join(_escape(cell) for cell in row) + " |"


def _escape(text: str) -> str:
    """Model output is data: it must not become a table cell, a tag or a link."""
    for mark in ("\\", "|", "`", "*", "_", "[", "]", "#"):
        text = text.replace(mark, "\\" + mark)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
