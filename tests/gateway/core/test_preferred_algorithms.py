"""Preferred signature algorithms (RFC 6960 section 4.4.7; R42): taken where a signer makes them, or else ignored."""

from __future__ import annotations

import pytest
from asn1crypto import core
from asn1crypto import ocsp as asn1
from cryptography.x509 import ocsp

from gateway.ocsp.request import MAX_PREFERRED, parse_request
from gateway.ocsp.response import ResponseSigner
from gateway.signer_keys import SignerKey
from tests.gateway.core.world import NOW, World, delegate

pytestmark = pytest.mark.asyncio

SHA1_RSA, SHA256_RSA, RSA_PSS = "1.2.840.113549.1.1.5", "1.2.840.113549.1.1.11", "1.2.840.113549.1.1.10"
ECDSA_SHA1, ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512 = (
    "1.2.840.10045.4.1",
    *(f"1.2.840.10045.4.3.{n}" for n in (2, 3, 4)),
)
ED25519, ML_DSA_44 = "1.3.101.112", "2.16.840.1.101.3.4.3.17"
EC_KEY, RSA_KEY = "1.2.840.10045.2.1", "1.2.840.113549.1.1.1"
P256, P384 = "1.2.840.10045.3.1.7", "1.3.132.0.34"
NULL = core.Null().dump()


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE of values in DER."""
    return bytes(core.Sequence(contents=b"".join(parts)).dump())


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    return bytes(core.ObjectIdentifier(dotted).dump())


def algorithm(dotted: str, parameters: bytes = b"") -> bytes:
    """An AlgorithmIdentifier."""
    return sequence(oid(dotted), parameters)


def preferences(*entries: str | bytes) -> bytes:
    """PreferredSignatureAlgorithms; a text stands for a sigIdentifier without parameters, alone."""
    return sequence(*(sequence(algorithm(each)) if isinstance(each, str) else each for each in entries))


def with_key(signature: str, *key: bytes) -> bytes:
    """A PreferredSignatureAlgorithm with pubKeyAlgIdentifier."""
    return sequence(algorithm(signature), sequence(*key))


CASES: dict[str, tuple[bytes, str]] = {
    "none of ours": (preferences(ECDSA_SHA512), ECDSA_SHA256),
    "garbage OID": (preferences("2.999.1.2.3"), ECDSA_SHA256),
    "SHA-1 first": (preferences(SHA1_RSA, ECDSA_SHA1), ECDSA_SHA256),
    "SHA-1 before what we have": (preferences(SHA1_RSA, SHA256_RSA), SHA256_RSA),
    "empty list": (preferences(), ECDSA_SHA256),
    "not a list": (b"\x02\x01\x05", ECDSA_SHA256),
    "a list of numbers": (sequence(b"\x02\x01\x05"), ECDSA_SHA256),
    "an entry without anything": (preferences(sequence()), ECDSA_SHA256),
    "an entry of three": (preferences(sequence(algorithm(SHA256_RSA), algorithm(RSA_KEY), NULL)), ECDSA_SHA256),
    "an OID alone": (preferences(sequence(oid(SHA256_RSA))), ECDSA_SHA256),
    "the default": (preferences(ECDSA_SHA256), ECDSA_SHA256),
    "second": (preferences(SHA256_RSA), SHA256_RSA),
    "second, with NULL": (preferences(sequence(algorithm(SHA256_RSA, NULL))), SHA256_RSA),
    "second, with other parameters": (preferences(sequence(algorithm(SHA256_RSA, b"\x02\x01\x01"))), ECDSA_SHA256),
    "third": (preferences(ED25519), ED25519),
    "fourth": (preferences(ML_DSA_44), ML_DSA_44),
    "the client's order, not ours": (preferences(ECDSA_SHA384, ED25519, SHA256_RSA), ED25519),
    "PSS is not what we make": (preferences(RSA_PSS, ED25519), ED25519),
    "a key that fits": (preferences(with_key(SHA256_RSA, oid(RSA_KEY), NULL)), SHA256_RSA),
    "a key that fits, without parameters": (preferences(with_key(SHA256_RSA, oid(RSA_KEY))), SHA256_RSA),
    "a curve that fits": (preferences(with_key(ECDSA_SHA256, oid(EC_KEY), oid(P256)), SHA256_RSA), ECDSA_SHA256),
    "a curve that does not fit": (preferences(with_key(ECDSA_SHA256, oid(EC_KEY), oid(P384)), SHA256_RSA), SHA256_RSA),
    "any curve": (preferences(with_key(ECDSA_SHA256, oid(EC_KEY)), SHA256_RSA), ECDSA_SHA256),
    "a key of another kind": (preferences(with_key(SHA256_RSA, oid(EC_KEY)), ED25519), ED25519),
    "too late in the list": (preferences(*[ECDSA_SHA512] * MAX_PREFERRED, SHA256_RSA), ECDSA_SHA256),
    "last that is looked at": (preferences(*[ECDSA_SHA512] * (MAX_PREFERRED - 1), SHA256_RSA), SHA256_RSA),
}
KINDS = (SignerKey.P256, SignerKey.RSA2048, SignerKey.ED25519, SignerKey.ML_DSA_44)


@pytest.fixture
def world(second: ResponseSigner) -> World:
    """A responder with four signers, whose default makes ECDSA with SHA-256."""
    world = World()
    world.watch()
    world.service.issue(world.key(0x10))
    for slot, kind in enumerate(KINDS):
        signer = delegate(world.ca, world.ca_key, kind=kind) if kind is not SignerKey.RSA2048 else second
        world.signers.install("issuing", signer, slot)
    return world


@pytest.fixture(scope="module")
def second() -> ResponseSigner:
    """A signer with an RSA key, made once because that takes long; of another CA, which nobody looks at here."""
    world = World()
    return delegate(world.ca, world.ca_key, kind=SignerKey.RSA2048)


def signed_with(body: bytes) -> str:
    """The signature algorithm of a successful answer."""
    response = ocsp.load_der_ocsp_response(body)
    assert response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    assert response.certificate_status is ocsp.OCSPCertStatus.GOOD
    return response.signature_algorithm_oid.dotted_string


@pytest.mark.parametrize("nonce", [None, b"n" * 16], ids=["shared", "nonce"])
@pytest.mark.parametrize(("value", "expected"), CASES.values(), ids=CASES)
async def test_which_signer_a_preference_leads_to(
    world: World, value: bytes, expected: str, nonce: bytes | None
) -> None:
    """R42: the first that a signer makes; the default where there is none. Always an answer, never SHA-1."""
    request = world.request(0x10, preferred=value, nonce=nonce)
    first, again = [(await world.responder.answer(request)).body for _ in range(2)]
    assert signed_with(first) == signed_with(again) == expected
    assert nonce is not None or first == again


async def test_answers_by_preference_are_kept_apart(world: World) -> None:
    """G4: each signer's answer is shared among those who prefer it, and nobody else ever gets it."""
    plain, preferring = world.request(0x10), world.request(0x10, preferred=preferences(SHA256_RSA))
    by_second = await world.responder.answer(preferring)
    assert world.responder.at_once(plain) is None
    by_default = await world.responder.answer(plain)
    assert signed_with(by_default.body) == ECDSA_SHA256
    assert world.responder.at_once(plain) is by_default
    assert world.responder.at_once(preferring) is None
    assert await world.responder.answer(preferring) is by_second
    assert await world.responder.answer(world.request(0x10, preferred=preferences(ECDSA_SHA256))) is by_default
    assert len(world.service.calls) == 1


