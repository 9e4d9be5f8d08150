"""Another CA, whose records are imported: its certificates, and the calls that bring them in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from google.protobuf.timestamp_pb2 import Timestamp

from goodstanding.ca.v1 import import_pb2
from goodstanding.types.v1 import types_pb2
from services.ca.authority import CertificateAuthority
from services.ca.find import ListQuery
from services.ca.import_servicer import ImportServicer
from services.ca.keystore import HeldKeys
from services.ca.settings import AuthoritySettings
from services.ca.target import BySerial
from services.clock import to_epoch
from services.db import position
from services.db.records import Actor
from services.errors import FailedPrecondition
from services.pki.hierarchy import make_root
from services.pki.issuers import PrivateKey, public_key_of
from services.pki.keys import generate_key
from services.status.lookup import BySerial as Asked
from services.status.lookup import StatusReader
from tests.ca.world import START, Ca, call_as, make_actor

LONG_AGO = START - timedelta(days=2000)
KEY = generate_key("p256")
ROOT = make_root(name="Old CA", key=KEY, now=LONG_AGO)
NAME = "old"
KEY_REFERENCE = "file:ca/old.key"
IMPORTER = make_actor("importer")
Request = import_pb2.ImportCertificatesRequest


class OldKey:
    """A source with the old CA's key."""

    def open(self, reference: str, issuer: str, public_key_der: bytes) -> PrivateKey:
        """As KeySource.open."""
        if reference != KEY_REFERENCE:
            raise FailedPrecondition("KEY_MISSING", f"the key of issuer {issuer} is not there")
        if public_key_of(KEY) != public_key_der:
            raise FailedPrecondition("KEY_MISMATCH", "another key")
        return KEY


def with_old_key(ca: Ca) -> Ca:
    """The same installation, which can open the old CA's key, too."""
    settings = AuthoritySettings(public_url="http://ocsp.example.com")
    keys = HeldKeys({"issuing": ca.hierarchy.issuing_key}, OldKey())
    authority = CertificateAuthority(ca.db, ca.writer, keys, settings, clock=ca.clock)
    return Ca(authority, ca.db, ca.clock, ca.hierarchy, ca.writer)


