"""One message of an import, in one transaction: what is new, what is known, and which of both counts.

What it guarantees:

* What is recorded here wins, except that what is revoked there is revoked here, too: with its own time and reason, and
  with a change that watchers are told of (G3). Nothing becomes less revoked by an import.
* A serial number stands for one certificate for ever (R89): another one with it is kept out.
* An entry that was recorded by an earlier run comes to nothing, so that an import may be run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.ca.audit import IMPORT
from services.ca.batch import IMPORTER, Batch, Exclusive, PendingChange, Plan
from services.ca.import_entries import MAX_ORIGIN, PROFILE, Entry, Finding
from services.ca.selection import own_serials
from services.clock import from_epoch, rfc3339, to_epoch
from services.db import blocked_keys, imports, issuers, position
from services.db.chain import AuditEvent, details
from services.db.engine import Connection
from services.db.imports import ImportRow, KnownRow
from services.db.records import (
    Actor,
    BlockedKey,
    ChangeAction,
    IssuerState,
    RevocationRecord,
    StatusChange,
)
from services.pki.reasons import COMPROMISES, NAMES, Reason


@dataclass(slots=True)
class Counts:
    """How many certificates came to what. Each is in `received` and one other."""

    received: int = 0
    added: int = 0
    unchanged: int = 0
    revoked: int = 0
    completed: int = 0
    refused: int = 0

    def add(self, other: Counts) -> None:
        """Count these, too."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def told(self) -> dict[str, int]:
        """What the audit log says."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def changes(self) -> bool:
        """Whether anything was to be recorded."""
        return bool(self.added or self.revoked or self.completed)


@dataclass(slots=True)
class ChunkResult:
    """What became of a message."""

    counts: Counts = field(default_factory=Counts)
    findings: list[Finding] = field(default_factory=list)
    issuers_changed: bool = False
    """Whether a CA certificate of an issuer was revoked by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk(Exclusive):
    """The work. `issuer_id` is None where the issuer is not recorded, and shall not be (validate_only).

    `refused` and `findings` are what reading the message has told already.
    """

    issuer_id: int | None
    issuer_name: str
    entries: Sequence[Entry]
    refused: int
    findings: Sequence[Finding]
    actor: Actor
    now: datetime
    source: str
    issuer_ends: frozenset[int] = frozenset()
    """When the issuer's certificates end: a status whose own end is not known has one of these in its place."""
    provisional: bool = False
    """Whether nobody hears of it before the import has ended (`Work`)."""

    def decide(self, batch: Batch) -> Plan[ChunkResult]:
        """As `Work.decide`."""
        decisions = _Decisions(self, batch)
        for entry in self.entries:
            decisions.decide(entry)
        result = decisions.result
        if self.issuer_id is None or not result.counts.changes:
            return Plan(lambda: result)
        said = details({**result.counts.told(), "source": self.source})
        return Plan(
            lambda: result,
            changes=decisions.changes,
            others=_Rows(
                self.issuer_id,
                list(decisions.added.values()),
                decisions.completed,
                decisions.held,
                self.actor,
                to_epoch(self.now),
            ),
            blocked_keys=tuple(decisions.blocked),
            audit=[AuditEvent(IMPORT, self.actor, self.now, issuer=self.issuer_name, details=said)],
        )


@dataclass(frozen=True, slots=True)
class _Rows:
    """What a message writes besides changes."""

    issuer_id: int
    added: Sequence[ImportRow]
    completed: dict[int, ImportRow]
    held: Sequence[tuple[PendingChange, str]]
    actor: Actor
    now: int

    def write(self, conn: Connection) -> None:
        if self.added:
            first = position.advance(conn, len(self.added))
            imports.insert_imported(conn, self.issuer_id, self.added, self.actor, self.now, first)
        imports.complete(conn, self.completed)
        for pending, instruction in self.held:
            imports.set_hold_instruction(conn, pending.revision, instruction)


