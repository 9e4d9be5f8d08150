"""Revoking, putting on hold, releasing. A change is durable, and seen by every later look-up, before the call succeeds.

The time of a revocation never moves: raising it to keyCompromise, or turning a hold into a revocation, keeps the time
from which the certificate was not to be trusted (R111). What is repeated changes nothing, unless it brings an
invalidity time, or an earlier one than is recorded.

The change of a CA certificate of an issuer is one of that issuer too, in the same transaction: where the key is
compromised, every certificate of the issuer is revoked by it (R51, docs/decisions/compromised-issuers.md).
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

from services.ca.audit import unchanged
from services.ca.batch import Batch, Memory, PendingChange, Plan, RecordedChange
from services.ca.bootstrap import CA_PROFILE
from services.ca.issuers import IssuerDirectory
from services.ca.payload import Value, payload_sha256
from services.ca.records import as_of
from services.ca.retries import require_same, retry_key
from services.ca.settings import AuthoritySettings
from services.ca.target import BySerial, Target
from services.ca.writer import Writer, resolved
from services.clock import Clock
from services.db import certificates, status
from services.db.chain import AuditEvent
from services.db.engine import Connection, Database
from services.db.records import (
    Actor,
    CertificateRecord,
    ChangeAction,
    IdempotencyKey,
    IdempotencyRecord,
    RevocationRecord,
    StatusChange,
)
from services.errors import InvalidArgument
from services.pki.der import is_ca
from services.pki.reasons import Action, Reason, decide

METHOD = "RevokeCertificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeCommand:
    """What is asked for. `reason` is a number of RFC 5280, section 5.3.1; 8 releases a hold."""

    target: Target
    reason: int = Reason.UNSPECIFIED
    invalidity_at: datetime | None = None
    validate_only: bool = False
    all_with_same_key: bool = False
    """For the memory of the call alone: `services.ca.bulk` revokes the others."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of a certificate. `revocation` holds from then on; None after a release."""

    action: ChangeAction
    revocation: RevocationRecord | None


@dataclass(frozen=True, slots=True)
class Revoked:
    """What became of a certificate."""

    record: CertificateRecord
    """As recorded from then on."""
    unchanged: bool
    """It was so already."""


class Revoking:
    """The use case."""

    def __init__(
        self, db: Database, writer: Writer, issuers: IssuerDirectory, settings: AuthoritySettings, clock: Clock
    ) -> None:
        self._db = db
        self._writer = writer
        self._issuers = issuers
        self._settings = settings
        self._clock = clock

    def begin(self, command: RevokeCommand, actor: Actor) -> Future[Revoked]:
        """Queue the change; the future resolves once it is durable. Raises DomainError, as the future does."""
        require_past(command.reason, command.invalidity_at, self._clock())
        work = _Revocation(self, command, actor, None if command.validate_only else retry_key(actor, METHOD))
        if command.validate_only:
            return self._validate(work)
        return self._writer.submit(work)

    def _validate(self, work: _Revocation) -> Future[Revoked]:
        with self._db.read() as conn:
            return resolved(work.decide(Batch(conn)).answer())

    def find(self, conn: Connection, target: Target) -> CertificateRecord:
        """The certificate that is meant. Raises DomainError."""
        return target.find(conn, self._issuers)

    def change(
        self, current: RevocationRecord | None, reason: int, invalidity_at: datetime | None, now: datetime
    ) -> Decision | None:
        """What becomes of a certificate that is revoked like this; None: nothing. Raises DomainError."""
        action = decide(current.reason if current else None, reason, self._settings.reasons)
        match action:
            case Action.NOTHING if current is None or not _reaches_back(current, invalidity_at):
                return None
            case Action.RELEASE:
                return Decision(ChangeAction.RELEASE, None)
        revocation = RevocationRecord(
            revoked_at=current.revoked_at if current else now,
            reason=reason,
            invalidity_at=invalidity_at or (current.invalidity_at if current else None),
        )
        held = reason == Reason.CERTIFICATE_HOLD
        return Decision(ChangeAction.HOLD if held else ChangeAction.REVOKE, revocation)

    def require_allowed(self, reason: int) -> None:
        """Raises InvalidArgument (REASON_NOT_ALLOWED) for a reason that no certificate is revoked for here."""
        decide(Reason.CERTIFICATE_HOLD, reason, self._settings.reasons)  # from a hold every way is open

    def now(self) -> datetime:
        """The time at which a change is decided."""
        return self._clock()

    def issuer_changed(self) -> None:
        """A CA certificate of an issuer was revoked or released, durably."""
        self._issuers.forget()


