"""Bringing in what another CA has issued: an issuer, its certificates, their statuses (docs/decisions/imports.md).

What it guarantees:

* A new issuer is pending until the end of its import: until then nobody is told of it, or of what it issued. The end
  makes it known in one transaction, with its key, its state, and the number that its revocation lists go on from.
* Whatever breaks off in between leaves whole messages, and the issuer pending; the same import completes it later.
* One import of an issuer runs at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca.abandoning import Abandon, Abandoned
from services.ca.admission import check_room, check_unfinished, require_right_to_key
from services.ca.at_a_time import AtATime
from services.ca.audit import IMPORT
from services.ca.batch import Batch, Exclusive, Plan
from services.ca.hierarchy import (
    Hierarchy,
    ImportCommand,
    check_position,
    check_standing,
    find_signer,
    new_certificate,
    read_certificates,
    record_ca_certificates,
)
from services.ca.import_chunks import Chunk, ChunkResult, Counts
from services.ca.import_entries import EntryReader, Finding, SentCertificate
from services.ca.issuers import IssuerDirectory
from services.ca.keystore import KeyStore, check_reference
from services.ca.sound_keys import Candidate, refuse_blocked_meanwhile
from services.ca.writer import Writer, resolved
from services.clock import Clock, to_epoch
from services.db import crls, issuers, position, status
from services.db.chain import AuditEvent, details
from services.db.engine import Connection, Database
from services.db.pending import hidden_ids
from services.db.records import (
    Actor,
    ChangeAction,
    IssuerRecord,
    IssuerState,
    NewIssuer,
    StatusChange,
)
from services.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from services.pki import der as parts_of
from services.pki.reasons import COMPROMISES, Reason
from services.pki.serials import serial_from_int

T = TypeVar("T")

MAX_FINDINGS = 1000
MAX_AT_A_TIME = 16
MAX_OF_ONE = 4
"""Imports that run, dry runs among them."""
MAX_SOURCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportHeader:
    """What an import is about."""

    issuer: str
    certificates_der: tuple[bytes, ...] = ()
    """May be left out for an issuer that is known, or pending."""
    key_ref: str | None = None
    retired: bool = False
    crl_number: int | None = None
    source: str = ""
    validate_only: bool = False


@dataclass(slots=True)
class ImportReport:
    """What an import came to. `issuer` is None where it is not recorded, and was not to be."""

    issuer: IssuerRecord | None
    counts: Counts
    findings: list[Finding]
    omitted_findings: int


class Importing:
    """The use case. Safe to use from many threads; each `ImportRun` is for one call."""

    def __init__(
        self,
        db: Database,
        writer: Writer,
        directory: IssuerDirectory,
        hierarchy: Hierarchy,
        keys: KeyStore,
        clock: Clock,
    ) -> None:
        self.db = db
        self.writer = writer
        self.directory = directory
        self.clock = clock
        self._hierarchy = hierarchy
        self._keys = keys
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self.at_a_time = AtATime(MAX_AT_A_TIME, MAX_OF_ONE, "TOO_MANY_IMPORTS", "imports")

    @contextmanager
    def alone(self, header: ImportHeader) -> Iterator[None]:
        """Keep other imports of the same issuer out. Raises FailedPrecondition (IMPORT_IN_PROGRESS)."""
        if header.validate_only:
            yield
            return
        with self._lock:
            if header.issuer in self._running:
                raise FailedPrecondition(
                    "IMPORT_IN_PROGRESS",
                    f"another import of issuer {header.issuer[:64]} is running: wait until it has ended",
                    field="header.issuer",
                )
            self._running.add(header.issuer)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(header.issuer)

    def begin(self, header: ImportHeader, actor: Actor) -> Future[ImportRun]:
        """Check the header, and record a new issuer as pending; the future resolves once it is. Raises DomainError."""
        self.directory.forget()
        record = self._recorded(header.issuer)
        command = _command(header, record)
        offered = read_certificates(command, self._hierarchy.known_keys)
        if command.key_ref is not None:
            _require_right_to_key(record, offered[0], actor)
            check_reference(command.key_ref)
            self._keys.check(command.key_ref, command.name, parts_of.public_key_der(offered[0]))
        if record is not None and record.state is not IssuerState.PENDING:
            self._hierarchy.begin_import(command, actor).result()
            return resolved(ImportRun(self, header, command, offered, record, actor))
        work = _Begin(self, header, command, offered, actor)
        if header.validate_only:
            with self.db.read() as conn:
                work.plan(Batch(conn))
            return resolved(ImportRun(self, header, command, offered, record, actor))
        return self.writer.submit(work)

    def abandon(self, name: str, actor: Actor, *, validate_only: bool) -> Future[Abandoned]:
        """Give up a pending issuer; the future resolves once that is durable. Raises DomainError, as it does."""
        work = Abandon(name, actor, self.clock())
        if not validate_only:
            return self.writer.submit(work)
        with self.db.read() as conn:
            return resolved(work.find(conn))

    def _recorded(self, name: str) -> IssuerRecord | None:
        with self.db.read() as conn:
            every = [*issuers.list_issuers(conn), *issuers.list_pending(conn)]
        return next((record for record in every if record.name == name), None)


class ImportRun:
    """One import: `chunk` after `chunk`, then `finish`. Not for several threads at once."""

    def __init__(
        self,
        importing: Importing,
        header: ImportHeader,
        command: ImportCommand,
        offered: tuple[x509.Certificate, ...],
        record: IssuerRecord | None,
        actor: Actor,
    ) -> None:
        self._importing = importing
        self._header = header
        self._command = command
        self._offered = offered
        self._record = record
        self._actor = actor
        held = record.certificates_der if record is not None else ()
        every = (*offered, *map(x509.load_der_x509_certificate, held))
        self._ends = frozenset(to_epoch(each.not_valid_after_utc) for each in every)
        self._counts = Counts()
        self._findings: list[Finding] = []
        self._omitted = 0

    def read(self, sent: Iterable[SentCertificate]) -> Chunk:
        """Check certificates: their signatures, and what is said of them.

        Takes long, reads no database, and may go on while an earlier chunk is being recorded.
        """
        now = self._importing.clock()
        reader = EntryReader(self._offered[0], to_epoch(now))
        checked = [reader.read(each) for each in sent]
        entries = [entry for entry in checked if entry is not None]
        return Chunk(
            issuer_id=self._record.id if self._record is not None else None,
            issuer_name=self._command.name,
            entries=entries,
            refused=len(checked) - len(entries),
            findings=reader.findings,
            actor=self._actor,
            now=now,
            source=self._header.source,
            issuer_ends=self._ends,
            # Of a pending issuer nobody knows; the end, which is durable, makes all before it durable.
            provisional=self._record is not None and self._record.state is IssuerState.PENDING,
        )

    def record(self, chunk: Chunk) -> Future[ChunkResult]:
        """Queue a chunk; the future resolves once it is recorded. With `validate_only`, say what it would come to.

        Raises ResourceExhausted (QUEUE_FULL): try again.
        """
        if not self._header.validate_only:
            return self._importing.writer.submit(chunk)
        with self._importing.db.read() as conn:
            return resolved(chunk.decide(Batch(conn)).answer())

    def take_in(self, result: ChunkResult) -> None:
        """Count what a chunk came to."""
        self._counts.add(result.counts)
        self._tell(result.findings)
        if result.issuers_changed:
            self._importing.directory.forget()

    def finish(self) -> Future[IssuerRecord | None]:
        """Everything was sent: make the issuer known. Raises DomainError, as the future does."""
        if self._header.validate_only or self._record is None:
            known = self._record if self._record and self._record.state is not IssuerState.PENDING else None
            return resolved(known)
        return self._importing.writer.submit(
            _End(self._importing, self._header, self._command, self._offered, self._record, self._actor, self._counts)
        )

    def report(self, issuer: IssuerRecord | None) -> ImportReport:
        """What it came to."""
        return ImportReport(issuer, self._counts, self._findings, self._omitted)

    def _tell(self, findings: Sequence[Finding]) -> None:
        room = MAX_FINDINGS - len(self._findings)
        self._findings += findings[:room]
        self._omitted += max(0, len(findings) - room)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A new issuer, or more certificates for one that is pending."""

    importing: Importing
    new: NewIssuer | None
    known: IssuerRecord | None
    fresh: tuple[x509.Certificate, ...]
    actor: Actor

    def write(self, conn: Connection) -> None:
        if self.new is not None:
            issuers.add_issuer(conn, self.new, position.advance(conn, 1), self.actor)
        elif self.known is not None and self.fresh:
            added = [new_certificate(each) for each in self.fresh]
            issuers.add_certificates(conn, self.known.id, added, position.advance(conn, 1), self.actor)


