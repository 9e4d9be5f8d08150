"""Rows of index.txt: what OpenSSL writes is read as it was meant; what it would not read is refused with its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.openssl_ca.index import BadLine, IndexRow, Revocation, format_row, is_comment, parse_row
from services.pki.reasons import Reason

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXPIRY = datetime(2033, 1, 1, tzinfo=UTC)
REVOKED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SINCE = datetime(2020, 6, 7, 8, 9, 10, tzinfo=UTC)


def line(
    state: str = "V",
    expiry: str = "330101000000Z",
    revocation: str = "",
    serial: str = "1003",
    file: str = "unknown",
    subject: str = "/CN=a",
) -> bytes:
    """A line with some of its columns as given."""
    return "\t".join((state, expiry, revocation, serial, file, subject)).encode("latin-1")


def revoked(text: str) -> Revocation | None:
    """How the third column of a revoked row is read."""
    return parse_row(line("R", revocation=text)).revocation


class TestReading:
    @pytest.mark.parametrize(
        ("expiry", "expected"),
        [
            pytest.param("330101000000Z", EXPIRY, id="utc-time"),
            pytest.param("491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), id="last-of-utc-time"),
            pytest.param("500101000000Z", datetime(1950, 1, 1, tzinfo=UTC), id="first-of-utc-time"),
            pytest.param("20500101000000Z", datetime(2050, 1, 1, tzinfo=UTC), id="generalized-time"),
            pytest.param("99991231235959Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), id="no-expiry"),
            pytest.param("3301010000Z", EXPIRY, id="no-seconds"),
            pytest.param("330101010000+0100", EXPIRY, id="offset-east"),
            pytest.param("321231230000-0100", EXPIRY, id="offset-west"),
            pytest.param("20330101000000.25Z", EXPIRY, id="fraction"),
        ],
    )
    def test_expiry(self, expiry: str, expected: datetime) -> None:
        """Both kinds of ASN.1 times are read, and their rarer spellings, as OpenSSL does."""
        assert parse_row(line(expiry=expiry)).expiry == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("260102030405Z", Revocation(REVOKED), id="no-reason"),
            pytest.param("20260102030405Z", Revocation(REVOKED), id="generalized-time"),
            pytest.param("260102030405Z,unspecified", Revocation(REVOKED, Reason.UNSPECIFIED), id="unspecified"),
            pytest.param("260102030405Z,keyCompromise", Revocation(REVOKED, Reason.KEY_COMPROMISE), id="key"),
            pytest.param("260102030405Z,CACompromise", Revocation(REVOKED, Reason.CA_COMPROMISE), id="ca-key"),
            pytest.param("260102030405Z,SUPERSEDED", Revocation(REVOKED, Reason.SUPERSEDED), id="any-case"),
            pytest.param("260102030405Z,removeFromCRL", Revocation(REVOKED, Reason.REMOVE_FROM_CRL), id="removed"),
            pytest.param("260102030405Z,certificateHold", Revocation(REVOKED, Reason.CERTIFICATE_HOLD), id="hold"),
            pytest.param(
                "260102030405Z,holdInstruction,holdInstructionReject",
                Revocation(REVOKED, Reason.CERTIFICATE_HOLD, "1.2.840.10040.2.3"),
                id="instruction-by-name",
            ),
            pytest.param(
                "260102030405Z,holdInstruction,1.2.840.10040.2.2",
                Revocation(REVOKED, Reason.CERTIFICATE_HOLD, "1.2.840.10040.2.2"),
                id="instruction-by-number",
            ),
            pytest.param(
                "260102030405Z,keyTime,20200607080910Z",
                Revocation(REVOKED, Reason.KEY_COMPROMISE, None, SINCE),
                id="key-time",
            ),
            pytest.param(
                "260102030405Z,CAkeyTime,20200607080910.9Z",
                Revocation(REVOKED, Reason.CA_COMPROMISE, None, SINCE),
                id="ca-key-time",
            ),
        ],
    )
    def test_revocation(self, text: str, expected: Revocation) -> None:
        """Time, reason, hold instruction and invalidity time come out of the third column."""
        assert revoked(text) == expected

    @pytest.mark.parametrize(
        ("serial", "expected"),
        [
            pytest.param("01", "01", id="short"),
            pytest.param("00", "00", id="zero"),
            pytest.param("001003", "1003", id="leading-zeros"),
            pytest.param("0A", "0A", id="leading-digit"),
            pytest.param("abcd", "ABCD", id="lower-case"),
            pytest.param("F" * 40, "F" * 40, id="20-octets"),
            pytest.param("1" * 64, "1" * 64, id="any-width"),
        ],
    )
    def test_serial(self, serial: str, expected: str) -> None:
        """Serials of any width are read, and equal numbers are equal."""
        assert parse_row(line(serial=serial)).serial == expected

    @pytest.mark.parametrize(
        ("subject", "expected"),
        [
            pytest.param(r"/C=GB/CN=Zo\xC3\xAB\/O=x", r"/C=GB/CN=Zo\xC3\xAB\/O=x", id="escapes-stay"),
            pytest.param("/CN=Zo\xeb", r"/CN=Zo\xEB", id="latin-1"),
            pytest.param("/CN=a\\\tb", r"/CN=a\x09b", id="tab"),
            pytest.param("/CN=a\\", "/CN=a\\", id="backslash-at-the-end"),
            pytest.param("/CN=a\r", "/CN=a", id="windows-line"),
            pytest.param("/CN=a\x1b[31m", r"/CN=a\x1B[31m", id="control"),
            pytest.param("", "", id="empty"),
        ],
    )
    def test_subject(self, subject: str, expected: str) -> None:
        """A subject stays as it is; what OpenSSL escapes and an editor left in comes back escaped."""
        assert parse_row(line(subject=subject)).subject == expected

    def test_comments(self) -> None:
        """A line is a comment if # is its first character."""
        assert is_comment(b"# V\t...")
        assert not is_comment(b" # V")


