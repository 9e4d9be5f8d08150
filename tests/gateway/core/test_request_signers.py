"""Requests that have to be signed: who is heard, and what the others are told (R24; RFC 6960, section 4.1.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID

from gateway.ocsp.request import RequestSignature
from gateway.ocsp.response import OcspStatus
from gateway.request_signers import RequestVerifier, UntrustedRequest
from gateway.responder import Responder
from gateway.validity import ValidityPolicies, ValidityPolicy
from tests.gateway.core.world import NOW, World

TBS = b"the octets that are signed"
DAY = timedelta(days=1)
BEGIN = datetime.fromtimestamp(NOW, UTC) - DAY


def name(text: str) -> x509.Name:
    """A common name."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Party:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def party(
    text: str,
    issuer: Party | None = None,
    *,
    ca: bool = False,
    days: int = 30,
    digital_signature: bool = True,
    constraints: bool = True,
) -> Party:
    """A new key with a certificate by `issuer`, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    parent = issuer.certificate.subject if issuer else name(text)
    builder = x509.CertificateBuilder(parent, name(text), key.public_key(), 7, BEGIN, BEGIN + days * DAY)
    if constraints:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    usage = x509.KeyUsage(digital_signature, False, False, False, not digital_signature, ca, ca, False, False)
    builder = builder.add_extension(usage, critical=True)
    return Party(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


ANCHOR = party("anchor", ca=True)
BELOW = party("below", ANCHOR, ca=True)
STRANGER = party("stranger", ca=True)


def identifier(oid: x509.ObjectIdentifier) -> bytes:
    """An AlgorithmIdentifier without parameters."""
    from cryptography.hazmat import asn1

    from gateway.ocsp.types import AlgorithmIdentifier

    return asn1.encode_der(AlgorithmIdentifier(algorithm=oid))


def signed(signer: Party, *certificates: Party, digest: hashes.HashAlgorithm | None = None) -> RequestSignature:
    """A signature by a party, with certificates."""
    value = signer.key.sign(TBS, ec.ECDSA(digest or hashes.SHA256()))
    algorithm = SignatureAlgorithmOID.ECDSA_WITH_SHA1 if digest else SignatureAlgorithmOID.ECDSA_WITH_SHA256
    return RequestSignature(TBS, identifier(algorithm), value, tuple(each.der for each in certificates), b"\xa4\x00")


@pytest.fixture
def verifier() -> RequestVerifier:
    """One that trusts ANCHOR."""
    return RequestVerifier([ANCHOR.certificate], lambda: float(NOW))


def test_a_signer_below_the_anchor(verifier: RequestVerifier) -> None:
    """Directly, or with an intermediate that comes along; in any order, among others."""
    near, far = party("near", ANCHOR), party("far", BELOW)
    verifier.verify(signed(near, near))
    verifier.verify(signed(far, far, BELOW))
    verifier.verify(signed(far, BELOW, STRANGER, far))


Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | mldsa.MLDSA65PrivateKey
LEAF = party("leaf", ANCHOR)
REFUSED = {
    "no certificate": signed(LEAF),
    "the certificate of another key": signed(LEAF, party("other", ANCHOR)),
    "an issuer that is not trusted": signed(*[party("foreign", STRANGER)] * 2),
    "signed by itself": signed(STRANGER, STRANGER),
    "an intermediate that is missing": signed(*[party("far", BELOW)] * 2),
    "a certificate that has ended": signed(*[party("old", ANCHOR, days=0)] * 2),
    "an issuer that is no CA": signed(leaf := party("below a leaf", LEAF), leaf, LEAF),
    "a key that is not for signatures": signed(*[party("for keys", ANCHOR, digital_signature=False)] * 2),
    "SHA-1": signed(LEAF, LEAF, digest=hashes.SHA1()),
    "other octets": replace(signed(LEAF, LEAF), tbs=TBS + b"."),
    "a signature that is none": replace(signed(LEAF, LEAF), value=b"\x00"),
    "a certificate that is none": replace(signed(LEAF, LEAF), certificates=(b"\x30\x00",)),
    "a name that is none": replace(
        signed(LEAF, LEAF), certificates=(LEAF.der.replace(b"\x0c\x04leaf", b"\x03\x04\x00eaf"),)
    ),
    "a version that is none": replace(
        signed(LEAF, LEAF), certificates=(LEAF.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09"),)
    ),
    "too many certificates": signed(LEAF, *[LEAF] * 6),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_count(verifier: RequestVerifier, case: str) -> None:
    """All else is refused, with a reason for the log."""
    with pytest.raises(UntrustedRequest, match=r"\w"):
        verifier.verify(REFUSED[case])


KEYS: dict[str, tuple[Key, x509.ObjectIdentifier]] = {
    "rsa": (rsa.generate_private_key(65537, 2048), SignatureAlgorithmOID.RSA_WITH_SHA384),
    "p521": (ec.generate_private_key(ec.SECP521R1()), SignatureAlgorithmOID.ECDSA_WITH_SHA512),
    "ed25519": (ed25519.Ed25519PrivateKey.generate(), SignatureAlgorithmOID.ED25519),
    "ml-dsa-65": (mldsa.MLDSA65PrivateKey.generate(), SignatureAlgorithmOID.ML_DSA_65),
}


@pytest.mark.parametrize("kind", KEYS)
def test_each_kind_of_key(verifier: RequestVerifier, kind: str) -> None:
    """Signs, and a signature by another key of the kind does not count."""
    key, oid = KEYS[kind]
    certificate = x509.CertificateBuilder(
        ANCHOR.certificate.subject, name(kind), key.public_key(), 8, BEGIN, BEGIN + 30 * DAY
    ).sign(ANCHOR.key, hashes.SHA256())
    match key:
        case rsa.RSAPrivateKey():
            value = key.sign(TBS, padding.PKCS1v15(), hashes.SHA384())
        case ec.EllipticCurvePrivateKey():
            value = key.sign(TBS, ec.ECDSA(hashes.SHA512()))
        case ed25519.Ed25519PrivateKey() | mldsa.MLDSA65PrivateKey():
            value = key.sign(TBS)
    signature = RequestSignature(TBS, identifier(oid), value, (certificate.public_bytes(Encoding.DER),), b"\xa4\x00")
    verifier.verify(signature)
    with pytest.raises(UntrustedRequest):
        verifier.verify(replace(signature, tbs=b"else"))


def test_a_key_with_a_long_exponent_is_not_verified_with(verifier: RequestVerifier) -> None:
    """It would cost as much as signing, for whoever asks."""
    modulus = rsa.generate_private_key(65537, 3072).public_key().public_numbers().n
    key = rsa.RSAPublicNumbers((1 << 3070) | 1, modulus).public_key()
    builder = x509.CertificateBuilder(ANCHOR.certificate.subject, name("slow"), key, 8, BEGIN, BEGIN + 30 * DAY)
    slow = builder.sign(ANCHOR.key, hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(UntrustedRequest, match="too long"):
        verifier.verify(replace(signed(LEAF, LEAF), certificates=(slow, LEAF.der)))


def test_certificates_that_make_many_paths(verifier: RequestVerifier) -> None:
    """Issuers with one name could each have issued the others: nobody needs them, and to try them all takes long."""
    far = party("far", BELOW)
    verifier.verify(signed(far, party("far", ANCHOR), far, BELOW))
    with pytest.raises(UntrustedRequest, match="same subject"):
        verifier.verify(signed(far, far, BELOW, party("below", ANCHOR, ca=True)))


@pytest.mark.parametrize(
    ("content", "told"), [(None, "No such file"), (b"", "PEM"), (b"-----BEGIN", "PEM")], ids=["absent", "empty", "junk"]
)
def test_anchors_that_cannot_be_used(tmp_path: Path, content: bytes | None, told: str) -> None:
    """The setting and the file are named."""
    file = tmp_path / "anchors.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=r"request_trust_anchors: .*anchors\.pem.*" + told):
        RequestVerifier.from_file(file, lambda: 0.0)


@pytest.mark.asyncio
async def test_an_unsigned_request_is_refused_also_where_an_answer_is_ready() -> None:
    """What was made for others is not for whoever does not sign (R24)."""
    world = World()
    key = world.key(5)
    world.service.issue(key)
    world.watch()
    der = world.request(5)
    assert (await world.responder.answer(der)).cacheable
    strict = Responder(
        world.knowledge,
        world.signers,
        ValidityPolicies(ValidityPolicy(12 * 3600, 60), {}),
        world.clocks.wall_time,
        request_verifier=RequestVerifier([ANCHOR.certificate], world.clocks.wall_time),
        max_requests=100,
        max_pending=100,
    )
    assert world.responder.at_once(der) is not None
    assert strict.at_once(der) is None
    assert (await strict.answer(der)).body == bytes((0x30, 0x03, 0x0A, 0x01, OcspStatus.SIG_REQUIRED))
