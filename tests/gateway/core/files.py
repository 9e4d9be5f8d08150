"""Certificates and keys of signers in files, right and wrong, and the CA that they are for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.signer_files import SignerPaths
from tests.gateway.core.world import NOW

BEGIN = datetime.fromtimestamp(NOW, UTC)
PASSPHRASE = b"correct horse"
DAY = timedelta(days=1)
OCSP_SIGNING: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.OCSP_SIGNING,)


def key_usage(*, digital_signature: bool = True, ca: bool = False) -> x509.KeyUsage:
    """A key usage of responders or CAs."""
    return x509.KeyUsage(digital_signature, False, False, False, False, ca, ca, False, False)


class Authority:
    """A CA that signs whatever it is told to."""

    def __init__(self, name: str = "issuing", *, key: CertificateIssuerPrivateKeyTypes | None = None) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.certify_itself()

    def certify_itself(
        self, usage: x509.KeyUsage | None = None, end: datetime = BEGIN + 3650 * DAY
    ) -> x509.Certificate:
        """A certificate for its own key."""
        builder = self._builder(self.name, self.key, BEGIN - 30 * DAY, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        if usage is not None:
            builder = builder.add_extension(usage, critical=True)
        return self._sign(builder)

    def certify(
        self,
        key: CertificateIssuerPrivateKeyTypes,
        *,
        usages: Sequence[x509.ObjectIdentifier] = OCSP_SIGNING,
        usage: x509.KeyUsage | None = None,
        nocheck: bool = True,
        begin: datetime = BEGIN - DAY,
        end: datetime = BEGIN + 2 * DAY,
    ) -> x509.Certificate:
        """A certificate for a responder, unless told otherwise a good one."""
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "responder")]), key, begin, end)
        builder = builder.add_extension(usage or key_usage(), critical=True)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if nocheck:
            builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
        return self._sign(builder)

    def _builder(
        self, subject: x509.Name, key: CertificateIssuerPrivateKeyTypes, begin: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        number = x509.random_serial_number()
        return x509.CertificateBuilder(self.name, subject, key.public_key(), number, begin, end)

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        hashed = isinstance(self.key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        return builder.sign(self.key, hashes.SHA256() if hashed else None)


class Files:
    """The files of one signer."""

    def __init__(self, folder: Path, name: str = "gateway-issuing", *, passphrase_file: bool = False) -> None:
        file = folder / "passphrase" if passphrase_file else None
        self.paths = SignerPaths(name, folder / "responder.pem", folder / "responder.key", file)
        self._written = 0

    def write(
        self,
        certificate: x509.Certificate,
        key: CertificateIssuerPrivateKeyTypes,
        *,
        encrypted: bool = False,
        traditional: bool = False,
    ) -> None:
        """Write both files, each at once, as files that are in use should be."""
        self.put(self.paths.certificate, certificate.public_bytes(Encoding.PEM))
        encryption = BestAvailableEncryption(PASSPHRASE) if encrypted else NoEncryption()
        form = PrivateFormat.TraditionalOpenSSL if traditional else PrivateFormat.PKCS8
        self.put(self.paths.key, key.private_bytes(Encoding.PEM, form, encryption))
        if self.paths.passphrase_file is not None:
            self.put(self.paths.passphrase_file, PASSPHRASE + b"\n")

    def put(self, path: Path, content: bytes) -> None:
        """Replace a file; its time of change is never the same as before."""
        new = path.with_suffix(".new")
        new.touch(0o600)
        new.write_bytes(content)
        self._written += 1
        os.utime(new, (NOW, NOW + self._written))
        new.rename(path)
