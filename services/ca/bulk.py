"""Revoking many certificates: found in steps, decided one by one, each step in one transaction of the writer.

What it guarantees:

* Each certificate is decided as a revocation of its own would, with the same rules (R110, R111); one that is refused
  has changed nothing, and does not stop the others.
* The results of a step are told once it is durable (G1). Between two steps others have their turn: the lock on the
  position is held for one step, and memory for one step is all that is needed, however many there are.
* With a request id each certificate is safe to retry (G6): the id and the certificate make up a key of its own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.ca.audit import passed_over
from services.ca.batch import Batch, Exclusive, Memory, PendingChange, Plan, RecordedChange
from services.ca.bootstrap import CA_PROFILE
from services.ca.issuers import IssuerDirectory
from services.ca.payload import payload_sha256
from services.ca.records import as_of
from services.ca.retries import require_same
from services.ca.revoke import Revoking, ca_certificate, require_past, require_reason, status_change
from services.ca.selection import ByKey, Selected, Selection, own_serials
from services.ca.target import Target
from services.ca.writer import Writer, resolved
from services.clock import Clock
from services.db import certificates, selection, status
from services.db.chain import AuditEvent
from services.db.engine import Database
from services.db.records import (
    Actor,
    CertificateRecord,
    ChangeAction,
    IdempotencyKey,
    IdempotencyRecord,
    RevocationRecord,
    StatusChange,
    StatusRecord,
)
from services.errors import DomainError, FailedPrecondition, InvalidArgument, Unavailable
from services.pki.reasons import Reason

METHOD = "RevokeCertificates"


class Outcome(StrEnum):
    """What became of a certificate."""

    REVOKED = "revoked"
    """Or its reason was changed."""
    HELD = "held"
    RELEASED = "released"
    UNCHANGED = "unchanged"
    """It was so already."""
    REFUSED = "refused"


_OUTCOMES = {
    ChangeAction.REVOKE: Outcome.REVOKED,
    ChangeAction.HOLD: Outcome.HELD,
    ChangeAction.RELEASE: Outcome.RELEASED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkCommand:
    """What is asked for. `reason` is for those that have none of their own."""

    selection: Selection
    reason: int = Reason.UNSPECIFIED
    invalidity_at: datetime | None = None
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of one certificate, or would."""

    index: int
    outcome: Outcome
    record: CertificateRecord | None
    """As recorded from now on, without DER; None where there is none."""
    earlier: RevocationRecord | None = None
    error: DomainError | None = None
    """Where it was refused."""


class BulkRevoking:
    """The use case."""

    def __init__(
        self, db: Database, writer: Writer, issuers: IssuerDirectory, revoking: Revoking, clock: Clock
    ) -> None:
        self.db = db
        self.writer = writer
        self.revoking = revoking
        self._issuers = issuers
        self._clock = clock

    def start(self, command: BulkCommand, actor: Actor) -> BulkRun:
        """Check what can be checked beforehand. Raises DomainError."""
        self.revoking.require_allowed(command.reason)
        require_past(command.reason, command.invalidity_at, self._clock())
        return BulkRun(self, command, actor, command.selection.steps(self.db, self._issuers, self._clock))

    def start_same_key(
        self, target: Target, actor: Actor, *, reason: int, invalidity_at: datetime | None, validate_only: bool
    ) -> BulkRun:
        """All certificates with the public key of one, that one among them.

        Raises InvalidArgument SAME_KEY_REASON unless the reason is keyCompromise; FailedPrecondition KEY_NOT_STORED;
        and DomainError as `target.find`.
        """
        if reason != Reason.KEY_COMPROMISE:
            raise InvalidArgument(
                "SAME_KEY_REASON",
                "that others have the same key is a reason to revoke them for keyCompromise alone",
                field="all_with_same_key",
            )
        with self.db.read() as conn:
            key = selection.public_key_of(conn, target.find(conn, self._issuers).id)
        if key is None:
            raise FailedPrecondition(
                "KEY_NOT_STORED",
                "only the status of this certificate is stored, not its key; revoke it without all_with_same_key",
                field="all_with_same_key",
            )
        command = BulkCommand(
            selection=ByKey(key), reason=reason, invalidity_at=invalidity_at, validate_only=validate_only
        )
        return self.start(command, actor)


