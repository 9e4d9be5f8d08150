"""Finding: pages that follow each other without gap or repeat, filters, single certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from goodstanding.ca.v1 import ca_pb2
from goodstanding.types.v1 import types_pb2
from services.ca.find import ListQuery
from services.ca.servicer import CertificateAuthorityServicer
from services.ca.target import BySerial
from services.db.records import Actor, CertificateRecord, CertificateState
from services.errors import FailedPrecondition, InvalidArgument, NotFound
from services.pki.names import SubjectAlternativeNames
from services.pki.reasons import Reason
from services.rpc.messages import timestamp
from tests.ca.world import START, Ca, make_csr

T = TypeVar("T")


@pytest.fixture
def records(ca: Ca, issuer: Actor, revoker: Actor) -> list[CertificateRecord]:
    """Twelve certificates, latest first: every third of them revoked, every fourth expired, two in each second."""
    csr, found = make_csr(), []
    for number in range(12):
        ca.clock.now = START + timedelta(seconds=number // 2)
        result = ca.issue(
            issuer,
            csr_der=csr,
            profile="client" if number % 2 else "server",
            names=SubjectAlternativeNames(dns=(f"Host{number}.example.com", "shared.example.com")),
            validity=timedelta(seconds=120) if number % 4 == 0 else timedelta(days=10),
        )
        if number % 3 == 0:
            ca.revoke(revoker, result.certificate.serial, Reason.SUPERSEDED)
        found.append(result.certificate)
    ca.clock.advance(minutes=5)
    return found[::-1]


def pages(ca: Ca, **filters: Any) -> Iterator[tuple[CertificateRecord, ...]]:
    """All pages of a query."""
    query = ListQuery(**({"page_size": 3} | filters))
    while True:
        page = ca.authority.list(query)
        yield page.certificates
        if page.next is None:
            return
        query = ListQuery(**({"page_size": 3} | filters), after=page.next)


def numbers(found: list[CertificateRecord], records: list[CertificateRecord]) -> list[int]:
    """Which of the twelve were found, in the order found."""
    order = [record.serial for record in reversed(records)]
    return [order.index(record.serial) for record in found if record.profile != "ca"]


@pytest.mark.parametrize("page_size", [1, 3, 4, 12, 14, 100])
def test_pages_follow_each_other(ca: Ca, records: list[CertificateRecord], page_size: int) -> None:
    """Latest first, nothing twice and nothing left out, also where several share a second."""
    found = [record for page in pages(ca, page_size=page_size) for record in page]
    assert [record.serial for record in found[:12]] == [record.serial for record in records]
    assert len(found) == 14  # with the two CA certificates
    assert all(record.der is None for record in found)


def test_new_certificates_do_not_disturb_paging(ca: Ca, issuer: Actor, records: list[CertificateRecord]) -> None:
    """What is issued between two pages belongs before the first."""
    first = ca.authority.list(ListQuery(page_size=5))
    ca.issue(issuer)
    second = ca.authority.list(ListQuery(page_size=100, after=first.next))
    found = [record.serial for record in first.certificates + second.certificates]
    assert found[:12] == [record.serial for record in records]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param({"state": CertificateState.REVOKED}, [9, 6, 3, 0], id="revoked"),
        pytest.param({"state": CertificateState.EXPIRED}, [8, 4], id="expired"),
        pytest.param({"state": CertificateState.VALID}, [11, 10, 7, 5, 2, 1], id="valid"),
        pytest.param({"profile": "client"}, [11, 9, 7, 5, 3, 1], id="profile"),
        pytest.param({"profile": "client", "state": CertificateState.REVOKED}, [9, 3], id="profile-and-state"),
        pytest.param({"name": "host7.EXAMPLE.com"}, [7], id="name-in-any-case"),
        pytest.param({"name": "shared.example.com"}, list(range(11, -1, -1)), id="shared-name"),
        pytest.param({"name": "example.com"}, [], id="part-of-a-name"),
        pytest.param({"issuer": "issuing"}, list(range(11, -1, -1)), id="issuer"),
        pytest.param({"issuer": "root"}, [], id="other-issuer"),
        pytest.param({"not_after_until": START + timedelta(days=1)}, [8, 4, 0], id="expires-before"),
        pytest.param({"not_after_from": START + timedelta(days=10, seconds=4 - 60)}, [11, 10], id="expires-from"),
    ],
)
def test_filters(ca: Ca, records: list[CertificateRecord], filters: dict[str, Any], expected: list[int]) -> None:
    """Each alone and together, over all pages."""
    found = [record for page in pages(ca, **filters) for record in page]
    assert numbers(found, records) == expected


def test_an_unknown_issuer_is_an_error(ca: Ca) -> None:
    """An empty list would hide a typing error."""
    with pytest.raises(NotFound) as refused:
        ca.authority.list(ListQuery(page_size=1, issuer="isuing"))
    assert refused.value.reason == "ISSUER_UNKNOWN"


def serve(ca: Ca, call: str, request: Any) -> Any:
    """Call the servicer as grpc.aio would."""

    async def run() -> Any:
        with ThreadPoolExecutor(1) as pool:
            servicer = CertificateAuthorityServicer(ca.authority, workers=pool, readers=pool, clock=ca.clock)
            method: Awaitable[Any] = getattr(servicer, call)(request, None)
            return await method

    return asyncio.run(run())


def test_page_tokens(ca: Ca, records: list[CertificateRecord]) -> None:
    """The contract's paging: sizes, tokens, and the state as it is now."""
    token, found = "", []
    while True:
        request = ca_pb2.ListCertificatesRequest(page_size=5, page_token=token, profile="server")
        reply = serve(ca, "ListCertificates", request)
        found += [(certificate.serial_number, certificate.state) for certificate in reply.certificates]
        token = reply.next_page_token
        if not token:
            break
    assert [bytes.fromhex(serial) for serial, _ in found] == [record.serial for record in records[1::2]]
    assert found[0][1] == types_pb2.CERTIFICATE_STATE_VALID


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        pytest.param({"profile": "client"}, "PAGE_TOKEN_INVALID", "page_token", id="another-profile"),
        pytest.param({"state": types_pb2.CERTIFICATE_STATE_VALID}, "PAGE_TOKEN_INVALID", "page_token", id="state"),
        pytest.param({"issuer": "issuing"}, "PAGE_TOKEN_INVALID", "page_token", id="issuer"),
        pytest.param({"name": "x"}, "PAGE_TOKEN_INVALID", "page_token", id="name"),
        pytest.param({"not_after_from_time": timestamp(START)}, "PAGE_TOKEN_INVALID", "page_token", id="from"),
        pytest.param({"not_after_until_time": timestamp(START)}, "PAGE_TOKEN_INVALID", "page_token", id="until"),
        pytest.param({"page_token": "garbage"}, "PAGE_TOKEN_INVALID", "page_token", id="garbage"),
        pytest.param({"page_size": -1}, "PAGE_SIZE_INVALID", "page_size", id="negative-size"),
    ],
)
def test_page_tokens_of_other_queries(
    ca: Ca, records: list[CertificateRecord], changes: dict[str, Any], reason: str, field: str
) -> None:
    """A token is good for the query that it came from, and for nothing else."""
    token = serve(ca, "ListCertificates", ca_pb2.ListCertificatesRequest(page_size=2)).next_page_token
    with pytest.raises(InvalidArgument) as refused:
        serve(ca, "ListCertificates", ca_pb2.ListCertificatesRequest(**({"page_token": token} | changes)))
    assert (refused.value.reason, refused.value.violations[0].field) == (reason, field)


