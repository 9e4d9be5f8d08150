"""The templates write what an encoder that knows the ASN.1 writes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from asn1crypto import core, ocsp
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.ocsp.der import check_der
from gateway.ocsp.response import ResponseSigner, Revoked, SingleResponse, encode_extension

# R63: the octets of the AlgorithmIdentifier; parameters NULL for RSA, absent for all others.
ALGORITHMS = {
    "rsa2048": "300d06092a864886f70d01010b0500",
    "p256": "300a06082a8648ce3d040302",
    "p384": "300a06082a8648ce3d040303",
    "p521": "300a06082a8648ce3d040304",
    "ed25519": "300506032b6570",
    "mldsa44": "300b0609608648016503040311",
    "mldsa65": "300b0609608648016503040312",
    "mldsa87": "300b0609608648016503040313",
}
NONCE = b"\x04\x20" + bytes(range(32))
CUTOFF = core.GeneralizedTime(datetime(2020, 1, 1, tzinfo=UTC))
ARCHIVE_CUTOFF = encode_extension("1.3.6.1.5.5.7.48.1.6", CUTOFF.dump())
EXTENDED_REVOKE = encode_extension("1.3.6.1.5.5.7.48.1.9", b"\x05\x00", critical=True)


class AnyAlgorithm(core.Sequence):  # type: ignore[misc]
    """AlgorithmIdentifier; asn1crypto's own does not know ML-DSA."""

    _fields: ClassVar = [("algorithm", core.ObjectIdentifier), ("parameters", core.Any, {"optional": True})]


class PublicKey(core.Sequence):  # type: ignore[misc]
    """SubjectPublicKeyInfo."""

    _fields: ClassVar = [("algorithm", AnyAlgorithm), ("bits", core.OctetBitString)]


class BasicResponse(core.Sequence):  # type: ignore[misc]
    """BasicOCSPResponse."""

    _fields: ClassVar = [
        ("tbs", ocsp.ResponseData),
        ("algorithm", AnyAlgorithm),
        ("signature", core.OctetBitString),
        ("certs", ocsp.Certificates, {"explicit": 0}),
    ]


class ResponseBytes(core.Sequence):  # type: ignore[misc]
    """ResponseBytes."""

    _fields: ClassVar = [("type", ocsp.ResponseType), ("response", core.OctetString)]


class Response(core.Sequence):  # type: ignore[misc]
    """OCSPResponse."""

    _fields: ClassVar = [("status", ocsp.OCSPResponseStatus), ("bytes", ResponseBytes, {"explicit": 0})]


def cert_id(serial: int, algorithm: str = "sha1") -> ocsp.CertId:
    """A CertID."""
    size = {"sha1": 20, "sha256": 32}[algorithm]
    hashed = {"issuer_name_hash": b"n" * size, "issuer_key_hash": b"k" * size}
    return ocsp.CertId({"hash_algorithm": {"algorithm": algorithm}, "serial_number": serial, **hashed})


def expected_single(single: SingleResponse) -> ocsp.SingleResponse:
    """The same SingleResponse, of asn1crypto."""
    if isinstance(single.status, Revoked):
        # R47: unspecified(0) is left out.
        reason = {"revocation_reason": ocsp.CRLReason(single.status.reason)} if single.status.reason else {}
        status = ocsp.CertStatus("revoked", {"revocation_time": single.status.revocation_time, **reason})
    else:
        status = ocsp.CertStatus(single.status, core.Null())
    values = {
        "cert_id": ocsp.CertId.load(single.cert_id_der),
        "cert_status": status,
        "this_update": single.this_update,
        "next_update": single.next_update,
    }
    if single.extensions:
        values["single_extensions"] = [{"extn_id": "archive_cutoff", "extn_value": CUTOFF}]
    return ocsp.SingleResponse(values)


