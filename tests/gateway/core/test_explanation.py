"""What is explained is what is answered: every case is explained, and then asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.answer import Why
from gateway.explanation import Explainer, Json
from gateway.issuers import Issuer
from gateway.ocsp.reading import read_response
from gateway.ocsp.response import OcspStatus
from gateway.policy import AnswerPolicy, NeverIssued, NoncePolicy
from gateway.request_signers import RequestVerifier
from gateway.responder import Responder
from gateway.validity import ValidityPolicies, ValidityPolicy, as_time
from tests.conformance import wire
from tests.gateway.core.world import NOW, World, authority, issuer_of

pytestmark = pytest.mark.asyncio

VALIDITY = ValidityPolicies(ValidityPolicy(12 * 3600, 60), {})


def explainer(world: World, policy: AnswerPolicy | None = None, verifier: RequestVerifier | None = None) -> Explainer:
    """An explainer of the world's responder, or of one with a policy of its own."""
    responder = Responder(
        world.knowledge,
        world.signers,
        VALIDITY,
        world.clocks.wall_time,
        policy=policy,
        request_verifier=verifier,
        max_requests=2,
        max_pending=100,
    )
    world.responder = responder
    return Explainer(
        responder,
        world.knowledge,
        policy or AnswerPolicy(),
        VALIDITY,
        world.clocks.boot_time,
        world.clocks.wall_time,
        signed_requests=verifier is not None,
    )


@dataclass(frozen=True)
class Case:
    """A request in a world, and what becomes of it."""

    request: Callable[[World], bytes]
    status: str
    why: Why | None = None
    certificate: str | None = None
    source: str | None = None
    policy: AnswerPolicy | None = None
    prepare: Callable[[World], object] = lambda _: None
    anchors: bool = False


def _foreign(world: World) -> bytes:
    return world.request(1, ca=authority("foreign")[0])


def _same_name(world: World) -> bytes:
    return world.request(1, ca=authority("issuing")[0])


def _two(world: World, *serials: int) -> bytes:
    return wire.request(*(wire.cert_id(_loaded(world.ca), serial) for serial in serials))


def _loaded(certificate: x509.Certificate) -> Any:
    return asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))


def _offline(world: World) -> None:
    world.signers.remove("issuing")
    world.knowledge.issuers.update([issuer_of("issuing", world.ca, active=False)])


def _away(world: World) -> None:
    world.service.away = True


CASES = {
    "good": Case(lambda w: w.request(1), "successful", certificate="good", source="look-up"),
    "good, SHA-256": Case(
        lambda w: w.request(1, algorithm=hashes.SHA256()), "successful", certificate="good", source="look-up"
    ),
    "good, with a nonce": Case(
        lambda w: w.request(1, nonce=b"n" * 32), "successful", certificate="good", source="look-up"
    ),
    "revoked": Case(lambda w: w.request(2), "successful", certificate="revoked", source="look-up"),
    "on hold": Case(lambda w: w.request(3), "successful", certificate="revoked", source="look-up"),
    "never issued": Case(lambda w: w.request(9), "successful", certificate="unknown", source="look-up"),
    "never issued, unauthorized": Case(
        lambda w: w.request(9),
        "unauthorized",
        Why.NEVER_ISSUED,
        policy=AnswerPolicy(never_issued=NeverIssued.UNAUTHORIZED),
    ),
    "never issued, extended-revoked": Case(
        lambda w: w.request(9),
        "successful",
        certificate="unknown",
        source="look-up",
        policy=AnswerPolicy(never_issued=NeverIssued.EXTENDED_REVOKED),
    ),
    "another CA": Case(_foreign, "unauthorized", Why.ISSUER_NOT_OURS),
    "another key": Case(_same_name, "unauthorized", Why.ISSUER_NOT_OURS),
    "two": Case(lambda w: _two(w, 1, 2), "successful", certificate="good", source="look-up"),
    "a serial number that cannot be": Case(lambda w: _two(w, 0), "successful", certificate="unknown", source="none"),
    "too many": Case(lambda w: _two(w, 1, 2, 3), "malformed_request", Why.MALFORMED),
    "nothing": Case(lambda _: b"", "malformed_request", Why.MALFORMED),
    "trailing octet": Case(lambda w: w.request(1) + b"\0", "malformed_request", Why.MALFORMED),
    "a long nonce": Case(lambda w: w.request(1, nonce=b"n" * 129), "malformed_request", Why.MALFORMED),
    "no nonce where one must be": Case(
        lambda w: w.request(1),
        "malformed_request",
        Why.NONCE_MISSING,
        policy=AnswerPolicy(nonce=NoncePolicy.REQUIRE),
    ),
    "a nonce that is ignored": Case(
        lambda w: w.request(1, nonce=b"n" * 16),
        "successful",
        certificate="good",
        source="look-up",
        policy=AnswerPolicy(nonce=NoncePolicy.IGNORE),
    ),
    "not signed where it must be": Case(lambda w: w.request(1), "sig_required", Why.SIGNATURE_MISSING, anchors=True),
    "no issuers yet": Case(
        lambda w: w.request(1),
        "try_later",
        Why.ISSUERS_NOT_LOADED,
        prepare=lambda w: w.knowledge.issuers.replace([]),
    ),
    "no signer yet": Case(
        lambda w: w.request(1), "try_later", Why.SIGNER_AWAITED, prepare=lambda w: w.signers.remove("issuing")
    ),
    "offline": Case(lambda w: w.request(1), "unauthorized", Why.SIGNER_MISSING, prepare=_offline),
    "status service away": Case(lambda w: w.request(1), "try_later", Why.STATUS_UNAVAILABLE, prepare=_away),
}


