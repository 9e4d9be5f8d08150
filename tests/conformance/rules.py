"""The rules R1–R88 of docs/rules.md, and the page that shows which cases cover each of them.

A case names its rules with `@pytest.mark.rule("R34")`. A rule without a case needs a reason in `reasons.toml`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
RULES = PROJECT / "docs/rules.md"
PAGE = PROJECT / "docs/conformance.md"
REASONS = Path(__file__).with_name("reasons.toml")
LAST = 88

_INTRODUCTION = """\
# Conformance

What the responder was seen to do, rule by rule. The rules are those of [rules.md](rules.md), with the documents that
they come from. Cases run against live services over real sockets, but for those of A10 that work out times, as it says
there. `make conformance` runs them all and writes this page, and a test fails when it is out of date.

The number of cases is that of the whole test function: one that covers several rules counts for each.
"""


@dataclass(frozen=True)
class Rule:
    """One rule: its number, such as R34, its group, and what it says in a few words."""

    number: str
    group: str
    text: str


@dataclass
class Coverage:
    """The test functions that cover a rule, with how many cases passed, and how many did not."""

    passed: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    def add(self, function: str, *, ok: bool) -> None:
        """Count one case."""
        counts = self.passed if ok else self.failed
        counts[function] = counts.get(function, 0) + 1


def read_rules() -> list[Rule]:
    """The rules for the responder, in order."""
    found, group = [], ""
    for line in RULES.read_text().splitlines():
        if heading := re.match(r"### (A\d+ .*)", line):
            group = heading[1]
        elif (match := re.match(r"- (R(\d+)) (.*)", line)) and int(match[2]) <= LAST:
            found.append(Rule(match[1], group, _short(match[3])))
    assert [rule.number for rule in found] == [f"R{number}" for number in range(1, LAST + 1)]
    return found


def _short(text: str) -> str:
    """The beginning of a rule, up to where a sentence ends."""
    text = text.split(" T: ")[0]
    sentence = re.split(r"(?<=[a-z0-9)`\]*])[.;] ", text)[0]
    return sentence.replace("|", "\\|").rstrip(".")


def reasons() -> Mapping[str, str]:
    """Why a rule has no case."""
    return tomllib.loads(REASONS.read_text())["reasons"]  # type: ignore[no-any-return]


def rules_of(item: pytest.Item) -> list[str]:
    """The rules that a case covers."""
    return [rule for mark in item.iter_markers("rule") for rule in mark.args]


def function_of(nodeid: str) -> str:
    """The test function of a case: `test_nonce.py::test_length`."""
    path, _, name = nodeid.partition("::")
    return f"{path.rpartition('conformance/')[2]}::{name.partition('[')[0]}"


def page(coverage: Mapping[str, Coverage]) -> str:
    """The page for what was seen."""
    lines, group = [_INTRODUCTION], ""
    for rule in read_rules():
        if rule.group != group:
            group = rule.group
            lines += [f"## {group}\n", "| rule | in short | state | cases |", "|---|---|---|---|"]
        lines.append(_row(rule, coverage.get(rule.number, Coverage())))
        if rule.number == f"R{LAST}" or _last_of_group(rule):
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _last_of_group(rule: Rule) -> bool:
    rules = read_rules()
    following = rules.index(rule) + 1
    return following < len(rules) and rules[following].group != rule.group


def _row(rule: Rule, coverage: Coverage) -> str:
    if coverage.failed:
        state = "**failing**"
    elif coverage.passed:
        state = "passing"
    else:
        state = "no case"
    cells = [f"`{function}` ({count})" for function, count in sorted({**coverage.passed, **coverage.failed}.items())]
    reason = reasons().get(rule.number)
    return f"| {rule.number} | {rule.text} | {state} | {'<br>'.join([*cells, *([reason] if reason else [])])} |"


def coverage_of(cases: Iterable[tuple[str, list[str], bool]]) -> dict[str, Coverage]:
    """Coverage by rule, from (node id, rules, whether it passed)."""
    found: dict[str, Coverage] = {}
    for nodeid, rules, ok in cases:
        for rule in rules:
            found.setdefault(rule, Coverage()).add(function_of(nodeid), ok=ok)
    return found
