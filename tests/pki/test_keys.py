"""Private keys in files, and hashes for OCSP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from services.pki import der
from services.pki.keys import (
    KEY_KINDS,
    KeyKind,
    KeyUnusable,
    encrypt_key,
    generate_key,
    issuer_hashes,
    load_key,
    plain_key,
)

from .conftest import Authority, key_of, spki

_PASSPHRASE = b"correct horse battery staple"


@pytest.mark.parametrize("kind", [kind for kind in KEY_KINDS if kind not in ("rsa3072", "rsa4096")])
def test_keys_come_back(kind: KeyKind) -> None:
    """What was written is read again, encrypted and plain."""
    key = key_of(kind)
    assert spki(load_key(encrypt_key(key, _PASSPHRASE), _PASSPHRASE)) == spki(key)
    assert spki(load_key(plain_key(key), None)) == spki(key)


def test_openssl_reads_and_writes_them(openssl: Callable[..., str], tmp_path: Path) -> None:
    """Our files are AES-256 in PKCS #8 for openssl too; one that it encrypts with scrypt is read."""
    (tmp_path / "key.pem").write_bytes(encrypt_key(key_of("p256"), _PASSPHRASE))
    assert "aes-256-cbc" in openssl("asn1parse", "-in", "key.pem")
    (tmp_path / "pass").write_bytes(_PASSPHRASE)
    openssl("pkey", "-in", "key.pem", "-passin", "file:pass", "-out", "plain.pem")
    options = ["-topk8", "-scrypt", "-in", "plain.pem", "-passout", "file:pass"]
    pem = openssl("pkcs8", *options).encode()
    assert spki(load_key(pem, _PASSPHRASE)) == spki(key_of("p256"))


def _x25519() -> bytes:
    key = x25519.X25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _secp256k1() -> bytes:
    key = ec.generate_private_key(ec.SECP256K1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(_PASSPHRASE))


@pytest.mark.parametrize(
    ("make", "passphrase", "reason"),
    [
        (lambda: b"", None, "KEY_MALFORMED"),
        (lambda: b"\x00" * 100, _PASSPHRASE, "KEY_MALFORMED"),
        (lambda: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None, "KEY_MALFORMED"),
        (lambda: plain_key(key_of("p256")) + b" " * 70_000, None, "KEY_MALFORMED"),
        (lambda: plain_key(key_of("p256")), _PASSPHRASE, "KEY_MALFORMED"),
        (lambda: encrypt_key(key_of("p256"), _PASSPHRASE), None, "KEY_PASSPHRASE_MISSING"),
        (lambda: encrypt_key(key_of("p256"), _PASSPHRASE), b"", "KEY_PASSPHRASE_MISSING"),
        (lambda: encrypt_key(key_of("p256"), _PASSPHRASE), b"wrong", "KEY_PASSPHRASE_WRONG"),
        (_x25519, None, "KEY_TYPE_NOT_ALLOWED"),
        (_secp256k1, _PASSPHRASE, "KEY_TYPE_NOT_ALLOWED"),
    ],
    ids=[
        "empty",
        "zeros",
        "broken",
        "huge",
        "not encrypted",
        "no passphrase",
        "empty passphrase",
        "wrong",
        "x25519",
        "k1",
    ],
)
def test_unusable_keys(make: Callable[[], bytes], passphrase: bytes | None, reason: str) -> None:
    """The reason says which it is, and the text holds nothing of the key or the passphrase."""
    pem = make()
    with pytest.raises(KeyUnusable) as caught:
        load_key(pem, passphrase)
    assert caught.value.reason == reason
    assert caught.value.__cause__ is None
    shown = caught.value.message.encode()
    assert passphrase is None or not passphrase or passphrase not in shown
    assert not any(len(line) > 8 and line in shown for line in pem.splitlines()[1:-1])


def test_mistakes_of_ours_are_errors() -> None:
    """An empty passphrase encrypts nothing, and unknown kinds and hashes don't exist."""
    with pytest.raises(ValueError, match="empty"):
        encrypt_key(key_of("p256"), b"")
    with pytest.raises(ValueError, match="kind"):
        generate_key("dsa")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hash"):
        issuer_hashes(b"", spki(key_of("p256")), "md5")


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_hashes_for_cert_ids(authority: Authority, algorithm: str) -> None:
    """Over the name as it stands in the certificate, and over the bits of the key alone (R27)."""
    ca = authority.issuer.certificate
    parsed = asn1_x509.Certificate.load(ca.public_bytes(Encoding.DER))
    bits = bytes(parsed.public_key["public_key"])
    expected = hashlib.new(algorithm, parsed.subject.dump()).digest(), hashlib.new(algorithm, bits).digest()
    assert issuer_hashes(der.subject_der(ca), der.public_key_der(ca), algorithm) == expected
