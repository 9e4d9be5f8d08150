"""What an operator may choose about answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from asn1crypto import ocsp as asn1
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from gateway.answers import Revocation
from gateway.ocsp.response import OcspStatus, error_response
from gateway.policy import AnswerPolicy, NeverIssued, NoncePolicy
from tests.gateway.core.world import NOW, World

pytestmark = pytest.mark.asyncio

NONCE = b"0123456789abcdef"


def world_with(policy: AnswerPolicy) -> World:
    """A responder with that policy and one good certificate, 0x10."""
    world = World(policy)
    world.watch()
    world.service.issue(world.key(0x10))
    return world


def read(body: bytes) -> ocsp.OCSPResponse:
    """A response, decoded by an independent parser."""
    return ocsp.load_der_ocsp_response(body)


def single_extensions(body: bytes) -> dict[str, bytes]:
    """The extensions of the only SingleResponse, by name, as DER."""
    data = asn1.OCSPResponse.load(body, strict=True)["response_bytes"]["response"].parsed["tbs_response_data"]
    (single,) = data["responses"]
    return {one["extn_id"].native: one["extn_value"].contents for one in single["single_extensions"]}


async def test_an_ignored_nonce_gets_the_shared_answer() -> None:
    """R35: the answer has no nonce, and is the one that is ready for everybody; it may be cached."""
    world = world_with(AnswerPolicy(nonce=NoncePolicy.IGNORE))
    plain = await world.responder.answer(world.request(0x10))
    answer = await world.responder.answer(world.request(0x10, nonce=NONCE))
    assert answer.body == plain.body
    assert answer.cacheable
    assert len(world.service.calls) == 1


async def test_a_required_nonce() -> None:
    """A request without one is malformedRequest; one with it is answered with it."""
    world = world_with(AnswerPolicy(nonce=NoncePolicy.REQUIRE))
    refused = await world.responder.answer(world.request(0x10))
    assert refused.body == error_response(OcspStatus.MALFORMED_REQUEST)
    answer = read((await world.responder.answer(world.request(0x10, nonce=NONCE))).body)
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == NONCE


async def test_never_issued_is_unauthorized() -> None:
    """R46: the whole answer, also when other certificates of the request are known."""
    world = world_with(AnswerPolicy(never_issued=NeverIssued.UNAUTHORIZED))
    assert read((await world.responder.answer(world.request(0x10))).body).certificate_status is ocsp.OCSPCertStatus.GOOD
    refused = await world.responder.answer(world.request(0x99))
    assert refused.body == error_response(OcspStatus.UNAUTHORIZED)


@pytest.mark.parametrize("nonce", [None, NONCE], ids=["no-nonce", "nonce"])
async def test_never_issued_is_revoked_since_1970(nonce: bytes | None) -> None:
    """R50: on hold since 1970, with the extension; an answer about an issued one has no such extension (R60)."""
    world = world_with(AnswerPolicy(never_issued=NeverIssued.EXTENDED_REVOKED))
    body = (await world.responder.answer(world.request(0x99, nonce=nonce))).body
    answer = read(body)
    assert answer.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert answer.revocation_time_utc == datetime(1970, 1, 1, tzinfo=UTC)
    assert answer.revocation_reason is x509.ReasonFlags.certificate_hold
    data = asn1.OCSPResponse.load(body)["response_bytes"]["response"].parsed["tbs_response_data"]
    extended = [one for one in data["response_extensions"] if one["extn_id"].dotted == "1.3.6.1.5.5.7.48.1.9"]
    assert [(one["critical"].native, one["extn_value"].contents) for one in extended] == [(False, b"\x05\x00")]
    assert not (await world.responder.answer(world.request(0x99, nonce=nonce))).cacheable
    assert not read((await world.responder.answer(world.request(0x10))).body).extensions


@pytest.mark.parametrize("expired", [False, True])
async def test_archive_cutoff(expired: bool) -> None:
    """R61: for expired certificates, producedAt less the time that statuses are kept; for others nothing."""
    world = world_with(AnswerPolicy(archive_cutoff=86_400))
    key = world.key(0x10)
    if expired:
        world.service.statuses[key] = replace(world.service.statuses[key], not_after=NOW - 86_400)
    answer = await world.responder.answer(world.request(0x10))
    found = single_extensions(answer.body)
    produced_at = read(answer.body).produced_at_utc
    cutoff = datetime.fromtimestamp(produced_at.timestamp() - 86_400, UTC)
    assert found == ({"archive_cutoff": b"\x18\x0f" + cutoff.strftime("%Y%m%d%H%M%SZ").encode()} if expired else {})


@pytest.mark.parametrize("told", [False, True])
async def test_invalidity_date(told: bool) -> None:
    """RFC 6960, section 4.4.5: since when to distrust it, where that was recorded and may be told."""
    world = world_with(AnswerPolicy(invalidity_date=told))
    key = world.key(0x10)
    revoked = Revocation(NOW - 100, 1, NOW - 200)
    world.service.statuses[key] = replace(world.service.statuses[key], revocation=revoked, changed_at=NOW - 100)
    found = single_extensions((await world.responder.answer(world.request(0x10))).body)
    date = datetime.fromtimestamp(NOW - 200, UTC).strftime("%Y%m%d%H%M%SZ").encode()
    assert found == ({"invalidity_date": b"\x18\x0f" + date} if told else {})


async def test_what_else_is_in_a_request_makes_no_difference(world: World) -> None:
    """A request with an extension that changes nothing gets the shared answer too, without another signature."""
    world.watch()
    world.service.issue(world.key(0x10))
    plain = world.request(0x10)
    first = await world.responder.answer(plain)
    acceptable = x509.OCSPAcceptableResponses([x509.ObjectIdentifier("1.3.6.1.5.5.7.48.1.1")])
    loaded = ocsp.load_der_ocsp_request(plain)
    more = (
        ocsp.OCSPRequestBuilder()
        .add_certificate_by_hash(loaded.issuer_name_hash, loaded.issuer_key_hash, 0x10, loaded.hash_algorithm)
        .add_extension(acceptable, critical=False)
        .build()
    )
    assert (await world.responder.answer(more.public_bytes(Encoding.DER))).body == first.body
