"""Revocation lists that are put together by hand: as the library writes them, whatever is put in and taken out."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.pki import der
from services.pki.crl_entries import RevokedEntries, encode_entry
from services.pki.crl_signing import crl_number, sign_crl
from services.pki.crls import CrlEntry, make_crl
from services.pki.hierarchy import make_root
from services.pki.issuers import Issuer
from services.pki.keys import KeyKind, generate_key
from services.pki.reasons import Reason
from services.pki.serials import serial_from_int

from .conftest import NOW

_LATER = NOW + timedelta(days=7)
sign = partial(sign_crl, number=5, this_update=NOW, next_update=_LATER)
_URL = "http://crl.example.com/crl/issuing/3.crl"
_REASONS = [reason for reason in Reason if reason is not Reason.REMOVE_FROM_CRL]


@cache
def make_issuer(kind: KeyKind) -> Issuer:
    """An issuer with a key of that kind: the same each time, because keys take time to make."""
    key = generate_key(kind)
    return Issuer(make_root(name="Lists", key=key, now=NOW), key)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """An issuer on P-256."""
    return make_issuer("p256")


def some_entries(count: int, seed: int = 0) -> list[CrlEntry]:
    """Entries of every shape: serial numbers of 1 to 20 octets, all reasons, with and without invalidity dates."""
    chance = random.Random(seed)
    serials = {serial_from_int(chance.getrandbits(chance.randint(1, 159)) | 1) for _ in range(count)}
    return [
        CrlEntry(
            serial,
            datetime(chance.randint(1951, 2080), 2, 3, 4, 5, chance.randint(0, 59), tzinfo=UTC),
            chance.choice(_REASONS),
            chance.choice([None, datetime(chance.randint(1990, 2060), 1, 1, tzinfo=UTC)]),
        )
        for serial in sorted(serials)
    ]


def encode(entry: CrlEntry) -> bytes:
    """The entry in DER."""
    invalidity = None if entry.invalidity_at is None else int(entry.invalidity_at.timestamp())
    return encode_entry(entry.serial, int(entry.revoked_at.timestamp()), entry.reason, invalidity)


def serials_of(data: bytes) -> list[bytes]:
    """The serial numbers in a list."""
    return [serial_from_int(each.serial_number) for each in x509.load_der_x509_crl(data)]


@pytest.mark.parametrize("kind", ["rsa2048", "ed25519", "p256", "p384", "p521"])
@pytest.mark.parametrize("url", [None, _URL], ids=["full", "shard"])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_the_same_octets_as_the_library_writes(kind: KeyKind, url: str | None, count: int) -> None:
    """What is signed is equal to what the library's builder signs, and so is the list where signatures repeat."""
    issuer = make_issuer(kind)
    entries = some_entries(count)
    by_library = make_crl(issuer, entries, number=5, this_update=NOW, next_update=_LATER, distribution_point=url)
    ours = sign(issuer, [encode(entry) for entry in entries], distribution_point=url)
    assert der.signed_parts(ours.der()) == der.signed_parts(by_library)
    if not kind.startswith("p"):
        assert ours.der() == by_library
    assert x509.load_der_x509_crl(ours.der()).is_signature_valid(issuer.private_key.public_key())
    assert (len(ours.der()), crl_number(ours.der())) == (ours.size, 5)
    assert b"".join(ours.blocks(100)) == ours.der()


def test_entries_come_and_go() -> None:
    """After any changes there is one entry for each serial number that was not taken out, as it was put in last."""
    chance = random.Random(7)
    entries, model = RevokedEntries(), dict[bytes, bytes]()
    for entry in some_entries(600) + some_entries(600, seed=1):
        if chance.random() < 0.6:
            entries.put(entry.serial, encode(entry), 0)
            model[entry.serial] = encode(entry)
        for serial in chance.sample(sorted(model), min(len(model), 1)):
            if chance.random() < 0.4:
                entries.remove(serial)
                del model[serial]
            else:
                model[serial] = encode(CrlEntry(serial, NOW, chance.choice(_REASONS)))
                entries.put(serial, model[serial], 0)
        entries.remove(b"\x05never there")
    assert len(entries) == len(model)
    assert sorted(der.elements(b"".join(entries.octets()))) == sorted(model.values())


def test_a_serial_number_within_another_is_another() -> None:
    """Octets that look like a serial number in the middle of an entry are not taken for it."""
    entries = RevokedEntries()
    outer = bytes.fromhex("510201aa0201aa0201aa")
    entries.put(outer, encode_entry(outer, 0, 0, None), 0)
    inner = b"\xaa" + b"\x02\x01\xaa"
    for serial in (b"\xaa", inner, b"\x01"):
        entries.remove(serial)
    assert len(entries) == 1


def test_entries_that_were_kept_long_enough_go(issuer: Issuer) -> None:
    """What was to be kept until before a time goes, the rest stays (R111); without any there is no list (R107)."""
    entries = RevokedEntries()
    for number in range(1, 201):
        serial = serial_from_int(number << 64 | number % 3)
        entries.put(serial, encode_entry(serial, 1_900_000_000, 1, None), number)
    assert (entries.drop_before(101), len(entries), entries.drop_before(101)) == (100, 100, 0)
    left = serials_of(sign(issuer, entries.octets()).der())
    assert {int.from_bytes(serial) >> 64 for serial in left} == set(range(101, 201))
    assert entries.drop_before(1000) == 100
    assert sign(issuer, entries.octets()).der().find(b"\x30\x00") < 0
    assert serials_of(sign(issuer, entries.octets()).der()) == []


@pytest.mark.parametrize(
    ("serial", "reason"), [(b"", 0), (b"\0\1", 0), (b"\1" * 21, 0), (b"\1", 8), (b"\1", 7), (b"\1", 99)]
)
def test_entries_that_cannot_be(serial: bytes, reason: int) -> None:
    """Serial numbers that are none, and reasons that no full list has, are refused."""
    with pytest.raises(ValueError):
        encode_entry(serial, 0, reason, None)


@pytest.mark.parametrize("content", [b"\x30", b"\x30\x05\x01", b"\x30\x82\x01", b"\x04\x84\xff\xff\xff\xff"])
def test_elements_that_are_cut_off(content: bytes) -> None:
    """Half an element is an error and not an element."""
    with pytest.raises(ValueError):
        der.elements(content)


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "ed25519"])
def test_openssl_and_gnutls_verify_it(kind: KeyKind, openssl: Callable[..., str], tmp_path: Path) -> None:
    """Two other libraries find the signature right, and each entry."""
    issuer = make_issuer(kind)
    crl = sign(issuer, [encode(entry) for entry in some_entries(400)])
    (tmp_path / "list.crl").write_bytes(x509.load_der_x509_crl(crl.der()).public_bytes(Encoding.PEM))
    (tmp_path / "ca.pem").write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    told = openssl("crl", "-in", "list.crl", "-CAfile", "ca.pem", "-noout", "-text")
    assert told.count("Serial Number:") == len(some_entries(400))
    if certtool := shutil.which("certtool"):
        command = [certtool, "--verify-crl", "--load-ca-certificate", "ca.pem", "--infile", "list.crl"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "Not verified" not in done.stdout + done.stderr
        assert "Verified" in done.stdout + done.stderr
