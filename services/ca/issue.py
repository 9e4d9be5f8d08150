"""Issuing a certificate: the steps are numbered here and where they are taken.

1. The caller may ask for this kind of certificate (R69).
2. The request is sound and signed with the key that it is for (R114); only its key and names are used (R115).
3. Everything about the certificate is decided, checked again, and linted where the profile says so (R104). What is
   wrong in steps 2 and 3 is told all at once.
4. It is signed.
5. Its key is not among the blocked ones (R103), nor an issuer's unless this is a CA's certificate. It is recorded
   durably, and only then handed out (G1). A signed certificate that could not be recorded is forgotten.

A retry gets what the first call got (G6). The transaction of step 5 finds that out; where step 3 refuses, it is found
out there, because what is refused now (a notAfter that has passed, an issuer without key) may have been done before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from hashlib import sha256

from services.ca.batch import Batch, Memory, PendingCertificate, Plan, Work
from services.ca.crl_points import CrlPoint, CrlPoints
from services.ca.delegates import require_room
from services.ca.issuers import IssuerDirectory, chain_below_root, require_issuing
from services.ca.records import certificate_record, written_record
from services.ca.retries import require_same, retry_key
from services.ca.settings import AuthoritySettings
from services.ca.signing import IssueCommand, Signing, payload_of
from services.ca.signing_messages import Made
from services.ca.signing_pool import SigningPool
from services.ca.writer import Writer, resolved
from services.clock import Clock, from_epoch
from services.db import blocked_keys, certificates, idempotency
from services.db.engine import Connection, Database
from services.db.records import (
    Actor,
    CertificateRecord,
    IdempotencyKey,
    IdempotencyRecord,
    IssuerRecord,
    NewCertificate,
)
from services.errors import DomainError, InvalidArgument
from services.pki.certificates import Draft
from services.pki.findings import Objections
from services.pki.profiles import DEFAULT_PROFILE, OCSP_RESPONDER, Profile
from services.pki.serials import new_serial

__all__ = ["MAX_QUICK", "METHOD", "IssueCommand", "IssueResult", "Issuing", "key_blocked"]

METHOD = "IssueCertificate"

MAX_QUICK = 1024
"""Octets, of certificate request and names. That leaves room for all curves and for RSA up to 3072 bits, whose requests
take up to 0.8 ms to check. The longest keys take several times that, and everybody who writes would wait for each of
them."""


@dataclass(frozen=True, slots=True)
class IssueResult:
    """A recorded certificate with the CA certificates above it, its issuer's first, without the root."""

    certificate: CertificateRecord
    chain_der: tuple[bytes, ...]
    replayed: bool = field(default=False, compare=False)
    """Issued by an earlier call with the same request id, and not now."""


