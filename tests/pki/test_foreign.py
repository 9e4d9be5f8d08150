"""Certificates of other software: verified under any kind of key, read as far as they can be, never more believed."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from services.pki.foreign import ForeignCertificateError, read_certificate
from services.pki.hierarchy import make_root
from services.pki.keys import generate_key, plain_key

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LEAF = ec.generate_private_key(ec.SECP256R1())


def signed(key: Any, authority: x509.Certificate, *more: x509.ExtensionType, serial: int = 5) -> bytes:
    """A leaf."""
    kind = None if type(key).__name__.startswith(("Ed", "ML")) else hashes.SHA256()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf.example.com")]))
        .issuer_name(authority.subject)
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=30_000))
        .public_key(LEAF.public_key())
    )
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, kind).public_bytes(Encoding.DER)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048", "ed25519", "mldsa44"])
def test_any_kind_of_key(kind: Any) -> None:
    """What the issuer signed is accepted, what another one signed in its name is not."""
    key, other = generate_key(kind), generate_key(kind)
    authority = make_root(name="Old", key=key, now=NOW)
    found = read_certificate(
        signed(key, authority, x509.SubjectAlternativeName([x509.DNSName("leaf.example.com")])), authority
    )
    assert (found.serial_number, found.subject, found.common_name) == (5, "CN=leaf.example.com", "leaf.example.com")
    assert (found.alternative_names, found.is_ca) == (("DNS:leaf.example.com",), False)
    assert found.not_after == NOW + timedelta(days=30_000), "after 2050"
    spki = LEAF.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert found.public_key_sha256 == hashlib.sha256(spki).digest()
    with pytest.raises(ForeignCertificateError) as forged:
        read_certificate(signed(other, authority), authority)
    assert forged.value.code == "CERTIFICATE_SIGNATURE_INVALID"


def test_what_is_refused() -> None:
    """Other names and octets that are no certificate."""
    key = generate_key("p256")
    authority, another = (make_root(name=name, key=key, now=NOW) for name in ("Old", "Another"))
    good = signed(key, authority)
    for der, above, code in (
        (good, another, "CERTIFICATE_NOT_BY_ISSUER"),
        (b"", authority, "CERTIFICATE_MALFORMED"),
        (good + b"\0", authority, "CERTIFICATE_MALFORMED"),
        (good[:-1] + bytes([good[-1] ^ 1]), authority, "CERTIFICATE_SIGNATURE_INVALID"),
    ):
        with pytest.raises(ForeignCertificateError) as refused:
            read_certificate(der, above)
        assert refused.value.code == code


def test_extensions_that_cannot_be_read() -> None:
    """The certificate is out: it is accepted without its names."""
    key = generate_key("p256")
    authority = make_root(name="Old", key=key, now=NOW)
    odd = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x01")
    found = read_certificate(signed(key, authority, odd), authority)
    assert (found.extensions_readable, found.alternative_names, found.is_ca) == (False, (), False)


@pytest.mark.parametrize(("digest", "verified"), [("sha256", True), ("sha1", True), ("md5", False)])
def test_openssl_of_long_ago(tmp_path: Path, digest: str, verified: bool) -> None:
    """Version 1 under RSA, as `openssl x509 -req` made them for decades; SHA-1 is verified, MD5 is not."""
    key = generate_key("rsa2048")
    authority = make_root(name="Old", key=key, now=NOW)
    (tmp_path / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    (tmp_path / "ca.key").write_bytes(plain_key(key))

    def openssl(*words: str) -> None:
        subprocess.run(("openssl", *words), cwd=tmp_path, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "leaf.key")
    openssl("req", "-new", *curve, "-subj", "/CN=old.example.com", "-out", "leaf.csr")
    sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "0x1003", f"-{digest}")
    openssl("x509", "-req", "-in", "leaf.csr", *sign, "-outform", "DER", "-out", "leaf.der")
    der = (tmp_path / "leaf.der").read_bytes()
    found = read_certificate(der, authority)
    assert (found.serial_number, found.common_name, found.verified) == (0x1003, "old.example.com", verified)
    assert found.public_key_sha256 is not None
    if verified:
        with pytest.raises(ForeignCertificateError) as forged:
            read_certificate(der[:-1] + bytes([der[-1] ^ 1]), authority)
        assert forged.value.code == "CERTIFICATE_SIGNATURE_INVALID"
