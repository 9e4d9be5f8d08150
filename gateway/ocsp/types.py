"""The ASN.1 of an OCSP request (RFC 6960 section 4.1.1), declared once.

Decoding with these types refuses what is not DER at this level, trailing octets, explicitly encoded DEFAULTs and an
empty requestList. It does not look into a `TLV`, and it accepts any version, any number of values in an EXPLICIT ANY,
an empty Extensions, the same extension twice, and any INTEGER: `gateway.ocsp.request` checks those.
"""

from __future__ import annotations

from typing import Annotated

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier


@asn1.sequence
class Extension:
    """Extension (RFC 5280 section 4.1)."""

    extn_id: ObjectIdentifier
    critical: Annotated[bool, asn1.Default(False)]
    extn_value: bytes


@asn1.sequence
class CertIDFields:
    """CertID. The algorithm stays a TLV: it is recognised by its octets."""

    hash_algorithm: asn1.TLV
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial_number: int


@asn1.sequence
class Request:
    """Request. `req_cert` stays a TLV, to be repeated octet for octet in the answer; it parses as `CertIDFields`."""

    req_cert: asn1.TLV
    single_request_extensions: Annotated[list[Extension] | None, asn1.Explicit(0)]


@asn1.sequence
class TBSRequest:
    """TBSRequest. An optional `[1] EXPLICIT GeneralName` is written as a list because a TLV cannot be optional."""

    version: Annotated[int, asn1.Default(0), asn1.Explicit(0)]
    requestor_name: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]
    request_list: Annotated[list[Request], asn1.Size(1, None)]
    request_extensions: Annotated[list[Extension] | None, asn1.Explicit(2)]


@asn1.sequence
class Signature:
    """Signature."""

    signature_algorithm: asn1.TLV
    signature: asn1.BitString
    certs: Annotated[list[asn1.TLV] | None, asn1.Explicit(0)]


@asn1.sequence
class OCSPRequest:
    """OCSPRequest."""

    tbs_request: TBSRequest
    optional_signature: Annotated[Signature | None, asn1.Explicit(0)]


@asn1.sequence
class SignedRequest:
    """OCSPRequest with a signature, keeping the octets that were signed."""

    tbs_request: asn1.TLV
    optional_signature: Annotated[Signature, asn1.Explicit(0)]


@asn1.sequence
class AlgorithmIdentifier:
    """AlgorithmIdentifier (RFC 5280 section 4.1.1.2) without parameters, as ECDSA, EdDSA and ML-DSA want it."""

    algorithm: ObjectIdentifier


@asn1.sequence
class AlgorithmIdentifierWithParameters:
    """AlgorithmIdentifier with parameters; NULL for RSA, and sometimes for hash functions."""

    algorithm: ObjectIdentifier
    parameters: asn1.TLV


@asn1.sequence
class SubjectPublicKeyInfo:
    """SubjectPublicKeyInfo (RFC 5280 section 4.1)."""

    algorithm: asn1.TLV
    subject_public_key: asn1.BitString


@asn1.sequence
class PreferredSignatureAlgorithm:
    """PreferredSignatureAlgorithm (RFC 6960 section 4.4.7.1) without pubKeyAlgIdentifier."""

    sig_identifier: asn1.TLV


@asn1.sequence
class PreferredSignatureAlgorithmWithKey:
    """PreferredSignatureAlgorithm with pubKeyAlgIdentifier."""

    sig_identifier: asn1.TLV
    pub_key_alg_identifier: asn1.TLV


@asn1.sequence
class HeldPreferredSignatureAlgorithms:
    """PreferredSignatureAlgorithms as the only field of a SEQUENCE: a SEQUENCE OF cannot be decoded on its own."""

    algorithms: list[asn1.TLV]
