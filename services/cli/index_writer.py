"""index.txt and newcerts, written as certificates come. Memory is the same for ten and for a million."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import IO, TYPE_CHECKING, Self

from goodstanding.ca.v1 import export_pb2
from services.cli.failures import Failed
from services.openssl_ca.index import Revocation, format_row
from services.openssl_ca.settings import Addresses
from services.openssl_ca.writing import (
    MORE_HEADER,
    MORE_SUFFIX,
    Entry,
    NextSerial,
    index_row,
    is_whole,
    more_line,
    serial_text,
)
from services.pki.reasons import Reason

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from goodstanding.types.v1 import types_pb2

BUFFER = 1024 * 1024
_HAS_OCSP_ADDRESS = bytes.fromhex("06082b06010505073001")  # id-ad-ocsp, in an authorityInfoAccess


@dataclass
class Exported:
    """What was written."""

    issuer: str = ""
    states: dict[str, int] = field(default_factory=lambda: {"V": 0, "R": 0, "E": 0})
    without_certificate: int = 0
    beyond_index: int = 0
    """Revocations that a row of index.txt cannot hold in full."""
    next_serial: str = ""
    next_crl_number: str = ""
    crl: bool = False
    issued_meanwhile: int = 0
    changed_meanwhile: int = 0

    @property
    def count(self) -> int:
        """How many certificates."""
        return sum(self.states.values())


class IndexWriter:
    """index.txt and newcerts, as certificates come."""

    def __init__(self, folder: Path, now: datetime, done: Exported) -> None:
        self._folder, self._now, self._done = folder, now, done
        self._numbers = NextSerial(secrets.randbits(158))
        self._newest: bytes | None = None
        self._more: IO[str] | None = None

    def __enter__(self) -> Self:
        (self._folder / "newcerts").mkdir(mode=0o700)
        self._index = (self._folder / "index.txt").open("w", encoding="ascii", buffering=BUFFER, newline="\n")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._index.close()
        finally:
            if self._more is not None:
                self._more.close()

    def take(self, answers: Iterator[export_pb2.ExportCertificatesResponse], told: Callable[[], None]) -> None:
        """Write all that comes, up to the end. Raises Failed where there is none."""
        for answer in answers:
            if answer.HasField("end"):
                self._done.issued_meanwhile = answer.end.certificate_count - self._done.count
                self._done.changed_meanwhile = answer.end.change_count
                return
            for certificate in part_of(answer, "certificates").certificates.certificates:
                self._write(certificate)
            told()
        raise Failed("the export broke off; nothing of it was kept, try again")

    def next_serial(self) -> str:
        """A serial number that is free."""
        try:
            return serial_text(self._numbers.value)
        except ValueError as error:
            raise Failed(f"{error}: try again") from error

    def addresses(self) -> Addresses:
        """What the newest certificate names."""
        return addresses(self._newest) if self._newest else Addresses()

    def _write(self, certificate: export_pb2.ExportedCertificate) -> None:
        entry = _entry(certificate)
        row = index_row(entry, self._now)
        self._index.write(format_row(row) + "\n")
        self._numbers.note(entry.serial)
        self._done.states[row.state] += 1
        if entry.revocation is not None and not is_whole(entry.revocation):
            self._write_more(more_line(entry.serial, entry.revocation))
        if entry.der is None:
            self._done.without_certificate += 1
            return
        (self._folder / "newcerts" / f"{row.serial}.pem").write_text(DER_cert_to_PEM_cert(entry.der))
        if _HAS_OCSP_ADDRESS in entry.der:
            self._newest = entry.der

    def _write_more(self, line: str) -> None:
        if self._more is None:
            self._more = (self._folder / f"index.txt{MORE_SUFFIX}").open(
                "w", encoding="ascii", buffering=BUFFER, newline="\n"
            )
            self._more.write(MORE_HEADER)
        self._more.write(line + "\n")
        self._done.beyond_index += 1


def addresses(certificate_der: bytes) -> Addresses:
    """The addresses that a certificate names; none of what cannot be read."""
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID as Method

    from services.pki.unreadable import UNREADABLE

    try:
        extensions = x509.load_der_x509_certificate(certificate_der).extensions
    except UNREADABLE:
        return Addresses()
    named: dict[object, list[str]] = {}
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.AuthorityInformationAccess):
            for each in value:
                if isinstance(each.access_location, x509.UniformResourceIdentifier):
                    named.setdefault(each.access_method, []).append(each.access_location.value)
        if isinstance(value, x509.CRLDistributionPoints):
            found = (name for point in value for name in point.full_name or ())
            named["crl"] = [name.value for name in found if isinstance(name, x509.UniformResourceIdentifier)]
    of = {key: tuple(urls) for key, urls in named.items()}
    return Addresses(of.get(Method.OCSP, ()), of.get(Method.CA_ISSUERS, ()), of.get("crl", ()))


def _entry(certificate: export_pb2.ExportedCertificate) -> Entry:
    revocation = _revocation(certificate.revocation) if certificate.HasField("revocation") else None
    return Entry(
        bytes.fromhex(certificate.serial_number),
        certificate.certificate_der or None,
        certificate.subject,
        time_of(certificate.not_after_time),
        revocation,
    )


def _revocation(value: types_pb2.Revocation) -> Revocation:
    invalidity = time_of(value.invalidity_time) if value.HasField("invalidity_time") else None
    return Revocation(
        time_of(value.revocation_time),
        Reason(value.reason) if value.reason else None,
        value.hold_instruction or None,
        invalidity,
    )


def time_of(stamp: Timestamp) -> datetime:
    """A time of the contract."""
    return stamp.ToDatetime(UTC)


def part_of(answer: export_pb2.ExportCertificatesResponse | None, name: str) -> export_pb2.ExportCertificatesResponse:
    """A message that has to be that part. Raises Failed where it is not."""
    if answer is None or answer.WhichOneof("part") != name:
        raise Failed("the service answered in a way that this command does not know: is it another version?")
    return answer