class Issuing:
    """The use case. What is quick is checked and signed in the writer's thread, the rest in the thread that calls.

    With a `pool`, a signing process does what is quick when there is a crowd.
    """

    def __init__(
        self,
        db: Database,
        writer: Writer,
        issuers: IssuerDirectory,
        profiles: Mapping[str, Profile],
        settings: AuthoritySettings,
        clock: Clock,
        serials: Callable[[], bytes] = new_serial,
    ) -> None:
        self.crl_points = CrlPoints(db, settings.public_url, settings.crl_distribution, settings.crl_shards)
        self._db = db
        self._writer = writer
        self._issuers = issuers
        self.pool: SigningPool | None = None
        self._signing = Signing(issuers, self.crl_points, profiles, settings, clock, serials)
        self._profiles = profiles
        self._settings = settings
        self._clock = clock

    def is_quick(self, profile: str, issuer: str, size: int) -> bool:
        """Whether `begin` takes no time: no linter, a key that signs quickly, and a request of so many octets.

        Not before the key was used once.
        """
        if size > MAX_QUICK:
            return False
        known = self._profiles.get(profile or DEFAULT_PROFILE)
        return known is not None and known.lint is None and self._issuers.signs_quickly(issuer)

    def begin(self, command: IssueCommand, actor: Actor) -> Future[IssueResult]:
        """Issue; the future resolves once the certificate is recorded. Raises DomainError, and so does the future."""
        if command.validate_only:
            return resolved(self._validate(command, actor))
        if self.is_quick(command.profile, command.issuer, command.size):
            make = partial(self._signed, command, actor)
            future = self.pool.submit(command, actor, make, self._recording) if self.pool else None
            return future or self._writer.submit_unmade(make)
        return self._writer.submit(self._signed(command, actor))

    def _signed(self, command: IssueCommand, actor: Actor) -> Work[IssueResult]:
        """Steps 1 to 4. Raises DomainError."""
        profile, request = self._signing.read(command, actor.role)
        key = retry_key(actor, METHOD)
        payload = payload_of(command, profile, request) if key else b""
        try:
            place = self._signing.place(command, profile, request)
            draft = self._signing.draft(command, profile, request, place)
        except DomainError:
            if key and (earlier := self._earlier(key, payload)):
                return _Known(earlier)
            raise
        der = place.sign(draft)
        issuer = place.issuer.record
        new = _new_certificate(draft, der, issuer.id, actor, place.now, place.point)
        return _Recording(self, new, issuer, key, payload, request.field)

    def _recording(self, actor: Actor, made: Made, issuer: IssuerRecord) -> Work[IssueResult]:
        """What a signing process made in steps 1 to 4."""
        id_, serial, der, subject, common_name, names, profile, key_sha256, begin, end, now, shard, payload, field = (
            made
        )
        new = NewCertificate(
            issuer_id=id_,
            serial=serial,
            der=der,
            subject=subject,
            common_name=common_name,
            subject_alternative_names=names,
            profile=profile,
            public_key_sha256=key_sha256,
            not_before=from_epoch(begin),
            not_after=from_epoch(end),
            issued_at=from_epoch(now),
            actor=actor,
            crl_shard=shard,
        )
        return _Recording(self, new, issuer, retry_key(actor, METHOD), payload, field)

    def _earlier(self, key: IdempotencyKey, payload: bytes) -> IssueResult | None:
        with self._db.read() as conn:
            record = idempotency.find_outcome(conn, key)
            return self.replay(conn, record, payload) if record else None

    def _validate(self, command: IssueCommand, actor: Actor) -> IssueResult:
        """The result without DER and serial number: nothing is signed."""
        profile, request = self._signing.read(command, actor.role)
        objections = Objections()
        place = draft = None
        with objections:
            place = self._signing.place(command, profile, request)
            draft = self._signing.draft(command, profile, request, place)
        with self._db.read() as conn, objections:
            if blocked_keys.find_blocked(conn, [sha256(request.public_key_der).digest()]):
                raise key_blocked(request.field)
        with self._db.read() as conn, objections:
            if place is None or request.public_key_der != place.issuer.record.public_key_der:  # that is found above
                self.require_own_key(Batch(conn), profile.name, sha256(request.public_key_der).digest(), request.field)
        if place is None or draft is None or objections:
            raise objections.error()
        issuer = place.issuer.record
        new = _new_certificate(draft, None, issuer.id, actor, place.now, CrlPoint())
        with self._db.read() as conn:
            self.require_room(conn, new)
        return IssueResult(certificate_record(new, issuer.name), chain_below_root(issuer))

    def replay(self, conn: Connection, earlier: IdempotencyRecord, payload: bytes) -> IssueResult:
        """The result of an earlier call. Raises AlreadyExists (REQUEST_ID_REUSED)."""
        require_same(earlier, payload)
        record = certificates.get_certificate_by_id(conn, earlier.outcome)
        if record is None:
            raise RuntimeError(f"a request id names certificate {earlier.outcome}, which is gone")
        return IssueResult(record, chain_below_root(self._issuers.by_id(record.issuer_id)), replayed=True)

    def require_own_key(self, batch: Batch, profile: str, public_key_sha256: bytes | None, field: str) -> None:
        """Raises InvalidArgument (KEY_NOT_ALLOWED) where somebody else than a CA has a CA's key certified.

        Whoever revokes that certificate for a compromise would block the key of the CA.
        """
        if batch.is_issuers(public_key_sha256) and self._profiles[profile].authority is None:
            raise InvalidArgument(
                "KEY_NOT_ALLOWED", "this is the key of a CA: make one for this certificate", field=field
            )

    def require_room(self, conn: Connection, new: NewCertificate, batch: Batch | None = None) -> None:
        """Raises ResourceExhausted (TOO_MANY_DELEGATES) for a responder certificate too many."""
        if new.profile != OCSP_RESPONDER:
            return
        pending = batch.pending_delegates(new.actor.identity, new.issuer_id) if batch else ()
        require_room(conn, new, self._settings.max_live_delegates, self._clock(), pending)


