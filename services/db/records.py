"""What queries return and take: frozen values, free of SQLAlchemy.

`…Record` is what a query returns, `New…` what an insertion takes.

Serial numbers are `bytes`: big-endian, unsigned, without leading zero octets, 1 to 20 of them. Times are UTC `datetime`
values with whole seconds and tzinfo; the database holds them as seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class CertificateState(StrEnum):
    """The state of a certificate at some moment. Revoked goes before expired."""

    VALID = "valid"
    REVOKED = "revoked"
    EXPIRED = "expired"


class ChangeAction(StrEnum):
    """What was done to a status after issuing."""

    REVOKE = "revoke"
    HOLD = "hold"
    RELEASE = "release"


class CertificateOrder(StrEnum):
    """The order of a listing."""

    ISSUED = "issued"
    """The latest issued first."""
    EXPIRING = "expiring"
    """The first to expire first."""


class IssuerState(StrEnum):
    """Whether an issuer issues here."""

    ACTIVE = "active"
    OFFLINE = "offline"
    RETIRED = "retired"
    PENDING = "pending"
    """Its import has begun, and not ended: only the import knows of it, and nobody is told."""
    ABANDONED = "abandoned"
    """Its import was given up before it ended: nobody will be told, and its name is another's to take."""


@dataclass(frozen=True, slots=True)
class UnfinishedImport:
    """How far an import came that has not ended."""

    begun_at: datetime
    certificates: int


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
class RevocationRecord:
    """A revocation: when, why (number of RFC 5280, section 5.3.1), and since when to distrust."""

    revoked_at: datetime
    reason: int
    invalidity_at: datetime | None = None
    hold_instruction: str | None = None
    """What to do about an imported hold: an object identifier with dots. Statuses are read without it."""


@dataclass(frozen=True, slots=True)
class CompromiseRecord:
    """That an issuer's key is in other hands: the revocation of a CA certificate with that key."""

    revocation: RevocationRecord
    changed_at: datetime
    """When that was recorded: later than the time of the revocation where its reason was raised."""
    revision: int


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """An issuer: a subject and a public key, with the CA certificates that bind them (DER, preferred first)."""

    id: int
    name: str
    state: IssuerState
    subject_der: bytes
    public_key_der: bytes
    certificates_der: tuple[bytes, ...]
    """Those that are revoked or on hold come last."""
    chain_der: tuple[bytes, ...]
    """CA certificates above the preferred one, nearest first, root last; empty for a root."""
    key_ref: str | None
    """Where the key is, for `services.ca` only (see `services.ca.keystore`). None while offline."""
    revision: int
    compromise: CompromiseRecord | None = None
    """All of its certificates are revoked by it, whatever is recorded of them (RFC 6960, section 2.7; R51)."""
    revoked: bool = False
    """Whether no path of CA certificates above it is left that is neither revoked nor on hold."""