class TestRefusing:
    @pytest.mark.parametrize(
        ("text", "column", "code"),
        [
            pytest.param(b"", None, "COLUMN_COUNT", id="empty"),
            pytest.param(b"V\t330101000000Z\t\t10", None, "COLUMN_COUNT", id="cut-off"),
            pytest.param(line() + b"\tmore", None, "COLUMN_COUNT", id="one-too-many"),
            pytest.param(line() + line(), None, "COLUMN_COUNT", id="joined"),
            pytest.param(line().replace(b"\t", b"  "), None, "COLUMN_COUNT", id="tabs-to-blanks"),
            pytest.param(line(file="unknown\\"), None, "COLUMN_COUNT", id="tab-escaped-away"),
            pytest.param(line("X"), 1, "STATE_INVALID", id="state"),
            pytest.param(line("v"), 1, "STATE_INVALID", id="state-in-lower-case"),
            pytest.param(line(expiry="331301000000Z"), 2, "EXPIRY_INVALID", id="month-13"),
            pytest.param(line(expiry="20330101Z"), 2, "EXPIRY_INVALID", id="date-only"),
            pytest.param(line(expiry="33010100000\xb2Z"), 2, "EXPIRY_INVALID", id="superscript"),
            pytest.param(line(expiry=""), 2, "EXPIRY_INVALID", id="no-expiry"),
            pytest.param(line(revocation="260102030405Z"), 3, "REVOCATION_UNEXPECTED", id="valid-but-revoked"),
            pytest.param(line("E", revocation="x"), 3, "REVOCATION_UNEXPECTED", id="expired-but-revoked"),
            pytest.param(line("R"), 3, "REVOCATION_INVALID", id="no-revocation"),
            pytest.param(line("R", revocation="yesterday"), 3, "REVOCATION_INVALID", id="revocation-time"),
            pytest.param(line("R", revocation="260102030405Z,"), 3, "REASON_INVALID", id="empty-reason"),
            pytest.param(line("R", revocation="260102030405Z,why"), 3, "REASON_INVALID", id="reason"),
            pytest.param(line("R", revocation="260102030405Z,keyTime"), 3, "REASON_INVALID", id="no-key-time"),
            pytest.param(
                line("R", revocation="260102030405Z,keyTime,200101000000Z"), 3, "REASON_INVALID", id="utc-key-time"
            ),
            pytest.param(line("R", revocation="260102030405Z,superseded,x"), 3, "REASON_INVALID", id="more-reason"),
            pytest.param(
                line("R", revocation="260102030405Z,holdInstruction"), 3, "REASON_INVALID", id="no-instruction"
            ),
            pytest.param(
                line("R", revocation="260102030405Z,holdInstruction,wait"), 3, "REASON_INVALID", id="instruction"
            ),
            pytest.param(line(serial="103"), 4, "SERIAL_INVALID", id="odd-serial"),
            pytest.param(line(serial="-1003"), 4, "SERIAL_INVALID", id="negative-serial"),
            pytest.param(line(serial="10x3"), 4, "SERIAL_INVALID", id="not-hex"),
            pytest.param(line(serial=""), 4, "SERIAL_INVALID", id="no-serial"),
            pytest.param(line(file="\xe9"), 5, "CHARACTER_INVALID", id="latin-1-file"),
            pytest.param(line(subject="/CN=\0"), 6, "CHARACTER_INVALID", id="nul"),
        ],
    )
    def test_bad_lines(self, text: bytes, column: int | None, code: str) -> None:
        """A line that cannot be meant as it stands is refused, with its number and the column that is wrong."""
        with pytest.raises(BadLine) as caught:
            parse_row(text, 17)
        assert (caught.value.line, caught.value.column, caught.value.code) == (17, column, code)
        assert str(caught.value).startswith("line 17")
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        "row",
        [
            pytest.param(IndexRow("V", EXPIRY, Revocation(REVOKED), "01"), id="valid-but-revoked"),
            pytest.param(IndexRow("R", EXPIRY, None, "01"), id="revoked-without-time"),
            pytest.param(IndexRow("V", EXPIRY, None, "1"), id="odd-serial"),
            pytest.param(IndexRow("V", EXPIRY, None, "01", "a\\"), id="file"),
            pytest.param(IndexRow("R", EXPIRY, Revocation(REVOKED, Reason.PRIVILEGE_WITHDRAWN), "01"), id="no-word"),
            pytest.param(
                IndexRow("R", EXPIRY, Revocation(REVOKED, Reason.SUPERSEDED, None, SINCE), "01"), id="invalidity"
            ),
            pytest.param(IndexRow("R", EXPIRY, Revocation(REVOKED, None, "1.2.3"), "01"), id="instruction"),
        ],
    )
    def test_what_no_line_can_say(self, row: IndexRow) -> None:
        """A row that OpenSSL could not read back is not written."""
        with pytest.raises(ValueError):
            format_row(row)


