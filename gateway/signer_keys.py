"""The kinds of keys that a gateway makes for itself, and has certified."""

from __future__ import annotations

from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes


class SignerKey(StrEnum):
    """A kind of key, and with it a signature algorithm (`gateway.ocsp.algorithms`)."""

    P256 = "p-256"
    P384 = "p-384"
    P521 = "p-521"
    RSA2048 = "rsa-2048"
    RSA3072 = "rsa-3072"
    RSA4096 = "rsa-4096"
    ED25519 = "ed25519"
    ML_DSA_44 = "ml-dsa-44"
    ML_DSA_65 = "ml-dsa-65"
    ML_DSA_87 = "ml-dsa-87"

    def generate(self) -> CertificateIssuerPrivateKeyTypes:
        """Make a key. RSA takes up to some seconds."""
        match self:
            case SignerKey.P256:
                return ec.generate_private_key(ec.SECP256R1())
            case SignerKey.P384:
                return ec.generate_private_key(ec.SECP384R1())
            case SignerKey.P521:
                return ec.generate_private_key(ec.SECP521R1())
            case SignerKey.RSA2048 | SignerKey.RSA3072 | SignerKey.RSA4096:
                return rsa.generate_private_key(65537, int(self.removeprefix("rsa-")))
            case SignerKey.ED25519:
                return ed25519.Ed25519PrivateKey.generate()
            case SignerKey.ML_DSA_44:
                return mldsa.MLDSA44PrivateKey.generate()
            case SignerKey.ML_DSA_65:
                return mldsa.MLDSA65PrivateKey.generate()
            case SignerKey.ML_DSA_87:
                return mldsa.MLDSA87PrivateKey.generate()


_CURVE_HASHES: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}


def certificate_request(key: CertificateIssuerPrivateKeyTypes) -> x509.CertificateSigningRequest:
    """A request without any name (the CA sets them all, R66): it proves possession of the key."""
    algorithm: hashes.HashAlgorithm | None = None  # Ed25519 and ML-DSA hash by themselves
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = _CURVE_HASHES[key.curve.key_size]
    elif isinstance(key, rsa.RSAPrivateKey):
        algorithm = hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, algorithm)  # type: ignore[arg-type]