@dataclass(frozen=True, slots=True)
class _Known:
    """A retry of a call whose result was found beforehand."""

    result: IssueResult

    @property
    def key(self) -> IdempotencyKey | None:
        return None

    @property
    def serialise(self) -> bool:
        return False

    def decide(self, _batch: Batch) -> Plan[IssueResult]:
        return Plan(lambda: self.result)


@dataclass(frozen=True, slots=True)
class _Recording:
    """Step 5, in the writer's transaction."""

    issuing: Issuing
    new: NewCertificate
    issuer: IssuerRecord
    """As it was when it signed."""
    key: IdempotencyKey | None
    payload: bytes
    field: str
    """Where the certificate request came in."""

    @property
    def serialise(self) -> bool:
        return self.new.profile == OCSP_RESPONDER

    @property
    def public_key_sha256(self) -> bytes | None:
        """The key that is certified: the writer looks it up for the whole batch."""
        return self.new.public_key_sha256

    def decide(self, batch: Batch) -> Plan[IssueResult]:
        match batch.remembered(self.key):
            case IdempotencyRecord() as earlier:
                result = self.issuing.replay(batch.conn, earlier, self.payload)
                return Plan(lambda: result)
            case Memory(result=PendingCertificate() as pending) as earlier:
                require_same(earlier, self.payload)
                return Plan(lambda: replace(self._result(pending), replayed=True))
        # It may have been revoked or retired since it was looked up: once that was told, nothing more is recorded.
        require_issuing(batch.issuers()[self.new.issuer_id], self.new.profile)
        if batch.is_blocked(self.new.public_key_sha256):
            raise key_blocked(self.field)
        self.issuing.require_own_key(batch, self.new.profile, self.new.public_key_sha256, self.field)
        self.issuing.require_room(batch.conn, self.new, batch)
        pending = PendingCertificate(self.new)
        memory = Memory(self.key, self.payload, pending, self.new.issued_at) if self.key else None
        return Plan(lambda: self._result(pending), certificate=pending, memory=memory)

    def _result(self, pending: PendingCertificate) -> IssueResult:
        return IssueResult(written_record(pending, self.issuer.name), chain_below_root(self.issuer))


def key_blocked(field: str) -> InvalidArgument:
    """R103."""
    text = "this key is blocked, because somebody else may have it: make a new one"
    return InvalidArgument("KEY_BLOCKED", text, field=field)


def _new_certificate(
    draft: Draft, der: bytes | None, issuer_id: int, actor: Actor, now: datetime, point: CrlPoint
) -> NewCertificate:
    return NewCertificate(
        issuer_id=issuer_id,
        serial=b"" if der is None else draft.serial,
        der=der,
        subject=draft.subject_text,
        common_name=draft.common_name,
        subject_alternative_names=draft.sans.labelled(),
        profile=draft.profile.name,
        public_key_sha256=draft.public_key_sha256,
        not_before=draft.not_before,
        not_after=draft.not_after,
        issued_at=now,
        actor=actor,
        crl_shard=point.shard,
    )