@dataclass(frozen=True, slots=True)
class _Begin(Exclusive):
    """The header of an import of an issuer that is not known."""

    importing: Importing
    header: ImportHeader
    command: ImportCommand
    offered: tuple[x509.Certificate, ...]
    actor: Actor

    def decide(self, batch: Batch) -> Plan[ImportRun]:
        return Plan(self._run, others=self.plan(batch))

    def plan(self, batch: Batch) -> _Pending:
        """What is to be written. Raises DomainError."""
        every = list(batch.issuers().values())
        pending = issuers.list_pending(batch.conn)
        first = self.offered[0]
        same = parts_of.subject_der(first), parts_of.public_key_der(first)
        known = None
        for record in (*every, *pending):
            is_same = (record.subject_der, record.public_key_der) == same
            if is_same != (record.name == self.command.name) or (is_same and record in every):
                text = f"this name, or the subject with its key, is that of issuer {record.name}: import it as that"
                if record in pending:
                    text += f", or give up its unfinished import (`goodstanding import abandon {record.name}`)"
                raise AlreadyExists("ISSUER_EXISTS", text, field="header.issuer")
            known = record if is_same else known
        signer = find_signer(self.offered, every)
        held = known.certificates_der if known else ()
        fresh = tuple(each for each in self.offered if each.public_bytes(Encoding.DER) not in held)
        check_position(known, signer, fresh)
        check_standing(batch.conn, fresh, signer)
        check_room([*every, *pending], known, signer, fresh, self.actor)
        if known is None:  # what an import that goes on has told of the key keeps it from nothing
            self._candidate(signer).require_sound(batch.conn, every, "header.certificates_der")
            check_unfinished(len(hidden_ids(batch.conn)), self.actor)
        return _Pending(self.importing, None if known else self._new(signer), known, fresh, self.actor)

    def _candidate(self, signer: IssuerRecord | None) -> Candidate:
        return Candidate(
            name=self.command.name,
            public_key_der=parts_of.public_key_der(self.offered[0]),
            known=None,
            signer=signer,
            is_certified=True,
            is_activated=self.command.state is IssuerState.ACTIVE,
        )

    def _new(self, signer: IssuerRecord | None) -> NewIssuer:
        first = self.offered[0]
        return NewIssuer(
            name=self.command.name,
            state=IssuerState.PENDING,
            subject_der=parts_of.subject_der(first),
            public_key_der=parts_of.public_key_der(first),
            certificates=tuple(map(new_certificate, self.offered)),
            parent_id=signer.id if signer else None,
            key_ref=None,
            created_at=self.importing.clock(),
        )

    def _run(self) -> ImportRun:
        with self.importing.db.read() as conn:
            pending = issuers.list_pending(conn)
        record = next(record for record in pending if record.name == self.command.name)
        return ImportRun(self.importing, self.header, self.command, self.offered, record, self.actor)


