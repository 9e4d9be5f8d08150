"""What is told of an index before anything is sent: every oddity with its line, and whether it keeps the row out."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from services.cli.failures import Failed
from services.cli.importing.findings import PER_CODE, Findings
from services.cli.importing.index_source import IndexSource
from services.cli.importing.joining import Joining
from services.cli.importing.openssl_folder import find, open_records
from services.cli.importing.records import Tally
from services.clock import utc_now
from services.openssl_ca.layout import Parts
from services.pki.reasons import Reason
from tests.openssl_ca.real_ca import RealCA

ROOT = Path(__file__).parents[2]
# An hour from now: the CA, its certificates and its revocation list are half an hour old at least by then.
NOW = utc_now() + timedelta(hours=1)
YEAR, MINUTE = timedelta(days=365), timedelta(minutes=1)
NEXT, LAST, RECENT, A_MINUTE_AGO = (f"{NOW + span:%y%m%d%H%M%SZ}" for span in (YEAR, -YEAR, -10 * MINUTE, -MINUTE))
SERIAL = "0A0B0C0D0E0F"


@pytest.fixture(scope="session")
def alice(tmp_path_factory: pytest.TempPathFactory) -> RealCA:
    """A root of the real `openssl ca`: 1000 valid, 1001 superseded, 1002 on hold, and its revocation list."""
    ca = RealCA(tmp_path_factory.mktemp("alice") / "ca").make()
    ca.issue("www.example.com")
    ca.revoke(ca.issue("old.example.com"), "-crl_reason", "superseded")
    ca.revoke(ca.issue("held.example.com"), "-crl_hold", "holdInstructionReject")
    ca.make_crl()
    return ca


@pytest.fixture
def folder(alice: RealCA, tmp_path: Path) -> RealCA:
    """A copy of it, to change."""
    return alice.copy(tmp_path / "ca")


def check(ca: RealCA) -> tuple[Tally, Findings, IndexSource]:
    """Look at a folder as the command does."""
    parts, notes = find(ca.folder, None, None, Parts(), {})
    findings = Findings()
    authority = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    opened = open_records(parts, authority, findings, notes)
    assert isinstance(opened.source, IndexSource)
    tally = opened.source.check(findings, NOW, lambda _: None)
    return tally, findings, opened.source


def told(findings: Findings) -> list[tuple[str, str, bool]]:
    """What was found: code, place, and whether it keeps the row out."""
    return [(each.code, each.origin, each.refused) for each in findings.kept]


def row(
    state: str = "V", expiry: str = NEXT, revocation: str = "", serial: str = SERIAL, subject: str = "/CN=a"
) -> str:
    """A row of an index."""
    return "\t".join((state, expiry, revocation, serial, "unknown", subject))


def test_a_folder_as_openssl_leaves_it(alice: RealCA) -> None:
    """Nothing is odd about it, and every row comes with its certificate and what OpenSSL recorded."""
    tally, findings, source = check(alice)
    assert (tally.total, tally.valid, tally.revoked, tally.on_hold, tally.with_certificate) == (3, 1, 2, 1, 3)
    assert told(findings) == []
    records = list(source.records())
    assert [record.origin for record in records] == ["index.txt:1", "index.txt:2", "index.txt:3"]
    revocations = [record.revocation for record in records]
    assert [each and (each.reason, each.hold_instruction) for each in revocations] == [
        None,
        (Reason.SUPERSEDED, None),
        (Reason.CERTIFICATE_HOLD, "1.2.840.10040.2.3"),
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([row()], [], id="status-only"),
        pytest.param(["# a comment"], [], id="comment"),
        pytest.param([row("E", RECENT)], [], id="expired"),
        pytest.param([row("V", RECENT)], [("EXPIRED_UNMARKED", 4, False)], id="expired-unmarked"),
        pytest.param([row("E", NEXT)], [("EXPIRY_IN_FUTURE", 4, False)], id="expired-too-early"),
        pytest.param([row(expiry="20990101000000Z")], [("EXPIRY_AFTER_CA", 4, False)], id="outlives-the-ca"),
        pytest.param([row("E", LAST)], [("EXPIRY_BEFORE_CA", 4, False)], id="before-the-ca"),
        pytest.param([row("R", NEXT, NEXT)], [("REVOCATION_TIME_IN_FUTURE", 4, False)], id="revoked-in-the-future"),
        pytest.param(
            [row("R", NEXT, f"{A_MINUTE_AGO},keyTime,20990101000000Z")],
            [("INVALIDITY_TIME_IN_FUTURE", 4, False)],
            id="invalid-in-the-future",
        ),
        pytest.param(
            [row("R", RECENT, A_MINUTE_AGO)],
            [("REVOKED_AFTER_EXPIRY", 4, False)],
            id="revoked-after-expiry",
        ),
        pytest.param(
            [row("R", NEXT, LAST)],
            [("REVOKED_BEFORE_CA", 4, False), ("NOT_LISTED", 4, False)],
            id="revoked-before-the-ca-and-not-on-the-list",
        ),
        pytest.param(
            [row("R", NEXT, f"{A_MINUTE_AGO},removeFromCRL")],
            [("REASON_DROPPED", 4, False)],
            id="removed-from-the-list",
        ),
        pytest.param([row(), row(serial="0102")], [("DUPLICATE_SUBJECT", 4, False)], id="subject-twice"),
        pytest.param([row(), row(subject="/CN=b")], [("DUPLICATE_SERIAL", 5, True)], id="serial-twice"),
        pytest.param(
            [row(), row("R", NEXT, A_MINUTE_AGO)], [("DUPLICATE_SERIAL", 4, True)], id="serial-twice-the-revoked-stays"
        ),
        pytest.param(
            [row(serial=f"0000{SERIAL}"), row(subject="/CN=b")], [("DUPLICATE_SERIAL", 5, True)], id="serial-with-zeros"
        ),
        pytest.param([row(serial="00")], [("SERIAL_INVALID", 4, True)], id="serial-zero"),
        pytest.param([row(serial="11" * 21)], [("SERIAL_INVALID", 4, True)], id="serial-of-21-octets"),
        pytest.param([row(serial="11" * 20)], [], id="serial-of-20-octets"),
        pytest.param([row(serial="123")], [("SERIAL_INVALID", 4, True)], id="serial-of-odd-length"),
        pytest.param([row() + "\r"], [("LINE_END", 4, False)], id="windows-line"),
        pytest.param([row(subject="/CN=Zo\xeb")], [("SUBJECT_NOT_ASCII", 4, False)], id="latin-1"),
        pytest.param(["V\t" + NEXT], [("COLUMN_COUNT", 4, True)], id="cut-off"),
        pytest.param([row().replace("\t", " ")], [("COLUMN_COUNT", 4, True)], id="blanks-for-tabs"),
        pytest.param(["", row()], [("COLUMN_COUNT", 4, True)], id="empty-line"),
        pytest.param([row(expiry="nev\x1b[er")], [("EXPIRY_INVALID", 4, True)], id="expiry"),
        pytest.param([row(serial="1" * 70000), row()], [("LINE_TRUNCATED", 4, True)], id="long-line"),
    ],
)
def test_rows(folder: RealCA, rows: list[str], expected: list[tuple[str, int, bool]]) -> None:
    """Each oddity is told with its line; only what cannot be recorded as it stands keeps a row out."""
    folder.add_rows(rows)
    _, findings, source = check(folder)
    assert told(findings) == [(code, f"index.txt:{line}", refused) for code, line, refused in expected]
    refused = {line for _, line, refused in expected if refused}
    assert set(findings.left_out()) == refused
    assert all(finding.text.isprintable() for finding in findings.kept)
    assert {record.place for record in source.records()} >= {1, 2, 3}


def test_a_file_that_ends_in_a_line(folder: RealCA) -> None:
    """A last line without its newline, which OpenSSL does not read, is refused: who knows what is missing."""
    folder.index.write_text(folder.index.read_text() + row())
    assert told(check(folder)[1]) == [("LINE_TRUNCATED", "index.txt:4", True)]


def _other_serial(ca: RealCA) -> None:
    shutil.copy(ca.folder / "newcerts/1001.pem", ca.folder / "newcerts/1000.pem")


def _no_certificate(ca: RealCA) -> None:
    (ca.folder / "newcerts/1000.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def _cut_off(ca: RealCA) -> None:
    file = ca.folder / "newcerts/1000.pem"
    file.write_bytes(file.read_bytes()[:300])


def _a_folder(ca: RealCA) -> None:
    (ca.folder / "newcerts/1000.pem").unlink()
    (ca.folder / "newcerts/1000.pem").mkdir()


def _a_pipe(ca: RealCA) -> None:
    (ca.folder / "newcerts/1000.pem").unlink()
    os.mkfifo(ca.folder / "newcerts/1000.pem")


def _of_another_ca(ca: RealCA) -> None:
    other = RealCA(ca.folder / "other", "other").make()
    shutil.copy(other.issue("www.example.com"), ca.folder / "newcerts/1000.pem")


def _same_name_other_key(ca: RealCA) -> None:
    other = RealCA(ca.folder / "other", ca.name).make()
    shutil.copy(other.issue("www.example.com"), ca.folder / "newcerts/1000.pem")


def _sha_1(ca: RealCA) -> None:
    ca.issue("veteran", "-md", "sha1")


def _no_row(ca: RealCA) -> None:
    ca.index.write_text("".join(ca.index.read_text().splitlines(keepends=True)[1:]))


def _no_row_of_a_revoked_one(ca: RealCA) -> None:
    ca.index.write_text("".join(ca.index.read_text().splitlines(keepends=True)[:2]))


def _revived(ca: RealCA) -> None:
    lines = ca.index.read_text().splitlines(keepends=True)
    ca.index.write_text("".join((*lines[:1], "V\t" + lines[1].split("\t")[1] + "\t\t1001\tunknown\t/CN=x\n", lines[2])))


def _other_subject(ca: RealCA) -> None:
    ca.index.write_text(ca.index.read_text().replace("www.example.com", "example.com"))


def _old_form_of_a_subject(ca: RealCA) -> None:
    ca.issue(r"a\/b")
    ca.index.write_text(ca.index.read_text().replace(r"a\/b", "a/b"))


def _other_expiry(ca: RealCA) -> None:
    line, *others = ca.index.read_text().splitlines(keepends=True)
    ca.index.write_text("".join((line.replace(line.split("\t")[1], "20400101000000Z"), *others)))


def _crl_of_another_ca(ca: RealCA) -> None:
    shutil.copy(RealCA(ca.folder / "other").make().make_crl(), ca.folder / "crl/another.pem")


def _no_crl(ca: RealCA) -> None:
    ca.crl.write_text("nothing")


def _no_number(ca: RealCA) -> None:
    (ca.folder / "serial").write_text("next\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(_other_serial, [("SERIAL_MISMATCH", "index.txt:1", True)], id="other-serial"),
        pytest.param(_no_certificate, [("CERTIFICATE_UNREADABLE", "index.txt:1", False)], id="no-certificate"),
        pytest.param(_cut_off, [("CERTIFICATE_UNREADABLE", "index.txt:1", False)], id="cut-off"),
        pytest.param(_a_folder, [("CERTIFICATE_FILE_UNREADABLE", "index.txt:1", True)], id="unreadable-file"),
        pytest.param(_a_pipe, [("CERTIFICATE_UNREADABLE", "index.txt:1", False)], id="a-pipe-nobody-writes-into"),
        pytest.param(_of_another_ca, [("CERTIFICATE_NOT_BY_ISSUER", "index.txt:1", True)], id="another-ca"),
        pytest.param(
            _same_name_other_key, [("CERTIFICATE_SIGNATURE_INVALID", "index.txt:1", True)], id="same-name-other-key"
        ),
        pytest.param(_sha_1, [], id="sha-1"),
        pytest.param(_no_row, [("CERTIFICATE_WITHOUT_ROW", "", False)], id="certificate-without-row"),
        pytest.param(
            _no_row_of_a_revoked_one,
            [("LISTED_WITHOUT_ROW", "", False), ("CERTIFICATE_WITHOUT_ROW", "", False)],
            id="revoked-without-row",
        ),
        pytest.param(
            _revived,
            [("SUBJECT_DIFFERS", "index.txt:2", False), ("REVOKED_IN_LIST", "index.txt:2", True)],
            id="revoked-in-the-list-only",
        ),
        pytest.param(_other_subject, [("SUBJECT_DIFFERS", "index.txt:1", False)], id="other-subject"),
        pytest.param(_old_form_of_a_subject, [], id="old-form-of-a-subject"),
        pytest.param(_other_expiry, [("NOT_AFTER_DIFFERS", "index.txt:1", False)], id="other-expiry"),
        pytest.param(_crl_of_another_ca, [("CRL_OF_ANOTHER_CA", "another.pem", False)], id="list-of-another-ca"),
        pytest.param(_no_crl, [("CRL_UNREADABLE", "ca.crl.pem", False)], id="no-list"),
        pytest.param(_no_number, [("NUMBER_UNREADABLE", "serial", False)], id="no-number"),
    ],
)
def test_files(folder: RealCA, change: Callable[[RealCA], None], expected: list[tuple[str, str, bool]]) -> None:
    """What contradicts certificates or the revocation list is told, and what is not of this CA is kept out."""
    change(folder)
    assert told(check(folder)[1]) == expected


def test_only_status_where_a_certificate_is_damaged(folder: RealCA) -> None:
    """A row whose certificate cannot be read comes in as its status alone."""
    _no_certificate(folder)
    tally, _, source = check(folder)
    assert (tally.with_certificate, tally.status_only) == (2, 1)
    assert [record.certificate is None for record in source.records()] == [True, False, False]


def test_findings_are_bounded(folder: RealCA) -> None:
    """However many rows are odd, only the first of each kind are kept; all are counted, and left out."""
    folder.add_rows(["X"] * (PER_CODE + 5))
    _, findings, _ = check(folder)
    assert len(findings.kept) == PER_CODE
    assert findings.counts == {"COLUMN_COUNT": PER_CODE + 5}
    assert findings.refused == PER_CODE + 5


def test_a_change_in_the_middle(folder: RealCA) -> None:
    """An index that somebody issues with between check and sending is not sent as if it had been checked."""
    _, _, source = check(folder)
    records: Iterator[object] = source.records()
    next(records)
    folder.add_rows([row()])
    with pytest.raises(Failed, match="was changed"):
        list(records)


def test_every_code_is_documented() -> None:
    """Each code that a finding may have is in docs/importing.md."""
    code = re.compile(r'"([A-Z]+(?:_[A-Z]+)+)"')
    sources = (ROOT / "services/openssl_ca/index.py", *(ROOT / "services/cli/importing").glob("*.py"))
    used = {found for source in sources for found in code.findall(source.read_text())}
    documented = (ROOT / "docs/importing.md").read_text()
    assert len(used) > 30
    assert [each for each in sorted(used) if each not in documented] == []


def test_joining_many() -> None:
    """Pairs are found among many more than are kept in memory, keys without the zeros in front of them."""
    with Joining() as joining:
        for number in range(1, 200_000):
            joining.add(number.to_bytes(4), number)
        joining.add((77).to_bytes(1), 5)
        assert list(joining.groups(single=False)) == [(b"\x4d", [5, 77])]
        assert sum(1 for _ in joining.groups()) == 199_999