class _Decisions:
    """Decides one entry after the other, each seeing what the ones before it come to."""

    def __init__(self, chunk: Chunk, batch: Batch) -> None:
        self._chunk = chunk
        self._batch = batch
        serials = list(dict.fromkeys(entry.row.serial for entry in chunk.entries))
        self._known: dict[bytes, KnownRow] = {}
        if chunk.issuer_id is not None and serials:
            self._known = imports.find_known(batch.conn, chunk.issuer_id, serials)
        keys = [entry.row.public_key_sha256 for entry in chunk.entries if entry.row.public_key_sha256 is not None]
        self._blocked_here = blocked_keys.find_blocked(batch.conn, keys)
        told = [entry.row.public_key_sha256 for entry in chunk.entries if entry.row.reason in COMPROMISES]
        importing = chunk.actor.role == IMPORTER
        self._in_use = blocked_keys.find_in_use(batch.conn, filter(None, told)) if importing else frozenset()
        self._own: frozenset[bytes] | None = None
        self._certificates_needed = _needs_certificates(chunk, batch)
        self._brought_in: set[bytes] = set()
        received = len(chunk.entries) + chunk.refused
        self.result = ChunkResult(Counts(received=received, refused=chunk.refused), list(chunk.findings))
        self.added: dict[bytes, ImportRow] = {}
        self.completed: dict[int, ImportRow] = {}
        self.changes: list[PendingChange] = []
        self.held: list[tuple[PendingChange, str]] = []
        self.blocked: list[BlockedKey] = []

    def decide(self, entry: Entry) -> None:
        """What is to become of it, into the lists above."""
        counts, row = self.result.counts, entry.row
        if row.reason in COMPROMISES and row.public_key_sha256 in self._in_use:
            self._find(
                entry, "KEY_IN_USE", "its key is in a certificate that was issued here: revoke that, or block the key"
            )
        known = self._known.get(row.serial)
        if known is None and row.serial not in self.added:
            if self._certificates_needed and row.der is None:
                counts.refused += 1
                text = (
                    "this issuer issues here, and did not move in: only the role admin may add rows without certificate"
                )
                self._find(entry, "CERTIFICATE_NEEDED", text, refused=True)
                return
            self.added[row.serial] = row
            counts.added += 1
            self._block(row)
            if row.revoked_at is None and row.public_key_sha256 in self._blocked_here:
                self._find(entry, "KEY_BLOCKED", "its key is blocked here, and it is not revoked: it should be")
            return
        if known is None:
            known = _as_known(self.added[row.serial])
        ends = self._chunk.issuer_ends
        if conflict := _conflict(known, row, ends):
            counts.refused += 1
            self._find(entry, "SERIAL_CONFLICT", conflict, refused=True)
            return
        if self._is_beyond_the_role(known, row):
            counts.refused += 1
            text = "it was issued here, or is an authority's: only the role admin may have it revoked by an import"
            self._find(entry, "ISSUED_HERE", text, refused=True)
            return
        completes = _says_more(known, row, ends)
        if completes:
            self._complete(entry, known, row)
        if self._revoke(entry, known):
            counts.revoked += 1
        elif completes:
            counts.completed += 1
        else:
            counts.unchanged += 1

    def _is_beyond_the_role(self, known: KnownRow, row: ImportRow) -> bool:
        """Whether it would revoke what no import has brought in. That is the role revoker's, who says why."""
        if row.revoked_at is None or self._chunk.actor.role == "admin" or not known.certificate_id:
            return False
        if known.profile == PROFILE and self._ca_certificate(known, row) is None:
            return False
        return self._revocation_here(known, row) is None

    def _complete(self, entry: Entry, known: KnownRow, row: ImportRow) -> None:
        if known.not_after not in (row.not_after, *self._chunk.issuer_ends):
            text = f"it was recorded as ending at {_moment(known.not_after)}, and ends at {_moment(row.not_after)}"
            self._find(entry, "NOT_AFTER_DIFFERS", f"{text}: its own time is recorded")
        if known.certificate_id:
            self.completed[known.certificate_id] = row
            self._known[row.serial] = known._replace(der=row.der, not_after=row.not_after)
            if known.reason is not None:
                self._block(row._replace(revoked_at=known.revoked_at, reason=known.reason))
            return
        before = self.added[row.serial]
        self.added[row.serial] = _revoked_like(before, row) if before.revoked_at is not None else row

    def _revoke(self, entry: Entry, known: KnownRow) -> bool:
        """Whether its revocation comes in. Tells where what is recorded differs, and stays."""
        row = entry.row
        here = self._revocation_here(known, row)
        if row.revoked_at is None:
            if here is not None:
                text = f"it is {_told(*here)} here, and not revoked there: that stays"
                self._find(entry, "REVOKED_HERE", text)
            return False
        there = (row.revoked_at, row.reason or 0, row.invalidity_at)
        if here is None:
            self._bring_in(known, row)
            return True
        if here != there:
            text = f"it is {_told(*here)} here, and {_told(*there)} there: what is here stays"
            self._find(entry, "REVOCATION_DIFFERS", text)
        return False

    def _revocation_here(self, known: KnownRow, row: ImportRow) -> tuple[int, int, int | None] | None:
        """As it is in this transaction: another call of the same batch may have revoked it a moment ago."""
        if self._chunk.issuer_id is not None and known.certificate_id and row.serial not in self._brought_in:
            latest = self._batch.latest_change(self._chunk.issuer_id, row.serial)
            if latest is not None:
                return _values(latest.change.revocation)
        return None if known.revoked_at is None else (known.revoked_at, known.reason or 0, known.invalidity_at)

    def _bring_in(self, known: KnownRow, row: ImportRow) -> None:
        if not known.certificate_id:
            self.added[row.serial] = revoked = _revoked_like(row, self.added[row.serial])
            self._block(revoked)
            return
        self._block(row)
        self._brought_in.add(row.serial)
        self._known[row.serial] = self._known[row.serial]._replace(
            revoked_at=row.revoked_at, reason=row.reason, invalidity_at=row.invalidity_at
        )
        if self._chunk.issuer_id is None or row.revoked_at is None:
            return
        reason = row.reason or 0
        change = StatusChange(
            issuer_id=self._chunk.issuer_id,
            serial=row.serial,
            action=ChangeAction.HOLD if reason == Reason.CERTIFICATE_HOLD else ChangeAction.REVOKE,
            revocation=RevocationRecord(
                from_epoch(row.revoked_at),
                reason,
                None if row.invalidity_at is None else from_epoch(row.invalidity_at),
            ),
            changed_at=self._chunk.now,
            actor=self._chunk.actor,
        )
        certificate = self._ca_certificate(known, row)
        pending = PendingChange(change, certificate, known.certificate_id, IMPORT)
        self.changes.append(pending)
        self.result.issuers_changed |= certificate is not None
        if row.hold_instruction:
            self.held.append((pending, row.hold_instruction))

    def _ca_certificate(self, known: KnownRow, row: ImportRow) -> bytes | None:
        """The certificate itself, where it is one of an issuer's own."""
        if self._own is None:
            every = [*self._batch.issuers().values(), *issuers.list_pending(self._batch.conn)]
            self._own = own_serials(every)
            self._ders = frozenset(der for record in every for der in record.certificates_der)
        if row.serial not in self._own:
            return None
        der = known.der or row.der
        return der if der in self._ders else None

    def _block(self, row: ImportRow) -> None:
        """A key that was told to be known to others is never certified again (R103)."""
        if row.public_key_sha256 is not None and row.reason in COMPROMISES:
            now, actor = self._chunk.now, self._chunk.actor
            self.blocked.append(BlockedKey(row.public_key_sha256, "revocation", "", now, actor))

    def _find(self, entry: Entry, code: str, text: str, *, refused: bool = False) -> None:
        origin = entry.origin[:MAX_ORIGIN]
        self.result.findings.append(Finding(origin, entry.row.serial.hex(), code, text, refused))


