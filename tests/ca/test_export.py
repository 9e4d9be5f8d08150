"""Taking out what an issuer has issued: all of it, once, in order, with what OCSP answers about it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import export_pb2
from services.ca import export, export_servicer
from services.ca.export import ExportHead, Exporting
from services.ca.export_servicer import ExportServicer
from services.ca.revoke import RevokeCommand
from services.ca.target import ByCertificate, BySerial
from services.db.exports import ExportedRow
from services.db.records import Actor, RevocationRecord
from services.errors import NotFound, ResourceExhausted
from services.pki.reasons import Reason
from services.rpc.authorization import METHOD_ROLES
from tests.ca.world import Ca, call_as, make_actor

Row = tuple[ExportedRow, RevocationRecord | None]


@pytest.fixture
def exporting(ca: Ca) -> Exporting:
    """Exports of that CA."""
    return Exporting(ca.db, ca.authority.directory, ca.clock)


def read(exporting: Exporting, head: ExportHead) -> list[Row]:
    """All pages of an export."""
    found: list[Row] = []
    page = exporting.page(head)
    while page.next is not None:
        found += page.rows
        page = exporting.page(head, page.next)
    return found


def issue(ca: Ca, actor: Actor, count: int) -> list[bytes]:
    """Issue, and return the serial numbers."""
    return [ca.issue(actor).certificate.serial for _ in range(count)]


@pytest.mark.parametrize("page", [2, 1000])
def test_everything_in_order(
    ca: Ca, exporting: Exporting, issuer: Actor, revoker: Actor, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each certificate comes once, in the order of issuing, with its revocation, whatever the size of a page."""
    monkeypatch.setattr(export, "PAGE", page)
    serials = issue(ca, issuer, 3)
    ca.clock.advance(hours=1)
    serials += issue(ca, issuer, 2)
    at = ca.clock()
    ca.revoke(revoker, serials[1], Reason.KEY_COMPROMISE, invalidity_at=at)
    ca.revoke(revoker, serials[3], Reason.CERTIFICATE_HOLD)
    head = exporting.begin("issuing")
    rows = read(exporting, head)
    assert [row.serial for row, _ in rows] == serials
    assert [revocation for _, revocation in rows] == [
        None,
        RevocationRecord(at, Reason.KEY_COMPROMISE, at),
        None,
        RevocationRecord(at, Reason.CERTIFICATE_HOLD),
        None,
    ]
    recorded = [ca.authority.get(BySerial(serial, "issuing")) for serial in serials]
    assert [(row.der, row.subject) for row, _ in rows] == [(each.der, each.subject) for each in recorded]
    assert head.count == exporting.end(head).count == 5
    assert exporting.end(head).changes == 0


def test_other_issuers_stay(ca: Ca, exporting: Exporting, issuer: Actor) -> None:
    """An export holds the certificates of its own issuer only; without a name it is that of the only active one."""
    issue(ca, issuer, 2)
    of_root = read(exporting, exporting.begin("root"))
    cas = [each.public_bytes(Encoding.DER) for each in (ca.hierarchy.root, ca.hierarchy.issuing)]
    assert [row.der for row, _ in of_root] == cas
    assert exporting.begin("").issuer.name == "issuing"
    with pytest.raises(NotFound, match="no issuer"):
        exporting.begin("elsewhere")


def test_what_happens_meanwhile(ca: Ca, exporting: Exporting, issuer: Actor, revoker: Actor) -> None:
    """What is issued meanwhile comes at the end, and the end tells of that and of changes."""
    first = issue(ca, issuer, 2)
    head = exporting.begin("issuing")
    page = exporting.page(head)
    assert page.next is not None
    late = issue(ca, issuer, 1)
    ca.revoke(revoker, first[0])
    assert [row.serial for row, _ in exporting.page(head, page.next).rows] == late
    end = exporting.end(head)
    assert (head.count, end.count, end.changes) == (2, 3, 1)


