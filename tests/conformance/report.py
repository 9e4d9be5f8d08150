"""Writes docs/conformance.md from a run: `--conformance-page FILE`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.rules import coverage_of, page, rules_of

_RULE = "rule"


class ConformancePage:
    """Collects what became of each case. Runs where the reports arrive: in the controller, if there are workers."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._cases: dict[str, tuple[list[str], bool]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one phase of a case: it passed if none of its phases failed or was skipped."""
        rules = [str(value) for name, value in report.user_properties if name == _RULE]
        if rules:
            _, ok = self._cases.get(report.nodeid, (rules, True))
            self._cases[report.nodeid] = (rules, ok and report.passed)

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        self._file.write_text(page(coverage_of((nodeid, *seen) for nodeid, seen in self._cases.items())))


def add_option(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.addoption("--conformance-page", type=Path, metavar="FILE", help="write what the conformance tests show")


def configure(config: pytest.Config) -> None:
    """Collect reports if the page is asked for."""
    file = config.getoption("--conformance-page")
    if file is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(ConformancePage(file))


def note_rules(items: list[pytest.Item]) -> None:
    """Let each case's report carry its rules, from whichever process it comes."""
    for item in items:
        item.user_properties += [(_RULE, rule) for rule in rules_of(item)]
