"""A6: signatures, by every kind of key that a gateway can have, each verified by another implementation (R63)."""

from __future__ import annotations

import pytest
from asn1crypto import core
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from tests.conformance.certificates import Certificates, Certified
from tests.conformance.estate import Estate, Gateway
from tests.conformance.strict import values
from tests.conformance.verification import responder_certificate, signed_octets
from tests.conformance.wire import Answer, Responder, extension, nonce, request, tlv

PREFERRED = "1.3.6.1.5.5.7.48.1.8"
NONCE = nonce(b"0123456789abcdef")
SHA256_RSA = "300d06092a864886f70d01010b0500"

# Each kind with its AlgorithmIdentifier, octet for octet: baseline requirements 7.1.3.2, RFC 8410, RFC 9881.
KINDS = {
    "p-256": "300a06082a8648ce3d040302",
    "p-384": "300a06082a8648ce3d040303",
    "p-521": "300a06082a8648ce3d040304",
    "rsa-3072": SHA256_RSA,
    "ed25519": "300506032b6570",
    "ml-dsa-44": "300b0609608648016503040311",
    "ml-dsa-65": "300b0609608648016503040312",
    "ml-dsa-87": "300b0609608648016503040313",
}
CLASSES = {
    "p-256": ec.EllipticCurvePublicKey,
    "p-384": ec.EllipticCurvePublicKey,
    "p-521": ec.EllipticCurvePublicKey,
    "rsa-3072": rsa.RSAPublicKey,
    "ed25519": ed25519.Ed25519PublicKey,
    "ml-dsa-44": mldsa.MLDSA44PublicKey,
    "ml-dsa-65": mldsa.MLDSA65PublicKey,
    "ml-dsa-87": mldsa.MLDSA87PublicKey,
}


@pytest.fixture(scope="module")
def all_keys(estate: Estate) -> Gateway:
    """A gateway with a key of every kind, certified by each issuer."""
    return estate.gateway("all-keys", signer_keys=list(KINDS))


@pytest.fixture(scope="module")
def asked(certificates: Certificates) -> dict[str, Certified]:
    """A good and a revoked certificate."""
    found = {name: certificates.issue(f"{name}-signed.example.com") for name in ("good", "revoked")}
    certificates.revoke(found["revoked"])
    return found


def preferring(subject: Certified, identifier: str, *more: bytes) -> bytes:
    """A request that prefers one algorithm, given as the AlgorithmIdentifier."""
    wanted = extension(PREFERRED, tlv(0x30, tlv(0x30, bytes.fromhex(identifier))))
    return request(subject.cert_id(), extensions=[wanted, *more])


def identifiers(answer: Answer) -> str:
    """The AlgorithmIdentifier of the signature."""
    der: bytes = answer.basic["signature_algorithm"].dump()
    return der.hex()


@pytest.mark.rule("R63")
@pytest.mark.parametrize("status", ["good", "revoked"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key(all_keys: Gateway, asked: dict[str, Certified], kind: str, status: str) -> None:
    """The signature verifies, over the octets of tbsResponseData, with the algorithm that belongs to the key."""
    subject = asked[status]
    wanted = preferring(subject, KINDS[kind])
    for body in (wanted, wanted, preferring(subject, KINDS[kind], NONCE)):
        answer = subject.verified(all_keys.post(body))
        assert answer.status == status
        assert identifiers(answer) == KINDS[kind]
        key = responder_certificate(answer, subject.ca).public_key()
        assert isinstance(key, CLASSES[kind])
        if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            assert key.key_size == int(kind.partition("-")[2])


@pytest.mark.rule("R54", "R63")
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_of_every_kind_of_key_is_der(all_keys: Gateway, asked: dict[str, Certified], kind: str) -> None:
    """In the one form that there is; what is signed is so too when another implementation encodes it again."""
    answer = asked["good"].verified(all_keys.get(preferring(asked["good"], KINDS[kind])))
    assert list(values(answer.der))
    assert list(values(bytes(answer.response["response_bytes"]["response"])))
    assert answer.data.dump(force=True) == signed_octets(answer)
    assert answer.basic["signature"].contents[0] == 0, "no unused bits"


DEFAULTS = {
    "issuing": KINDS["p-256"],
    "rsa": KINDS["p-256"],
    "solo": KINDS["p-256"],
    "root": KINDS["p-256"],
    "rsa-root": KINDS["p-256"],
    "direct": KINDS["p-256"],
    "direct-rsa": SHA256_RSA,
}


@pytest.mark.rule("R63")
@pytest.mark.parametrize("issuer", DEFAULTS)
def test_default_algorithm(responder: Responder, certificates: Certificates, issuer: str) -> None:
    """ECDSA with SHA-256 by the gateway's own P-256 keys, under issuers with RSA keys too; RSA with SHA-256, which
    every client takes, where a CA with an RSA key signs.
    """
    below = {"root": "issuing", "rsa-root": "rsa"}
    subject = (
        certificates.authority(below[issuer]) if issuer in below else certificates.issue("signed.example.com", issuer)
    )
    for reply in (responder.post(subject.request()), responder.get(subject.request(hash_algorithm="sha256"))):
        answer = subject.verified(reply)
        assert answer.status == "good"
        assert identifiers(answer) == DEFAULTS[issuer]


@pytest.mark.rule("R63")
def test_what_is_signed_is_what_was_received(responder: Responder, asked: dict[str, Certified]) -> None:
    """One octet of tbsResponseData changed, and the signature verifies no longer: all of it is signed."""
    answer = asked["good"].verified(responder.post(asked["good"].request()))
    body, data = answer.der, signed_octets(answer)
    begin = body.index(data)
    for place in range(begin, begin + len(data)):
        spoilt = body[:place] + bytes((body[place] ^ 1,)) + body[place + 1 :]
        with pytest.raises(Exception):  # noqa: B017  (of whatever kind: it cannot be parsed, or not be verified)
            asked["good"].verified(_Spoilt(spoilt))  # type: ignore[arg-type]


class _Spoilt:
    """Stands where a reply would."""

    def __init__(self, body: bytes) -> None:
        self.answer = Answer(body)


@pytest.mark.rule("R63")
def test_one_after_the_other(all_keys: Gateway, asked: dict[str, Certified]) -> None:
    """Clients of all kinds ask about one certificate in turn: each gets its own, from the cache too, and no other's."""
    good = asked["good"]
    for _ in range(3):
        for identifier in KINDS.values():
            assert identifiers(good.verified(all_keys.get(preferring(good, identifier)))) == identifier
        assert identifiers(good.verified(all_keys.get(good.request()))) == KINDS["p-256"]
    assert isinstance(good.verified(all_keys.post(good.request())).single["single_extensions"], core.Void)