class BulkRun:
    """One bulk revocation: `find` the next step, `carry_out` it, until there is none."""

    def __init__(self, bulk: BulkRevoking, command: BulkCommand, actor: Actor, steps: Iterator[list[Selected]]) -> None:
        self._bulk = bulk
        self._command = command
        self._actor = actor
        self._steps = steps

    @property
    def is_dry(self) -> bool:
        """Whether nothing is recorded: it then reads the database where it would queue changes."""
        return self._command.validate_only

    def find(self) -> list[Selected] | None:
        """The next certificates, perhaps none yet; None at the end. Reads the database. Raises DomainError."""
        return next(self._steps, None)

    def carry_out(self, step: Sequence[Selected]) -> Future[list[ItemResult]]:
        """Queue the changes; the future resolves once they are durable. With `validate_only` it is resolved already."""
        work = _Step(self._bulk.revoking, self._command, self._actor, step)
        if not self._command.validate_only:
            return self._bulk.writer.submit(work)
        with self._bulk.db.read() as conn:
            return resolved(work.decide(Batch(conn)).answer())


@dataclass(frozen=True, slots=True)
class _Step(Exclusive):
    """A step in the writer's transaction."""

    revoking: Revoking
    command: BulkCommand
    actor: Actor
    selected: Sequence[Selected]

    def decide(self, batch: Batch) -> Plan[list[ItemResult]]:
        decisions = _Decisions(self, batch)
        answers = [decisions.decide(each) for each in self.selected]
        compromised = any(change.ca_certificate is not None for change in decisions.changes.values())

        def answer() -> list[ItemResult]:
            if compromised:
                self.revoking.issuer_changed()
            return [make() for make in answers]

        return Plan(
            answer,
            changes=decisions.ordered,
            memories=list(decisions.memories.values()),
            audit=decisions.passed_over(),
        )