def test_compromised_issuer(ca: Ca, exporting: Exporting, issuer: Actor, revoker: Actor) -> None:
    """Once its key is in other hands, every certificate of an issuer leaves as revoked (R51)."""
    good, earlier, held = issue(ca, issuer, 3)
    ca.revoke(revoker, earlier, Reason.SUPERSEDED)
    ca.revoke(revoker, held, Reason.CERTIFICATE_HOLD)
    since = ca.clock()
    head = exporting.begin("issuing")
    ca.clock.advance(hours=1)
    der = ca.hierarchy.issuing.public_bytes(Encoding.DER)
    ca.authority.revoke(RevokeCommand(target=ByCertificate(der), reason=Reason.KEY_COMPROMISE), revoker)
    now = ca.clock()
    assert {row.serial: revocation for row, revocation in read(exporting, head)} == {
        good: RevocationRecord(now, Reason.KEY_COMPROMISE),
        earlier: RevocationRecord(since, Reason.SUPERSEDED),
        held: RevocationRecord(since, Reason.KEY_COMPROMISE),
    }
    assert exporting.end(head).changes == 1


def test_crl_number(ca: Ca, exporting: Exporting) -> None:
    """The head tells the highest number that a revocation list has taken."""
    assert exporting.begin("issuing").crl_number == 0
    assert exporting.begin("root").crl_number == 1


@pytest.mark.parametrize("octets", [1500, 1024 * 1024])
def test_messages(ca: Ca, exporting: Exporting, issuer: Actor, octets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head, certificates and end are sent, in messages that stay below their limit."""
    monkeypatch.setattr(export_servicer, "OCTETS_IN_A_MESSAGE", octets)
    serials = issue(ca, issuer, 5)
    answers = asyncio.run(_call(exporting))
    head, *some, end = answers
    assert head.head.issuer.name == "issuing"
    assert head.head.crl_number == "0"
    assert head.head.certificate_count == end.end.certificate_count == 5
    assert end.HasField("end")
    found = [certificate for each in some for certificate in each.certificates.certificates]
    assert [certificate.serial_number for certificate in found] == [serial.hex() for serial in serials]
    limit = max(octets, max(each.ByteSize() for each in found)) * 1.2
    assert all(each.ByteSize() <= limit for each in some)


async def _call(exporting: Exporting) -> list[export_pb2.ExportCertificatesResponse]:
    context: Any = None
    with ThreadPoolExecutor(1) as readers:
        servicer = ExportServicer(exporting, readers=readers)
        call_as(make_actor("reader"))
        answers = servicer.ExportCertificates(export_pb2.ExportCertificatesRequest(issuer="issuing"), context)
        return [each async for each in answers]


def test_roles() -> None:
    """Only those who may read everything may take everything."""
    assert METHOD_ROLES["/goodstanding.ca.v1.ExportService/ExportCertificates"] == {"admin", "reader"}


def test_exports_at_a_time(exporting: Exporting) -> None:
    """One caller has a few; whoever ends one, or is gone, makes room."""

    async def run() -> None:
        call_as(make_actor("reader"))
        context: Any = None
        request = export_pb2.ExportCertificatesRequest(issuer="issuing")
        with ThreadPoolExecutor(1) as readers:
            servicer = ExportServicer(exporting, readers=readers)
            begun: list[Any] = [
                servicer.ExportCertificates(request, context) for _ in range(export_servicer.MAX_OF_ONE)
            ]
            for each in begun:
                assert (await anext(each)).HasField("head")
            with pytest.raises(ResourceExhausted) as refused:
                await anext(servicer.ExportCertificates(request, context))
            assert refused.value.reason == "TOO_MANY_EXPORTS"
            await begun[0].aclose()
            assert len([each async for each in servicer.ExportCertificates(request, context)]) >= 2
            for each in begun:
                await each.aclose()

    asyncio.run(run())
