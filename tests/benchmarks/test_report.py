"""The report of a run."""

from __future__ import annotations

import json

import pytest

from benchmarks import report
from benchmarks.measure import Row


@pytest.fixture
def rows() -> list[Row]:
    """A row of ours beside one of openssl's."""
    ours, theirs = Row("ours", "our answers", "/s", beside="theirs"), Row("theirs", "their answers", "/s")
    for run in (1, 2, 3):
        ours.add(3000.0 * run, 0.99, 0.25)
        theirs.add(1500.0 * run, 0.98, 0.2)
    return [ours, theirs]


def test_the_table_says_everything_about_a_row(rows: list[Row]) -> None:
    """Median, spread, unit, ratio, and who was busy; columns line up."""
    text = report.text("title", [("machine", {"cpu": "some", "cores": "2"})], rows)
    lines = text.splitlines()
    assert lines[0] == "title"
    assert "machine: cpu some; cores 2" in lines
    ours = next(line for line in lines if line.startswith("our answers"))
    assert ours.split() == [
        "our",
        "answers",
        "6,000",
        "3,000",
        "–",
        "9,000",
        "/s",
        "2.00",
        "(2.00",
        "–",
        "2.00)",
        "99",
        "%",
        "25",
        "%",
    ]
    theirs = next(line for line in lines if line.startswith("their answers"))
    assert theirs.index("/s") == ours.index("/s")
    assert "warning" not in text


def test_a_client_at_its_limit_is_told(rows: list[Row]) -> None:
    """Such a row measures the load generator."""
    rows[0].client_busy[:] = [0.95, 0.97, 0.2]
    assert "warning: the client was at its limit in: our answers" in report.text("", [], rows)


def test_a_machine_that_was_shared_is_told(rows: list[Row]) -> None:
    """Where neither side was busy, something else was measured."""
    rows[1].server_busy[:] = [0.3, 0.4, 0.99]
    assert report.warnings(rows) == [
        "warning: neither side was busy, so others had the cores or both waited, in: their answers"
    ]


def test_a_single_run_has_no_spread() -> None:
    """The percentiles of all revocations are one run."""
    row = Row("p99", "revoked", "ms")
    row.add(18.94)
    assert report.cells(row, [row]) == ("revoked", "18.9", "", "ms", "", "", "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(12345.6, "12,346"), (100.0, "100"), (99.94, "99.9"), (10.0, "10.0"), (1.234, "1.23"), (0.05, "0.05")],
)
def test_numbers_are_as_exact_as_they_need_to_be(value: float, expected: str) -> None:
    """About three digits."""
    assert report.number(value) == expected


def test_programs_get_every_run(rows: list[Row]) -> None:
    """The document is JSON, and what it says can be computed again from it."""
    document = json.loads(json.dumps(report.document("2026-01-02T03:04:05+00:00", [("machine", {"cpu": "x"})], rows)))
    assert document["time"] == "2026-01-02T03:04:05+00:00"
    assert document["machine"] == {"cpu": "x"}
    ours, theirs = document["rows"]
    assert ours["runs"] == [3000.0, 6000.0, 9000.0]
    assert (ours["median"], ours["min"], ours["max"], ours["unit"]) == (6000.0, 3000.0, 9000.0, "/s")
    assert ours["ratio"] == {"to": "theirs", "median": 2.0, "min": 2.0, "max": 2.0}
    assert theirs["server_busy"] == [0.98, 0.98, 0.98]
    assert "ratio" not in theirs
