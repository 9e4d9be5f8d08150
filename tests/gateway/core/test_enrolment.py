"""Enrolment goes on whatever happens, and asks again for the same rather than for more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import grpc
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from grpc import aio
from structlog.testing import capture_logs

from gateway.channel import ServiceChannel
from gateway.enrolment import Enrolment
from gateway.issuers import Issuer
from gateway.ocsp.response import ResponseSigner
from gateway.signer_keys import SignerKey
from gateway.signers import Signers
from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc
from tests.gateway.core.files import BEGIN, DAY, Authority
from tests.gateway.core.world import NOW, authority, delegate, issuer_of
from tests.waiting import until

pytestmark = pytest.mark.asyncio


class CaService(ca_pb2_grpc.CertificateAuthorityServiceServicer):
    """Gives one certificate for each request id, as the real one does; some answers are lost or of no use."""

    def __init__(self) -> None:
        self.ca, self.ca_key = authority("issuing")
        self.given: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.lost = 0
        self.useless = 0
        self.begin = datetime(2020, 1, 1, tzinfo=UTC)
        self.end = datetime(2099, 1, 1, tzinfo=UTC)

    async def IssueCertificate(self, request: ca_pb2.IssueCertificateRequest, context: Any) -> Any:  # noqa: N802
        self.asked.append(request.issuer)
        if request.request_id not in self.given:
            self.given[request.request_id] = self._certify(request.csr_der)
        if self.lost:
            self.lost -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "on its way back")
        reply = ca_pb2.IssueCertificateResponse()
        reply.certificate.certificate_der = self.given[request.request_id]
        return reply

    def _certify(self, csr_der: bytes) -> bytes:
        csr = x509.load_der_x509_csr(csr_der)
        assert csr.is_signature_valid
        key = self.ca_key
        if self.useless:
            self.useless -= 1
            key = ec.generate_private_key(ec.SECP256R1())
        certificate = x509.CertificateBuilder(
            self.ca.subject, x509.Name([]), csr.public_key(), 7, self.begin, self.end
        ).sign(key, hashes.SHA256())
        return certificate.public_bytes(Encoding.DER)

    def IssueCertificates(self, _request_iterator: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def RevokeCertificate(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    def RevokeCertificates(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def GetCertificate(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ListCertificates(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def CountCertificates(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ListIssuers(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ImportIssuer(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def UpdateIssuer(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ImportCertificateRevocationList(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def BlockPublicKeys(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ListBlockedPublicKeys(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def UnblockPublicKeys(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    async def ListProfiles(self, _request: Any, _context: Any) -> Any:  # noqa: N802
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
        self.now = float(NOW)
        self.signers = Signers(lambda: self.now)
        self.enrolment = self.begin()

    def begin(self, *kinds: SignerKey) -> Enrolment:
        """An enrolment that follows nothing yet."""
        channel = cast("ServiceChannel", self.channel)
        kinds = kinds or (SignerKey.P256,)
        self.enrolment = Enrolment(self.signers, channel, kinds=kinds, wall_clock=lambda: self.now)
        return self.enrolment

    async def enrolled(self, *others: Issuer) -> None:
        """Follow the issuer and others; wait until the issuer's signers have been asked for."""
        self.enrolment.follow([*others, issuer_of("issuing", self.service.ca)])
        await until(lambda: self.signers.ready_for("issuing") and self.enrolment.settled("issuing"))


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


async def test_a_signer_of_each_kind(world: World) -> None:
    """R42, R63: every kind of key is certified, and each has its place; the first signs by default."""
    kinds = (SignerKey.RSA2048, SignerKey.P384, SignerKey.P521, SignerKey.ED25519, SignerKey.ML_DSA_44)
    await world.enrolment.close()
    world.begin(*kinds)
    await world.enrolled()
    signers = [world.signers.current("issuing", slot) for slot in range(len(kinds))]
    keys = [signer.certificate.public_key() for signer in signers if signer is not None]
    assert [type(key) for key in keys] == [type(kind.generate().public_key()) for kind in kinds]
    assert world.signers.default("issuing") is signers[0]


async def test_each_kind_is_renewed_on_its_own(world: World) -> None:
    """G5: at half life of one the others stay as they are."""
    ca, ca_key = world.service.ca, world.service.ca_key
    young = delegate(ca, ca_key, NOW - 100, NOW + 86400)
    old = delegate(ca, ca_key, NOW - 86400, NOW + 100, SignerKey.ED25519)
    world.signers.install("issuing", young, 0)
    world.signers.install("issuing", old, 1)
    await world.enrolment.close()
    world.begin(SignerKey.P256, SignerKey.ED25519)
    world.enrolment.follow([issuer_of("issuing", ca)])
    await until(lambda: world.signers.current("issuing", 1) is not old)
    assert world.signers.default("issuing") is world.signers.current("issuing", 0) is young
    assert world.service.asked == ["issuing"]


async def test_one_kind_that_fails_does_not_keep_the_others_back(world: World) -> None:
    """A gateway is ready when each kind was asked for, be it in vain: the default can sign for all."""
    world.service.useless = 1
    await world.enrolment.close()
    world.begin(SignerKey.P256, SignerKey.P384)
    await world.enrolled()
    assert world.enrolment.settled("issuing")


async def test_nothing_is_asked_for_an_issuer_that_has_expired(world: World) -> None:
    """Nobody could be certified by it, and nobody is told so again and again."""
    expired = Authority("expired")
    expired.certificate = expired.certify_itself(end=BEGIN)
    with capture_logs() as logs:
        await world.enrolled(issuer_of("expired", expired.certificate))
    assert world.service.asked == ["issuing"]
    assert [entry["event"] for entry in logs] == ["responder enrolled"]


async def test_nothing_is_renewed_beyond_the_end_of_the_issuer(world: World) -> None:
    """A signer that lasts as long as its issuer is the last: another would not last any longer."""
    ending = Authority("ending")
    ending.certificate = ending.certify_itself(end=BEGIN + DAY)
    key = SignerKey.P256.generate()
    certificate = ending.certify(key, end=BEGIN + DAY)
    world.signers.install("ending", ResponseSigner(key, certificate))
    world.now += 0.9 * DAY.total_seconds()
    await world.enrolled(issuer_of("ending", ending.certificate))
    assert world.service.asked == ["issuing"]
    assert world.signers.ready_for("ending")


async def test_a_certificate_that_is_not_valid_yet_waits(world: World) -> None:
    """R68: where the clock of the CA is ahead, the old signer goes on until clients would take the new one."""
    old = delegate(world.service.ca, world.service.ca_key, NOW - 86400, NOW + 600)
    world.signers.install("issuing", old)
    world.service.begin = datetime.fromtimestamp(NOW + 60, UTC)
    with capture_logs() as logs:
        world.enrolment.follow([issuer_of("issuing", world.service.ca)])
        await until(lambda: bool(logs))
    assert logs[0]["event"] == "the clock of the CA service is ahead"
    assert world.signers.default("issuing") is old
    world.now += 60
    await until(lambda: world.signers.default("issuing") is not old)
