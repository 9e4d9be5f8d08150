"""`goodstanding export openssl`: what an issuer has issued, as the folder of an OpenSSL CA.

It is read from the services and written as it comes: memory is the same for ten certificates and for a million. The
private key is not read.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from ssl import DER_cert_to_PEM_cert
from typing import IO, TYPE_CHECKING, Self

import grpc

from goodstanding.ca.v1 import export_pb2, export_pb2_grpc
from goodstanding.status.v1 import status_pb2, status_pb2_grpc
from services.cli.client import Client, connect
from services.cli.failures import Failed
from services.cli.new_folder import new_folder
from services.cli.options import Connection
from services.openssl_ca.index import Revocation, format_row
from services.openssl_ca.settings import Addresses, configuration
from services.openssl_ca.writing import (
    MORE_HEADER,
    MORE_NAME,
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
CRL_DAYS = 7
_HAS_OCSP_ADDRESS = bytes.fromhex("06082b06010505073001")  # id-ad-ocsp, in an authorityInfoAccess
_PEM_LINE = 48


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


Progress = Callable[[int, int], None]
"""Called with how many certificates are written, and how many there are."""


def export_openssl(connection: Connection, issuer: str, target: Path, progress: Progress) -> Exported:
    """Write the folder. Raises Failed, and leaves nothing then."""
    done = Exported()
    with new_folder(target) as folder, connect(connection, "ca") as ca:
        stub = export_pb2_grpc.ExportServiceStub(ca.channel)
        answers = ca.stream(stub.ExportCertificates, export_pb2.ExportCertificatesRequest(issuer=issuer))
        head = _part(next(answers, None), "head").head
        done.issuer = head.issuer.name
        now = _time(head.as_of_time)
        with _Rows(folder, now, done) as rows:
            rows.take(answers, lambda: progress(done.count, head.certificate_count))
        _write_chain(folder, head.issuer)
        with connect(connection, "status") as status:
            crl = _write_crl(status, done.issuer, folder, now)
        done.crl = crl is not None
        number = max(int(head.crl_number, 16), crl.number if crl else 0)
        done.next_crl_number = serial_text(number + 1)
        done.next_serial = rows.next_serial()
        _write_rest(folder, target, done, rows.addresses(), _days(crl))
    return done


class _Rows:
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
            for certificate in _part(answer, "certificates").certificates.certificates:
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
            self._more = (self._folder / MORE_NAME).open("w", encoding="ascii", buffering=BUFFER, newline="\n")
            self._more.write(MORE_HEADER)
        self._more.write(line + "\n")
        self._done.beyond_index += 1


def addresses(certificate_der: bytes) -> Addresses:
    """The addresses that a certificate names; none of what cannot be read."""
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID as Method

    try:
        extensions = x509.load_der_x509_certificate(certificate_der).extensions
    except ValueError:
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
        _time(certificate.not_after_time),
        revocation,
    )


def _revocation(value: types_pb2.Revocation) -> Revocation:
    invalidity = _time(value.invalidity_time) if value.HasField("invalidity_time") else None
    return Revocation(
        _time(value.revocation_time),
        Reason(value.reason) if value.reason else None,
        value.hold_instruction or None,
        invalidity,
    )


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


def _part(answer: export_pb2.ExportCertificatesResponse | None, name: str) -> export_pb2.ExportCertificatesResponse:
    if answer is None or answer.WhichOneof("part") != name:
        raise Failed("the service answered in a way that this command does not know: is it another version?")
    return answer


def _write_chain(folder: Path, issuer: types_pb2.Issuer) -> None:
    """ca.pem, the certificate that was put into chains; chain.pem, it and those above; others.pem, its other ones."""
    pem = [DER_cert_to_PEM_cert(der) for der in issuer.certificates_der]
    (folder / "ca.pem").write_text(pem[0])
    (folder / "chain.pem").write_text(pem[0] + "".join(map(DER_cert_to_PEM_cert, issuer.chain_der)))
    if pem[1:]:
        (folder / "others.pem").write_text("".join(pem[1:]))


def _write_crl(
    status: Client, issuer: str, folder: Path, now: datetime
) -> status_pb2.FetchCertificateRevocationListResponse.Head | None:
    """crl.pem, where there is a list that is not over."""
    stub = status_pb2_grpc.CertificateStatusServiceStub(status.channel)
    request = status_pb2.FetchCertificateRevocationListRequest(issuer=issuer)
    answers = status.stream(stub.FetchCertificateRevocationList, request)
    try:
        first = next(answers)
    except Failed as failed:
        code = getattr(failed.__cause__, "code", None)
        if code is not None and code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise
    if _time(first.head.next_update_time) <= now:
        return None
    with (folder / "crl.pem").open("wb", buffering=BUFFER) as file:
        file.write(b"-----BEGIN X509 CRL-----\n")
        for line in _lines(answer.chunk for answer in answers):
            file.write(b64encode(line) + b"\n")
        file.write(b"-----END X509 CRL-----\n")
    return first.head


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The octets of each line of PEM."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        whole = len(rest) - len(rest) % _PEM_LINE
        yield from (rest[place : place + _PEM_LINE] for place in range(0, whole, _PEM_LINE))
        rest = rest[whole:]
    if rest:
        yield rest


def _days(crl: status_pb2.FetchCertificateRevocationListResponse.Head | None) -> int:
    """For how many days revocation lists shall be valid: as the last one was."""
    if crl is None:
        return CRL_DAYS
    return max(1, round((crl.next_update_time.seconds - crl.this_update_time.seconds) / 86400))


def _write_rest(folder: Path, target: Path, done: Exported, named: Addresses, crl_days: int) -> None:
    try:
        settings = configuration(str(target.absolute()), named, crl_days=crl_days)
    except ValueError as error:
        raise Failed(f"{target}: {error}; name another folder") from error
    (folder / "index.txt.attr").write_text("unique_subject = no\n")
    (folder / "serial").write_text(done.next_serial + "\n")
    (folder / "crlnumber").write_text(done.next_crl_number + "\n")
    (folder / "openssl.cnf").write_text(settings)
    (folder / "private").mkdir(mode=0o700)
