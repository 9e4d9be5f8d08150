"""The same answers from asn1crypto, an encoder that knows the ASN.1 and nothing of the gateway's templates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from asn1crypto import core, ocsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.ocsp.response import Revoked, SingleResponse, encode_extension

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
        ("certs", ocsp.Certificates, {"explicit": 0, "optional": True}),
    ]


class ResponseBytes(core.Sequence):  # type: ignore[misc]
    """ResponseBytes."""

    _fields: ClassVar = [("type", ocsp.ResponseType), ("response", core.OctetString)]


class Response(core.Sequence):  # type: ignore[misc]
    """OCSPResponse."""

    _fields: ClassVar = [("status", ocsp.OCSPResponseStatus), ("bytes", ResponseBytes, {"explicit": 0})]


def cert_id(serial: int, algorithm: str = "sha1") -> ocsp.CertId:
    """A CertID."""
    size = hashlib.new(algorithm).digest_size
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
    responder: x509.Certificate,
    singles: Sequence[SingleResponse],
    now: datetime,
    *,
    nonce: bytes | None,
    extended: bool,
    by_name: bool = False,
) -> ocsp.ResponseData:
    """The same ResponseData, of asn1crypto. `nonce`: without tag and length."""
    values = {
        "responder_id": responder_id(responder, by_name=by_name),
        "produced_at": now,
        "responses": [expected_single(single) for single in singles],
    }
    extensions: list[dict[str, Any]] = []
    if nonce is not None:
        extensions.append({"extn_id": "nonce", "extn_value": nonce})
    if extended:
        extensions.append({"extn_id": "extended_revoke", "critical": True, "extn_value": core.Null()})
    if extensions:
        values["response_extensions"] = extensions
    return ocsp.ResponseData(values)


def responder_id(responder: x509.Certificate, *, by_name: bool) -> ocsp.ResponderId:
    """By key: SHA-1 over the BIT STRING's content without the octet that counts unused bits (R55)."""
    if by_name:
        return ocsp.ResponderId("by_name", asn1_x509.Name.load(responder.subject.public_bytes()))
    spki = responder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ocsp.ResponderId("by_key", core.OctetString(hashlib.sha1(PublicKey.load(spki)["bits"].native).digest()))


def expected_response(
    data: ocsp.ResponseData, kind: str, signature: bytes, responder: x509.Certificate | None
) -> bytes:
    """The same OCSPResponse, of asn1crypto. `responder`: the certificate to enclose, if any."""
    values = {"tbs": data, "algorithm": AnyAlgorithm.load(bytes.fromhex(ALGORITHMS[kind])), "signature": signature}
    if responder is not None:
        values["certs"] = [asn1_x509.Certificate.load(responder.public_bytes(Encoding.DER))]
    response = {"type": "basic_ocsp_response", "response": BasicResponse(values).dump()}
    whole: bytes = Response({"status": "successful", "bytes": response}).dump()
    return whole


def signature_in(body: bytes) -> bytes:
    """The octets of the signature."""
    found: bytes = BasicResponse.load(Response.load(body)["bytes"]["response"].native)["signature"].native
    return found


def verify(public_key: Any, signature: bytes, data: bytes) -> None:
    """Raise InvalidSignature unless the signature is good."""
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[public_key.key_size]
        public_key.verify(signature, data, ec.ECDSA(digest))
    else:
        public_key.verify(signature, data)
