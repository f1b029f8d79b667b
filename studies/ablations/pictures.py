"""A picture of one claim: what its change costs in each row of held-out questions, with intervals, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from studies.ablations.compare import Cost

WIDTH, LEFT, RIGHT, LINE, TOP = 860, 372, 90, 26, 46


def forest(title: str, rows: Sequence[tuple[str, Cost | None]]) -> str:
    """Dots with bars around the zero line; right of it the full system is better.

    Args:
        title: the claim; also the text alternative.
        rows: names and costs in percentage points; None is drawn as ``not measured``.
    """
    known = [cost for _, cost in rows if cost is not None]
    reach = max([5.0, *(abs(end) for cost in known for end in (cost.value, cost.low or 0.0, cost.high or 0.0))]) * 1.05
    middle, half = (LEFT + WIDTH - RIGHT) / 2, (WIDTH - RIGHT - LEFT) / 2

    def across(points: float) -> float:
        return round(middle + half * points / reach, 1)

    height = TOP + LINE * len(rows) + 34
    told = "; ".join(f"{name}: {'not measured' if cost is None else _said(cost)}" for name, cost in rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title><desc>{escape(told)}</desc>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-weight="bold" fill="#1b1b1b">{escape(title)}</text>',
        f'<line x1="{middle}" x2="{middle}" y1="{TOP - 8}" y2="{height - 28}" stroke="#777777"/>',
    ]
    for place, (name, cost) in enumerate(rows):
        y = TOP + LINE * place + 8
        out.append(f'<text x="12" y="{y + 4}" fill="#1b1b1b">{escape(name)}</text>')
        if cost is None:
            out.append(f'<text x="{middle + 8}" y="{y + 4}" fill="#767676">not measured</text>')
            continue
        if cost.low is not None and cost.high is not None:
            out.append(
                f'<line x1="{across(cost.low)}" x2="{across(cost.high)}" y1="{y}" y2="{y}" stroke="#2b5f9e" '
                'stroke-width="3"/>'
            )
        out.append(f'<circle cx="{across(cost.value)}" cy="{y}" r="5" fill="#12345a"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4}" fill="#1b1b1b">{cost.value:+.1f}</text>')
    low, high = f"{-reach:.0f} points", f"+{reach:.0f}"
    bottom = height - 10
    out += [
        f'<text x="{LEFT}" y="{bottom}" fill="#555555">{low}: better without</text>',
        f'<text x="{WIDTH - RIGHT}" y="{bottom}" fill="#555555" text-anchor="end">better with it: {high}</text>',
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def _said(cost: Cost) -> str:
    interval = "" if cost.low is None else f" ({cost.low:+.1f} to {cost.high:+.1f})"
    return f"{cost.value:+.1f}{interval} points"