@dataclass(frozen=True, slots=True)
class NewIssuer:
    """An issuer to add."""

    name: str
    state: IssuerState
    subject_der: bytes
    public_key_der: bytes
    certificates: tuple[NewIssuerCertificate, ...]
    """At least one, the preferred one first."""
    parent_id: int | None
    """The issuer above it; None for a root."""
    key_ref: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewIssuerCertificate:
    """A CA certificate of an issuer to add."""

    der: bytes
    not_before: datetime
    not_after: datetime


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
class NewCertificate:
    """A certificate that was signed, to be recorded with the status good."""

    issuer_id: int
    serial: bytes
    der: bytes | None
    subject: str
    common_name: str | None
    subject_alternative_names: tuple[str, ...]
    """Each with its kind in front, as in `DNS:example.com`. Searched for without it."""
    profile: str
    public_key_sha256: bytes | None
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    actor: Actor
    crl_shard: int | None = None
    """The shard whose address it names as CRL distribution point (`CrlScope`)."""


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A change of the status of a recorded certificate. `revocation` holds from then on; None after a release."""

    issuer_id: int
    serial: bytes
    action: ChangeAction
    revocation: RevocationRecord | None
    changed_at: datetime
    actor: Actor


@dataclass(frozen=True, slots=True)
class ChangedStatuses:
    """Changes of statuses in the order of their revisions, the latest of each certificate only."""

    records: tuple[StatusRecord, ...]
    through_revision: int
    """All changes up to this revision are in; below what was asked for where the limit was reached."""


@dataclass(frozen=True, slots=True)
class CertificateFilters:
    """Which certificates to list: those that fit all that is given."""

    issuer_id: int | None = None
    state: CertificateState | None = None
    profile: str | None = None
    name: str | None = None
    """A whole common name or subject alternative name, in any case."""
    not_after_from: datetime | None = None
    """Inclusive."""
    not_after_until: datetime | None = None
    """Exclusive."""
    issued_from: datetime | None = None
    """Inclusive."""
    issued_until: datetime | None = None
    """Exclusive."""
    reason: int | None = None
    """Revoked for this one."""
    serial_prefix: str | None = None
    """The first hex digits of the serial number: few certificates have them in common, if there are four at least."""
    public_key_sha256: bytes | None = None
    identity: str | None = None
    """Of whoever asked for it."""


@dataclass(frozen=True, slots=True)
class CertificateCursor:
    """A place in a listing: the certificate that was looked at last."""

    at: datetime
    """When it was issued or expires, whatever the listing is ordered by."""
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSelection:
    """Which certificates to change: those that fit all that is given, and were recorded up to `last_id`."""

    last_id: int
    public_key_sha256: bytes | None = None
    issuer_id: int | None = None
    profile: str | None = None
    not_profiles: tuple[str, ...] = ()
    """Certificates of these profiles are left out."""
    name: str | None = None
    """A whole common name or subject alternative name, in any case."""
    actor_identity: str | None = None
    """Who asked for it."""
    state: CertificateState | None = None
    issued_from: datetime | None = None
    """Inclusive, as `not_after_from`."""
    issued_until: datetime | None = None
    """Exclusive, as `not_after_until`."""
    not_after_from: datetime | None = None
    not_after_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CertificatePage:
    """One page of a listing. `next` is where to go on; None at the end."""

    certificates: tuple[CertificateRecord, ...]
    next: CertificateCursor | None


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
class CertificateCount:
    """How many certificates of an issuer and profile are in each state."""

    issuer_name: str
    profile: str
    valid: int
    revoked: int
    expired: int


class IdempotencyKey(NamedTuple):
    """What a retry has in common with the first call."""

    identity: str
    method: str
    request_id: str


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A call that was carried out, and the row that holds its result.

    `outcome` is the id of a certificate after issuing, the revision of a status change after revoking.
    """

    key: IdempotencyKey
    payload_sha256: bytes
    outcome: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CrlRecord:
    """A full certificate revocation list."""

    issuer_id: int
    number: int
    der: bytes
    this_update: datetime
    next_update: datetime


FULL = 0
"""The scope of an issuer's full revocation list."""


@dataclass(frozen=True, slots=True)
class CrlScope:
    """What an issuer makes revocation lists of: everything (`FULL`), or one shard of its certificates."""

    issuer_id: int
    scope: int
    url: str | None
    """The address that certificates of a shard name, to the octet (R112). None for the full list."""


@dataclass(frozen=True, slots=True)
class CrlDescription:
    """A certificate revocation list without its octets."""

    issuer_id: int
    scope: int
    number: int
    this_update: datetime
    next_update: datetime
    revision: int
    """Every change up to this revision is in."""
    scheduled: bool
    """Whether it was made because its time had come, and not only because of a change (R111)."""
    entries: int
    size: int
    sha256: bytes


class RevocationRow(NamedTuple):
    """What revocation lists need to know of a certificate. Times are seconds since 1970: there are millions of rows."""

    issuer_id: int
    serial: bytes
    crl_shard: int | None
    not_after: int
    revoked_at: int | None
    reason: int | None
    invalidity_at: int | None
    changed_at: int
    revision: int
    issued_at: int
    certificate_id: int


@dataclass(frozen=True, slots=True)
class BlockedKey:
    """A public key that is never certified again."""

    public_key_sha256: bytes
    """Of its SubjectPublicKeyInfo."""
    source: str
    """`revocation` or `import`."""
    comment: str
    blocked_at: datetime
    actor: Actor


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