@dataclass(frozen=True, slots=True)
class _Completed:
    """What the end of an import writes."""

    importing: Importing
    record: IssuerRecord
    signer_id: int
    command: ImportCommand
    crl_number: int | None
    actor: Actor

    def write(self, conn: Connection) -> None:
        if self.crl_number is not None:
            position.advance(conn, 1)
            crls.take_over_number(conn, self.record.id, self.crl_number)
        if self.record.state is not IssuerState.PENDING:
            return
        if self.command.state is IssuerState.ACTIVE:
            refuse_blocked_meanwhile(conn, self.record, "header.key_ref")
        found = [x509.load_der_x509_certificate(der) for der in self.record.certificates_der]
        record_ca_certificates(conn, found, self.signer_id, self.importing.clock, self.actor)
        self._follow_own(conn, found)
        revision = position.advance(conn, 1)
        issuers.set_issuer_key(conn, self.record.id, self.command.key_ref, self.command.state, revision, self.actor)

    def _follow_own(self, conn: Connection, found: Sequence[x509.Certificate]) -> None:
        """What came in of the issuer's own certificates, or was revoked meanwhile, is one of the issuer, too."""
        serials = {serial_from_int(each.serial_number): each.public_bytes(Encoding.DER) for each in found}
        for serial, its in status.get_statuses(conn, self.signer_id, list(serials)).items():
            if its.revocation is None:
                continue
            # Anew, under a revision that all who watch issuers hear of.
            action = ChangeAction.HOLD if its.revocation.reason == Reason.CERTIFICATE_HOLD else ChangeAction.REVOKE
            change = StatusChange(self.signer_id, serial, action, its.revocation, self.importing.clock(), self.actor)
            revision = position.advance(conn, 1)
            status.apply_changes(conn, [change], revision)
            compromises = its.revocation.reason in COMPROMISES
            issuers.follow_certificate(conn, serials[serial], change, revision, compromises=compromises)