def leaf(
    serial: int,
    name: str = "leaf.example.com",
    *,
    key: PrivateKey = KEY,
    issuer: x509.Name = ROOT.subject,
    begins: datetime = LONG_AGO,
    days: int = 3000,
    is_ca: bool = False,
) -> bytes:
    """A certificate of the old CA."""
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=days))
        .public_key(_LEAF_KEY.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


_LEAF_KEY = ec.generate_private_key(ec.SECP256R1())


def at(moment: datetime) -> Timestamp:
    """A time as it is sent."""
    return Timestamp(seconds=to_epoch(moment))


def revoked(when: datetime = START, reason: int = 0, **more: Any) -> import_pb2.ImportedRevocation:
    """A revocation."""
    if "invalidity_at" in more:
        more["invalidity_time"] = at(more.pop("invalidity_at"))
    return import_pb2.ImportedRevocation(revocation_time=at(when), reason=reason, **more)  # type: ignore[arg-type]


def entry(
    serial: str | int, revocation: import_pb2.ImportedRevocation | None = None, **more: Any
) -> import_pb2.ImportedCertificate:
    """An entry without its certificate."""
    serial_number = serial if isinstance(serial, str) else format(serial, "04x")
    given: dict[str, Any] = {"subject": "/CN=leaf.example.com", "not_after_time": at(START + timedelta(days=100))}
    return import_pb2.ImportedCertificate(
        **{"origin": f"index.txt:{serial_number}", "serial_number": serial_number, "revocation": revocation}
        | given
        | more
    )


def with_certificate(
    der: bytes, revocation: import_pb2.ImportedRevocation | None = None, **more: Any
) -> import_pb2.ImportedCertificate:
    """An entry with its certificate."""
    return import_pb2.ImportedCertificate(
        **{"origin": "newcerts/1000.pem", "certificate_der": der, "revocation": revocation} | more
    )


def header(**more: Any) -> Request:
    """The beginning of an import of the old CA with its key."""
    given = {
        "issuer": NAME,
        "certificates_der": [ROOT.public_bytes(Encoding.DER)],
        "key_reference": KEY_REFERENCE,
        "source": "/root/ca",
    }
    return Request(header=import_pb2.ImportHeader(**given | more))


def chunk(*entries: import_pb2.ImportedCertificate) -> Request:
    """Some certificates."""
    return Request(certificates=import_pb2.ImportedCertificates(certificates=entries))


END = Request(end=import_pb2.ImportEnd())


def whole(entries: Sequence[import_pb2.ImportedCertificate], **more: Any) -> list[Request]:
    """A whole import, in messages of two."""
    parts = [chunk(*entries[begin : begin + 2]) for begin in range(0, len(entries), 2)]
    return [header(**more), *parts, END]


def send(
    ca: Ca,
    requests: Iterable[Request],
    *,
    actor: Actor = IMPORTER,
    before_each: Callable[[int], None] = lambda _place: None,
) -> import_pb2.ImportCertificatesResponse:
    """Call the servicer. `before_each` is called before each message is sent, with its place."""

    async def sending() -> AsyncIterator[Request]:
        for place, request in enumerate(requests):
            before_each(place)
            yield request

    async def run() -> import_pb2.ImportCertificatesResponse:
        call_as(actor)
        with ThreadPoolExecutor(2) as pool:
            servicer = ImportServicer(ca.authority.importing, readers=pool)
            context: Any = None
            return await servicer.ImportCertificates(sending(), context)

    return asyncio.run(run())


@dataclass(frozen=True)
class Told:
    """What a test compares of a response."""

    counts: tuple[int, int, int, int, int, int]
    findings: list[tuple[str, str, bool]]


def told(response: import_pb2.ImportCertificatesResponse) -> Told:
    """(received, added, unchanged, revoked, completed, refused); serial number, code and refusal of each finding."""
    counts = response.counts
    return Told(
        (
            counts.received_count,
            counts.added_count,
            counts.unchanged_count,
            counts.revoked_count,
            counts.completed_count,
            counts.refused_count,
        ),
        [(each.serial_number, each.code, each.refused) for each in response.findings],
    )


BEFORE = START - timedelta(days=30)
HOLD = types_pb2.REVOCATION_REASON_CERTIFICATE_HOLD
COMPROMISE = types_pb2.REVOCATION_REASON_KEY_COMPROMISE
REJECT = "1.2.840.10040.2.3"


def statuses(ca: Ca, *serials: int, name: str = NAME) -> list[str]:
    """What the status service says."""
    reader = StatusReader(ca.db, ca.clock)
    found = reader.batch([Asked(name, bytes.fromhex(format(each, "04x")), "") for each in serials]).findings
    return ["unknown" if each.record is None else "revoked" if each.record.revocation else "good" for each in found]


def recorded(ca: Ca, serial: int) -> Any:
    """The certificate as recorded."""
    return ca.authority.get(BySerial(bytes.fromhex(format(serial, "04x")), NAME))


def position_of(ca: Ca) -> int:
    """The last revision."""
    with ca.db.read() as conn:
        return position.read_position(conn).revision


def listed(ca: Ca, **query: Any) -> list[str]:
    """The serial numbers of a listing, all of its pages."""
    asked, found = ListQuery(page_size=2, **query), []
    while True:
        page = ca.authority.list(asked)
        found += [each.serial.hex() for each in page.certificates]
        if page.next is None:
            return found
        asked = asked.behind(page.next)


def abandon(
    ca: Ca, name: str = NAME, *, actor: Actor = IMPORTER, validate_only: bool = False
) -> import_pb2.AbandonImportResponse:
    """Call the servicer to give an import up."""

    async def run() -> import_pb2.AbandonImportResponse:
        call_as(actor)
        with ThreadPoolExecutor(1) as pool:
            servicer = ImportServicer(ca.authority.importing, readers=pool)
            context: Any = None
            request = import_pb2.AbandonImportRequest(issuer=name, validate_only=validate_only)
            return await servicer.AbandonImport(request, context)

    return asyncio.run(run())
