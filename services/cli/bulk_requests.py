"""What `goodstanding revoke` asks the service for: one request, or for a long list one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime

from goodstanding.ca.v1 import ca_pb2
from goodstanding.types.v1 import types_pb2
from services.cli.key_file import read_key
from services.cli.options import is_pem, read_certificate
from services.cli.selecting import FILTER_TIMES, Selection
from services.cli.serials_file import Line, open_serials

# Of one call: the service takes no longer lists, and no requests of more than a megabyte.
LIST_LENGTH = 1000
LIST_OCTETS = 500_000


@dataclass(frozen=True)
class Name:
    """What the user calls a certificate: where it stands, and what stands there."""

    place: str
    serial: str = ""


@dataclass(frozen=True)
class Call:
    """A request, and what the user calls the certificates of its list."""

    request: ca_pb2.RevokeCertificatesRequest
    names: list[Name] = field(default_factory=list)


@dataclass(frozen=True)
class Wish:
    """What is to become of the certificates."""

    reason: int
    invalidity_time: datetime | None
    request_id: str
    dry_run: bool

    def put_into(self, request: ca_pb2.RevokeCertificateRequest | ca_pb2.RevokeCertificatesRequest) -> None:
        """Ask for it."""
        request.reason = types_pb2.RevocationReason.ValueType(self.reason)
        request.request_id = self.request_id
        request.validate_only = self.dry_run
        if self.invalidity_time is not None:
            request.invalidity_time.FromDatetime(self.invalidity_time)


def prepare(stack: ExitStack, selection: Selection, wish: Wish) -> tuple[Callable[[], Iterable[Call]], int | None]:
    """What makes the calls, and how many certificates they are about, where that is known."""
    if selection.serials_file is not None:
        file = stack.enter_context(open_serials(selection.serials_file))
        return lambda: _lists(_of_lines(file.lines(), selection.issuer), wish), file.count
    if selection.serials or selection.certificates:
        listed = list(_of_arguments(selection))
        return lambda: _lists(listed, wish), len(listed)
    request = ca_pb2.RevokeCertificatesRequest()
    wish.put_into(request)
    if selection.key is not None:
        request.public_key.CopyFrom(read_key(selection.key))
    else:
        _put_filter(request.filter, selection)
    return lambda: [Call(_copy(request))], None


def _copy(request: ca_pb2.RevokeCertificatesRequest) -> ca_pb2.RevokeCertificatesRequest:
    copy = ca_pb2.RevokeCertificatesRequest()
    copy.CopyFrom(request)
    return copy


def _put_filter(into: ca_pb2.CertificateFilter, selection: Selection) -> None:
    into.issuer = selection.issuer
    for name, value in selection.filters.items():
        if name in FILTER_TIMES:
            getattr(into, name).FromDatetime(value)
        else:
            setattr(into, name, value)


Named = tuple[Name, ca_pb2.ListedCertificate]


def _of_lines(lines: Iterable[Line], issuer: str) -> Iterator[Named]:
    for line in lines:
        yield Name(f"line {line.number}", line.serial), _by_serial(line.serial, issuer, line.reason)


def _of_arguments(selection: Selection) -> Iterator[Named]:
    for serial in selection.serials:
        yield Name(serial, serial), _by_serial(serial, selection.issuer)
    for file in selection.certificates:
        yield Name(str(file)), ca_pb2.ListedCertificate(certificate_der=_der(read_certificate(file)))


def _by_serial(serial: str, issuer: str, reason: int | None = None) -> ca_pb2.ListedCertificate:
    return ca_pb2.ListedCertificate(
        issuer_and_serial_number=types_pb2.IssuerAndSerialNumber(issuer=issuer, serial_number=serial),
        reason=None if reason is None else types_pb2.RevocationReason.ValueType(reason),
    )


def _der(certificate: bytes) -> bytes:
    import ssl

    return ssl.PEM_cert_to_DER_cert(certificate.decode("ascii")) if is_pem(certificate) else certificate


def _lists(named: Iterable[Named], wish: Wish) -> Iterator[Call]:
    """Calls that are small enough for the service."""
    names: list[Name] = []
    listed: list[ca_pb2.ListedCertificate] = []
    octets = 0
    for name, certificate in named:
        size = certificate.ByteSize()
        if listed and (len(listed) == LIST_LENGTH or octets + size > LIST_OCTETS):
            yield _list(names, listed, wish)
            names, listed, octets = [], [], 0
        names.append(name)
        listed.append(certificate)
        octets += size
    if listed:
        yield _list(names, listed, wish)


def _list(names: list[Name], listed: list[ca_pb2.ListedCertificate], wish: Wish) -> Call:
    request = ca_pb2.RevokeCertificatesRequest(certificates=ca_pb2.ListedCertificates(certificates=listed))
    wish.put_into(request)
    return Call(request, names)
