"""What one transaction is going to write, and how later works of the same batch see it.

Works only read while they decide; what they want written is added to the batch and reaches the database in one go at
the end, in an order that keeps the lock on the position short:

1. the descriptions of new certificates (wide rows, no lock that others wait for),
2. the position (from here on other writers wait),
3. statuses, changes, what these mean for issuers and for keys, and the memory of request ids,
4. the entries of the audit log that tell of all that (the lock on its head is the last one that is taken).

Keys that a batch certifies are looked up twice: when it begins, to refuse them, and once more when everything else is
written and nobody else can write, where a hit is a Conflict (R103).

A batch with a work that must not be raced by another process takes its revisions before anything is read instead: the
lock on the position then covers the decisions as well. Revisions that come to nothing leave a gap, which harms nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from services.ca.audit import REVOKE, changed, issued
from services.db import audit, blocked_keys, certificates, idempotency, issuers, position, status
from services.db.audit import KnownHead
from services.db.chain import AuditEvent
from services.db.engine import Conflict, Connection
from services.db.records import (
    BlockedKey,
    IdempotencyKey,
    IdempotencyRecord,
    IssuerRecord,
    NewCertificate,
    StatusChange,
)
from services.pki.profiles import OCSP_RESPONDER
from services.pki.reasons import COMPROMISES

T = TypeVar("T")

IMPORTER = "importer"
"""The role of those who may do nothing but bring in what others have recorded."""


@dataclass(slots=True)
class PendingCertificate:
    """A certificate that is going to be recorded. Its id and revision are known once the batch is written."""

    new: NewCertificate
    id: int = 0
    revision: int = 0

    def outcome(self) -> int:
        """What a retry finds it by."""
        return self.id


@dataclass(slots=True)
class PendingChange:
    """A change of a status that is going to be recorded. Its revision is known once the batch is written."""

    change: StatusChange
    ca_certificate: bytes | None = None
    """The certificate, where it is one of an issuer's own: the change then is one of that issuer, too."""
    certificate_id: int | None = None
    """The id of the certificate, for the audit log."""
    method: str = REVOKE
    """What the audit log says was called."""
    revision: int = 0

    def outcome(self) -> int:
        """What a retry finds it by."""
        return self.revision


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change that was recorded earlier: the outcome of a call that had nothing to change."""

    revision: int

    def outcome(self) -> int:
        """What a retry finds it by."""
        return self.revision


Pending = PendingCertificate | PendingChange | RecordedChange


@dataclass(frozen=True, slots=True)
class Memory:
    """A call to be remembered under its request id (G6), with the result that a retry is given."""

    key: IdempotencyKey
    payload_sha256: bytes
    result: Pending
    created_at: datetime


class OtherRows(Protocol):
    """Rows of another kind that a work wants written, after all the others.

    Where they change issuers by what those were before (`changes_issuers`, an attribute that most do not have), they
    are the only ones of their batch that do: nobody sees them before they are written.
    """

    def write(self, conn: Connection) -> None:
        """Write them. Takes the revisions that it needs with `position.advance`."""


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """What a work wants written; nothing, where its answer is known already.

    `answer` is called after the commit, and may use the ids and revisions of what was written.
    """

    answer: Callable[[], T]
    certificate: PendingCertificate | None = None
    change: PendingChange | None = None
    memory: Memory | None = None
    changes: Sequence[PendingChange] = ()
    """Of a work that changes several, in their order."""
    memories: Sequence[Memory] = ()
    audit: Sequence[AuditEvent] = ()
    """What the audit log is to tell besides: certificates and changes have their entries without it."""
    others: OtherRows | None = None
    blocked_keys: tuple[BlockedKey, ...] = ()


class Work(Protocol[T]):
    """One caller's part of a transaction.

    One that is `provisional` (an attribute that most do not have) need not be durable before a later one is.
    """

    @property
    def key(self) -> IdempotencyKey | None:
        """The key that a retry of this call would have; None without a request id."""

    @property
    def serialise(self) -> bool:
        """Whether the decision reads what another process might be changing at this moment."""

    def decide(self, batch: Batch) -> Plan[T]:
        """Read and decide, and write nothing. May run more than once; each time in a new transaction.

        Raises DomainError to refuse; the works beside it are not affected.
        """


class Exclusive:
    """What most works are that do not record a certificate: no other process races them, and no retry is looked for.

    What is recorded already is not recorded twice: they see it when they decide.
    """

    __slots__ = ()

    @property
    def key(self) -> IdempotencyKey | None:
        """None."""
        return None

    @property
    def serialise(self) -> bool:
        """Always."""
        return True


class Batch:
    """One transaction in the making.

    `keys` are those of all its works, `public_keys` those that they want certified (SHA-256). `reserve`, if not 0,
    takes that many revisions, and the lock, at once; when works use more than those, more are taken at the end. `head`
    is what this process knows of the audit log, `known` are the issuers as batches before this one have seen them.
    """

    def __init__(
        self,
        conn: Connection,
        *,
        keys: Iterable[IdempotencyKey] = (),
        public_keys: Iterable[bytes] = (),
        reserve: int = 0,
        head: KnownHead | None = None,
        known: issuers.KnownIssuers | None = None,
    ) -> None:
        self.conn = conn
        self._reserve = reserve
        self._head = head
        self._known = known or issuers.KnownIssuers()
        self._reserved = position.advance(conn, reserve) if reserve else None
        wanted = list(dict.fromkeys(keys))
        self._remembered = idempotency.find_outcomes(conn, wanted) if wanted else {}
        self._memories: dict[IdempotencyKey, Memory] = {}
        self._certificates: list[PendingCertificate] = []
        self._changes: list[PendingChange] = []
        self._events: list[AuditEvent] = []
        self._latest: dict[tuple[int, bytes], PendingChange] = {}
        self._delegates: defaultdict[tuple[str, int], list[datetime]] = defaultdict(list)
        self._issuers: Mapping[int, IssuerRecord] | None = None
        self._issuer_keys: frozenset[bytes] | None = None
        self._others: list[OtherRows] = []
        self._blocked = blocked_keys.find_blocked(conn, public_keys)
        self._blocks: list[BlockedKey] = []

    def is_blocked(self, public_key_sha256: bytes | None) -> bool:
        """Whether that key, one of `public_keys`, was blocked when the batch began."""
        return public_key_sha256 in self._blocked

    def remembered(self, key: IdempotencyKey | None) -> IdempotencyRecord | Memory | None:
        """The call that was made with this key, in the database or earlier in this batch."""
        if key is None:
            return None
        return self._remembered.get(key) or self._memories.get(key)

    def recall(self, keys: Iterable[IdempotencyKey]) -> None:
        """Look for calls with more keys than those that the batch began with."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._remembered and key not in self._memories]
        if wanted:
            self._remembered |= idempotency.find_outcomes(self.conn, wanted)

    def latest_change(self, issuer_id: int, serial: bytes) -> PendingChange | None:
        """The last change that an earlier work of this batch makes to that certificate."""
        return self._latest.get((issuer_id, serial))

    def issuers(self) -> Mapping[int, IssuerRecord]:
        """All issuers by id, as they are before this batch."""
        if self._issuers is None:
            self._issuers = self._known.by_id(self.conn)
        return self._issuers

    def is_issuers(self, public_key_sha256: bytes | None) -> bool:
        """Whether that key is an issuer's, before this batch."""
        if self._issuer_keys is None:
            self._issuer_keys = self._known.key_hashes(self.conn)
        return public_key_sha256 in self._issuer_keys

    def pending_delegates(self, identity: str, issuer_id: int) -> Sequence[datetime]:
        """When the responder certificates expire that earlier works of this batch give this identity."""
        return self._delegates[identity, issuer_id]

    def add(self, plan: Plan[Any]) -> None:
        """Take in what a work wants written. Raises Conflict where it has not seen what another one changes."""
        if _changes_issuers(plan.others) and any(map(_changes_issuers, self._others)):
            raise Conflict("DATABASE_CONFLICT", "another change was recorded at the same time; try again")
        if plan.certificate:
            self._certificates.append(plan.certificate)
            new = plan.certificate.new
            if new.profile == OCSP_RESPONDER:
                self._delegates[new.actor.identity, new.issuer_id].append(new.not_after)
        for change in (plan.change, *plan.changes) if plan.change else plan.changes:
            self._changes.append(change)
            self._latest[change.change.issuer_id, change.change.serial] = change
        for memory in (plan.memory, *plan.memories) if plan.memory else plan.memories:
            self._memories[memory.key] = memory
        self._events.extend(plan.audit)
        if plan.others:
            self._others.append(plan.others)
        self._blocks += plan.blocked_keys

    def flush(self) -> None:
        """Write everything, in the order given above."""
        self._known = issuers.KnownIssuers()  # what is seen from here on may come to nothing
        rows = [certificate.new for certificate in self._certificates]
        ids = certificates.insert_certificates(self.conn, rows) if rows else []
        count = len(rows) + len(self._changes)
        if count:
            self._number(ids, self._revisions(count))
        if rows:
            status.insert_statuses(self.conn, rows, ids, self._certificates[0].revision)
        if self._changes:
            changes = [pending.change for pending in self._changes]
            status.apply_changes(self.conn, changes, self._changes[0].revision)
            for pending in self._changes:
                self._tell_issuers(pending)
        self._block_keys()
        if self._memories:
            idempotency.insert_outcomes(self.conn, [_record(memory) for memory in self._memories.values()])
        for others in self._others:
            others.write(self.conn)
        if events := self._audited():
            audit.append(self.conn, events, self._head)

    def _audited(self) -> list[AuditEvent]:
        if not self._certificates and not self._changes:
            return self._events
        names = _Names(self.conn, self.issuers())
        events = [issued(each.new, each.id, names[each.new.issuer_id]) for each in self._certificates]
        events += [
            changed(each.change, each.certificate_id, names[each.change.issuer_id], method=each.method)
            for each in self._changes
        ]
        return events + self._events

    def _revisions(self, count: int) -> int:
        """The first of so many revisions."""
        if self._reserved is None:
            return position.advance(self.conn, count)
        if count > self._reserve:
            # The lock is held since the reserve was taken: these follow it without a gap.
            position.advance(self.conn, count - self._reserve)
        return self._reserved

    def _block_keys(self) -> None:
        """Block the keys that this batch tells to be known to others; none of them is certified in it."""
        compromises = [pending.change for pending in self._changes if _compromises(pending.change)]
        for change, public_key in blocked_keys.keys_of(self.conn, compromises):
            self._blocks.append(BlockedKey(public_key, "revocation", "", change.changed_at, change.actor))
        blocks = self._without_keys_in_use()
        if blocks:
            blocked_keys.block_keys(self.conn, blocks)
        wanted = [new.public_key_sha256 for new in (each.new for each in self._certificates) if new.public_key_sha256]
        if wanted and blocked_keys.find_blocked(self.conn, wanted):
            raise Conflict("KEY_BLOCKED", "a key was blocked while it was being certified; try again")

    def _without_keys_in_use(self) -> list[BlockedKey]:
        """What importers bring in takes no key from whoever has it certified here: any CA could say so of any key."""
        brought_in = [each.public_key_sha256 for each in self._blocks if each.actor.role == IMPORTER]
        if not brought_in:
            return self._blocks
        in_use = blocked_keys.find_in_use(self.conn, brought_in)
        return [each for each in self._blocks if each.actor.role != IMPORTER or each.public_key_sha256 not in in_use]

    def _tell_issuers(self, pending: PendingChange) -> None:
        if pending.ca_certificate is None:
            return
        change, compromises = pending.change, _compromises(pending.change)
        issuers.follow_certificate(self.conn, pending.ca_certificate, change, pending.revision, compromises=compromises)

    def _number(self, ids: list[int], revision: int) -> None:
        for pending, certificate_id in zip(self._certificates, ids, strict=True):
            pending.id, pending.revision = certificate_id, revision
            revision += 1
        for change in self._changes:
            change.revision = revision
            revision += 1


class _Names(dict[int, str]):
    """The names of issuers by id, also of those that are pending."""

    def __init__(self, conn: Connection, known: Mapping[int, IssuerRecord]) -> None:
        super().__init__((id_, record.name) for id_, record in known.items())
        self._conn = conn

    def __missing__(self, issuer_id: int) -> str:
        self[issuer_id] = name = issuers.issuer_name(self._conn, issuer_id)
        return name


def _changes_issuers(others: OtherRows | None) -> bool:
    return getattr(others, "changes_issuers", False)


def _compromises(change: StatusChange) -> bool:
    return change.revocation is not None and change.revocation.reason in COMPROMISES


def _record(memory: Memory) -> IdempotencyRecord:
    return IdempotencyRecord(memory.key, memory.payload_sha256, memory.result.outcome(), memory.created_at)
