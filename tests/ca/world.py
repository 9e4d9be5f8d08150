"""What the tests of the certificate authority work with: real keys, a clock that stands still, callers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from services.ca.authority import CertificateAuthority
from services.ca.bootstrap import register_hierarchy
from services.ca.issue import IssueCommand, IssueResult
from services.ca.keystore import HeldKeys
from services.ca.revoke import RevokeCommand
from services.ca.settings import AuthoritySettings
from services.ca.target import BySerial
from services.ca.writer import Writer
from services.db import audit
from services.db.chain import AuditEntry, ChainVerifier, Flaw, Head, line
from services.db.engine import Database
from services.db.records import Actor, CertificateRecord
from services.pki.certificates import Issuer, PrivateKey
from services.pki.crls import make_crl
from services.pki.hierarchy import make_issuing, make_root
from services.pki.keys import generate_key
from services.pki.reasons import Reason
from services.rpc.identity import Caller, set_caller

START = datetime(2026, 7, 1, 12, 0, 0, tzinfo=UTC)


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **units: float) -> None:
        """Move on."""
        self.now += timedelta(**units)


def audit_entries(db: Database) -> list[AuditEntry]:
    """The whole audit log."""
    with db.read() as conn:
        return audit.read_entries(conn, after=0, limit=1_000_000)


def chain_flaws(db: Database, *anchors: Head) -> list[Flaw]:
    """What is wrong with the audit log's chain."""
    with db.read() as conn:
        verifier = ChainVerifier([audit.read_head(conn), *anchors])
    found = [flaw for entry in audit_entries(db) for flaw in verifier.take(line(entry))]
    return found + verifier.end()


@dataclass(frozen=True)
class Hierarchy:
    """A root and an issuing CA."""

    root: x509.Certificate
    issuing: x509.Certificate
    issuing_key: PrivateKey
    root_crl: bytes


@dataclass(frozen=True)
class Ca:
    """What a test works with."""

    authority: CertificateAuthority
    db: Database
    clock: ManualClock
    hierarchy: Hierarchy
    writer: Writer

    def issue(self, actor: Actor, **changes: Any) -> IssueResult:
        """Issue for a fresh key, unless a certificate request is given."""
        if not {"csr_der", "csr_pem"} & changes.keys():
            changes["csr_der"] = make_csr()
        return self.authority.issue(IssueCommand(**changes), actor)

    def revoke(self, actor: Actor, serial: bytes, reason: int = Reason.UNSPECIFIED, **more: Any) -> CertificateRecord:
        """Revoke by serial number."""
        return self.authority.revoke(RevokeCommand(target=BySerial(serial), reason=reason, **more), actor)

    def count(self, table: str) -> int:
        """How many rows a table has."""
        with self.db.read() as conn:
            found: int = conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
        return found


def make_hierarchy(now: datetime = START) -> Hierarchy:
    """A root and an issuing CA on P-256."""
    root_key, issuing_key = generate_key("p256"), generate_key("p256")
    root = make_root(name="Test Root", key=root_key, now=now)
    issuing = make_issuing(root=root, root_key=root_key, name="Test Issuing", key=issuing_key, now=now)
    crl = make_crl(Issuer(root, root_key), number=1, this_update=now, next_update=now + timedelta(days=300))
    return Hierarchy(root, issuing, issuing_key, crl)


def make_csr(
    name: str = "test.example.com", *, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None
) -> bytes:
    """A certificate request for a DNS name."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def make_actor(role: str, name: str = "test", request_id: str = "") -> Actor:
    """A caller."""
    return Actor(f"spiffe://goodstanding/{role}/{name}", name, role, "ab" * 32, "ipv4:127.0.0.1:4000", request_id)


def with_id(actor: Actor, request_id: str) -> Actor:
    """The same caller with a request id."""
    return replace(actor, request_id=request_id)


def make_ca(
    database: Database,
    writer: Writer,
    hierarchy: Hierarchy,
    clock: ManualClock | None = None,
    settings: AuthoritySettings | None = None,
    *,
    register: bool = True,
) -> Ca:
    """A certificate authority with an issuer called "issuing"."""
    clock = clock or ManualClock()
    if register:
        register_hierarchy(
            database,
            hierarchy.root,
            hierarchy.issuing,
            key_ref="ca/issuing.key",
            root_crl=hierarchy.root_crl,
            now=START,
        )
    settings = settings or AuthoritySettings(public_url="http://ocsp.example.com")
    keys = HeldKeys({"issuing": hierarchy.issuing_key})
    authority = CertificateAuthority(database, writer, keys, settings, clock=clock)
    return Ca(authority, database, clock, hierarchy, writer)


def call_as(actor: Actor) -> None:
    """Make an actor the caller of the servicer's code that runs in this task."""
    until = START + timedelta(days=90)
    set_caller(Caller(actor.identity, actor.name, actor.role, actor.fingerprint, until, actor.peer, "id"))
