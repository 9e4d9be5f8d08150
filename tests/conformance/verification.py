"""Whether an answer is authentic, decided as a relying party does, with pyca/cryptography alone.

`verify` takes nothing on trust but the issuer's certificate:

1. the ResponderID names one certificate: the issuer's own, or one that came along (R55, R67);
2. a delegate is signed by the issuer's key, may sign OCSP answers, and is neither a CA nor out of date (R65, R66);
3. the algorithm is one of those that are allowed for its key, octet for octet (R63);
4. the signature is over the very octets of tbsResponseData that were received (R63);
5. the times are in order, and none is beyond the signer's (R56, R57, R59).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from asn1crypto import parser
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.conformance.wire import Answer

MIN_RSA_BITS = 2048

RSA_SHA256 = "1.2.840.113549.1.1.11"
ECDSA_SHA256 = "1.2.840.10045.4.3.2"


@dataclass(frozen=True)
class _Scheme:
    """A signature algorithm: the keys that it fits, and how to verify with one."""

    fits: Callable[[Any], bool]
    verify: Callable[[Any, bytes, bytes], None]


def _rsa(digest: hashes.HashAlgorithm) -> _Scheme:
    return _Scheme(
        lambda key: isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS,
        lambda key, signature, data: key.verify(signature, data, padding.PKCS1v15(), digest),
    )


def _ecdsa(curve: type[ec.EllipticCurve], digest: hashes.HashAlgorithm) -> _Scheme:
    return _Scheme(
        lambda key: isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curve),
        lambda key, signature, data: key.verify(signature, data, ec.ECDSA(digest)),
    )


def _direct(kind: type[Any]) -> _Scheme:
    return _Scheme(lambda key: isinstance(key, kind), lambda key, signature, data: key.verify(signature, data))


ALGORITHMS: Mapping[str, _Scheme] = {
    # AlgorithmIdentifiers as the baseline requirements fix them (7.1.3.2), and those of RFC 8410 and RFC 9881
    "300d06092a864886f70d01010b0500": _rsa(hashes.SHA256()),
    "300d06092a864886f70d01010c0500": _rsa(hashes.SHA384()),
    "300d06092a864886f70d01010d0500": _rsa(hashes.SHA512()),
    "300a06082a8648ce3d040302": _ecdsa(ec.SECP256R1, hashes.SHA256()),
    "300a06082a8648ce3d040303": _ecdsa(ec.SECP384R1, hashes.SHA384()),
    "300a06082a8648ce3d040304": _ecdsa(ec.SECP521R1, hashes.SHA512()),
    "300506032b6570": _direct(ed25519.Ed25519PublicKey),
    "300b0609608648016503040311": _direct(mldsa.MLDSA44PublicKey),
    "300b0609608648016503040312": _direct(mldsa.MLDSA65PublicKey),
    "300b0609608648016503040313": _direct(mldsa.MLDSA87PublicKey),
}


def verify(answer: Answer, issuer: x509.Certificate, *, ahead: timedelta = timedelta()) -> None:
    """Fail unless this issuer, or a delegate that it appointed, gave this answer, and may give it now.

    `ahead`: by how much the clock of the responder is ahead of ours.
    """
    signer = responder_certificate(answer, issuer)  # 1.
    if signer != issuer:
        check_delegate(signer, issuer)  # 2.
    _check_signature(answer, signer.public_key())  # 3., 4.
    _check_times(answer, signer, datetime.now(UTC) + ahead)  # 5.


def responder_certificate(answer: Answer, issuer: x509.Certificate) -> x509.Certificate:
    """The certificate that the ResponderID names: one of those that came along, or the issuer's."""
    enclosed = [x509.load_der_x509_certificate(each.dump()) for each in answer.certificates]
    named = [each for each in {*enclosed, issuer} if _is_named(each, answer.data["responder_id"])]
    assert len(named) == 1, f"the ResponderID names {len(named)} certificates"
    return named[0]


def check_delegate(delegate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Fail unless the issuer's key appointed this certificate, and it may sign answers now."""
    delegate.verify_directly_issued_by(issuer)
    assert delegate.issuer.public_bytes() == issuer.subject.public_bytes()
    usage = delegate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert delegate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert delegate.extensions.get_extension_for_class(x509.OCSPNoCheck)
    constraints = [each.value for each in delegate.extensions if isinstance(each.value, x509.BasicConstraints)]
    assert not any(each.ca for each in constraints)


def key_hash(certificate: x509.Certificate) -> bytes:
    """SHA-1 over the octets of the key, without tag, length and unused bits: what byKey holds, whatever is asked."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        bits = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    elif isinstance(key, rsa.RSAPublicKey):
        bits = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    else:
        bits = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha1(bits).digest()


def signed_octets(answer: Answer) -> bytes:
    """The tbsResponseData as it was received."""
    basic = bytes(answer.response["response_bytes"]["response"])
    _, _, _, _, content, _ = parser.parse(basic, strict=True)
    _, _, _, header, data, _ = parser.parse(content)
    return bytes(header + data)


def _is_named(certificate: x509.Certificate, responder_id: Any) -> bool:
    if responder_id.name == "by_key":
        return bool(responder_id.chosen.native == key_hash(certificate))
    return bool(responder_id.chosen.chosen.dump() == certificate.subject.public_bytes())


def _check_signature(answer: Answer, key: object) -> None:
    identifier = answer.basic["signature_algorithm"].dump().hex()
    assert identifier in ALGORITHMS, f"signature algorithm {identifier}"
    scheme = ALGORITHMS[identifier]
    assert scheme.fits(key), f"signature algorithm {identifier} with a {type(key).__name__}"
    scheme.verify(key, bytes(answer.basic["signature"]), signed_octets(answer))


def _check_times(answer: Answer, signer: x509.Certificate, now: datetime) -> None:
    assert signer.not_valid_before_utc <= now <= signer.not_valid_after_utc, "the signer's certificate is out of date"
    assert answer.produced_at <= now
    for single in answer.singles:
        this_update, next_update = single["this_update"].native, single["next_update"].native
        assert this_update <= answer.produced_at <= next_update
        assert now <= next_update <= signer.not_valid_after_utc