MOMENTS = st.integers(-2208988800, 253402300799).map(lambda seconds: EPOCH + timedelta(seconds=seconds))
WORDS = st.sampled_from([reason for reason in Reason if reason <= Reason.REMOVE_FROM_CRL])
NONE = st.none()
COMPROMISED = st.sampled_from([Reason.KEY_COMPROMISE, Reason.CA_COMPROMISE])
INSTRUCTIONS = st.sampled_from(["1.2.3", "1.2.840.10040.2.1"])
REVOCATIONS = st.one_of(
    st.builds(Revocation, MOMENTS, NONE | WORDS, NONE, NONE),
    st.builds(Revocation, MOMENTS, st.just(Reason.CERTIFICATE_HOLD), INSTRUCTIONS, NONE),
    st.builds(Revocation, MOMENTS, COMPROMISED, NONE, MOMENTS),
)
SERIALS = st.binary(min_size=1, max_size=40).map(lambda octets: (octets.lstrip(b"\0") or b"\0").hex().upper())
SUBJECTS = st.text(st.characters(min_codepoint=32, max_codepoint=126))
ROWS = st.one_of(
    st.builds(IndexRow, st.sampled_from(["V", "E"]), MOMENTS, st.none(), SERIALS, st.just("unknown"), SUBJECTS),
    st.builds(IndexRow, st.just("R"), MOMENTS, REVOCATIONS, SERIALS, st.just("a\tb"), SUBJECTS),
)


@given(ROWS)
def test_what_is_written_is_read_back(row: IndexRow) -> None:
    """Every row that can be written is read back as it was."""
    assert parse_row(format_row(row).encode("ascii")) == row


@given(st.binary() | st.builds(line, *[st.text(st.characters(max_codepoint=255), max_size=9)] * 6))
def test_any_line_is_read_or_refused(text: bytes) -> None:
    """Whatever stands in a line, it is a row or a BadLine, and its row can be written again."""
    try:
        row = parse_row(text)
    except BadLine:
        return
    assert parse_row(format_row(row).encode("ascii")) == row