def expected_data(
    signer: ResponseSigner, singles: list[SingleResponse], now: datetime, *, nonce: bool, extended: bool
) -> ocsp.ResponseData:
    """The same ResponseData, of asn1crypto."""
    # R55: SHA-1 over the BIT STRING's content without the octet that counts unused bits.
    spki = signer.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key_hash = hashlib.sha1(PublicKey.load(spki)["bits"].native).digest()
    values = {
        "responder_id": ocsp.ResponderId("by_key", core.OctetString(key_hash)),
        "produced_at": now,
        "responses": [expected_single(single) for single in singles],
    }
    extensions: list[dict[str, Any]] = []
    if nonce:
        extensions.append({"extn_id": "nonce", "extn_value": NONCE[2:]})
    if extended:
        extensions.append({"extn_id": "extended_revoke", "critical": True, "extn_value": core.Null()})
    if extensions:
        values["response_extensions"] = extensions
    return ocsp.ResponseData(values)


def verify(public_key: Any, signature: bytes, data: bytes) -> None:
    """Raise InvalidSignature unless the signature is good."""
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[public_key.key_size]
        public_key.verify(signature, data, ec.ECDSA(digest))
    else:
        public_key.verify(signature, data)


# R54, R63, R67
@pytest.mark.parametrize("nonce", [False, True], ids=["no nonce", "nonce"])
@pytest.mark.parametrize("status", ["good", "unknown", "revoked"])
@pytest.mark.parametrize("kind", ALGORITHMS)
def test_whole_responses_are_equal(
    signers: Mapping[str, ResponseSigner], authority: Any, kind: str, status: str, nonce: bool
) -> None:
    """For each key and status, asn1crypto writes the same octets for the same values, and the signature is good."""
    now, signer = authority.now, signers[kind]
    value: Any = Revoked(now - timedelta(hours=1), 1) if status == "revoked" else status
    single = SingleResponse(cert_id(7).dump(), value, now, now + timedelta(hours=12))
    body = signer.sign([single], now, NONCE if nonce else None)

    signature = BasicResponse.load(Response.load(body)["bytes"]["response"].native)["signature"].native
    data = expected_data(signer, [single], now, nonce=nonce, extended=False)
    basic = BasicResponse(
        {
            "tbs": data,
            "algorithm": AnyAlgorithm.load(bytes.fromhex(ALGORITHMS[kind])),
            "signature": signature,
            "certs": [asn1_x509.Certificate.load(signer.certificate.public_bytes(Encoding.DER))],
        }
    )
    response = {"type": "basic_ocsp_response", "response": basic.dump()}
    assert body == Response({"status": "successful", "bytes": response}).dump()
    check_der(body)
    check_der(basic.dump())
    verify(signer.certificate.public_key(), signature, data.dump())


# R47, R58, R60, R61
@pytest.mark.parametrize("nonce", [False, True], ids=["no nonce", "nonce"])
@pytest.mark.parametrize("extended", [False, True], ids=["no extensions", "extensions"])
@pytest.mark.parametrize("reason", [None, 0, 1, 2, 3, 4, 5, 6, 9, 10])
def test_response_data_are_equal(
    signers: Mapping[str, ResponseSigner], authority: Any, reason: int | None, extended: bool, nonce: bool
) -> None:
    """Every reason, several SingleResponses and extensions at both places come out as asn1crypto writes them."""
    now = authority.now
    revoked = Revoked(now - timedelta(hours=1), reason)
    until = now + timedelta(hours=12)
    singles = [
        SingleResponse(cert_id(7).dump(), revoked, now, until, (ARCHIVE_CUTOFF,) if extended else ()),
        SingleResponse(cert_id(1 << 150, "sha256").dump(), "good", now - timedelta(hours=1), until),
        SingleResponse(cert_id(7).dump(), "unknown", now, until),
    ]
    data = signers["p256"].response_data(
        singles, now, NONCE if nonce else None, extensions=[EXTENDED_REVOKE] if extended else ()
    )
    assert data == expected_data(signers["p256"], singles, now, nonce=nonce, extended=extended).dump()


def test_many_answers_are_equal(signers: Mapping[str, ResponseSigner], authority: Any) -> None:
    """Lengths beyond 64 KiB are written as asn1crypto writes them."""
    now = authority.now
    singles = [SingleResponse(cert_id(n).dump(), "good", now, now + timedelta(hours=1)) for n in range(1, 700)]
    data = signers["p256"].response_data(singles, now)
    assert len(data) > 1 << 16
    assert data == expected_data(signers["p256"], singles, now, nonce=False, extended=False).dump()
