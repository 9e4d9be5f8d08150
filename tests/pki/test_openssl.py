"""Requests that openssl makes, and certificates as openssl shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from services.pki.csr import read_csr

from .conftest import Authority

OpenSSL = Callable[..., str]

KEYS = {
    "RSA": ["-newkey", "rsa:2048"],
    "RSA with PSS signature": ["-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"],
    "P-256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "P-384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "P-521": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "Ed25519": ["-newkey", "ed25519"],
}


def show(openssl: OpenSSL, folder: Path, authority: Authority, pem: str, profile: str = "server") -> str:
    """Issue for a request in PEM, and return what `openssl x509 -text` makes of the certificate."""
    certificate = authority.issue(read_csr(pem=pem).der, profile)
    (folder / "issued.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    return openssl("x509", "-in", "issued.pem", "-noout", "-text")


@pytest.mark.parametrize("arguments", KEYS.values(), ids=KEYS)
def test_the_guide_s_request(authority: Authority, openssl: OpenSSL, tmp_path: Path, arguments: list[str]) -> None:
    """A request with nothing but a common name, for any kind of key, gets that name as its alternative name."""
    pem = openssl("req", "-new", *arguments, "-nodes", "-keyout", "k.pem", "-subj", "/CN=test.example.com")
    text = show(openssl, tmp_path, authority, pem)
    assert "DNS:test.example.com" in text
    assert "OCSP - URI:http://ocsp.example.test" in text
    assert "CA Issuers - URI:http://ocsp.example.test/ca/issuing.cer" in text
    assert "CA:FALSE" in text


def test_a_request_with_extensions(authority: Authority, openssl: OpenSSL, tmp_path: Path) -> None:
    """Of what `-addext` asks for, the names come and the rest does not (R115)."""
    extensions = [
        "subjectAltName=DNS:a.example,DNS:*.b.example,IP:192.0.2.1,IP:2001:db8::1",
        "basicConstraints=critical,CA:TRUE",
        "extendedKeyUsage=OCSPSigning",
        "noCheck=ignored",
    ]
    added = [part for extension in extensions for part in ("-addext", extension)]
    pem = openssl("req", "-new", *KEYS["P-256"], "-nodes", "-keyout", "k.pem", "-subj", "/O=Ours/CN=a.example", *added)
    text = show(openssl, tmp_path, authority, pem)
    assert "DNS:a.example, DNS:*.b.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1" in text
    assert "Subject: CN = a.example\n" in text
    assert "CA:TRUE" not in text
    assert "OCSP Signing" not in text
    assert "No Check" not in text


def test_a_delegate_as_openssl_shows_it(authority: Authority, openssl: OpenSSL, tmp_path: Path) -> None:
    """The responder's certificate shows critical Digital Signature, OCSP Signing and OCSP No Check (R66)."""
    pem = openssl("req", "-new", *KEYS["P-256"], "-nodes", "-keyout", "k.pem", "-subj", "/CN=responder")
    text = show(openssl, tmp_path, authority, pem, "ocsp-responder")
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("X509v3 Key Usage: critical") + 1] == "Digital Signature"
    assert lines[lines.index("X509v3 Extended Key Usage:") + 1] == "OCSP Signing"
    assert "OCSP No Check:" in lines
    assert "Authority Information Access:" not in lines


def test_the_usual_subject_of_a_client(authority: Authority, openssl: OpenSSL, tmp_path: Path) -> None:
    """The subject that `openssl req` asks for question by question is kept; the address moves."""
    subject = "/C=NL/ST=Utrecht/L=Utrecht/O=Example/OU=IT/CN=Alice/emailAddress=alice@example.com"
    pem = openssl("req", "-new", *KEYS["Ed25519"], "-nodes", "-keyout", "k.pem", "-subj", subject)
    text = show(openssl, tmp_path, authority, pem, "client")
    assert "Subject: C = NL, ST = Utrecht, L = Utrecht, O = Example, OU = IT, CN = Alice\n" in text
    assert "email:alice@example.com" in text
