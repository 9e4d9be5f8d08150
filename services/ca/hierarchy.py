"""Changing the hierarchy: issuers that come in, CA certificates that are added, issuers that retire or take over.

What it guarantees:

* Nothing is recorded that could not issue or be verified: certificates are those of one CA, signed by an issuer that is
  known (or by themselves), and the key opens and fits before its issuer is recorded.
* What is known already is not recorded twice; a call that is repeated succeeds and changes nothing.
* A key that somebody else may have gets no further CA certificate, and no issuer with one becomes active.
* A roll-over is one transaction: no moment sees two active issuers, or none.
* Every change takes a revision, so that watchers hear of it (G3), and every CA certificate has a status.

The checks that read the database run in the writer's transaction, one work after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca.admission import MAX_CERTIFICATE_SIZE, MAX_SUBJECT_SIZE, check_room, require_right_to_key
from services.ca.audit import REGISTER, issued
from services.ca.batch import Batch, Exclusive, Plan
from services.ca.bootstrap import ca_certificate_row
from services.ca.issuers import IssuerDirectory
from services.ca.keystore import KeyStore, check_reference
from services.ca.sound_keys import Candidate, require_activable
from services.ca.writer import Writer, resolved
from services.clock import Clock
from services.db import audit, certificates, imports, issuers, position, status
from services.db.engine import Connection, Database
from services.db.records import (
    Actor,
    IssuerRecord,
    IssuerState,
    NewIssuer,
    NewIssuerCertificate,
)
from services.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from services.known_keys.lists import KeyList
from services.pki import der as parts_of
from services.pki.csr import check_public_key
from services.pki.issuers import check_ca_certificate
from services.pki.paths import check_path, is_self_signed, is_signed_by, same_issuer
from services.pki.serials import serial_from_int
from services.pki.unreadable import UNREADABLE

MAX_CERTIFICATES = 16
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)
_FIELD = "certificates_der"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCommand:
    """An issuer that is to be known. Without `key_ref` it is offline; with it, active unless it is `retired`."""

    name: str
    certificates_der: tuple[bytes, ...]
    key_ref: str | None = None
    retired_issuers: tuple[str, ...] = ()
    retired: bool = False
    validate_only: bool = False

    @property
    def state(self) -> IssuerState:
        """What it is to be."""
        if self.key_ref is None:
            return IssuerState.OFFLINE
        return IssuerState.RETIRED if self.retired else IssuerState.ACTIVE


@dataclass(frozen=True, slots=True)
class Imported:
    """What has come of it. `issuer` is None where nothing was to be recorded, and is not."""

    issuer: IssuerRecord | None
    added: int


class Hierarchy:
    """The use cases. Safe to use from many threads."""

    def __init__(
        self,
        db: Database,
        writer: Writer,
        directory: IssuerDirectory,
        keys: KeyStore,
        clock: Clock,
        known_keys: Sequence[KeyList] = (),
    ) -> None:
        self.known_keys = known_keys
        self._db = db
        self._writer = writer
        self._directory = directory
        self._keys = keys
        self._clock = clock

    def begin_import(self, command: ImportCommand, actor: Actor) -> Future[Imported]:
        """Check certificates and key now; the future resolves once all is recorded. Raises DomainError, as it does."""
        offered = read_certificates(command, self.known_keys)
        if command.key_ref is not None:
            check_reference(command.key_ref)
            self._keys.check(command.key_ref, command.name, parts_of.public_key_der(offered[0]))
        work = _Import(self, command, offered, actor, self._clock)
        if command.validate_only:
            with self._db.read() as conn:
                return resolved(Imported(None, work.plan(Batch(conn)).added))
        return self._writer.submit(work)

    def begin_update(self, name: str, state: IssuerState, actor: Actor) -> Future[IssuerRecord]:
        """Change the state of an issuer; the future resolves once that is recorded. Raises DomainError."""
        record = self._directory.named(name, "name")
        if state is IssuerState.ACTIVE and record.key_ref is not None:
            self._keys.check(record.key_ref, name, record.public_key_der)
        return self._writer.submit(_Update(self, name, state, actor))

    def changed(self, name: str) -> IssuerRecord:
        """The issuer as it is now that something was recorded."""
        self._directory.forget()
        return self._directory.named(name)


@dataclass(frozen=True, slots=True)
class _Changes:
    """What an import writes: a new issuer or more certificates for one, and others that retire."""

    new: NewIssuer | None
    known: IssuerRecord | None
    candidate: Candidate
    fresh: tuple[x509.Certificate, ...]
    signer_id: int | None
    """The issuer that signed the certificates; None if it is the new one itself."""
    key_ref: str | None
    state: IssuerState
    retire: tuple[IssuerRecord, ...]
    actor: Actor
    clock: Clock
    changes_issuers: bool = True

    @property
    def added(self) -> int:
        return len(self.fresh)

    def write(self, conn: Connection) -> None:
        # Works beside this one have had their say by now: what they revoke and block is in this transaction.
        self.candidate.require_sound(conn, issuers.list_issuers(conn), _FIELD)
        issuer_id = self._write_issuer(conn)
        signer_id = issuer_id if self.signer_id is None else self.signer_id
        _check_standing(conn, self.fresh, signer_id)
        record_ca_certificates(conn, self.fresh, signer_id, self.clock, self.actor)
        for issuer in self.retire:
            issuers.set_issuer_state(conn, issuer.id, IssuerState.RETIRED, position.advance(conn, 1), self.actor)

    def _write_issuer(self, conn: Connection) -> int:
        if self.new is not None:
            return issuers.add_issuer(conn, self.new, position.advance(conn, 1), self.actor)
        assert self.known is not None
        if self.fresh:
            added = [new_certificate(certificate) for certificate in self.fresh]
            issuers.add_certificates(conn, self.known.id, added, position.advance(conn, 1), self.actor)
        if self.key_ref is not None:
            revision = position.advance(conn, 1)
            issuers.set_issuer_key(conn, self.known.id, self.key_ref, self.state, revision, self.actor)
        return self.known.id


@dataclass(frozen=True, slots=True)
class _Import(Exclusive):
    hierarchy: Hierarchy
    command: ImportCommand
    offered: tuple[x509.Certificate, ...]
    actor: Actor
    clock: Clock

    def decide(self, batch: Batch) -> Plan[Imported]:
        changes = self.plan(batch)
        idle = changes.new is None and not changes.fresh and changes.key_ref is None and not changes.retire
        name = self.command.name
        return Plan(lambda: Imported(self.hierarchy.changed(name), changes.added), others=None if idle else changes)

    def plan(self, batch: Batch) -> _Changes:
        """What is to be written. Raises DomainError."""
        every = list(batch.issuers().values())
        known = self._known(batch, every)
        signer = find_signer(self.offered, every)
        held = known.certificates_der if known else ()
        fresh = tuple(each for each in self.offered if each.public_bytes(Encoding.DER) not in held)
        check_position(known, signer, fresh)
        check_standing(batch.conn, fresh, signer or known)
        check_room([*every, *issuers.list_pending(batch.conn)], known, signer, fresh, self.actor)
        if known is not None and known.key_ref is None and self.command.key_ref is not None:
            require_right_to_key(known, self.actor)
        candidate = self._candidate(known, signer, fresh)
        candidate.require_sound(batch.conn, every, _FIELD)
        return _Changes(
            new=self._new(signer) if known is None else None,
            known=known,
            candidate=candidate,
            fresh=fresh,
            signer_id=signer.id if signer else known.id if known else None,
            key_ref=self.command.key_ref if known is not None and known.key_ref is None else None,
            state=self.command.state,
            retire=_to_retire(self.command, every),
            actor=self.actor,
            clock=self.clock,
        )

    def _candidate(
        self, known: IssuerRecord | None, signer: IssuerRecord | None, fresh: Sequence[x509.Certificate]
    ) -> Candidate:
        takes_key = known is None or known.key_ref is None
        return Candidate(
            name=self.command.name,
            public_key_der=parts_of.public_key_der(self.offered[0]),
            known=known,
            signer=signer,
            is_certified=bool(fresh),
            is_activated=takes_key and self.command.state is IssuerState.ACTIVE,
        )

    def _known(self, batch: Batch, every: Sequence[IssuerRecord]) -> IssuerRecord | None:
        """The issuer that these certificates are for.

        Raises AlreadyExists (ISSUER_EXISTS), FailedPrecondition (ISSUER_PENDING).
        """
        first = self.offered[0]
        wanted = parts_of.subject_der(first), parts_of.public_key_der(first)
        for record in every:
            same = (record.subject_der, record.public_key_der) == wanted
            if same != (record.name == self.command.name):
                text = (
                    f"this subject and public key are known as issuer {record.name}"
                    if same
                    else f"there is another issuer called {record.name}: choose another name"
                )
                raise AlreadyExists("ISSUER_EXISTS", text, field="name")
            if same:
                self._check_key(record)
                return record
        require_not_pending(batch.conn, self.command.name, *wanted)
        return None

    def _check_key(self, record: IssuerRecord) -> None:
        if self.command.key_ref and record.key_ref not in (None, self.command.key_ref):
            text = f"issuer {record.name} has its key elsewhere already; leave key_reference out"
            raise AlreadyExists("ISSUER_EXISTS", text, field="key_reference")

    def _new(self, signer: IssuerRecord | None) -> NewIssuer:
        first = self.offered[0]
        return NewIssuer(
            name=self.command.name,
            state=self.command.state,
            subject_der=parts_of.subject_der(first),
            public_key_der=parts_of.public_key_der(first),
            certificates=tuple(map(new_certificate, self.offered)),
            parent_id=signer.id if signer else None,
            key_ref=self.command.key_ref,
            created_at=self.clock(),
        )


@dataclass(frozen=True, slots=True)
class _StateChange:
    issuer_id: int
    state: IssuerState
    actor: Actor
    changes_issuers: bool = True

    def write(self, conn: Connection) -> None:
        revision = position.advance(conn, 1)
        if self.state is IssuerState.OFFLINE:
            issuers.set_issuer_key(conn, self.issuer_id, None, self.state, revision, self.actor)
        else:
            issuers.set_issuer_state(conn, self.issuer_id, self.state, revision, self.actor)


@dataclass(frozen=True, slots=True)
class _Update(Exclusive):
    hierarchy: Hierarchy
    name: str
    state: IssuerState
    actor: Actor

    def decide(self, batch: Batch) -> Plan[IssuerRecord]:
        record = _named(self.name, batch.issuers().values(), "name")
        if self.state is not IssuerState.OFFLINE:
            _require_key(record)
            if self.state is IssuerState.ACTIVE:
                require_activable(batch.conn, record)
        elif record.state is IssuerState.ACTIVE:
            raise FailedPrecondition(
                "ISSUER_STILL_ACTIVE", f"issuer {record.name} issues here: retire it first", field="state"
            )
        change = None if record.state is self.state else _StateChange(record.id, self.state, self.actor)
        return Plan(lambda: self.hierarchy.changed(self.name), others=change)


def require_not_pending(conn: Connection, name: str, subject_der: bytes, public_key_der: bytes) -> None:
    """Raises FailedPrecondition (ISSUER_PENDING) where an import of such an issuer has begun and not ended."""
    for record in issuers.list_pending(conn):
        if record.name == name or (record.subject_der, record.public_key_der) == (subject_der, public_key_der):
            raise FailedPrecondition(
                "ISSUER_PENDING",
                f"the import of issuer {record.name} has begun and not ended: run it again, under this name, or give "
                f"it up (`goodstanding import abandon {record.name}`)",
                field="name",
            )


def record_ca_certificates(
    conn: Connection, found: Sequence[x509.Certificate], signer_id: int, clock: Clock, actor: Actor
) -> None:
    """See to it that CA certificates are recorded as certificates of the issuer that signed them, with a status."""
    known = imports.find_known(conn, signer_id, [serial_from_int(each.serial_number) for each in found])
    unrecorded = [each for each in found if serial_from_int(each.serial_number) not in known]
    for each in found:
        row = known.get(serial_from_int(each.serial_number))
        if row is not None and row.der is None:  # it came in as a status alone
            new = ca_certificate_row(each, signer_id, clock(), actor)
            imports.complete(conn, {row.certificate_id: imports.import_row(new)})
    if not unrecorded:
        return
    rows = [ca_certificate_row(each, signer_id, clock(), actor) for each in unrecorded]
    ids = certificates.insert_certificates(conn, rows)
    status.insert_statuses(conn, rows, ids, position.advance(conn, len(rows)))
    name = issuers.issuer_name(conn, signer_id)
    audit.append(conn, [issued(row, id_, name, method=REGISTER) for row, id_ in zip(rows, ids, strict=True)])


def check_name(name: str) -> None:
    """Raise InvalidArgument (ISSUER_NAME_INVALID) for what cannot be an issuer's name: it is part of addresses."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            "ISSUER_NAME_INVALID",
            "an issuer's name has 1 to 63 lower-case letters, digits, dots, hyphens and underscores, with a letter or "
            "digit at both ends",
            field="name",
        )