def _needs_certificates(chunk: Chunk, batch: Batch) -> bool:
    """Whether nothing new comes in on its word alone: good would be said of what the issuer may never have issued (G2).

    Who moves in is believed. What has always issued here has its records here, and no importer knows better.
    """
    if chunk.issuer_id is None or chunk.actor.role == "admin":
        return False
    record = batch.issuers().get(chunk.issuer_id)
    if record is None or record.state is IssuerState.OFFLINE:  # not known yet, or its records are kept elsewhere
        return False
    return not imports.has_imported(batch.conn, chunk.issuer_id, PROFILE)


def _as_known(row: ImportRow) -> KnownRow:
    """What an earlier entry of the same message comes to: it has no id yet."""
    return KnownRow(0, row.not_after, row.revoked_at, row.reason, row.invalidity_at, 0, row.der, row.profile)


def _revoked_like(revoked: ImportRow, row: ImportRow) -> ImportRow:
    return row._replace(
        revoked_at=revoked.revoked_at,
        reason=revoked.reason,
        invalidity_at=revoked.invalidity_at,
        hold_instruction=revoked.hold_instruction,
    )


def _values(revocation: RevocationRecord | None) -> tuple[int, int, int | None] | None:
    if revocation is None:
        return None
    invalidity = revocation.invalidity_at
    return to_epoch(revocation.revoked_at), revocation.reason, None if invalidity is None else to_epoch(invalidity)


def _conflict(known: KnownRow, row: ImportRow, ends: frozenset[int]) -> str:
    """Why an entry is not the certificate that is known with its serial number; empty where it may be.

    The certificate itself says when it ends; so a status without it, and still more one whose end was not known, is no
    witness against it. `ends` are those of the issuer, which stand for ends that are not known.
    """
    if known.der is not None and row.der is not None:
        return "" if known.der == row.der else "another certificate is recorded with this serial number"
    if known.not_after == row.not_after or _says_more(known, row, ends) or (row.der is None and row.not_after in ends):
        return ""
    ends_at = f"{_moment(known.not_after)}, and not at {_moment(row.not_after)}"
    return f"the certificate that is recorded with this serial number ends at {ends_at}"


def _says_more(known: KnownRow, row: ImportRow, ends: frozenset[int]) -> bool:
    """Whether an entry has the certificate where only the status is known, or the end where that is not known."""
    if known.der is not None:
        return False
    return row.der is not None or (known.not_after in ends and row.not_after not in ends)


def _moment(seconds: int) -> str:
    return rfc3339(from_epoch(seconds))


def _told(revoked_at: int, reason: int, invalidity_at: int | None) -> str:
    why = NAMES[Reason(reason)] if reason else "no reason"
    since = f", not to be trusted since {rfc3339(from_epoch(invalidity_at))}" if invalidity_at is not None else ""
    return f"revoked at {rfc3339(from_epoch(revoked_at))} for {why}{since}"
