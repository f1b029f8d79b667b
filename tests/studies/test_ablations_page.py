"""The ablations' page: made from the results file alone, costs paired by seed and question, verdicts both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from studies.ablations import page, results
from studies.ablations.again import repeats
from studies.ablations.compare import Cost, cost, spread
from studies.ablations.data import ROWS
from studies.ablations.paper import CLAIMS, PAPER_ROWS
from studies.ablations.pictures import forest
from studies.ablations.variants import VARIANTS

from video_salmonn.embedded.held_out.groups import GROUPS

ROOT = Path(__file__).parents[2]
METRICS = {group.name: group.metric for group in GROUPS}


def marks(metric: str, right: float, count: int = 40) -> list[list[int]]:
    """Marks of which a share is right."""
    good = [place < right * count for place in range(count)]
    if metric == "wer":
        return [[0 if mark else 4, 8] for mark in good]
    if metric == "balanced accuracy":
        return [[int(mark), place % 2] for place, mark in enumerate(good)]
    return [[int(mark)] for mark in good]


def line(variant: str, seed: int, right: float, ids: str = "x", **rows: float) -> results.Line:
    """A line all of whose rows are right to a share, but for those that are named (``both_speech=0.1``)."""
    shares = {name.replace("_", "-"): share for name, share in rows.items()}
    made = {
        name: {"metric": METRICS[name], "ids": ids, "marks": marks(METRICS[name], shares.get(name, right))}
        for name in ROWS
    }
    zeroed = {"0.5 s": {"speech": {"marks": marks("wer", 0.0)}}, "5 s": {"events": {"marks": marks("accuracy", right)}}}
    settings = {"change": {"of": variant}, "word_steps": 7, "steps": 5, "batch": 4, "word_batch": 4, "precision": "no"}
    return {
        "variant": variant, "seed": seed, "settings": settings, "rows": made, "zeroed": zeroed,
        "data": {"fingerprint": "f00d", "items": {"all": 9}}, "device": "a card", "commit": "c0ffee",
        "seconds": {"words": 1.0}, "cosines": {"5 s": {"mean": 0.25, "absolute": 0.5}},
    }  # fmt: skip


def test_a_cost_is_paired_by_seed_and_question():
    full = [line("full", seed, 0.8) for seed in (0, 1)]
    worse = [line("fine-only", seed, 0.5) for seed in (0, 1, 2)]
    found = cost(full, worse, ("speech", "events"))
    assert found is not None and found.seeds == (0, 1) and found.items == 80
    assert found.value == pytest.approx((15 + 30) / 2) and found.verdict == "holds" and found.questions_needed is None
    assert found.low is not None and found.high is not None and 0 < found.low < found.value < found.high
    better = cost(worse, full, ("events",))
    assert better is not None and better.value == pytest.approx(-30) and better.verdict == "does not hold"
    same = cost(full, full, ("match",))
    assert same == Cost(0.0, 0.0, 0.0, (0, 1), 40) and same.verdict == "not decided"
    assert cost(full, [], ("speech",)) is None and cost(full, [line("x", 0, 0.5, ids="y")], ("speech",)) is None
    zeroed = cost(full, [], ("speech",), zeroed="0.5 s")
    assert zeroed is not None and zeroed.value == pytest.approx(40)


def test_an_undecided_cost_says_how_many_questions_would_do():
    found = cost([line("full", 0, 0.55)], [line("x", 0, 0.5)], ("events",))
    assert found is not None and found.verdict == "not decided"
    assert found.questions_needed is not None and found.questions_needed > 40
    assert str(found.questions_needed) in page.would_decide(found)
    tiny = Cost(0.1, -3.0, 3.0, (0,), 465)
    assert tiny.questions_needed == 418500
    assert "none in sight" in page.would_decide(tiny) and "418500" not in page.would_decide(tiny)
    other = cost([line("full", 0, 0.5)], [line("x", 0, 0.55)], ("events",))
    assert other is not None and other.questions_needed is None and "other sign" in page.would_decide(other)


def test_spread_is_over_seeds():
    assert spread([line("x", 0, 0.5), line("x", 1, 0.75)], "events") == (0.625, 0.5, 0.75, 2)
    assert spread([], "events") is None


def test_the_page_says_what_was_not_measured_and_what_holds(tmp_path: Path):
    text = page.page([])
    assert "the results file has no line" in text
    claims = [row for row in text.splitlines() if row.startswith("| ") and "| not measured |" in row]
    assert len(claims) >= len(CLAIMS) + len(VARIANTS) - 1
    lines = [line("full", seed, 0.8) for seed in (0, 1)] + [line("no-mixing", seed, 0.4, match=0.9) for seed in (0, 1)]
    more = {"data": {"fingerprint": "other", "items": {"all": 77}}}
    text = page.page([*lines, line("full", 0, 0.1) | more, line("no-mixing", 0, 0.6) | more])
    rows = [row.split(" | ") for row in text.splitlines()]
    mixing = next(row for row in rows if "`no-mixing`" in row and "holds" in row)
    assert mixing[3].startswith("+3") and mixing[-1].startswith("decided")
    assert "`f00d`" in text and "a card" in text
    apart = [row for row in rows if row[2:3] == ["77"]]
    assert len(apart) == 3, "mixing, and two levels zeroed"
    assert apart[0][1] == "7 × 4, then 5 × 4" and apart[0][-1] == "does not hold |"
    assert apart[0][3].endswith(": holds"), "with seed 0, of the main budget"
    assert "-10.0" in text, "matching got better without"
    assert any(row[0] == "| 0.5 s zeroed" and row[1].startswith("+40.0") for row in rows)


def test_a_line_measured_again_agrees_within_the_seeds_or_where_questions_cannot_tell():
    kept = [line("fine-only", seed, right) for seed, right in ((0, 0.5), (1, 0.75))]
    again = line("fine-only", 0, 0.7, events=0.55, sounds=0.1)
    found = {repeat.row: repeat for repeat in repeats(kept, again)}
    assert set(found) == set(ROWS)
    assert found["pictures"].within and (found["pictures"].first, found["pictures"].again) == (0.5, 0.7)
    assert found["events"].within and found["events"].least <= 0.55 <= found["events"].most
    assert not found["sounds"].within and found["sounds"].change.value == pytest.approx(40)
    near = repeats([line("fine-only", 0, 0.5)], line("fine-only", 0, 0.45, match=0.2))
    assert [repeat.row for repeat in near if not repeat.within] == ["match"]
    other = line("fine-only", 0, 0.5) | {"data": {"fingerprint": "other"}}
    assert repeats(kept, other) == [] and repeats(kept, line("fine-only", 2, 0.5)) == []
    text = page.page(kept, [again])
    assert "| `fine-only`, seed 0, `c0ffee` | `sounds` | 50.0 | 10.0 | 50.0 to 75.0 | +40.0" in text
    assert text.count("| yes |") == len(ROWS) - 1 and text.count("| no |") == 1


def test_a_picture_is_whole_and_says_its_numbers():
    drawn = forest("A <claim>", [("one", Cost(3.0, 1.0, 5.0, (0, 1), 40)), ("two", None)])
    assert drawn.startswith("<svg") and drawn.endswith("</svg>\n") and "A &lt;claim&gt;" in drawn
    assert "one: +3.0 (+1.0 to +5.0) points; two: not measured" in drawn and "not measured</text>" in drawn


def test_the_page_and_its_pictures_are_made_from_the_results_file(tmp_path: Path):
    """So that every number of ours comes from it."""
    page.write(ROOT / "results/ablations.jsonl", tmp_path)
    made = {file.relative_to(tmp_path): file.read_text("utf-8") for file in tmp_path.rglob("*.*")}
    assert len(made) == 1 + len(CLAIMS)
    stale = [str(name) for name, text in made.items() if (ROOT / "docs" / name).read_text("utf-8") != text]
    assert stale == [], "python -m studies.ablations.page"
    there = {file.name for file in (ROOT / "docs/images/ablations").iterdir()}
    assert there == {name.name for name in made if name.suffix == ".svg"}


def test_every_claim_names_rows_and_variants_that_there_are():
    assert all(claim.variant in VARIANTS or claim.zeroed for claim in CLAIMS)
    assert all(set(claim.rows) <= set(ROWS) for claim in CLAIMS) and set(page.SHOWN) == set(ROWS)
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) and set(PAPER_ROWS) < set(VARIANTS)
    assert all(re.fullmatch(r"[a-z-]+", claim.name) for claim in CLAIMS)
