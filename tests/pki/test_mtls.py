"""Credentials for the gRPC services."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.errors import InvalidArgument, Unauthenticated
from services.pki.keys import plain_key
from services.pki.mtls import (
    ROLES,
    fingerprint,
    identity_uri,
    make_client_credential,
    make_server_credential,
    make_tls_ca,
    parse_identity,
)

from .conftest import NOW, key_of
from .test_certificates import names_of, usage_of

_CA_KEY = key_of("p256")
_CA = make_tls_ca(key=_CA_KEY, now=NOW)


def purposes_of(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    """The extended key usages."""
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def client(identity: str = "spiffe://goodstanding/admin/alice") -> x509.Certificate:
    """A client's credential."""
    return make_client_credential(ca=_CA, ca_key=_CA_KEY, key=key_of("p384"), identity=identity, now=NOW)


def test_the_root_of_credentials() -> None:
    """It signs end entities only."""
    constraints = _CA.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert usage_of(_CA) == {"key_cert_sign", "crl_sign"}
    _CA.verify_directly_issued_by(_CA)


def test_a_server_s_credential() -> None:
    """It has the local names and those given, each once, and can only serve."""
    certificate = make_server_credential(
        ca=_CA, ca_key=_CA_KEY, key=key_of("p384"), now=NOW, names=["ca.internal", "192.0.2.7", "LOCALHOST"]
    )
    assert names_of(certificate) == ("DNS:localhost", "DNS:ca.internal", "IP:127.0.0.1", "IP:::1", "IP:192.0.2.7")
    assert purposes_of(certificate) == [ExtendedKeyUsageOID.SERVER_AUTH]
    certificate.verify_directly_issued_by(_CA)
    with pytest.raises(InvalidArgument):
        make_server_credential(ca=_CA, ca_key=_CA_KEY, key=key_of("p384"), now=NOW, names=["a b"])


def test_a_client_s_credential() -> None:
    """Its single name is its identity, it can only call, and it lives ninety days."""
    certificate = client()
    assert names_of(certificate) == ("URI:spiffe://goodstanding/admin/alice",)
    assert purposes_of(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=90, seconds=-1)
    assert fingerprint(certificate) == fingerprint(certificate).lower()
    assert len(fingerprint(certificate)) == 64


def test_credentials_don_t_outlive_their_root() -> None:
    """They are cut to what is left of it."""
    late = NOW + timedelta(days=3640)
    certificate = make_client_credential(ca=_CA, ca_key=_CA_KEY, key=key_of("p384"), identity="spiffe://a/b", now=late)
    assert certificate.not_valid_after_utc == _CA.not_valid_after_utc


@pytest.mark.parametrize("role", ROLES)
def test_identities_come_back(role: str) -> None:
    """Role and name are read as they were written."""
    assert parse_identity(identity_uri(role, "gateway-1.example_a")) == (role, "gateway-1.example_a")
    assert parse_identity(identity_uri(role, "a", "corp.example"), "corp.example") == (role, "a")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://goodstanding",
        "spiffe://goodstanding/",
        "spiffe://goodstanding/admin",
        "spiffe://goodstanding/admin/",
        "spiffe://goodstanding/admin/a/b",
        "spiffe://goodstanding/root/a",
        "spiffe://goodstanding/Admin/a",
        "SPIFFE://goodstanding/admin/a",
        "spiffe://GOODSTANDING/admin/a",
        "spiffe://other/admin/a",
        "spiffe://goodstanding.evil/admin/a",
        "spiffe://goodstanding/admin/a?b",
        "spiffe://goodstanding/admin/a#b",
        "spiffe://goodstanding/admin/%61",
        "spiffe://goodstanding/admin/a\n",
        "spiffe://goodstanding/admin/..",
        " spiffe://goodstanding/admin/a",
        "https://goodstanding/admin/a",
        "admin/a",
        "spiffe://goodstanding/admin/" + "a" * 65,
    ],
)
def test_other_uris_are_no_identity(uri: str) -> None:
    """Anything but our own spelling is refused."""
    with pytest.raises(Unauthenticated) as caught:
        parse_identity(uri)
    assert caught.value.reason == "CREDENTIAL_IDENTITY_INVALID"


@pytest.mark.parametrize(
    ("role", "name", "domain", "field"),
    [
        ("root", "a", "goodstanding", "role"),
        ("admin", "", "goodstanding", "name"),
        ("admin", "a/b", "goodstanding", "name"),
        ("admin", "ü", "goodstanding", "name"),
        ("admin", "a" * 65, "goodstanding", "name"),
        ("admin", ".a", "goodstanding", "name"),
        ("admin", "a", "", "trust_domain"),
        ("admin", "a", "Upper", "trust_domain"),
        ("admin", "a", "a/b", "trust_domain"),
    ],
)
def test_identities_that_cannot_be_made(role: str, name: str, domain: str, field: str) -> None:
    """Unknown roles, and names that would need escaping, are refused with the field named."""
    with pytest.raises(InvalidArgument) as caught:
        identity_uri(role, name, domain)
    assert caught.value.violations[0].field == field


def test_openssl_accepts_them_for_their_purpose_only(openssl: Callable[..., str], tmp_path: Path) -> None:
    """`openssl verify -x509_strict` takes a client's credential as a client's, and not as a server's."""
    (tmp_path / "ca.pem").write_bytes(_CA.public_bytes(Encoding.PEM))
    (tmp_path / "client.pem").write_bytes(client().public_bytes(Encoding.PEM))
    options = ["-x509_strict", "-attime", str(int(NOW.timestamp())), "-CAfile", "ca.pem"]
    assert openssl("verify", *options, "-purpose", "sslclient", "client.pem") == "client.pem: OK\n"
    with pytest.raises(AssertionError, match="certificate purpose"):
        openssl("verify", *options, "-purpose", "sslserver", "client.pem")


def test_python_loads_them(tmp_path: Path) -> None:
    """Certificate and plain key are what TLS libraries take."""
    (tmp_path / "cert.pem").write_bytes(client().public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(plain_key(key_of("p384")))
    ssl.create_default_context().load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
