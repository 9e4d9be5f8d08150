"""Rows of index.txt for what is recorded here, numbers that are free, and openssl.cnf."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from services.openssl_ca.index import Revocation, format_row, parse_row
from services.openssl_ca.settings import Addresses, configuration, quoted
from services.openssl_ca.writing import Entry, NextSerial, index_row, is_whole, more_line, serial_text, writable
from services.pki.hierarchy import make_root
from services.pki.keys import KeyKind, generate_key
from services.pki.reasons import Reason
from tests.openssl_ca.judge import openssl

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=30)


def moments(first: int, last: int) -> st.SearchStrategy[datetime]:
    """Whole seconds within years."""
    begin, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (first, last))
    return st.integers(begin, end).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


times, past = moments(1900, 2300), moments(1900, 2060)
reasons = st.sampled_from([reason for reason in Reason if reason is not Reason.REMOVE_FROM_CRL])
serials = st.integers(0, 2**160 - 1).map(lambda n: n.to_bytes(max(1, (n.bit_length() + 7) // 8), "big"))
subjects = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80)


@st.composite
def revocations(draw: st.DrawFn) -> Revocation:
    """Revocations as they are recorded: any reason, an instruction only with a hold."""
    reason = draw(st.none() | reasons)
    instructions = st.sampled_from([None, "1.2.840.10040.2.1", "1.2.840.10040.2.3"])
    instruction = draw(instructions) if reason is Reason.CERTIFICATE_HOLD else None
    return Revocation(draw(past), reason, instruction, draw(st.none() | past))


entries = st.builds(Entry, serials, st.none(), subjects, times, st.none() | revocations())


@settings(max_examples=300, deadline=None)
@given(entries)
def test_row_comes_back(entry: Entry) -> None:
    """A row that is read again says what was recorded; what it cannot say is known, and stands in index.txt.more."""
    row = index_row(entry, NOW)
    line = format_row(row)
    back = parse_row(line.encode("ascii"))
    assert back == row
    assert int(back.serial, 16) == int.from_bytes(entry.serial, "big")
    assert (back.expiry, back.subject) == (entry.not_after, entry.subject)
    if entry.revocation is None:
        assert back.state == ("E" if entry.not_after <= NOW else "V")
        return
    recorded = entry.revocation
    if recorded.reason is Reason.UNSPECIFIED:
        recorded = recorded._replace(reason=None)
    assert back.state == "R"
    assert back.revocation is not None
    if is_whole(entry.revocation):
        assert back.revocation == recorded
    else:
        assert back.revocation == writable(recorded) != recorded


@pytest.mark.parametrize(
    ("revocation", "column", "whole"),
    [
        (Revocation(NOW), "260701120000Z", True),
        (Revocation(NOW, Reason.UNSPECIFIED), "260701120000Z", True),
        (Revocation(NOW, Reason.SUPERSEDED), "260701120000Z,superseded", True),
        (Revocation(NOW, Reason.CERTIFICATE_HOLD), "260701120000Z,certificateHold", True),
        (
            Revocation(NOW, Reason.CERTIFICATE_HOLD, "1.2.840.10040.2.2"),
            "260701120000Z,holdInstruction,1.2.840.10040.2.2",
            True,
        ),
        (Revocation(NOW, Reason.KEY_COMPROMISE, None, NOW), "260701120000Z,keyTime,20260701120000Z", True),
        (Revocation(NOW, Reason.CA_COMPROMISE, None, NOW), "260701120000Z,CAkeyTime,20260701120000Z", True),
        (Revocation(NOW, Reason.PRIVILEGE_WITHDRAWN), "260701120000Z", False),
        (Revocation(NOW, Reason.AA_COMPROMISE, None, NOW), "260701120000Z", False),
        (Revocation(NOW, Reason.SUPERSEDED, None, NOW), "260701120000Z,superseded", False),
        (Revocation(NOW, None, None, NOW), "260701120000Z", False),
        (Revocation(NOW.replace(year=1900)), "500101000000Z", False),
        (Revocation(NOW.replace(year=2050)), "491231235959Z", False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_revocations(revocation: Revocation, column: str, whole: bool) -> None:
    """What the third column says of each kind of revocation, and whether that is all."""
    row = index_row(Entry(b"\x0a", None, "/CN=a", LATER, revocation), NOW)
    assert format_row(row) == f"R\t260731120000Z\t{column}\t0A\tunknown\t/CN=a"
    assert is_whole(revocation) is whole


def test_more_lines() -> None:
    """The lines of index.txt.more name the certificate, the reason and the time."""
    withdrawn = Revocation(NOW, Reason.AA_COMPROMISE)
    assert more_line(b"\x0a\x0b", withdrawn) == "0A0B\t20260701120000Z\taACompromise\t"
    assert more_line(b"\x0a", Revocation(NOW, None, None, LATER)) == "0A\t20260701120000Z\t\t20260731120000Z"


@pytest.mark.parametrize(
    ("serials", "expected"),
    [
        ((), 1),
        ((1, 0xFF, 3), 0x100),
        ((2**158,), 2**158 + 1),
        ((2**159 - 1,), 77),
        ((2**160 - 1, 5), 77),
    ],
    ids=["none", "highest", "long", "no-room", "no-room-at-all"],
)
def test_next_serial(serials: tuple[int, ...], expected: int) -> None:
    """The next number is one more than the highest, and a random one where 20 octets do not hold that."""
    numbers = NextSerial(chance=77)
    for number in serials:
        numbers.note(number.to_bytes(20, "big"))
    assert numbers.value == expected


def test_next_serial_that_is_taken() -> None:
    """A random number with a certificate behind it is not given out."""
    numbers = NextSerial(chance=77)
    for number in (2**160 - 1, 78):
        numbers.note(number.to_bytes(20, "big"))
    with pytest.raises(ValueError, match="no room"):
        _ = numbers.value


@pytest.mark.parametrize(("number", "text"), [(0, "00"), (0xA, "0A"), (0x100, "0100"), (2**160 - 1, "FF" * 20)])
def test_numbers(number: int, text: str) -> None:
    """Numbers are written with two digits an octet, as OpenSSL reads them."""
    assert serial_text(number) == text


@pytest.mark.parametrize("folder", ["plain", "a b", "$HOME", 'it\'s "x"', "#1 `x`", "back\\slash", "Zoë", " edge "])
def test_odd_folders(folder: str, tmp_path: Path) -> None:
    """OpenSSL finds its files whatever the folder is called."""
    place = tmp_path / folder
    place.mkdir()
    (place / "index.txt").write_text("V\t300101000000Z\t\t0A\tunknown\t/CN=a\n")
    (tmp_path / "openssl.cnf").write_text(configuration(str(place), Addresses(("http://a/$x",)), crl_days=7))
    command = ["openssl", "ca", "-config", str(tmp_path / "openssl.cnf"), "-status", "0A"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "0A=Valid (V)" in done.stdout + done.stderr


def test_line_breaks() -> None:
    """A value with a line break is refused: it would add settings."""
    with pytest.raises(ValueError, match="line break"):
        quoted("/ca\nprivate_key = /elsewhere")


@pytest.mark.parametrize("kind", ["p384", "rsa2048", "ed25519"])
def test_kinds_of_keys(kind: KeyKind, tmp_path: Path) -> None:
    """One configuration for every kind of key: lists are made, and certificates issued with names and addresses."""
    key, now = generate_key(kind), datetime.now(UTC)
    files = {
        "ca.pem": make_root(name="CA", key=key, now=now).public_bytes(Encoding.PEM),
        "private/ca.key.pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "index.txt": b"R\t491231235959Z\t200101000000Z,holdInstruction,1.2.840.10040.2.3\t0A\tunknown\t/CN=a\n",
        "crlnumber": b"03\n",
        "openssl.cnf": configuration(str(tmp_path), Addresses(("http://ocsp.example.com",)), crl_days=7).encode(),
    }
    for folder in ("private", "newcerts"):
        (tmp_path / folder).mkdir()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    request = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "leaf.key"]
    config = ["ca", "-config", str(tmp_path / "openssl.cnf")]
    openssl(*config, "-gencrl", "-out", "crl.pem", cwd=tmp_path)
    openssl(*request, "-subj", "/CN=a", "-addext", "subjectAltName=DNS:a.example.com", "-out", "leaf.csr", cwd=tmp_path)
    openssl(*config, "-batch", "-notext", "-in", "leaf.csr", "-out", "leaf.pem", cwd=tmp_path)
    assert "Hold Instruction Reject" in openssl("crl", "-in", "crl.pem", "-noout", "-text", cwd=tmp_path)
    shown = openssl("x509", "-in", "leaf.pem", "-noout", "-text", cwd=tmp_path)
    assert "DNS:a.example.com" in shown
    assert "OCSP - URI:http://ocsp.example.com" in shown
