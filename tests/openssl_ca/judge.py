"""OpenSSL as a judge of a CA's folder: what `openssl ca` and `openssl ocsp -index` make of it, batch by batch."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from services.openssl_ca.oneline import subject_of

BATCH = 1000


class Said(NamedTuple):
    """What an answer says of a certificate. A reason of "unspecified" counts as none."""

    status: str
    time: datetime | None = None
    reason: str | None = None


def openssl(*arguments: str | Path, cwd: Path | None = None, check: bool = True) -> str:
    """Run a command, and return all that it prints."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def batches(serials: Iterable[int], size: int = BATCH) -> Iterator[list[int]]:
    """So many serial numbers at a time."""
    rest = iter(serials)
    while batch := list(islice(rest, size)):
        yield batch


def make_request(ca: x509.Certificate, serials: Sequence[int]) -> bytes:
    """A request about several certificates of that CA, with SHA-1 CertIDs (RFC 6960, section 4.1.1)."""
    name = hashlib.sha1(subject_of(ca.public_bytes(Encoding.DER))).digest()
    key = x509.SubjectKeyIdentifier.from_public_key(ca.public_key()).digest
    fixed = bytes.fromhex("300906052b0e03021a0500") + _tlv(4, name) + _tlv(4, key)
    each = (_tlv(0x30, _tlv(0x30, fixed + _integer(serial))) for serial in serials)
    return _tlv(0x30, _tlv(0x30, _tlv(0x30, b"".join(each))))


def read_answer(der: bytes) -> dict[int, Said]:
    """What a successful answer says of each certificate; nothing where it is about none."""
    answer = ocsp.load_der_ocsp_response(der)
    assert answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    return {single.serial_number: _said(single) for single in answer.responses}


def ask_index(
    folder: Path, ca: Path, signer: tuple[Path, Path], serials: Iterable[int], scratch: Path
) -> dict[int, Said]:
    """What `openssl ocsp -index` says; certificates about which it says nothing are left out."""
    certificate = x509.load_pem_x509_certificate(ca.read_bytes())
    found: dict[int, Said] = {}
    for batch in batches(serials):
        (scratch / "request.der").write_bytes(make_request(certificate, batch))
        openssl(
            *("ocsp", "-index", folder / "index.txt", "-CA", ca, "-rsigner", signer[0], "-rkey", signer[1]),
            *("-reqin", scratch / "request.der", "-respout", scratch / "answer.der", "-nmin", "5"),
        )
        found |= read_answer((scratch / "answer.der").read_bytes())
    return found


def _said(single: ocsp.OCSPSingleResponse) -> Said:
    status = single.certificate_status.name.lower()
    reason = single.revocation_reason
    given = None if reason is None or reason is x509.ReasonFlags.unspecified else reason.value
    return Said(status, single.revocation_time_utc, given)


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    octets = b"" if size < 0x80 else size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets) if octets else size)) + octets + content


def _integer(number: int) -> bytes:
    return _tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))
