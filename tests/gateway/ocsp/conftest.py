"""A CA, a certificate of its, and keys and certificates for responders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.ocsp.response import ResponseSigner

KEY_KINDS: dict[str, Callable[[], CertificateIssuerPrivateKeyTypes]] = {
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "mldsa44": mldsa.MLDSA44PrivateKey.generate,
    "mldsa65": mldsa.MLDSA65PrivateKey.generate,
    "mldsa87": mldsa.MLDSA87PrivateKey.generate,
}


@dataclass(frozen=True)
class Authority:
    """A CA, the time it was made, and a certificate it issued."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    leaf: x509.Certificate
    now: datetime

    def responder(self, key: CertificateIssuerPrivateKeyTypes) -> x509.Certificate:
        """A responder certificate for a key (R66), for three days."""
        builder = (
            _builder("Responder", self.certificate.subject, self.now)
            .public_key(key.public_key())
            .not_valid_after(self.now + timedelta(days=3))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
            .add_extension(x509.OCSPNoCheck(), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256())


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A CA with one leaf."""
    # Real time: openssl checks the answers against its own clock.
    now = datetime.now(UTC).replace(microsecond=0)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    ca = _builder("Test CA", name, now).public_key(key.public_key()).not_valid_after(now + timedelta(days=30))
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    leaf = _builder("leaf", name, now).public_key(key.public_key()).not_valid_after(now + timedelta(days=10))
    return Authority(ca.sign(key, hashes.SHA256()), key, leaf.sign(key, hashes.SHA256()), now)


@pytest.fixture(scope="session")
def keys() -> dict[str, CertificateIssuerPrivateKeyTypes]:
    """One key of each kind."""
    return {kind: make() for kind, make in KEY_KINDS.items()}


@pytest.fixture(scope="session")
def signers(authority: Authority, keys: dict[str, CertificateIssuerPrivateKeyTypes]) -> dict[str, ResponseSigner]:
    """A signer with each kind of key."""
    return {kind: ResponseSigner(key, authority.responder(key)) for kind, key in keys.items()}


def _builder(common_name: str, issuer: x509.Name, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
    )
