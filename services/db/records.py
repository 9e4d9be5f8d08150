"""What queries return and take: frozen values, free of SQLAlchemy.

Serial numbers are `bytes`: big-endian, unsigned, without leading zero octets, 1 to 20 of them. Times are UTC `datetime`
values with whole seconds and tzinfo; the database holds them as seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class IssuerState(StrEnum):
    """Whether an issuer issues here."""

    ACTIVE = "active"
    OFFLINE = "offline"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of changes: revisions of one history compare, those of two never do."""

    history: str
    revision: int


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, as the services saw them."""

    identity: str
    name: str
    role: str
    fingerprint: str
    peer: str
    request_id: str


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """An issuer: a subject and a public key, with the CA certificates that bind them (DER, preferred first)."""

    id: int
    name: str
    state: IssuerState
    subject_der: bytes
    public_key_der: bytes
    certificates_der: tuple[bytes, ...]
    chain_der: tuple[bytes, ...]
    """CA certificates above the preferred one, nearest first, root last; empty for a root."""
    key_ref: str | None
    """Where the key is, for `services.ca` only: a path relative to the configuration file. None while offline."""
    revision: int


@dataclass(frozen=True, slots=True)
class RevocationRecord:
    """A revocation: when, why (number of RFC 5280, section 5.3.1), and since when to distrust."""

    revoked_at: datetime
    reason: int
    invalidity_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """The status of one certificate that was issued here."""

    issuer_id: int
    serial: bytes
    certificate_id: int
    not_after: datetime
    revocation: RevocationRecord | None
    changed_at: datetime
    """When it was issued, revoked or released, whichever came last."""
    revision: int


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """One certificate with its description and status."""

    id: int
    issuer_id: int
    issuer_name: str
    serial: bytes
    der: bytes | None
    subject: str
    subject_alternative_names: tuple[str, ...]
    """Each with its kind in front, as in `DNS:example.com`."""
    profile: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    actor: Actor
    revocation: RevocationRecord | None
    revision: int


@dataclass(frozen=True, slots=True)
class CrlRecord:
    """A certificate revocation list."""

    issuer_id: int
    number: int
    der: bytes
    this_update: datetime
    next_update: datetime


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A client or server certificate for the gRPC services."""

    fingerprint: str
    """SHA-256 of the DER, in lower-case hex."""
    name: str
    role: str
    identity: str
    not_after: datetime
    created_at: datetime
    denied_at: datetime | None
    denied_because: str
