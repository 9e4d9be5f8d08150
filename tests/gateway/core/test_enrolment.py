"""Enrolment goes on whatever happens, and asks again for the same rather than for more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from grpc import aio

from gateway.channel import ServiceChannel
from gateway.signers import Enrolment, Signers
from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from tests.gateway.core.world import authority, issuer_of

pytestmark = pytest.mark.asyncio


class CaService(ca_pb2_grpc.CertificateAuthorityServiceServicer):
    """Gives one certificate for each request id, as the real one does; some answers are lost or of no use."""

    def __init__(self) -> None:
        self.ca, self.ca_key = authority("issuing")
        self.given: dict[str, bytes] = {}
        self.lost = 0
        self.useless = 0

    async def IssueCertificate(self, request: ca_pb2.IssueCertificateRequest, context: Any) -> Any:  # noqa: N802
        if request.request_id not in self.given:
            self.given[request.request_id] = self._certify(request.csr_der)
        if self.lost:
            self.lost -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "on its way back")
        reply = ca_pb2.IssueCertificateResponse()
        reply.certificate.certificate_der = self.given[request.request_id]
        return reply

    def _certify(self, csr_der: bytes) -> bytes:
        key = self.ca_key
        if self.useless:
            self.useless -= 1
            key = ec.generate_private_key(ec.SECP256R1())
        begin = self.ca.not_valid_before_utc
        certificate = x509.CertificateBuilder(
            self.ca.subject, x509.Name([]), x509.load_der_x509_csr(csr_der).public_key(), 7, begin, begin.replace(2099)
        ).sign(key, hashes.SHA256())
        return certificate.public_bytes(Encoding.DER)

    async def RevokeCertificate(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def GetCertificate(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ListCertificates(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ListIssuers(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError


class Channel:
    """A channel without TLS, that fails at first in a way that nobody thought of."""

    def __init__(self, port: int) -> None:
        self._channel = aio.insecure_channel(f"127.0.0.1:{port}")
        self.surprises = 0

    @property
    def current(self) -> aio.Channel:
        if self.surprises:
            self.surprises -= 1
            raise ZeroDivisionError
        return self._channel


class World:
    """An enrolment, and the service that it asks."""

    def __init__(self, service: CaService, port: int) -> None:
        self.service = service
        self.channel = Channel(port)
        self.signers = Signers(time.time)
        self.enrolment = Enrolment(self.signers, cast("ServiceChannel", self.channel))

    async def enrolled(self) -> None:
        """Begin, and wait for the signer."""
        self.enrolment.follow([issuer_of("issuing", self.service.ca)])
        deadline = time.monotonic() + 10
        while not self.signers.ready_for("issuing"):
            assert time.monotonic() < deadline, "no signer"
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """Nothing is enrolled yet."""
    service, server = CaService(), aio.server()
    ca_pb2_grpc.add_CertificateAuthorityServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    world = World(service, port)
    yield world
    await world.enrolment.close()
    await world.channel._channel.close()
    await server.stop(0)


async def test_an_answer_that_was_lost_is_asked_for_again(world: World) -> None:
    """G6: responder certificates are counted, so three lost answers must not use up what a gateway may hold."""
    world.service.lost = 3
    await world.enrolled()
    assert len(world.service.given) == 1


async def test_a_certificate_of_no_use_is_not_asked_for_again(world: World) -> None:
    """The same request would bring the same certificate: another is made."""
    world.service.useless = 1
    await world.enrolled()
    assert len(world.service.given) == 2


async def test_a_surprise_does_not_end_renewal(world: World) -> None:
    """Nobody else would enrol: a task that ended would be an outage three days later."""
    world.channel.surprises = 2
    await world.enrolled()


async def test_a_name_that_means_another_key_gets_another_signer(world: World) -> None:
    """In another history the same name may be another CA: nothing is signed for it with the old delegate (R65)."""
    await world.enrolled()
    first = world.signers.current("issuing")
    world.service.ca, world.service.ca_key = authority("issuing")
    world.enrolment.follow([issuer_of("issuing", world.service.ca)])
    assert world.signers.current("issuing") is None
    await world.enrolled()
    assert world.signers.current("issuing") is not first
    world.enrolment.follow([])
    assert world.signers.current("issuing") is None
