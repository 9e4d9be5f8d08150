"""Requests that differ in their nonce only: all but the signature is ready for them, and nothing else is different."""

from __future__ import annotations

import os
from datetime import datetime

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.answer import Answer
from gateway.answers import Ready
from gateway.ocsp.request import nonce_request, parse_request
from gateway.policy import AnswerPolicy, NoncePolicy
from gateway.signer_keys import SignerKey
from tests.conformance import wire
from tests.gateway.core.world import NOW, World, delegate

GOOD, REVOKED = 0x10, 0x20


@pytest.fixture
def world() -> World:
    """A responder whose watch runs, with a good and a revoked certificate."""
    return prepared()


def prepared(policy: AnswerPolicy | None = None) -> World:
    """The world of these tests."""
    world = World(policy)
    for serial in (GOOD, REVOKED):
        world.service.issue(world.key(serial))
    world.service.revoke(world.key(REVOKED))
    world.watch()
    return world


def ask(world: World, serial: int = GOOD, size: int = 16, algorithm: hashes.HashAlgorithm | None = None) -> bytes:
    """A request with a new nonce."""
    return world.request(serial, nonce=os.urandom(size), algorithm=algorithm)


def read(answer: Answer | None) -> ocsp.OCSPResponse:
    """The answer, once its signature has been verified."""
    assert answer is not None
    response = ocsp.load_der_ocsp_response(answer.body)
    assert asn1_ocsp.OCSPResponse.load(answer.body, strict=True).dump(force=True) == answer.body
    key = response.certificates[0].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert response.signature_hash_algorithm is not None
    key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(response.signature_hash_algorithm))
    return response


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [8, 16, 20, 23, 32, 64])
@pytest.mark.parametrize("serial", [GOOD, REVOKED], ids=["good", "revoked"])
@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA512()], ids=["sha1", "sha512"])
async def test_the_same_is_said(world: World, size: int, serial: int, algorithm: hashes.HashAlgorithm) -> None:
    """The second who asks is answered at once, as the long way would, with his own nonce (R33, R36)."""
    await world.responder.answer(ask(world, serial, size, algorithm))
    world.clocks.pass_time(0.5)
    request = ask(world, serial, size, algorithm)
    quick = read(world.responder.at_once(request))
    slow = read(await world.responder.answer(request))
    assert quick.tbs_response_bytes == slow.tbs_response_bytes
    assert quick.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == request[-size:]


@pytest.mark.asyncio
async def test_it_is_signed_each_time(world: World) -> None:
    """Same nonce, another signature; nobody else's answer comes back (R80)."""
    request = ask(world)
    await world.responder.answer(request)
    bodies = {read(world.responder.at_once(request)).signature for _ in range(4)}
    assert len(bodies) == 4


@pytest.mark.asyncio
async def test_the_time_goes_on(world: World) -> None:
    """What is produced later says so; thisUpdate and nextUpdate are those of the period (R56)."""
    first = read(await world.responder.answer(ask(world)))
    produced: list[datetime] = [first.produced_at_utc]
    for _ in range(3):
        world.clocks.pass_time(1)
        world.proof()
        later = read(world.responder.at_once(ask(world)))
        assert (later.this_update_utc, later.next_update_utc) == (first.this_update_utc, first.next_update_utc)
        produced.append(later.produced_at_utc)
    assert [round((moment - produced[0]).total_seconds()) for moment in produced] == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_a_revocation_ends_it(world: World) -> None:
    """What was ready to say good is gone with the status, and an answer under way is not fresh any more (G2, G3)."""
    await world.responder.answer(ask(world))
    under_way = world.responder.at_once(ask(world))
    assert under_way is not None
    assert under_way.fresh()
    world.service.revoke(world.key(GOOD))
    world.tell(world.key(GOOD))
    assert not under_way.fresh()
    assert world.responder.at_once(ask(world)) is None
    revoked = read(await world.responder.answer(ask(world)))
    assert revoked.certificate_status is ocsp.OCSPCertStatus.REVOKED


@pytest.mark.asyncio
async def test_without_evidence_there_is_nothing_ready(world: World) -> None:
    """After the bound without a proof it is looked up (G3)."""
    await world.responder.answer(ask(world))
    under_way = world.responder.at_once(ask(world))
    world.clocks.pass_time(1.0)
    assert under_way is not None
    assert not under_way.fresh()
    assert world.responder.at_once(ask(world)) is None


@pytest.mark.asyncio
async def test_it_ends_with_its_period_and_its_signer(world: World) -> None:
    """In another period other times hold (R85); after renewal another signer signs (R68)."""
    await world.responder.answer(ask(world))
    world.signers.install("issuing", delegate(world.ca, world.ca_key))
    assert world.responder.at_once(ask(world)) is None
    await world.responder.answer(ask(world))
    assert world.responder.at_once(ask(world)) is not None
    world.clocks.pass_time(3 * 3600)
    world.proof()
    assert world.responder.at_once(ask(world)) is None


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [1, 7, 15, 33, 127, 128])
async def test_other_sizes_take_the_long_way(world: World, size: int) -> None:
    """They are answered all the same (R34)."""
    for _ in range(2):
        request = ask(world, size=size)
        assert world.responder.at_once(request) is None
        nonce = read(await world.responder.answer(request)).extensions.get_extension_for_class(x509.OCSPNonce)
        assert nonce.value.nonce == request[-size:]


