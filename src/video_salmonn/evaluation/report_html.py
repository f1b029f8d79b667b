"""The report as one HTML file: no scripts, nothing loaded from elsewhere; figures are inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from video_salmonn.evaluation.report_blocks import Bars, Link, ReportSection, Table

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}
th,td{border-bottom:1px solid #ddd;padding:.3rem .7rem;text-align:left;vertical-align:top}
th{background:#f5f5f5}
td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
h2{margin-top:2.5rem}figure{margin:1rem 0}figcaption,nav{font-size:90%;opacity:.85}a{color:inherit}
svg{max-width:100%;height:auto}
@media (prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}th{background:#252525}th,td{border-color:#444}}
""".strip()
_WIDTH, _LEFT, _BAR, _GAP = 640, 130, 18, 10


def to_html(title: str, sections: Sequence[ReportSection]) -> str:
    """The report as a page of its own."""
    body = [f"<h1>{escape(title)}</h1>"]
    links = (f'<a href="#s{place}">{escape(section.title)}</a>' for place, section in enumerate(sections))
    body.append(f'<nav aria-label="Contents">{" · ".join(links)}</nav>')
    for place, section in enumerate(sections):
        body.append(f'<h2 id="s{place}">{escape(section.title)}</h2>')
        for block in section.blocks:
            if isinstance(block, Table):
                body.append(_table(block))
            elif isinstance(block, Bars):
                body.append(_figure(block))
            elif isinstance(block, Link):
                body.append(f'<p><a href="{escape(block.href)}">{escape(block.label)}</a></p>')
            else:
                body.append(f"<p>{escape(block)}</p>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    page = f'<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>{"".join(body)}</body></html>'
    return f"<!doctype html>\n{page}\n"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _figure(figure: Bars) -> str:
    """Horizontal bars from 0, whiskers for the interval."""
    top = max(max(value, high or 0.0) for _, value, _, high in figure.bars) or 1.0
    scale = (_WIDTH - _LEFT - 70) / top
    parts = []
    for row, (label, value, low, high) in enumerate(figure.bars):
        y = _GAP + row * (_BAR + _GAP)
        middle = y + _BAR / 2
        end = _LEFT + value * scale
        parts.append(
            f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end" fill="currentColor">{escape(label)}</text>'
        )
        colour = "#4a7ebb" if row == 0 else "#9db8d9"
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{value * scale:.1f}" height="{_BAR}" fill="{colour}"/>')
        if low is not None and high is not None:
            a, b = _LEFT + low * scale, _LEFT + high * scale
            path = f"M{a:.1f} {middle - 5}V{middle + 5}M{a:.1f} {middle}H{b:.1f}M{b:.1f} {middle - 5}V{middle + 5}"
            parts.append(f'<path d="{path}" stroke="currentColor" fill="none"/>')
            end = max(end, b)
        parts.append(f'<text x="{end + 6:.1f}" y="{middle + 4}" fill="currentColor">{value:.3f}</text>')
    height = 2 * _GAP + len(figure.bars) * (_BAR + _GAP)
    told = ", ".join(f"{label} {value:.3f}" for label, value, _, _ in figure.bars)
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" font-size="13" role="img" '
        f'aria-label="{escape(f"{figure.metric}: {told}")}">{"".join(parts)}</svg>'
        f"<figcaption>{escape(figure.metric)}; dark: the model as it is; whiskers: 95 % interval</figcaption></figure>"
    )
