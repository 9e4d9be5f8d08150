"""OpenSSL and GnuTLS take whole paths with revocation lists, whatever kind of key the issuer has, in every profile."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.pki.crl_entries import encode_entry
from services.pki.crl_signing import sign_crl
from services.pki.issuers import Issuer
from services.pki.keys import KeyKind
from services.pki.serials import serial_from_int
from tests.conformance.judges.tools import require

from .conftest import Authority, make_authority, make_csr

KINDS: tuple[KeyKind, ...] = ("p256", "p384", "p521", "rsa2048", "rsa4096", "ed25519")
"""Those that OpenSSL knows in every release that is supported; ML-DSA needs 3.5."""
PROFILES = ("server", "server-short", "client")
WEEK = timedelta(days=7)


def pem(*objects: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """One behind the other."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in objects)


def list_of(issuer: Issuer, now: datetime, *revoked: x509.Certificate) -> x509.CertificateRevocationList:
    """A list as it is published."""
    at = int(now.timestamp())
    entries = [encode_entry(serial_from_int(each.serial_number), at, 4, None) for each in revoked]
    return x509.load_der_x509_crl(sign_crl(issuer, entries, number=1, this_update=now, next_update=now + WEEK).der())


@pytest.fixture(params=KINDS)
def authority(request: pytest.FixtureRequest) -> Authority:
    """A hierarchy of today: GnuTLS cannot be told another time."""
    return make_authority(request.param, now=datetime.now(UTC).replace(microsecond=0))


def test_openssl_with_lists(authority: Authority, openssl: Callable[..., str], tmp_path: Path) -> None:
    """`openssl verify -crl_check_all -x509_strict` accepts what is good, in each profile, and not what is revoked."""
    now = authority.issuer.not_before + timedelta(seconds=60)
    leaves = {name: authority.issue(make_csr(f"{name}.example.com"), name, now=now) for name in PROFILES}
    revoked = authority.issue(make_csr("revoked.example.com"), now=now)
    (tmp_path / "root.pem").write_bytes(pem(authority.root))
    (tmp_path / "issuing.pem").write_bytes(pem(authority.issuer.certificate))
    root = Issuer(authority.root, authority.root_key)
    (tmp_path / "lists.pem").write_bytes(pem(list_of(root, now), list_of(authority.issuer, now, revoked)))
    options = ("-x509_strict", "-crl_check_all", "-CAfile", "root.pem", "-untrusted", "issuing.pem")
    for name, leaf in {**leaves, "revoked": revoked}.items():
        (tmp_path / f"{name}.pem").write_bytes(pem(leaf))
    for name in leaves:
        assert openssl("verify", *options, "-CRLfile", "lists.pem", f"{name}.pem") == f"{name}.pem: OK\n"
    command = ["openssl", "verify", *options, "-CRLfile", "lists.pem", "revoked.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "certificate revoked" in done.stdout + done.stderr


def test_gnutls(authority: Authority, tmp_path: Path) -> None:
    """`certtool --verify` trusts the path of each profile, and finds a list to be the issuer's."""
    certtool = require("certtool")
    now = authority.issuer.not_before + timedelta(seconds=60)
    (tmp_path / "root.pem").write_bytes(pem(authority.root))
    (tmp_path / "issuing.pem").write_bytes(pem(authority.issuer.certificate))

    def run(*arguments: str) -> str:
        done = subprocess.run([certtool, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    for name in PROFILES:
        leaf = authority.issue(make_csr(f"{name}.example.com"), name, now=now)
        (tmp_path / "path.pem").write_bytes(pem(leaf, authority.issuer.certificate, authority.root))
        said = run("--verify", "--load-ca-certificate", "root.pem", "--infile", "path.pem")
        assert "Chain verification output: Verified. The certificate is trusted." in said, said
    (tmp_path / "list.pem").write_bytes(pem(list_of(authority.issuer, now, leaf)))
    said = run("--verify-crl", "--load-ca-certificate", "issuing.pem", "--infile", "list.pem")
    assert "Verification output: Verified." in said, said
