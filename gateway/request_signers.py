"""Who may ask, where requests have to be signed (RFC 6960, section 4.1.2; R24).

A signature counts if it verifies under a certificate that came with it, and that certificate has a path to one of the
configured trust anchors now. Weak signatures (SHA-1, short keys) never count. Whether the certificate has been revoked
is not asked: to shut somebody out, take the anchor away, or let its certificates be short-lived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.x509 import ObjectIdentifier, verification
from cryptography.x509.oid import SignatureAlgorithmOID

from gateway.ocsp.request import RequestSignature
from gateway.ocsp.types import AlgorithmIdentifier, AlgorithmIdentifierWithParameters

_MAX_CERTIFICATES: Final = 4
"""Certificates in one request: each costs a signature or more."""
_MAX_DEPTH: Final = 4
_MIN_RSA_BITS: Final = 2048
_MAX_RSA_BITS: Final = 8192
_MAX_EXPONENT_BITS: Final = 32
"""Of an RSA key: with an exponent as long as the modulus, verifying costs what signing does."""

_NULL: Final = asn1.decode_der(asn1.TLV, bytes.fromhex("05 00"))


_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    verification.VerificationError,
)
"""What the library makes of certificates that strangers send: not all of it is a ValueError."""


class UntrustedRequest(Exception):
    """The signature on a request does not count; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class _Algorithm:
    key: type
    digest: hashes.HashAlgorithm | None


