"""Revocation lists of any length over gRPC, as the gateway fetches them (R112, R113)."""

from __future__ import annotations

import hashlib
import random
from datetime import timedelta
from typing import Any, cast

import grpc
import pytest
from cryptography import x509

from gateway.channel import ServiceChannel
from gateway.knowledge import StatusUnavailable
from gateway.spool import Spool
from gateway.status_source import RevocationList, StatusClient
from goodstanding.status.v1 import status_pb2 as pb
from services.db import crls
from services.db.records import FULL, CrlDescription
from services.errors import Unavailable
from services.status.lookup import StatusReader
from tests.status.builders import LATER, NOW, Registry, Service

pytestmark = pytest.mark.asyncio

SHORT, LONG = random.Random(1).randbytes(700), random.Random(2).randbytes(3 * crls.BLOCK + crls.BLOCK // 2)


class Channel:
    """A stub's channel, as the gateway's channel would have it."""

    def __init__(self, stub: Any) -> None:
        self.current = self
        self.unary_stream = lambda *_, **__: stub.FetchCertificateRevocationList
        self.unary_unary = self.stream_stream = lambda *_, **__: None


def client_of(service: Service) -> StatusClient:
    """The gateway's side."""
    return StatusClient(cast("ServiceChannel", Channel(service.stub)), lambda: 0.0, 5.0)


@pytest.fixture
def publish(registry: Registry, issuing: x509.Certificate) -> Any:
    """Publishes octets as the next list of a scope of "issuing"."""
    issuer_id = registry.issuers["issuing"]
    with registry.db.write() as conn:
        crls.add_full_scope(conn, issuer_id)
        crls.add_shards(conn, issuer_id, "http://crl.example.com/crl/issuing/", 2)

    def make(octets: bytes, scope: int = FULL) -> CrlDescription:
        blocks = [octets[start : start + crls.BLOCK] for start in range(0, len(octets), crls.BLOCK)]
        with registry.db.write() as conn:
            number = crls.take_number(conn, issuer_id, scope)
            crl = CrlDescription(
                issuer_id=issuer_id,
                scope=scope,
                number=number,
                this_update=NOW + timedelta(seconds=number),
                next_update=LATER,
                revision=0,
                scheduled=False,
                entries=0,
                size=len(octets),
                sha256=hashlib.sha256(octets).digest(),
            )
            crls.add_blocks(conn, issuer_id, scope, number, 0, blocks)
            crls.publish(conn, crl)
        return crl

    return make


def octets_of(crl: RevocationList | None) -> bytes:
    """All of a list."""
    assert crl is not None
    return crl.der.read() if isinstance(crl.der, Spool) else crl.der


async def test_short_and_long_lists(service: Service, publish: Any) -> None:
    """Each comes whole, with its times; a long one into a file. One that is known already is not sent again."""
    client = client_of(service)
    publish(SHORT)
    publish(LONG, 2)
    short, long = await client.crl("issuing"), await client.crl("issuing", 2)
    assert (octets_of(short), octets_of(long)) == (SHORT, LONG)
    assert short is not None
    assert long is not None
    assert (isinstance(short.der, bytes), isinstance(long.der, Spool)) == (True, True)
    assert (short.this_update, short.next_update) == (int(NOW.timestamp()) + 1, int(LATER.timestamp()))
    assert await client.crl("issuing", 2, long) is long
    publish(SHORT, 2)
    assert octets_of(await client.crl("issuing", 2, long)) == SHORT


async def test_what_is_sent_of_a_known_list(service: Service, publish: Any) -> None:
    """Its head alone."""
    publish(LONG)
    request = pb.FetchCertificateRevocationListRequest(issuer="issuing", known_sha256=hashlib.sha256(LONG).digest())
    messages = [message async for message in service.stub.FetchCertificateRevocationList(request)]
    assert [message.WhichOneof("message") for message in messages] == ["head"]
    assert (messages[0].head.unchanged, messages[0].head.size, messages[0].head.number) == (True, len(LONG), 1)


async def test_lists_that_are_not_there(service: Service, publish: Any) -> None:
    """An unknown issuer or shard, and one without a list yet, have none."""
    client = client_of(service)
    publish(SHORT)
    assert [await client.crl(*which) for which in (("nobody", 0), ("issuing", 1), ("issuing", 9))] == [None] * 3


async def test_a_list_that_does_not_fit_into_a_message(service: Service, publish: Any) -> None:
    """The older method says which one to call."""
    publish(LONG)
    with pytest.raises(grpc.aio.AioRpcError, match="FetchCertificateRevocationList"):
        await service.stub.GetCertificateRevocationList(pb.GetCertificateRevocationListRequest(issuer="issuing"))


async def test_a_list_that_is_forgotten_while_it_is_read(
    service: Service, registry: Registry, publish: Any, reader: StatusReader
) -> None:
    """Half a list is never taken for one."""
    crl = publish(LONG)
    for _ in range(crls.KEPT):
        publish(SHORT)
    with pytest.raises(Unavailable, match="begin again") as gone:
        reader.crl_block(crl, 1)
    assert gone.value.reason == "CRL_REPLACED"
    publish(LONG)
    with registry.db.write() as conn:
        conn.exec_driver_sql("DELETE FROM crl_blocks WHERE block = 2")
    with pytest.raises(StatusUnavailable, match="begin again"):
        await client_of(service).crl("issuing")


class Liar:
    """Sends what it is told to."""

    def __init__(self, *messages: pb.FetchCertificateRevocationListResponse) -> None:
        self.messages = list(messages)

    def FetchCertificateRevocationList(self, *_: Any, **__: Any) -> Liar:  # noqa: N802
        """The call."""
        return self

    async def read(self) -> Any:
        """The next message."""
        return self.messages.pop(0) if self.messages else grpc.aio.EOF

    def cancel(self) -> None:
        """The end."""


def head(octets: bytes, **changes: Any) -> pb.FetchCertificateRevocationListResponse:
    """What octets are announced with."""
    values: dict[str, Any] = {"size": len(octets), "sha256": hashlib.sha256(octets).digest()} | changes
    return pb.FetchCertificateRevocationListResponse(head=pb.FetchCertificateRevocationListResponse.Head(**values))


def chunk(octets: bytes) -> pb.FetchCertificateRevocationListResponse:
    """Octets."""
    return pb.FetchCertificateRevocationListResponse(chunk=octets)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([], id="nothing"),
        pytest.param([chunk(SHORT)], id="no head"),
        pytest.param([head(SHORT)], id="no octets"),
        pytest.param([head(SHORT), chunk(SHORT[:-1])], id="cut off"),
        pytest.param([head(SHORT), chunk(SHORT[:-1] + b"!")], id="others"),
        pytest.param([head(SHORT), chunk(SHORT + b"!")], id="too many"),
        pytest.param([head(LONG), chunk(LONG[:-1]), chunk(b"!")], id="long, others"),
        pytest.param([head(SHORT, unchanged=True)], id="unchanged, and never seen"),
    ],
)
async def test_a_list_that_is_not_what_was_announced(messages: list[Any]) -> None:
    """It is not had at all."""
    client = StatusClient(cast("ServiceChannel", Channel(Liar(*messages))), lambda: 0.0, 5.0)
    with pytest.raises(StatusUnavailable):
        await client.crl("issuing")