def test_get(ca: Ca, records: list[CertificateRecord]) -> None:
    """By serial number in any spelling, with and without issuer."""
    serial = records[0].serial
    spelled = ":".join(f"{octet:02X}" for octet in serial)
    for text, issuer in [(serial.hex(), ""), ("0x" + serial.hex(), "issuing"), (spelled, "")]:
        assert ca.authority.get(BySerial.parse(text, issuer)).serial == serial
    with pytest.raises(NotFound):
        ca.authority.get(BySerial.parse(serial.hex(), "root"))


def test_a_serial_number_of_two_issuers_is_ambiguous(ca: Ca, issuer: Actor) -> None:
    """Then the issuer has to be named."""
    root_serial = ca.hierarchy.root.serial_number
    serial = root_serial.to_bytes((root_serial.bit_length() + 7) // 8, "big")
    ca.authority._issuing._signing._serials = lambda: serial
    ca.issue(issuer)
    with pytest.raises(FailedPrecondition) as refused:
        ca.authority.get(BySerial(serial))
    assert refused.value.reason == "ISSUER_AMBIGUOUS"
    assert ca.authority.get(BySerial(serial, "root")).issuer_name == "root"


def test_issuers(ca: Ca) -> None:
    """Both, with their chains, and nothing about where a key is."""
    reply = serve(ca, "ListIssuers", ca_pb2.ListIssuersRequest())
    assert [(issuer.name, issuer.state, len(issuer.chain_der)) for issuer in reply.issuers] == [
        ("root", types_pb2.ISSUER_STATE_OFFLINE, 0),
        ("issuing", types_pb2.ISSUER_STATE_ACTIVE, 1),
    ]