def _world() -> World:
    world = World()
    for serial in (1, 2, 3):
        world.service.issue(world.key(serial))
    world.service.revoke(world.key(2))
    world.service.revoke(world.key(3), reason=6)
    world.watch()
    return world


@pytest.mark.parametrize("name", CASES)
async def test_cases(name: str) -> None:
    """Status, reason and times are those of the answer that is given to the same octets afterwards."""
    case, world = CASES[name], _world()
    verifier = RequestVerifier([authority("anchor")[0]], world.clocks.wall_time) if case.anchors else None
    explains = explainer(world, case.policy, verifier)
    case.prepare(world)
    der = case.request(world)
    told = await explains.explain(der)
    json.dumps(told)
    assert told["answer"]["status"] == case.status
    assert (told["refusal"]["why"] if told["refusal"] else None) == case.why
    assert told["summary"]
    assert told["advice"]
    answer = await world.responder.answer(der)
    read = read_response(answer.body)
    assert OcspStatus(read.status).name.lower() == told["answer"]["status"]
    if read.basic is None:
        return
    assert told["certificates"][0]["status"] == case.certificate
    assert told["certificates"][0]["source"] == case.source
    singles = [(each.status, f"{each.this_update:%Y-%m-%dT%H:%M:%SZ}") for each in read.basic.singles]
    assert singles == [(each["status"], each["this_update"]) for each in told["answer"]["certificates"]]
    assert told["signer"]["key_hash"] == (read.basic.responder_key_hash or b"").hex()
    assert told["signer"]["not_after_time"] == f"{as_time(NOW + 2 * 86400):%Y-%m-%dT%H:%M:%SZ}"


@given(st.binary(max_size=200), st.integers(0, 60), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
async def test_any_octets(octets: bytes, at: int, value: int) -> None:
    """Whatever the octets, there is an explanation, and it is that of the answer."""
    world = _world()
    explains = explainer(world)
    bent = bytearray(world.request(1))
    bent[at] = value
    for der in (octets, bytes(bent)):
        told = await explains.explain(der)
        assert (
            read_response((await world.responder.answer(der)).body).status
            == OcspStatus[told["answer"]["status"].upper()]
        )


async def test_cached_and_ready() -> None:
    """What was asked before comes from the cache on the watch's evidence, and the answer is ready."""
    world = _world()
    explains = explainer(world)
    first = await explains.explain(world.request(1))
    assert (first["certificates"][0]["source"], first["answer"]["ready"]) == ("look-up", False)
    world.clocks.pass_time(0.5)
    again = await explains.explain(world.request(1))
    assert (again["certificates"][0]["source"], again["answer"]["ready"]) == ("cache", True)
    assert again["certificates"][0]["evidence_age_seconds"] == 0.5
    assert again["answer"]["der"] == first["answer"]["der"]
    other = await explains.explain(world.request(1, algorithm=hashes.SHA256()))
    assert (other["certificates"][0]["source"], other["answer"]["ready"]) == ("cache", False)
    world.clocks.pass_time(0.6)
    late = await explains.explain(world.request(1))
    assert late["certificates"][0]["source"] == "look-up"
    assert late["answer"]["headers"]["cache-control"].startswith("max-age=300")


async def test_near_misses() -> None:
    """A CertID with our name and another key says so."""
    world = _world()
    told = await explainer(world).explain(_same_name(world))
    (cert_id,) = told["request"]["cert_ids"]
    assert cert_id["issuer"] is None
    assert cert_id["near_misses"] == [{"issuer": "issuing", "fit": "name-only", "hash_algorithm": "sha1"}]


async def test_two_issuers_at_once() -> None:
    """Nobody may sign for two issuers in one answer, and the explanation names both."""
    world = _world()
    other, _ = authority("other")
    issuer: Issuer = issuer_of("other", other)
    world.knowledge.issuers.update([issuer])
    ids = [wire.cert_id(_loaded(each), 1) for each in (world.ca, other)]
    told: Json = await explainer(world).explain(wire.request(*ids))
    assert told["refusal"]["why"] == Why.SEVERAL_ISSUERS
    assert [each["issuer"] for each in told["request"]["cert_ids"]] == ["issuing", "other"]


async def test_why_it_is_malformed() -> None:
    """A request that cannot be read is explained with what is wrong with it."""
    world = _world()
    told = await explainer(world).explain(_two(world, 1, 2, 3))
    assert "more than 2 certificates" in told["refusal"]["detail"]
    assert told["request"]["octets"]  # it can be read all the same
