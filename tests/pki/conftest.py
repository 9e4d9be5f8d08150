"""A small hierarchy with real keys, requests of every kind, and the linters."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from asn1crypto import csr as asn1_csr
from asn1crypto import keys as asn1_keys
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from services.pki.certificates import AuthorityUrls, Draft, Issuer, PrivateKey, check, prepare, sign
from services.pki.csr import read_csr
from services.pki.hierarchy import ca_name, make_issuing, make_root
from services.pki.keys import KeyKind, generate_key
from services.pki.names import SubjectAlternativeNames
from services.pki.profiles import BUILTIN
from services.pki.serials import new_serial

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
URLS = AuthorityUrls(ocsp="http://ocsp.example.test", ca_issuers="http://ocsp.example.test/ca/issuing.cer")
TRUST_DOMAIN = "goodstanding"


@cache
def key_of(kind: KeyKind) -> PrivateKey:
    """One key of each kind in a test run: making RSA keys takes its time."""
    return generate_key(kind)


@cache
def leaf_key() -> PrivateKey:
    """The P-256 key of requests."""
    return generate_key("p256")


@cache
def ca_key_of(kind: KeyKind) -> PrivateKey:
    """The key of issuing CAs, of each kind."""
    return generate_key(kind)


def spki(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """The SubjectPublicKeyInfo of a private key."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def rsa_spki(modulus: int, exponent: int = 65537) -> bytes:
    """The SubjectPublicKeyInfo of an RSA key of any numbers, which no library checks on the way."""
    key = asn1_keys.RSAPublicKey({"modulus": modulus, "public_exponent": exponent})
    return bytes(asn1_keys.PublicKeyInfo.wrap(key, "rsa").dump())


def common_name(text: str) -> x509.Name:
    """A subject with only a common name; none for an empty text."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def make_csr(
    subject: x509.Name | str = "test.example.com",
    sans: Sequence[x509.GeneralName] = (),
    key: CertificateIssuerPrivateKeyTypes | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    algorithm: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A request in DER, signed properly."""
    key = key or leaf_key()
    name = common_name(subject) if isinstance(subject, str) else subject
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    hashed = isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    hashing = algorithm or (hashes.SHA256() if hashed else None)
    return builder.sign(key, hashing).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def edited_csr(edit: Callable[[asn1_csr.CertificationRequestInfo], None], der: bytes | None = None) -> bytes:
    """A request that was changed after it was signed: for what must be refused before the signature is looked at."""
    request = asn1_csr.CertificationRequest.load(der or make_csr(sans=[x509.DNSName("test.example.com")]))
    edit(request["certification_request_info"])
    return bytes(request.dump(force=True))


def with_key(public_key_der: bytes) -> bytes:
    """A request for that SubjectPublicKeyInfo, with a signature that doesn't fit."""

    def edit(info: asn1_csr.CertificationRequestInfo) -> None:
        info["subject_pk_info"] = asn1_keys.PublicKeyInfo.load(public_key_der)

    return edited_csr(edit)


@dataclass(frozen=True)
class Authority:
    """A root, an issuing CA below it, and its keys."""

    root: x509.Certificate
    root_key: PrivateKey
    issuer: Issuer

    def draft(
        self,
        csr: bytes,
        profile: str = "server",
        sans: SubjectAlternativeNames | None = None,
        **options: object,
    ) -> Draft:
        """Prepare and check what the request asks for."""
        given = {"serial": new_serial(), "now": NOW, "urls": URLS, "trust_domain": TRUST_DOMAIN} | options
        draft = prepare(
            profile=BUILTIN[profile],
            issuer=self.issuer,
            request=read_csr(der=csr),
            sans=sans,
            **given,  # type: ignore[arg-type]
        )
        check(draft, self.issuer)
        return draft

    def issue(
        self,
        csr: bytes,
        profile: str = "server",
        sans: SubjectAlternativeNames | None = None,
        **options: object,
    ) -> x509.Certificate:
        """Prepare, check and sign, as the service does; the result as a relying party reads it."""
        return x509.load_der_x509_certificate(sign(self.draft(csr, profile, sans, **options), self.issuer))


def make_authority(kind: KeyKind = "p256", now: datetime = NOW) -> Authority:
    """A fresh hierarchy on keys of one kind."""
    root_key, key = generate_key("p256"), ca_key_of(kind)
    root = make_root(name=ca_name("Example Root", organization="Example", country="NL"), key=root_key, now=now)
    issuing = make_issuing(
        root=root,
        root_key=root_key,
        name=ca_name("Example Issuing CA", organization="Example", country="NL"),
        key=key,
        now=now,
        crl_url="http://ocsp.example.test/ca/root.crl",
        ca_issuers_url="http://ocsp.example.test/ca/root.cer",
    )
    return Authority(root, root_key, Issuer(issuing, key))


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A hierarchy on P-256, as `goodstanding init` makes it."""
    return make_authority()


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    """An RSA key of 2048 bits."""
    key = key_of("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[..., str]:
    """Run openssl in the test's folder, and return what it writes."""

    def run(*arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