async def test_nothing_but_the_plain_request_finds_a_ready_answer(world: World) -> None:
    """Bytes that are no request find nothing, whatever is ready: what is by preference has no name of its own."""
    plain = world.request(0x10)
    await world.responder.answer(plain)
    await world.responder.answer(world.request(0x10, preferred=preferences(SHA256_RSA)))
    for slot in range(4):
        assert world.responder.at_once(plain + bytes([slot])) is None


async def test_answers_by_preference_follow_the_status_and_the_signer(world: World) -> None:
    """G2, G5: a revocation and a renewal are seen by those who prefer another algorithm, too."""
    request = world.request(0x10, preferred=preferences(ED25519))
    await world.responder.answer(request)
    signer = delegate(world.ca, world.ca_key, kind=SignerKey.ED25519)
    world.signers.install("issuing", signer, 2)
    renewed = ocsp.load_der_ocsp_response((await world.responder.answer(request)).body)
    assert renewed.responder_key_hash == signer.key_hash
    world.service.revoke(world.key(0x10))
    world.tell(world.key(0x10))
    revoked = ocsp.load_der_ocsp_response((await world.responder.answer(request)).body)
    assert revoked.certificate_status is ocsp.OCSPCertStatus.REVOKED


async def test_a_preferred_signer_that_has_expired_is_not_used(world: World) -> None:
    """R68: then the default signs, and what was ready is not given out."""
    world.signers.install("issuing", delegate(world.ca, world.ca_key, end=NOW + 100, kind=SignerKey.ED25519), 2)
    request = world.request(0x10, preferred=preferences(ED25519))
    assert signed_with((await world.responder.answer(request)).body) == ED25519
    world.clocks.pass_time(100)
    world.proof()
    assert signed_with((await world.responder.answer(request)).body) == ECDSA_SHA256


async def test_another_signer_stands_in_for_a_default_that_has_expired(world: World) -> None:
    """R68: the next in order signs for all, and its answers are ready; the first takes over again when it is back."""
    plain = world.request(0x10)
    world.signers.install("issuing", delegate(world.ca, world.ca_key, end=NOW + 100))
    await world.responder.answer(plain)
    world.clocks.pass_time(100)
    world.proof()
    assert world.responder.at_once(plain) is None
    stand_in = await world.responder.answer(plain)
    assert signed_with(stand_in.body) == SHA256_RSA
    assert world.responder.at_once(plain) is stand_in
    world.signers.install("issuing", delegate(world.ca, world.ca_key))
    assert world.responder.at_once(plain) is None
    back = await world.responder.answer(plain)
    assert signed_with(back.body) == ECDSA_SHA256
    assert world.responder.at_once(plain) is back


async def test_a_long_list_is_read_in_part() -> None:
    """However long the list is, no more than the first entries are kept."""
    request = World().request(1, preferred=preferences(*[ECDSA_SHA512] * 2000))
    assert len(parse_request(request).preferred) == MAX_PREFERRED


async def test_an_independent_encoder_means_the_same() -> None:
    """What asn1crypto writes as PreferredSignatureAlgorithms is read as what it means."""
    world = World()
    request = asn1.OCSPRequest.load(world.request(1))
    entries = asn1.PreferredSignatureAlgorithms(
        [
            {"sig_identifier": {"algorithm": "sha256_ecdsa"}, "cert_identifier": {"algorithm": "ec"}},
            {"sig_identifier": {"algorithm": "sha256_rsa"}},
        ]
    )
    request["tbs_request"]["request_extensions"] = [
        {"extn_id": "preferred_signature_algorithms", "critical": False, "extn_value": entries}
    ]
    preferred = parse_request(request.dump(force=True)).preferred
    assert [each.signature for each in preferred] == [algorithm(ECDSA_SHA256), algorithm(SHA256_RSA, NULL)]
    assert preferred[1].public_key is None
    assert preferred[0].public_key is not None