@dataclass(frozen=True, slots=True)
class _Revocation:
    """One change of a status, in the writer's transaction."""

    revoking: Revoking
    command: RevokeCommand
    actor: Actor
    key: IdempotencyKey | None

    @property
    def serialise(self) -> bool:
        return True

    def decide(self, batch: Batch) -> Plan[Revoked]:
        payload = _payload(self.command)
        if earlier := batch.remembered(self.key):
            require_same(earlier, payload)
            return _replay(batch, earlier, self.actor)
        record = self.revoking.find(batch.conn, self.command.target)
        certificate = ca_certificate(batch, record)
        require_reason(self.command.reason, is_authority=certificate is not None or _is_ca(record))
        before = batch.latest_change(record.issuer_id, record.serial)
        current = before.change.revocation if before else record.revocation
        now = self.revoking.now()
        decision = self.revoking.change(current, self.command.reason, self.command.invalidity_at, now)
        result: PendingChange | RecordedChange
        events: list[AuditEvent] = []
        if decision is None:
            result, change, after = before or RecordedChange(record.revision), None, current
            events = [unchanged(record, self.command.reason, self.actor, now)]
        else:
            result = change = PendingChange(status_change(record, decision, now, self.actor), certificate, record.id)
            after = decision.revocation
        memory = Memory(self.key, payload, result, now) if self.key else None

        def answer() -> Revoked:
            if change is not None and change.ca_certificate is not None:
                self.revoking.issuer_changed()
            return Revoked(as_of(record, after, result.revision or record.revision), unchanged=change is None)

        return Plan(answer, change=change, memory=memory, audit=events)


def _reaches_back(current: RevocationRecord, invalidity_at: datetime | None) -> bool:
    """Whether a repeated revocation tells of an earlier time than is recorded: often that is found out afterwards."""
    return invalidity_at is not None and (current.invalidity_at is None or invalidity_at < current.invalidity_at)


def status_change(record: CertificateRecord, decision: Decision, now: datetime, actor: Actor) -> StatusChange:
    """The decision, to be recorded."""
    return StatusChange(
        issuer_id=record.issuer_id,
        serial=record.serial,
        action=decision.action,
        revocation=decision.revocation,
        changed_at=now,
        actor=actor,
    )


def _replay(batch: Batch, earlier: IdempotencyRecord | Memory, actor: Actor) -> Plan[Revoked]:
    """The revocation as it was recorded then, whatever has become of it since."""
    match earlier:
        case Memory(result=PendingChange() as pending):
            record, own = _recorded(batch.conn, pending.change), _is_of(pending.change, actor)
            return Plan(lambda: Revoked(as_of(record, pending.change.revocation, pending.revision), unchanged=not own))
        case Memory(result=result):
            revision = result.outcome()
        case IdempotencyRecord(outcome=revision):
            pass
    change = status.get_change(batch.conn, revision)
    if change is None:
        raise RuntimeError(f"a request id names change {revision}, which is gone")
    replayed = as_of(_recorded(batch.conn, change), change.revocation, revision)
    revoked = Revoked(replayed, unchanged=not _is_of(change, actor))
    return Plan(lambda: revoked)


def _is_of(change: StatusChange, actor: Actor) -> bool:
    """Whether a call made this change: one that found it so remembers a change that another one had made."""
    return (change.actor.identity, change.actor.request_id) == (actor.identity, actor.request_id)


def _recorded(conn: Connection, change: StatusChange) -> CertificateRecord:
    record = certificates.get_certificate(conn, change.issuer_id, change.serial)
    if record is None:
        raise RuntimeError("a change names a certificate that is gone")
    return record


def ca_certificate(batch: Batch, record: CertificateRecord) -> bytes | None:
    """The certificate itself, where it is one of an issuer's own."""
    owned = (der for issuer in batch.issuers().values() for der in issuer.certificates_der)
    return next((der for der in owned if der == record.der), None)


def _is_ca(record: CertificateRecord) -> bool:
    return record.profile == CA_PROFILE or (record.der is not None and is_ca(record.der))


def require_reason(reason: int, *, is_authority: bool) -> None:
    """R48: an answer about a revoked CA certificate says why. Raises InvalidArgument (REASON_REQUIRED)."""
    if reason == Reason.UNSPECIFIED and is_authority:
        text = (
            "a CA certificate is not revoked without a reason: keyCompromise if its key may be in other hands, which "
            "revokes all that it issued, or another one"
        )
        raise InvalidArgument("REASON_REQUIRED", text, field="reason")


def require_past(reason: int, invalidity_at: datetime | None, now: datetime) -> None:
    """Raises InvalidArgument (INVALIDITY_TIME_INVALID) for a time in the future, or with a release."""
    if invalidity_at is None:
        return
    if reason == Reason.REMOVE_FROM_CRL:
        raise InvalidArgument("INVALIDITY_TIME_INVALID", "a release has no invalidity time", field="invalidity_time")
    if invalidity_at > now:
        raise InvalidArgument(
            "INVALIDITY_TIME_INVALID", "the invalidity time is in the future", field="invalidity_time"
        )


def _payload(command: RevokeCommand) -> bytes:
    target: dict[str, Value] = (
        {"issuer": command.target.issuer, "serial": command.target.serial.hex()}
        if isinstance(command.target, BySerial)
        else {"certificate": command.target.der}
    )
    wish: dict[str, Value] = {"reason": command.reason, "invalidity_time": command.invalidity_at}
    # Left out where it is not asked for: calls from before it existed have the same hash.
    return payload_sha256(target | wish | ({"all_with_same_key": 1} if command.all_with_same_key else {}))