class _Decisions:
    """Decides the certificates of one step, each seeing what the ones before it come to."""

    def __init__(self, step: _Step, batch: Batch) -> None:
        self._step = step
        self._batch = batch
        self._now = step.revoking.now()
        self._remembering = bool(step.actor.request_id) and not step.command.validate_only
        self.ordered: list[PendingChange] = []
        self.changes: dict[tuple[int, bytes], PendingChange] = {}
        self.memories: dict[IdempotencyKey, Memory] = {}
        self._unchanged = 0
        self._refused: list[tuple[str, str, str]] = []
        records = [each.record for each in step.selected if each.record]
        self._statuses = _read_statuses(batch, records)
        self._owned = own_serials(batch.issuers().values())
        self._replayed = self._recall(records) if self._remembering else {}

    def _recall(self, records: Sequence[CertificateRecord]) -> dict[int, StatusChange]:
        """The changes that earlier calls with this request id made to these certificates, by revision."""
        keys = [self._key(record) for record in records]
        self._batch.recall(keys)
        known = [self._batch.remembered(key) for key in keys]
        revisions = [each.outcome for each in known if isinstance(each, IdempotencyRecord)]
        return status.get_changes(self._batch.conn, revisions) if revisions else {}

    def decide(self, selected: Selected) -> Callable[[], ItemResult]:
        """What is to become of it. The result may be asked for once the transaction is durable."""
        record = selected.record
        if record is None:
            self._note_refusal(selected, selected.refused)
            return _constant(ItemResult(selected.index, Outcome.REFUSED, None, error=selected.refused))
        place = record.issuer_id, record.serial
        recorded = self._statuses[place]
        before = self.changes.get(place) or self._batch.latest_change(*place) or RecordedChange(recorded.revision)
        current = before.change.revocation if isinstance(before, PendingChange) else recorded.revocation
        try:
            if selected.refused is not None:
                raise selected.refused
            return self._replay(selected, record) or self._change(selected, record, before, current)
        except Unavailable:
            raise
        except DomainError as error:
            refusal = error
        self._note_refusal(selected, refusal)
        return lambda: ItemResult(
            selected.index,
            Outcome.REFUSED,
            as_of(record, current, before.revision or recorded.revision),
            current,
            refusal,
        )

    def passed_over(self) -> list[AuditEvent]:
        """What the audit log is to tell of those that are not changed: those that are have entries of their own."""
        if not self._unchanged and not self._refused:
            return []
        return [passed_over(self._step.actor, self._now, METHOD, self._unchanged, self._refused)]

    def _note_refusal(self, selected: Selected, refusal: DomainError | None) -> None:
        record = selected.record
        named = (record.issuer_name, record.serial.hex()) if record else ("", "")
        self._refused.append((*named, refusal.reason if refusal else ""))

    def _change(
        self,
        selected: Selected,
        record: CertificateRecord,
        before: PendingChange | RecordedChange,
        current: RevocationRecord | None,
    ) -> Callable[[], ItemResult]:
        reason = self._reason(selected)
        certificate = self._own_certificate(record)
        require_reason(reason, is_authority=certificate is not None or selected.is_ca or record.profile == CA_PROFILE)
        require_past(reason, self._step.command.invalidity_at, self._now)
        decision = self._step.revoking.change(current, reason, self._step.command.invalidity_at, self._now)
        result: PendingChange | RecordedChange
        if decision is None:
            outcome, after, result = Outcome.UNCHANGED, current, before
            self._unchanged += 1
        else:
            outcome, after = _OUTCOMES[decision.action], decision.revocation
            decided = status_change(record, decision, self._now, self._step.actor)
            result = PendingChange(decided, certificate, record.id)
            self.ordered.append(result)
            self.changes[record.issuer_id, record.serial] = result
        key = self._key(record)
        if self._remembering and not isinstance(self._batch.remembered(key), IdempotencyRecord):
            self.memories[key] = Memory(key, self._payload(selected), result, self._now)
        return lambda: ItemResult(
            selected.index, outcome, as_of(record, after, result.revision or record.revision), current
        )

    def _replay(self, selected: Selected, record: CertificateRecord) -> Callable[[], ItemResult] | None:
        """The result of an earlier call, where this is a retry. Raises AlreadyExists (REQUEST_ID_REUSED)."""
        if not self._remembering:
            return None
        key = self._key(record)
        match self.memories.get(key) or self._batch.remembered(key):
            case Memory(result=PendingChange() as pending) as earlier:
                require_same(earlier, self._payload(selected))
                return lambda: self._replayed_result(selected, record, pending.change, pending.revision)
            case IdempotencyRecord(outcome=revision) as recorded if revision in self._replayed:
                require_same(recorded, self._payload(selected))
                return _constant(self._replayed_result(selected, record, self._replayed[revision], revision))
        return None  # what changed nothing then is decided anew

    def _replayed_result(
        self, selected: Selected, record: CertificateRecord, change: StatusChange, revision: int
    ) -> ItemResult:
        then = as_of(record, change.revocation, revision)
        # A call that found it so remembers a change that another one had made.
        own = (change.actor.identity, change.actor.request_id) == (
            self._step.actor.identity,
            self._step.actor.request_id,
        )
        outcome = _OUTCOMES[change.action] if own else Outcome.UNCHANGED
        return ItemResult(selected.index, outcome, then, None if own else change.revocation)

    def _own_certificate(self, record: CertificateRecord) -> bytes | None:
        """The certificate itself, where it is one of an issuer's own. Only the few that may be are read."""
        if record.serial not in self._owned:
            return None
        whole = certificates.get_certificate_by_id(self._batch.conn, record.id)
        return ca_certificate(self._batch, whole) if whole else None

    def _reason(self, selected: Selected) -> int:
        return self._step.command.reason if selected.reason is None else selected.reason

    def _payload(self, selected: Selected) -> bytes:
        return payload_sha256({"reason": self._reason(selected), "invalidity_time": self._step.command.invalidity_at})

    def _key(self, record: CertificateRecord) -> IdempotencyKey:
        actor = self._step.actor
        named = f"{actor.request_id}\0{record.issuer_name}\0{record.serial.hex()}"
        return IdempotencyKey(actor.identity, METHOD, hashlib.sha256(named.encode()).hexdigest())


def _constant(result: ItemResult) -> Callable[[], ItemResult]:
    return lambda: result


def _read_statuses(batch: Batch, records: Sequence[CertificateRecord]) -> dict[tuple[int, bytes], StatusRecord]:
    """As they are in this transaction."""
    serials: defaultdict[int, set[bytes]] = defaultdict(set)
    for record in records:
        serials[record.issuer_id].add(record.serial)
    return {
        (issuer_id, serial): found
        for issuer_id, wanted in serials.items()
        for serial, found in status.get_statuses(batch.conn, issuer_id, list(wanted)).items()
    }
