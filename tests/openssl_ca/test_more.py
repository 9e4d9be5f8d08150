"""index.txt.more: lines find their rows, wherever these went, and bad ones are told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.cli.importing.findings import Findings
from services.cli.importing.index_source import IndexSource
from services.openssl_ca import more
from services.openssl_ca.index import BadLine, IndexRow, Revocation, format_row
from services.openssl_ca.more import MoreLines, parse_more
from services.openssl_ca.writing import MORE_HEADER, Entry, index_row, more_line
from services.pki.hierarchy import make_root
from services.pki.keys import generate_key
from services.pki.reasons import Reason

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LATER = NOW.replace(year=2027)
ROOT = make_root(name="Old CA", key=generate_key("p256"), now=NOW.replace(year=2020))
WITHDRAWN = Revocation(NOW, Reason.PRIVILEGE_WITHDRAWN)
SINCE = Revocation(NOW, Reason.SUPERSEDED, None, NOW.replace(year=2025))


def row(serial: int, revocation: Revocation | None = None) -> IndexRow:
    """A row as it is exported."""
    return index_row(Entry(bytes([serial]), None, f"/CN={serial}", LATER, revocation), NOW)


def line(serial: int, revocation: Revocation) -> str:
    """A line as it is exported."""
    return more_line(bytes([serial]), revocation) + "\n"


def test_lines_find_their_rows() -> None:
    """A row gets back what it had no room for; rows without a line, and comments, are no obstacle."""
    lines = MoreLines([*MORE_HEADER.splitlines(keepends=True), line(2, WITHDRAWN), line(4, SINCE)])
    rows = [row(1), row(2, WITHDRAWN), row(3, Revocation(NOW)), row(4, SINCE)]
    assert [lines.complete(each).revocation for each in rows] == [None, WITHDRAWN, Revocation(NOW), SINCE]
    assert (lines.bad, lines.left()) == ([], 0)


@pytest.mark.parametrize("ahead", [1, 2, 100])
def test_rows_that_are_gone(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines whose row is gone hold nobody up while there is room for them, and are counted."""
    monkeypatch.setattr(more, "AHEAD", ahead)
    lines = MoreLines(line(number, WITHDRAWN) for number in range(1, 6))
    found = [lines.complete(row(number, WITHDRAWN)).revocation for number in (1, 3, 4, 5)]
    expected = [WITHDRAWN] * 4 if ahead > 1 else [WITHDRAWN, *[Revocation(NOW)] * 3]
    assert found == expected
    assert lines.left() == (1 if ahead > 1 else 4)


@pytest.mark.parametrize(
    "changed", [Revocation(LATER), Revocation(NOW, Reason.KEY_COMPROMISE), None], ids=["time", "reason", "released"]
)
def test_row_that_was_changed(changed: Revocation | None) -> None:
    """What somebody has written into the index since counts, and not what was known before."""
    lines = MoreLines([line(1, WITHDRAWN)])
    assert lines.complete(row(1, changed)).revocation == changed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01",
        "01\t20260701120000Z\tbecause\t",
        "0\t20260701120000Z\t\t",
        "01\tnow\t\t",
        "\t" * 3,
    ],
    ids=["empty", "short", "reason", "serial", "time", "tabs"],
)
def test_bad_lines(text: str) -> None:
    """A line that says nothing is told with its number, and the next one is read."""
    with pytest.raises(BadLine, match="line 7"):
        parse_more(text, 7)
    lines = MoreLines([f"{text}\n", line(1, WITHDRAWN)])
    assert lines.complete(row(1, WITHDRAWN)).revocation == WITHDRAWN
    assert [(each.line, each.code) for each in lines.bad] == [(1, "MORE_LINE_INVALID")]


def test_findings(tmp_path: Path) -> None:
    """The import tells of lines that it cannot use, and takes what it can."""
    rows = [row(1, WITHDRAWN), row(2, SINCE)]
    (tmp_path / "index.txt").write_text("".join(f"{format_row(each)}\n" for each in rows))
    (tmp_path / "index.txt.more").write_text(f"{line(1, WITHDRAWN)}nothing\n{line(2, SINCE)}{line(3, SINCE)}")
    source = IndexSource(tmp_path / "index.txt", None, ROOT, None)
    findings = Findings()
    source.check(findings, NOW, lambda _: None)
    told = [(each.code, each.origin, each.refused) for each in findings.kept if each.code.startswith("MORE")]
    assert told == [
        ("MORE_LINE_INVALID", "index.txt.more:2", False),
        ("MORE_WITHOUT_ROW", "index.txt.more", False),
    ]
    assert [each.revocation for each in source.records()] == [WITHDRAWN, SINCE]