def spelled(world: World, spelling: str) -> bytes:
    """A request with a nonce at its end, and something else that is unusual."""
    cert_id = parse_request(ask(world)).cert_ids[0].der
    nonce = wire.nonce(os.urandom(16))
    match spelling:
        case "critical":
            return wire.request(cert_id, extensions=[wire.nonce(os.urandom(16), critical=True)])
        case "another extension before it":
            return wire.request(cert_id, extensions=[wire.extension("1.2.3", b"\x05\x00"), nonce])
        case "a requestorName":
            return wire.request(cert_id, extensions=[nonce], requestor_name=bytes.fromhex("a402 3000"))
        case "an extension of the single request":
            return wire.request(cert_id, extensions=[nonce], single_extensions=[wire.extension("1.2.3", b"\x05\x00")])
        case _:
            return wire.request(cert_id, cert_id, extensions=[nonce])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "spelling",
    ["critical", "another extension before it", "a requestorName", "an extension of the single request", "twice"],
)
async def test_another_spelling_takes_the_long_way(world: World, spelling: str) -> None:
    """Whatever else a request holds is read each time, and leaves nothing behind that strangers could fill up."""
    for _ in range(2):
        request = spelled(world, spelling)
        assert world.responder.at_once(request) is None
        read(await world.responder.answer(request))
    entry = world.knowledge.held(world.key(GOOD))
    assert entry is not None
    assert not entry.ready


@pytest.mark.asyncio
async def test_what_is_cut_off_before_the_nonce_is_no_request(world: World) -> None:
    """The octets that a template is found by are not a request that it answers."""
    await world.responder.answer(ask(world))
    entry = world.knowledge.held(world.key(GOOD))
    assert entry is not None
    template: Ready = next(iter(entry.ready.values()))
    assert template.request is not None
    assert world.responder.at_once(template.request) is None
    assert (await world.responder.answer(template.request)).body == bytes.fromhex("30030a0101")


@pytest.mark.asyncio
async def test_policies(world: World) -> None:
    """Ignored nonces leave nothing behind but the shared answer; an archive cutoff is told to the second (R61)."""
    ignoring = prepared(AnswerPolicy(nonce=NoncePolicy.IGNORE))
    await ignoring.responder.answer(ask(ignoring))
    assert ignoring.responder.at_once(ask(ignoring)) is None
    telling = prepared(AnswerPolicy(archive_cutoff=86400))
    telling.clocks.pass_time(100 * 86400)
    telling.proof()
    telling.signers.install("issuing", delegate(telling.ca, telling.ca_key, NOW, NOW + 200 * 86400))
    await telling.responder.answer(ask(telling))
    assert telling.responder.at_once(ask(telling)) is None


@pytest.mark.asyncio
async def test_kinds_are_bounded(world: World) -> None:
    """Spellings with a nonce do not push out those without, and there are at most as many as are kept."""
    shared = world.request(GOOD)
    await world.responder.answer(shared)
    for algorithm in (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        for size in (8, 16, 20, 23, 32, 64):
            await world.responder.answer(ask(world, size=size, algorithm=algorithm))
    entry = world.knowledge.held(world.key(GOOD))
    assert entry is not None
    assert len(entry.ready) == 9
    assert world.responder.at_once(shared) is not None
    before = world.knowledge.cache.size
    world.knowledge.cache.drop(entry.status.key)
    assert 0 <= world.knowledge.cache.size < before


@settings(max_examples=200, deadline=None)
@given(octets=st.binary(min_size=1, max_size=80), size=st.sampled_from([8, 16, 32]))
def test_the_usual_spelling(octets: bytes, size: int) -> None:
    """It is that of an independent encoder, up to the nonce."""
    world = World()
    nonce = (octets * size)[:size]
    serial = int.from_bytes(octets[:19], "big") + 1
    der = world.request(serial, nonce=nonce)
    assert nonce_request(parse_request(der).cert_ids[0].der, size) + nonce == der


@pytest.mark.asyncio
async def test_a_slow_signature_waits_for_its_turn(world: World) -> None:
    """RSA takes ten times as long: all but the signature is ready there too, and nobody else has to wait for it."""
    world.signers.install("issuing", delegate(world.ca, world.ca_key, kind=SignerKey.RSA2048))
    for _ in range(2):
        request = ask(world)
        assert world.responder.at_once(request) is None
        answer = await world.responder.answer(request)
        response = ocsp.load_der_ocsp_response(answer.body)
        public = response.certificates[0].public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        public.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), hashes.SHA256())
        assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == request[-16:]
