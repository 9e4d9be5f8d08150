from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.ocsp import OCSPRequestBuilder
from pkilint import loader, pkix, report
from pkilint.pkix import extension, name, ocsp
from pkilint.validation import ValidationFindingSeverity

from gateway.ocsp.request import parse_request
from gateway.ocsp.response import ResponseSigner, Revoked, SingleResponse

KINDS = ["rsa2048", "p256", "p384", "p521", "ed25519"]
"""What OpenSSL 3.0 knows; ML-DSA came with 3.5."""


@pytest.fixture
def folder(tmp_path: Path, authority: Any) -> Path:
    """A folder with ca.pem and leaf.pem."""
    (tmp_path / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "leaf.pem").write_bytes(authority.leaf.public_bytes(Encoding.PEM))
    return tmp_path


def openssl(folder: Path, *arguments: str) -> str:
    """What `openssl ocsp` prints; fails unless it succeeds."""
    command = ["openssl", "ocsp", "-issuer", "ca.pem", "-cert", "leaf.pem", "-CAfile", "ca.pem", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# R54-R59, R63, R67
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", ["good", "unknown", "revoked"])
def test_openssl_asks_and_verifies(
    folder: Path, authority: Any, keys: Mapping[str, Any], kind: str, status: str
) -> None:
    """OpenSSL's request is understood, and OpenSSL verifies the answer: chain, nonce, CertID, times and status."""
    openssl(folder, "-reqout", "request.der")
    asked = parse_request((folder / "request.der").read_bytes())
    now = authority.now
    value: Any = Revoked(now - timedelta(hours=1), 1) if status == "revoked" else status
    single = SingleResponse(asked.cert_ids[0].der, value, now, now + timedelta(hours=12))
    signer = ResponseSigner(keys[kind], authority.responder(keys[kind]))
    (folder / "response.der").write_bytes(signer.sign([single], now, asked.nonce))
    # Without -no_nonce it would add a second nonce to the request that it compares with.
    printed = openssl(folder, "-reqin", "request.der", "-no_nonce", "-respin", "response.der", "-resp_text")
    assert "Response verify OK" in printed
    assert f"Cert Status: {status}" in printed
    assert f"leaf.pem: {status}" in printed
    assert f"Responder Id: {signer.key_hash.hex().upper()}" in printed
    assert ("Reason: keyCompromise" in printed) is (status == "revoked")
    assert "WARNING" not in printed


# R64, R67
def test_openssl_verifies_what_the_ca_signs_itself(folder: Path, authority: Any) -> None:
    """Direct signing: nothing is enclosed, and OpenSSL finds the signer in the issuer that it was given."""
    openssl(folder, "-reqout", "request.der")
    asked = parse_request((folder / "request.der").read_bytes())
    single = SingleResponse(asked.cert_ids[0].der, "good", authority.now, authority.now + timedelta(hours=12))
    signer = ResponseSigner(authority.key, authority.certificate, direct=True)
    (folder / "response.der").write_bytes(signer.sign([single], authority.now, asked.nonce))
    printed = openssl(folder, "-reqin", "request.der", "-no_nonce", "-respin", "response.der", "-resp_text")
    assert "Response verify OK" in printed
    assert "leaf.pem: good" in printed
    assert "BEGIN CERTIFICATE" not in printed


# R24, R26
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
def test_signed_request_of_openssl_is_understood(folder: Path, authority: Any, digest: str) -> None:
    """A request signed by OpenSSL, in each hash algorithm, parses with its signature in pieces."""
    (folder / "key.pem").write_bytes(authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    command = ["openssl", "ocsp", "-issuer", "ca.pem", f"-{digest}", "-cert", "leaf.pem", "-reqout", "request.der"]
    command += ["-signer", "leaf.pem", "-signkey", "key.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=30)
    asked = parse_request((folder / "request.der").read_bytes())
    assert asked.cert_ids[0].hash_algorithm == digest
    assert asked.signature is not None
    assert asked.signature.certificates == (authority.leaf.public_bytes(Encoding.DER),)
    authority.key.public_key().verify(asked.signature.value, asked.signature.tbs, ec.ECDSA(hashes.SHA256()))


# R27
@pytest.mark.parametrize(
    "digest", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()], ids=lambda d: d.name
)
def test_request_of_pyca_is_understood(authority: Any, digest: hashes.HashAlgorithm) -> None:
    """A request made by cryptography gives the same hashes and serial."""
    built = OCSPRequestBuilder().add_certificate(authority.leaf, authority.certificate, digest).build()
    (asked,) = parse_request(built.public_bytes(Encoding.DER)).cert_ids
    assert asked.hash_algorithm == digest.name
    assert asked.issuer_name_hash == built.issuer_name_hash
    assert asked.issuer_key_hash == built.issuer_key_hash
    assert int.from_bytes(asked.serial or b"") == authority.leaf.serial_number


# R54, R60
@pytest.mark.parametrize("nonce", [None, b"\x04\x20" + bytes(32)], ids=["no nonce", "nonce"])
@pytest.mark.parametrize("status", ["good", "unknown", "revoked"])
@pytest.mark.parametrize("kind", KINDS)
def test_pkilint_finds_nothing(
    authority: Any, keys: Mapping[str, Any], kind: str, status: str, nonce: bytes | None
) -> None:
    """The linter for RFC 6960 has nothing to say, not even a notice."""
    now = authority.now
    value: Any = Revoked(now - timedelta(hours=1), 1) if status == "revoked" else status
    built = OCSPRequestBuilder().add_certificate(authority.leaf, authority.certificate, hashes.SHA256()).build()
    (asked,) = parse_request(built.public_bytes(Encoding.DER)).cert_ids
    single = SingleResponse(asked.der, value, now, now + timedelta(hours=12))
    body = ResponseSigner(keys[kind], authority.responder(keys[kind])).sign([single], now, nonce)
    validator = ocsp.create_pkix_ocsp_response_validator_container(
        [
            ocsp.create_response_decoder(),
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [],
    )
    results = validator.validate(loader.load_ocsp_response(body, "response").root)
    assert results
    assert report.get_findings_count(results, ValidationFindingSeverity.DEBUG) == 0, results
