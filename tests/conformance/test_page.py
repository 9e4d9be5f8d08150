"""docs/conformance.md: nothing is left out, and it shows the tests that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.rules import PAGE, Coverage, coverage_of, page, read_rules, reasons, rules_of


def collected(request: pytest.FixtureRequest) -> dict[str, Coverage]:
    """The cases that this run has, as if all of them passed; those that don't fail the run by themselves."""
    return coverage_of((item.nodeid, rules_of(item), True) for item in request.session.items)


def is_whole(request: pytest.FixtureRequest) -> bool:
    """Whether the run has every conformance case, rather than a choice of them."""
    files = {path.name for path in Path(__file__).parent.rglob("test_*.py")}
    return files <= {item.path.name for item in request.session.items} and not request.config.getoption("keyword")


def test_every_rule_has_a_case_or_a_reason() -> None:
    """As the page shows it."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| R")]
    assert len(rows) == len(read_rules())
    uncovered = {row.split(" | ")[0].removeprefix("| ") for row in rows if " | no case | " in row}
    assert uncovered <= set(reasons()), "rules without a case or a reason"
    assert not [row for row in rows if "**failing**" in row]


def test_the_page_is_up_to_date(request: pytest.FixtureRequest) -> None:
    """It is what `make conformance` would write; a run of some cases is compared with its part."""
    expected = page(collected(request))
    if is_whole(request):
        assert PAGE.read_text() == expected, "docs/conformance.md is out of date: run make conformance"
    else:
        functions = {cell for line in expected.splitlines() for cell in line.split("`")[1::2] if "::" in cell}
        shown = PAGE.read_text()
        assert not [function for function in functions if function not in shown], "run make conformance"


def test_no_reason_without_need(request: pytest.FixtureRequest) -> None:
    """Reasons are for rules that exist."""
    assert set(reasons()) <= {rule.number for rule in read_rules()}
