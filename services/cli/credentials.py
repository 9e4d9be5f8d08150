"""Credentials for the gRPC services: made with the root in the data folder, and recorded before they can be used.

A credential is a pair of files, NAME.pem and NAME.key. The key is not encrypted, because grpcurl and gRPC servers
cannot read one that is; it is readable for its owner only.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.cli.checks import passphrase_text
from services.cli.failures import Failed
from services.cli.files import write_file
from services.cli.folder import DataFolder
from services.db.credentials import deny_credential, upsert_credential
from services.db.engine import Database
from services.db.records import CredentialRecord
from services.passphrases import PassphraseError, read_passphrase
from services.pki import keys, mtls
from services.pki.certificates import PrivateKey

SERVER = "server"
ALWAYS_NAMED = frozenset({"localhost", "127.0.0.1", "::1"})
SERVERS = ("ca-server", "status-server")
GATEWAY = "gateway"
KEPT_FRESH = ("admin", GATEWAY, *SERVERS)


@dataclass(frozen=True)
class Credential:
    """A certificate with its key."""

    name: str
    role: str
    identity: str
    certificate: x509.Certificate
    key: PrivateKey

    def record(self, now: datetime) -> CredentialRecord:
        """What the database is told."""
        return CredentialRecord(
            fingerprint=mtls.fingerprint(self.certificate),
            name=self.name,
            role=self.role,
            identity=self.identity,
            not_after=self.certificate.not_valid_after_utc,
            created_at=now,
            denied_at=None,
            denied_because="",
        )

    def write(self, certificate: Path) -> None:
        """Write both files. The key goes first: a reader that meets both halves of a change keeps what it has."""
        write_file(certificate.with_suffix(".key"), keys.plain_key(self.key), private=True)
        write_file(certificate, self.certificate.public_bytes(Encoding.PEM), private=False)


@dataclass(frozen=True)
class TlsAuthority:
    """The root of the credentials. It signs nothing else, and nothing else signs credentials."""

    certificate: x509.Certificate
    key: PrivateKey
    trust_domain: str = mtls.TRUST_DOMAIN

    def client(self, name: str, role: str, now: datetime, validity: timedelta = mtls.CREDENTIAL_VALIDITY) -> Credential:
        """A credential for a client. Raises InvalidArgument for a name or role that cannot be."""
        identity = mtls.identity_uri(role, name, self.trust_domain)
        key = keys.generate_key()
        certificate = mtls.make_client_credential(
            ca=self.certificate, ca_key=self.key, key=key, identity=identity, now=now, validity=validity
        )
        return Credential(name, role, identity, certificate, key)

    def server(
        self, name: str, names: Sequence[str], now: datetime, validity: timedelta = mtls.CREDENTIAL_VALIDITY
    ) -> Credential:
        """A credential for a server, which answers to `names` as well as to this machine's own."""
        key = keys.generate_key()
        certificate = mtls.make_server_credential(
            ca=self.certificate, ca_key=self.key, key=key, now=now, names=names, validity=validity
        )
        return Credential(name, SERVER, SERVER, certificate, key)

    def renewed(self, name: str, old: x509.Certificate, now: datetime) -> Credential:
        """A credential like `old`, with a new key, and valid as long. `name` is what a server's is recorded as."""
        # Both ends belong to a validity (RFC 5280, section 4.1.2.5).
        validity = old.not_valid_after_utc - old.not_valid_before_utc + timedelta(seconds=1)
        sans = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = sans.get_values_for_type(x509.UniformResourceIdentifier)
        if uris:
            role, speaks_for = mtls.parse_identity(uris[0], self.trust_domain)
            return self.client(speaks_for, role, now, validity)
        found = [*sans.get_values_for_type(x509.DNSName), *map(str, sans.get_values_for_type(x509.IPAddress))]
        return self.server(name, [each for each in found if each not in ALWAYS_NAMED], now, validity)


def load_authority(folder: DataFolder, trust_domain: str) -> TlsAuthority:
    """The root of the credentials from the data folder.

    Raises Failed or a DomainError, naming the file: missing, not a key, another passphrase.
    """
    key_file = folder.tls / "ca.key"
    certificate = load_certificate(folder.tls / "ca.pem")
    if not key_file.exists():
        raise Failed(f"{key_file} is missing: bring it back to make credentials (it signs them)")
    try:
        passphrase = read_passphrase("tls-ca", file=folder.secrets / "tls-ca.passphrase")
        key = keys.load_key(key_file.read_bytes(), passphrase)
    except PassphraseError as error:
        raise Failed(passphrase_text(error, "GOODSTANDING_PASSPHRASE_TLS_CA")) from error
    except keys.KeyUnusable as error:
        raise Failed(f"{key_file}: {error.message} [{error.reason}]") from error
    if key.public_key() != certificate.public_key():
        raise Failed(f"{key_file} is not the key of {folder.tls / 'ca.pem'}: bring back the pair that belongs together")
    return TlsAuthority(certificate, key, trust_domain)


def load_certificate(file: Path) -> x509.Certificate:
    """The certificate in a PEM file. Raises Failed."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except FileNotFoundError:
        raise Failed(f"{file} is missing: bring it back from a backup") from None
    except ValueError as error:
        raise Failed(f"{file} holds no certificate: bring it back from a backup") from error


def record(db: Database, credential: Credential, now: datetime) -> None:
    """Record a credential: before its files are written, so that every credential in use can be denied by name."""
    with db.write() as conn:
        upsert_credential(conn, credential.record(now))


def due(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether two thirds of a certificate's life are over."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return now >= certificate.not_valid_before_utc + life * 2 / 3


def renew_due(folder: DataFolder, authority: TlsAuthority, db: Database, now: datetime) -> list[str]:
    """Renew the credentials that `goodstanding up` looks after, where it is time; their names. Services reread them."""
    renewed = []
    for name in KEPT_FRESH:
        file = folder.tls / f"{name}.pem"
        if not file.exists():
            continue  # somebody chose to keep it elsewhere
        old = load_certificate(file)
        if due(old, now):
            credential = authority.renewed(name, old, now)
            record(db, credential, now)
            credential.write(file)
            renewed.append(name)
    return renewed


def fresh_gateway(folder: DataFolder, authority: TlsAuthority, db: Database, now: datetime) -> str:
    """Give the gateway a new identity, and deny the one before; the new name.

    A gateway never writes its OCSP keys down, and an identity may hold only a few live delegated certificates: one that
    starts again and again under the same name would soon be refused.
    """
    file = folder.tls / f"{GATEWAY}.pem"
    before = mtls.fingerprint(load_certificate(file)) if file.exists() else None
    name = f"{GATEWAY}-{secrets.token_hex(4)}"
    credential = authority.client(name, "responder", now)
    with db.write() as conn:
        upsert_credential(conn, credential.record(now))
        if before is not None:
            deny_credential(conn, before, now, "its gateway was started again")
    credential.write(file)
    return name


def check_server_names(names: Sequence[str]) -> None:
    """Raise Failed for a name that no server certificate can carry."""
    for name in names:
        try:
            ipaddress.ip_address(name)
        except ValueError:
            if not name or len(name) > 253 or not all(c.isascii() and (c.isalnum() or c in "-.") for c in name):
                raise Failed(f"{name!r} is neither a host name nor an IP address") from None
