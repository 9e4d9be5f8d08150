"""The responder of a running system, asked by openssl and over raw HTTP."""

from __future__ import annotations

import base64
import http.client
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.system import System

UNAUTHORIZED = bytes.fromhex("30030a0106")
MALFORMED = bytes.fromhex("30030a0101")


@pytest.fixture(scope="module")
def leaf(system: System) -> Path:
    """An issued certificate that stays good."""
    return system.issue("good.example.com")


def request_for(system: System, certificate: Path, *arguments: str) -> bytes:
    """The DER of a request, made by openssl."""
    file = system.folder / "request.der"
    issuer = ("-issuer", str(system.data / "ca/issuing.pem"), "-cert", str(certificate))
    system.run("openssl", "ocsp", "-no_nonce", "-reqout", str(file), *arguments, *issuer)
    return file.read_bytes()


def post(system: System, body: bytes) -> tuple[int, bytes]:
    """POST a body, and return the HTTP status and the body of the answer."""
    connection = http.client.HTTPConnection(system.http, timeout=10)
    try:
        connection.request("POST", "/", body, {"Content-Type": "application/ocsp-request"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize("digest", ["-sha1", "-sha256", "-sha384", "-sha512"])
@pytest.mark.parametrize("nonce", ["-nonce", "-no_nonce"])
def test_every_hash_with_and_without_nonce(system: System, leaf: Path, digest: str, nonce: str) -> None:
    """Openssl verifies an answer for each hash algorithm (R26), and its nonce (R33)."""
    said = system.ask(nonce, digest, "-cert", str(leaf))
    assert "Response verify OK" in said
    assert f"{leaf}: good" in said
    assert "WARNING" not in said


def test_several_certificates_in_one_request(system: System, leaf: Path) -> None:
    """Two certificates and a bare serial number in one request get an answer each (R20)."""
    other = system.issue("other.example.com")
    system.run("goodstanding", "revoke", "--cert", str(other), "--reason", "superseded")
    said = system.ask("-cert", str(leaf), "-cert", str(other), "-serial", "0x4711")
    assert "Response verify OK" in said
    assert f"{leaf}: good" in said
    assert f"{other}: revoked" in said
    assert "0x4711: unknown" in said


def test_a_foreign_issuer_is_unauthorized(system: System, tmp_path: Path) -> None:
    """For a CA that is not ours nobody here can sign."""
    foreign = tmp_path / "foreign.pem"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(tmp_path / "key"))
    system.run("openssl", "req", "-x509", *key, "-subj", "/CN=foreign", "-out", str(foreign))
    assert "unauthorized (6)" in system.ask("-serial", "1", issuer=foreign)


def test_the_root_is_known_but_offline(system: System) -> None:
    """Nobody here holds the root's key: about the issuing CA the answer is unauthorized, and never good."""
    said = system.ask("-cert", str(system.data / "ca/issuing.pem"), issuer=system.data / "ca/root.pem")
    assert "unauthorized (6)" in said


@pytest.mark.parametrize("spelling", ["raw", "escaped", "with /ocsp", "with a slash too many"])
def test_get(system: System, leaf: Path, spelling: str) -> None:
    """GET answers in every spelling of the path, with what a cache needs (R2, R3, R6, R8, R73)."""
    text = base64.b64encode(request_for(system, leaf)).decode()
    path = {
        "raw": f"/{text}",
        "escaped": f"/{quote(text, safe='')}",
        "with /ocsp": f"/ocsp/{text}",
        "with a slash too many": f"//{text}",
    }[spelling]
    connection = http.client.HTTPConnection(system.http, timeout=10)
    connection.request("GET", path)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    assert reply.status == 200
    assert ocsp.load_der_ocsp_response(body).certificate_status == ocsp.OCSPCertStatus.GOOD
    assert reply.headers["Content-Type"] == "application/ocsp-response"
    assert int(reply.headers["Content-Length"]) == len(body)
    assert all(name in reply.headers for name in ("ETag", "Expires", "Last-Modified", "Date"))
    assert reply.headers["Cache-Control"].startswith("max-age=")


def test_the_delegate(system: System, leaf: Path) -> None:
    """R55, R65-R67: named by key, issued by the same CA key, enclosed, and nothing but a responder."""
    answer = ocsp.load_der_ocsp_response(post(system, request_for(system, leaf))[1])
    (responder,) = answer.certificates
    issuing = x509.load_pem_x509_certificate((system.data / "ca/issuing.pem").read_bytes())
    responder.verify_directly_issued_by(issuing)
    digest = x509.SubjectKeyIdentifier.from_public_key(responder.public_key()).digest
    assert answer.responder_key_hash == digest
    usage = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert responder.extensions.get_extension_for_class(x509.OCSPNoCheck)
    assert answer.next_update_utc is not None
    assert answer.next_update_utc <= responder.not_valid_after_utc


def test_what_certificates_point_to(system: System, leaf: Path) -> None:
    """R97: caIssuers is the issuer's certificate in DER; the issuing CA's CRL distribution point is the root's CRL."""
    certificate = x509.load_pem_x509_certificate(leaf.read_bytes())
    issuing = x509.load_pem_x509_certificate((system.data / "ca/issuing.pem").read_bytes())
    root = x509.load_pem_x509_certificate((system.data / "ca/root.pem").read_bytes())
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    urls = {description.access_method: description.access_location.value for description in access}
    ocsp_url = urls[AuthorityInformationAccessOID.OCSP]
    assert ocsp_url.rstrip("/") == system.url
    with urllib.request.urlopen(urls[AuthorityInformationAccessOID.CA_ISSUERS]) as reply:
        assert reply.headers["Content-Type"] == "application/pkix-cert"
        assert x509.load_der_x509_certificate(reply.read()) == issuing
    points = issuing.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert points[0].full_name is not None
    with urllib.request.urlopen(points[0].full_name[0].value) as reply:
        assert reply.headers["Content-Type"] == "application/pkix-crl"
        crl = x509.load_der_x509_crl(reply.read())
    assert crl.is_signature_valid(root.public_key())  # type: ignore[arg-type]
    assert crl.issuer == root.subject


def test_the_whole_chain_verifies(system: System, leaf: Path) -> None:
    """Openssl accepts leaf, issuing CA and root, strictly."""
    ca = system.data / "ca"
    arguments = ("-x509_strict", "-CAfile", str(ca / "root.pem"), "-untrusted", str(ca / "issuing.pem"), str(leaf))
    assert "OK" in system.run("openssl", "verify", *arguments).stdout


@pytest.mark.parametrize("certificate", [b"", b"0", UNAUTHORIZED, b"<html>", b"-----BEGIN", b"\x30\x80" * 1000])
def test_what_is_no_request(system: System, certificate: bytes) -> None:
    """R22: whatever is no request is malformedRequest."""
    assert post(system, certificate) == (200, MALFORMED)


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=300))
def test_any_bytes(system: System, body: bytes) -> None:
    """A body of any bytes at all gets an OCSP error or an HTTP 4xx, at once."""
    status, answer = post(system, body)
    assert (status, answer) == (200, MALFORMED) or 400 <= status < 500


def test_the_operators_address_is_apart(system: System) -> None:
    """Health and metrics are on the operator address, and nothing of them on the public one."""
    with urllib.request.urlopen(f"http://{system.ops}/metrics") as reply:
        assert b"goodstanding_ocsp_answers_total" in reply.read()
    connection = http.client.HTTPConnection(system.http, timeout=10)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 404
    connection.close()
