"""What a run puts into the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import page, plot, report, scale_report
from benchmarks.measure import Busy, Goal, Row

ROOT = Path(__file__).parents[2]


def results() -> dict[str, Any]:
    """Of a run in which ours was faster than the other, but not fast enough."""
    ours = Row("wrk_get", "goodstanding, cached", "/s", "wrk_nginx", Goal(value=40_000, ratio=0.6))
    theirs, revoked = Row("wrk_nginx", "nginx, a constant", "/s"), Row("revoked_p99", "goodstanding, seen", "ms")
    for run in (1, 2, 3):
        ours.add(30_000 + run, Busy(0.99, 0.4, 1.0, 0.5))
        theirs.add(50_000 + run)
    revoked.add(21.4)
    machine = {"cpu": "some", "cores": "2, used: 0, 1", "kernel": "Linux", "load before": "0.01", "disk": "1 ms"}
    facts = [("machine", machine), ("versions", {"nginx": "1.2"})]
    return report.document("2026-01-02T03:04:05+00:00", facts, [ours, theirs, revoked], ["wrk, which is missing"])


def test_a_document_can_be_read_again() -> None:
    """Rows, goals and who was busy survive."""
    document = results()
    rows = report.rows_of(document)
    assert [report.entry(row, rows) for row in rows] == document["rows"]


def test_pages_get_the_numbers_of_a_run(tmp_path: Path) -> None:
    """Between the markers, and nowhere else; twice is once."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/performance.md").write_text("before\n<!-- measured -->\nold\n<!-- end of measured -->\nafter\n")
    (tmp_path / "README.md").write_text("a\n<!-- numbers -->\n<!-- end of numbers -->\nb\n")
    for _ in range(2):
        for file, text in page.pages(tmp_path, results(), None).items():
            file.write_text(text)
    performance, readme = (tmp_path / name for name in ("docs/performance.md", "README.md"))
    told = performance.read_text()
    assert told.startswith("before\n")
    assert told.endswith("after\n")
    assert "old" not in told
    assert (
        "| goodstanding, cached | 30,002 | 30,001 – 30,003 | /s | 0.60 (0.60 – 0.60) × nginx | 99 % | 40 % | 1 % |"
        in told
    )
    assert "- **missed**: goodstanding, cached: ≥ 40,000/s and ≥ 0.6 × nginx" in told
    assert told.count("Left out: wrk, which is missing.") == 1
    assert "- **30,002/s** cached answers" in readme.read_text()
    assert "- **21.4 ms** from" in readme.read_text()


def test_sizes_of_databases_are_compared_in_a_table() -> None:
    """One for each kind of database, with how long filling it took."""
    rows = scale_report.pair("sqlite_list", "list, first page", 10, 1_000)
    for row, value in zip(rows, (2.0, 2.2), strict=True):
        row.add(value)
    facts = [(name, dict(results()[name])) for name in ("machine", "versions")]
    told = page.scaled({"sqlite": report.document("2026-01-02", [*facts, ("filled", {"10": "in 1 s"})], rows)})
    assert told.startswith("### SQLite\n\n2026-01-02, some")
    assert "- 10: in 1 s\n\n| p50 in ms | 10 certificates |" in told
    assert told.endswith("| list, first page | 2.00 | 2.20 | 1.10 (1.10 – 1.10) | met |")


def test_a_page_without_markers_is_left_alone() -> None:
    """Rather than written to some place."""
    with pytest.raises(ValueError, match="no markers <!-- measured -->"):
        page.between("measured", "new", "a page")


def test_our_pages_have_their_markers() -> None:
    """So that a run can be put into them."""
    assert len(page.pages(ROOT, results(), results(), {})) == 2


def test_bars_are_as_long_as_they_should_be() -> None:
    """The longest of a group has all the room; what was not measured is left out."""
    (title, group), (_, lone) = plot.bars(report.rows_of(results()))
    assert title.startswith("Cached answers")
    assert [(bar.ours, bar.number) for bar in group] == [(True, "30,002"), (False, "50,002")]
    assert [bar.length for bar in group] == [pytest.approx(0.6, abs=0.01), 1.0]
    assert [bar.number for bar in lone] == ["21.4"]
