"""The report of a run."""

from __future__ import annotations

import json

import pytest

from benchmarks import report
from benchmarks.measure import Busy, Goal, Row, met
from benchmarks.processes import BenchmarkError
from benchmarks.tasks import Reference, run_task


@pytest.fixture
def rows() -> list[Row]:
    """A row of ours beside one of openssl's."""
    ours, theirs = Row("ours", "ours, asked", "/s", "theirs"), Row("theirs", "theirs, asked", "/s")
    for run in (1, 2, 3):
        ours.add(3000.0 * run, Busy(0.99, 0.25, 1.0, 0.5))
        theirs.add(1500.0 * run, Busy(0.98, 0.2, 0.98, 0.5))
    return [ours, theirs]


def test_the_table_says_everything_about_a_row(rows: list[Row]) -> None:
    """Median, spread, unit, ratio, and who was busy; columns line up."""
    text = report.text("title", [("machine", {"cpu": "some", "cores": "2"})], rows)
    lines = text.splitlines()
    assert lines[0] == "title"
    assert "machine: cpu some; cores 2" in lines
    ours = next(line for line in lines if line.startswith("ours,"))
    assert ours.split() == [
        "ours,",
        "asked",
        "6,000",
        "3,000",
        "–",
        "9,000",
        "/s",
        "2.00",
        "(2.00",
        "–",
        "2.00)",
        "×",
        "theirs",
        "99",
        "%",
        "25",
        "%",
        "1",
        "%",
    ]
    theirs = next(line for line in lines if line.startswith("theirs,"))
    assert theirs.index("/s") == ours.index("/s")
    assert "warning" not in text


@pytest.mark.parametrize(
    ("busy", "expected"),
    [
        pytest.param(Busy(0.99, 0.3, 1.0, 0.4), [], id="all is well"),
        pytest.param(Busy(0.99, 0.95, 1.0, 1.0), ["warning: the client was at its limit in: x"], id="client"),
        pytest.param(Busy(0.6, 0.3, 0.98, 0.4), ["warning: others used the server's core in: x"], id="others"),
        pytest.param(Busy(0.6, 0.3, 0.62, 0.4), ["warning: the server waited for others in: x"], id="waiting"),
        pytest.param(Busy(1.6, 0.3, 0.99, 0.99), [], id="two workers"),
    ],
)
def test_what_a_rate_does_not_say_is_told(busy: Busy, expected: list[str]) -> None:
    """Where the load generator, others on the machine or a wait for somebody else was measured."""
    row = Row("x", "x", "/s")
    row.add(1.0, busy)
    assert report.warnings([row]) == expected


def test_a_run_with_an_error_is_made_again_and_told() -> None:
    """It counts for nothing; errors that stay end everything."""
    failures = [BenchmarkError("tryLater")]

    def tell(_: float) -> float:
        if failures:
            raise failures.pop()
        return 5.0

    row = Row("x", "x", "/s")
    run_task(Reference(row, tell), 0.1)
    assert row.runs == [5.0]
    assert report.warnings([row]) == ["warning: repeated 1 times after an error: x"]


@pytest.mark.parametrize(
    ("unit", "goal", "expected"),
    [
        pytest.param("/s", Goal(), None, id="none"),
        pytest.param("/s", Goal(value=10), True, id="a rate that is reached"),
        pytest.param("/s", Goal(value=10.1), False, id="a rate that is missed"),
        pytest.param("ms", Goal(value=10), True, id="a time that is reached"),
        pytest.param("ms", Goal(value=9.9), False, id="a time that is missed"),
        pytest.param("/s", Goal(value=10, ratio=2.0), True, id="and a ratio"),
        pytest.param("/s", Goal(value=10, ratio=2.1), False, id="but not the ratio"),
    ],
)
def test_goals_are_met_or_missed(unit: str, goal: Goal, expected: bool | None) -> None:
    """More is better for rates, less for times."""
    ours, theirs = Row("ours", "ours", unit, "theirs", goal), Row("theirs", "theirs", unit)
    ours.add(10.0)
    theirs.add(5.0)
    assert met(ours, [ours, theirs]) is expected


def test_what_is_missing_is_not_compared_with() -> None:
    """A row beside one that was left out has neither a ratio nor that goal."""
    ours = Row("ours", "ours", "/s", "nginx", Goal(ratio=0.6))
    ours.add(1.0)
    assert report.times(ours, [ours]) == ""
    assert met(ours, [ours]) is None
    assert "left out: nginx" in report.text("", [], [ours], ["nginx"])


def test_a_single_run_has_no_spread() -> None:
    """The percentiles of all revocations are one run."""
    row = Row("p99", "revoked", "ms")
    row.add(18.94)
    assert report.cells(row, [row]) == ("revoked", "18.9", "", "ms", "", "", "", "")


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
    assert theirs["busy"] == [{"server": 0.98, "client": 0.2, "first": 0.98, "second": 0.5}] * 3
    assert "ratio" not in theirs