_ALGORITHMS: Final[Mapping[ObjectIdentifier, _Algorithm]] = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: _Algorithm(rsa.RSAPublicKey, hashes.SHA256()),
    SignatureAlgorithmOID.RSA_WITH_SHA384: _Algorithm(rsa.RSAPublicKey, hashes.SHA384()),
    SignatureAlgorithmOID.RSA_WITH_SHA512: _Algorithm(rsa.RSAPublicKey, hashes.SHA512()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: _Algorithm(ec.EllipticCurvePublicKey, hashes.SHA256()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: _Algorithm(ec.EllipticCurvePublicKey, hashes.SHA384()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: _Algorithm(ec.EllipticCurvePublicKey, hashes.SHA512()),
    SignatureAlgorithmOID.ED25519: _Algorithm(ed25519.Ed25519PublicKey, None),
    SignatureAlgorithmOID.ML_DSA_44: _Algorithm(mldsa.MLDSA44PublicKey, None),
    SignatureAlgorithmOID.ML_DSA_65: _Algorithm(mldsa.MLDSA65PublicKey, None),
    SignatureAlgorithmOID.ML_DSA_87: _Algorithm(mldsa.MLDSA87PublicKey, None),
}


def _by_identifier() -> Mapping[bytes, _Algorithm]:
    """By the DER of the AlgorithmIdentifier: only RSA may have parameters, NULL (RFC 4055, RFC 5758)."""
    table = {}
    for oid, algorithm in _ALGORITHMS.items():
        table[asn1.encode_der(AlgorithmIdentifier(algorithm=oid))] = algorithm
        if algorithm.key is rsa.RSAPublicKey:
            table[asn1.encode_der(AlgorithmIdentifierWithParameters(algorithm=oid, parameters=_NULL))] = algorithm
    return table


_BY_IDENTIFIER: Final = _by_identifier()


class RequestVerifier:
    """Verifies signatures on requests. `wall_clock` gives seconds since 1970."""

    def __init__(self, anchors: Sequence[x509.Certificate], wall_clock: Callable[[], float]) -> None:
        """Trust what chains to `anchors`. Raises ValueError: there are none."""
        self._store = verification.Store(list(anchors))
        self._wall_clock = wall_clock

    @classmethod
    def from_file(cls, file: Path, wall_clock: Callable[[], float]) -> Self:
        """Trust what chains to the certificates in a file (PEM). Raises ValueError, naming the file and the cure."""
        try:
            return cls(x509.load_pem_x509_certificates(file.read_bytes()), wall_clock)
        except OSError as error:
            raise ValueError(f"gateway.request_trust_anchors: {file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(
                f"gateway.request_trust_anchors: {file} holds no CA certificates in PEM: {error}"
            ) from error

    def verify(self, signature: RequestSignature) -> None:
        """Raises UntrustedRequest: the signature does not verify, or its signer is not trusted."""
        algorithm = _BY_IDENTIFIER.get(signature.algorithm)
        if algorithm is None:
            raise UntrustedRequest("a signature algorithm that is weak or not known")
        if len(signature.certificates) > _MAX_CERTIFICATES:
            raise UntrustedRequest(f"more than {_MAX_CERTIFICATES} certificates")
        try:
            certificates = [x509.load_der_x509_certificate(der) for der in signature.certificates]
            _check_cost(certificates)
            for certificate in certificates:
                if _signed(certificate, algorithm, signature):
                    self._check_path(certificate, certificates)
                    return
        except _UNREADABLE as error:
            raise UntrustedRequest(str(error)) from error
        raise UntrustedRequest("no certificate in the request is of the key that signed it")

    def _check_path(self, signer: x509.Certificate, certificates: Sequence[x509.Certificate]) -> None:
        """Check that the signer's certificate has a path to a trust anchor. Raises VerificationError, ValueError."""
        policy = (
            verification.PolicyBuilder()
            .store(self._store)
            .time(datetime.fromtimestamp(int(self._wall_clock()), UTC))
            .max_chain_depth(_MAX_DEPTH)
            .extension_policies(ca_policy=_CA_POLICY, ee_policy=_SIGNER_POLICY)
        )
        others = [certificate for certificate in certificates if certificate != signer]
        policy.build_client_verifier().verify(signer, others)


def _check_cost(certificates: Sequence[x509.Certificate]) -> None:
    """Refuse what only somebody would send who wants the gateway to be busy. Raises ValueError."""
    for certificate in certificates:
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey) and not (
            key.key_size <= _MAX_RSA_BITS and key.public_numbers().e.bit_length() <= _MAX_EXPONENT_BITS
        ):
            raise ValueError("an RSA key that takes too long to verify with")
    # Among issuers with one name there are many ways to look for a path, and each step of each costs a signature.
    issuers = {certificate.issuer.public_bytes() for certificate in certificates}
    subjects = [certificate.subject.public_bytes() for certificate in certificates]
    issuing = [subject for subject in subjects if subject in issuers]
    if len(set(issuing)) != len(issuing):
        raise ValueError("several issuers with the same subject")


def _signed(certificate: x509.Certificate, algorithm: _Algorithm, signature: RequestSignature) -> bool:
    """Whether the certificate's key made the signature."""
    key = certificate.public_key()
    if not isinstance(key, algorithm.key):
        return False
    try:
        match key:
            case rsa.RSAPublicKey() if _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS and algorithm.digest:
                key.verify(signature.value, signature.tbs, padding.PKCS1v15(), algorithm.digest)
            case ec.EllipticCurvePublicKey() if algorithm.digest:
                key.verify(signature.value, signature.tbs, ec.ECDSA(algorithm.digest))
            case (
                ed25519.Ed25519PublicKey()
                | mldsa.MLDSA44PublicKey()
                | mldsa.MLDSA65PublicKey()
                | mldsa.MLDSA87PublicKey()
            ):
                key.verify(signature.value, signature.tbs)
            case _:
                return False
    except InvalidSignature:
        return False
    return True


def _check_authority(_: verification.Policy, __: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("a certificate in the path is not of a CA")


def _check_authority_usage(_: verification.Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("a CA in the path may not sign certificates")


def _check_signer_usage(_: verification.Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.digital_signature:
        raise ValueError("the signer's certificate is not for digital signatures")


_AGNOSTIC: Final = verification.Criticality.AGNOSTIC
_CA_POLICY: Final = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _AGNOSTIC, _check_authority)
    .may_be_present(x509.KeyUsage, _AGNOSTIC, _check_authority_usage)
)
_SIGNER_POLICY: Final = verification.ExtensionPolicy.permit_all().may_be_present(
    x509.KeyUsage, _AGNOSTIC, _check_signer_usage
)