def read_certificates(command: ImportCommand, known_keys: Sequence[KeyList]) -> tuple[x509.Certificate, ...]:
    """The certificates of the one CA that a command is about. Raises InvalidArgument."""
    check_name(command.name)
    if command.retired and command.key_ref is None:
        raise InvalidArgument("STATE_INVALID", "an issuer without key is offline, and not retired", field="retired")
    if not 1 <= len(command.certificates_der) <= MAX_CERTIFICATES:
        raise _invalid(f"1 to {MAX_CERTIFICATES} CA certificates are expected")
    found = tuple(_read(der, known_keys) for der in dict.fromkeys(command.certificates_der))
    if not all(same_issuer(found[0], other) for other in found[1:]):
        raise _invalid("the certificates are of several CAs: all need the same subject and public key")
    try:
        found[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise _invalid("its public key is none: no signature could be verified with it") from None
    if len(parts_of.subject_der(found[0])) > MAX_SUBJECT_SIZE:
        raise _invalid(f"the subject of a CA has at most {MAX_SUBJECT_SIZE} octets")
    return found


def _read(der: bytes, known_keys: Sequence[KeyList]) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_SIZE:
        raise _invalid(f"a CA certificate has at most {MAX_CERTIFICATE_SIZE} octets")
    try:
        certificate = x509.load_der_x509_certificate(der)
        check_ca_certificate(certificate)
        check_public_key(parts_of.public_key_der(certificate), _FIELD, known_keys)
    except UNREADABLE as error:
        raise _invalid(f"this cannot be an issuer: {error}") from error
    return certificate


def _invalid(text: str) -> InvalidArgument:
    return InvalidArgument("ISSUER_CERTIFICATE_INVALID", text, field=_FIELD)


def find_signer(offered: Sequence[x509.Certificate], every: Sequence[IssuerRecord]) -> IssuerRecord | None:
    """The known issuer that signed all of them; None if they are self-signed. Raises FailedPrecondition."""
    signers = {_signer_of(certificate, every) for certificate in offered}
    if len(signers) > 1:
        raise FailedPrecondition(
            "ISSUER_CHAIN_INVALID", "not all of the certificates are signed by the same issuer", field=_FIELD
        )
    return next(iter(signers))


def _signer_of(certificate: x509.Certificate, every: Sequence[IssuerRecord]) -> IssuerRecord | None:
    if is_self_signed(certificate):
        return None
    for record in every:
        for der in record.certificates_der:
            above = x509.load_der_x509_certificate(der)
            if not is_signed_by(certificate, above):
                continue
            try:
                check_path(certificate, [above, *map(x509.load_der_x509_certificate, record.chain_der)])
            except ValueError as error:
                raise FailedPrecondition("ISSUER_CHAIN_INVALID", str(error), field=_FIELD) from error
            return record
    raise FailedPrecondition(
        "ISSUER_CHAIN_INCOMPLETE",
        f"no issuer that is known here signed {certificate.subject.rfc4514_string()}: import "
        f"{certificate.issuer.rfc4514_string()} first",
        field=_FIELD,
    )


def check_position(known: IssuerRecord | None, signer: IssuerRecord | None, fresh: Sequence[x509.Certificate]) -> None:
    """An issuer stays where it is in the hierarchy: its chain is one."""
    if known is None or not fresh:
        return
    chain = known.chain_der
    same = signer is None if not chain else signer is not None and chain[0] in signer.certificates_der
    if not same:
        raise FailedPrecondition(
            "ISSUER_CHAIN_INVALID", f"another issuer signed this than the one above {known.name} so far", field=_FIELD
        )


def check_standing(conn: Connection, fresh: Sequence[x509.Certificate], signer: IssuerRecord | None) -> None:
    """What is revoked already does not become an issuer's certificate. Raises FailedPrecondition (ISSUER_REVOKED)."""
    if signer is not None:
        _check_standing(conn, fresh, signer.id)


def _check_standing(conn: Connection, fresh: Sequence[x509.Certificate], signer_id: int) -> None:
    for certificate in fresh:
        found = certificates.get_certificate(conn, signer_id, serial_from_int(certificate.serial_number))
        if found is not None and found.revocation is not None:
            raise FailedPrecondition(
                "ISSUER_REVOKED", f"the CA certificate {found.serial.hex()} is revoked", field=_FIELD
            )


def _to_retire(command: ImportCommand, every: Sequence[IssuerRecord]) -> tuple[IssuerRecord, ...]:
    found = [_named(name, every, "retired_issuers") for name in command.retired_issuers if name != command.name]
    for record in found:
        _require_key(record)
    return tuple(record for record in found if record.state is IssuerState.ACTIVE)


def _named(name: str, every: Iterable[IssuerRecord], field: str) -> IssuerRecord:
    for record in every:
        if record.name == name:
            return record
    raise NotFound("ISSUER_UNKNOWN", f"there is no issuer {name[:64]!r}", field=field)


def _require_key(record: IssuerRecord) -> None:
    if record.key_ref is None:
        raise FailedPrecondition(
            "ISSUER_OFFLINE", f"the key of issuer {record.name} is kept offline: it neither issues here nor retires"
        )


def new_certificate(certificate: x509.Certificate) -> NewIssuerCertificate:
    """A CA certificate, to be recorded as one of its issuer."""
    return NewIssuerCertificate(
        certificate.public_bytes(Encoding.DER), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    )