@dataclass(frozen=True, slots=True)
class _End(Exclusive):
    """The end of an import."""

    importing: Importing
    header: ImportHeader
    command: ImportCommand
    offered: tuple[x509.Certificate, ...]
    record: IssuerRecord
    actor: Actor
    counts: Counts

    def decide(self, batch: Batch) -> Plan[IssuerRecord | None]:
        signer = None
        if self.record.state is IssuerState.PENDING:
            signer = find_signer(self.offered, list(batch.issuers().values()))
        completed = _Completed(
            self.importing,
            self.record,
            signer.id if signer else self.record.id,
            self.command,
            self.header.crl_number,
            self.actor,
        )
        now: datetime = self.importing.clock()
        said: dict[str, object] = {**self.counts.told(), "source": self.header.source, "end": 1}
        if self.header.crl_number is not None:
            said["crl_number"] = format(self.header.crl_number, "x")
        event = AuditEvent(IMPORT, self.actor, now, issuer=self.record.name, details=details(said))
        return Plan(self._known, others=completed, audit=[event])

    def _known(self) -> IssuerRecord:
        self.importing.directory.forget()
        return self.importing.directory.named(self.record.name)


def _command(header: ImportHeader, record: IssuerRecord | None) -> ImportCommand:
    """The header as ImportIssuer would have it. Raises InvalidArgument (ISSUER_CERTIFICATE_INVALID)."""
    given = header.certificates_der or (record.certificates_der if record is not None else ())
    if not given:
        raise InvalidArgument(
            "ISSUER_CERTIFICATE_INVALID",
            f"there is no issuer {header.issuer[:64]!r} yet: its CA certificates are needed",
            field="header.certificates_der",
        )
    return ImportCommand(
        name=header.issuer,
        certificates_der=given,
        key_ref=header.key_ref,
        retired=header.retired,
        validate_only=header.validate_only,
    )


def _require_right_to_key(record: IssuerRecord | None, offered: x509.Certificate, actor: Actor) -> None:
    """As `require_right_to_key`, before the key is opened."""
    if record is None or record.state is not IssuerState.OFFLINE:
        return
    if record.public_key_der == parts_of.public_key_der(offered):  # or it is another one, whose name is taken
        require_right_to_key(record, actor)
