"""Revocation lists that were signed elsewhere: those of issuers whose keys are kept offline (R106 to R108).

Guarantee: a list is recorded only if it is the issuer's full one, and revokes what is revoked here, no more and no less
of what is known here, at the moment at which it is recorded (R112, R113).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from services.ca.batch import Batch, Exclusive, Plan
from services.ca.crl_making import SLACK
from services.ca.issuers import IssuerDirectory
from services.ca.writer import Writer
from services.clock import Clock, rfc3339, to_epoch
from services.db import counts, crls, revocations, status
from services.db.chain import AuditEvent, details
from services.db.engine import Connection, Database
from services.db.position import read_position
from services.db.records import FULL, Actor, CrlRecord, IssuerRecord, IssuerState, RevocationRow
from services.errors import FailedPrecondition, InvalidArgument
from services.pki.crls import MAX_CARRIED_ON
from services.pki.full_lists import FullList, read_full_list

SKEW = timedelta(minutes=5)
"""How far the clock of whoever signed a list may be ahead."""

_NAMED = 3
_AT_A_TIME = 500


class ForeignCrls:
    """The use case."""

    def __init__(self, db: Database, writer: Writer, directory: IssuerDirectory, clock: Clock) -> None:
        self._db = db
        self._writer = writer
        self._directory = directory
        self._clock = clock

    def begin(self, issuer: str, der: bytes, actor: Actor) -> Future[int]:
        """Record a list; the future resolves to its number.

        Raises NotFound ISSUER_UNKNOWN, InvalidArgument CRL_INVALID, FailedPrecondition CRL_INCOMPLETE and
        REVOCATION_NOT_RECORDED; the future the last two as well, and AlreadyExists CRL_NUMBER_USED.
        """
        record = self._directory.named(issuer)
        event = AuditEvent(
            "ImportCertificateRevocationList",
            actor,
            self._clock(),
            issuer=record.name,
            details=details({"crl_sha256": hashlib.sha256(der).hexdigest()}),
        )
        found = self._read(record, der)
        row = CrlRecord(record.id, found.number, der, found.this_update, found.next_update)
        # Looked through here, since there may be millions of revocations; what comes in meanwhile is few, and looked
        # at when the list is recorded.
        with self._db.read() as conn:
            crls.require_next(conn, row)  # what is refused in any case takes no search
            revision = read_position(conn).revision
            _require_agreement(conn, record, found, self._clock())
        return self._writer.submit(_Recording(_Compared(row, found.serials, record.name, revision), event))

    def _read(self, issuer: IssuerRecord, der: bytes) -> FullList:
        try:
            found = read_full_list(der, issuer.name, x509.load_der_x509_certificate(issuer.certificates_der[0]))
        except ValueError as error:
            raise _invalid(str(error)) from error
        if found.next_update <= self._clock():
            raise _invalid("the list is over already")
        if found.this_update > self._clock() + SKEW:
            since = rfc3339(found.this_update)
            raise _invalid(f"the list is not valid before {since}: relying parties would refuse it")
        if found.number > MAX_CARRIED_ON:
            raise _invalid(f"its number is above {MAX_CARRIED_ON:x} (hex): no room is left for those after it")
        return found


def _require_agreement(conn: Connection, issuer: IssuerRecord, found: FullList, now: datetime) -> None:
    """Of a compromised issuer, whose certificates all are revoked, those are asked for that are so by themselves."""
    before = crls.newest_list(conn, issuer.id, FULL, scheduled=True)
    # RFC 5280, section 3.3: an entry stays until a list has shown it that was made after the certificate's end. What
    # was shown by lists that have never been here is not known.
    shown = to_epoch(found.this_update if before is None else before.this_update - SLACK)
    lacking, rest = [], set(found.serials)
    for row in _revoked(conn, issuer.id, now):
        if row.serial in found.serials:
            rest.discard(row.serial)
        elif max(row.not_after, row.changed_at) >= shown:
            lacking.append(row.serial)
    _refuse_lacking(issuer.name, lacking)
    if issuer.compromise is None:
        _refuse_unrecorded(issuer.name, _recorded(conn, issuer.id, sorted(rest)))


def _revoked(conn: Connection, issuer_id: int, now: datetime) -> Iterator[RevocationRow]:
    """The revoked certificates of an issuer; found among its own or among all that are revoked, whichever are fewer.

    A root has issued a few, and those below it may have revoked a million.
    """
    own = sum(each.valid + each.revoked + each.expired for each in counts.count_certificates(conn, now, issuer_id))
    if own > sum(each.revoked for each in counts.count_certificates(conn, now)):
        return revocations.revoked(conn, [issuer_id], not_before=0)
    return (row for row in revocations.issued(conn, issuer_id, not_before=0) if row.revoked_at is not None)


def _recorded(conn: Connection, issuer_id: int, serials: list[bytes]) -> list[bytes]:
    """Those of which something is recorded: of others, nobody is told that they are good."""
    chunks = (serials[begin : begin + _AT_A_TIME] for begin in range(0, len(serials), _AT_A_TIME))
    return [serial for chunk in chunks for serial in status.get_statuses(conn, issuer_id, chunk)]


@dataclass(frozen=True, slots=True)
class _Compared:
    """A list that agrees with what is recorded up to a revision."""

    row: CrlRecord
    serials: frozenset[bytes]
    issuer: str
    revision: int


@dataclass(frozen=True, slots=True)
class _Recording(Exclusive):
    found: _Compared
    event: AuditEvent

    def decide(self, batch: Batch) -> Plan[int]:
        row = self.found.row
        crls.require_next(batch.conn, row)
        offline = batch.issuers()[row.issuer_id].state is IssuerState.OFFLINE
        return Plan(lambda: row.number, others=_Rows(self.found, offline), audit=[self.event])


@dataclass(frozen=True, slots=True)
class _Rows:
    found: _Compared
    offline: bool

    def write(self, conn: Connection) -> None:
        # What the others of the batch change is written by now.
        self._require_agreement(conn)
        row = self.found.row
        # Where the key is here, lists are made here, and know of every change. Where it was here once, and is not any
        # more, nobody else makes the next one: it takes over from the last of ours.
        before = crls.newest_list(conn, row.issuer_id, FULL) if self.offline else None
        crls.add_crl(conn, row, revision=0 if before is None else before.revision)

    def _require_agreement(self, conn: Connection) -> None:
        found = self.found
        rows = [
            row
            for row in revocations.changed(conn, found.revision, read_position(conn).revision)
            if row.issuer_id == found.row.issuer_id and (row.serial in found.serials) is (row.revoked_at is None)
        ]
        _refuse_lacking(found.issuer, [row.serial for row in rows if row.revoked_at is not None])
        _refuse_unrecorded(found.issuer, [row.serial for row in rows if row.revoked_at is None])


def _refuse_lacking(issuer: str, serials: list[bytes]) -> None:
    if serials:
        text = f"the list lacks {_shown(serials)}, revoked here: make a newer one that has all of them"
        text += f" (with the key, `goodstanding ca crl {issuer}` does)"
        raise FailedPrecondition("CRL_INCOMPLETE", text, field="crl_der")


def _refuse_unrecorded(issuer: str, serials: list[bytes]) -> None:
    if serials:
        text = f"the list revokes {_shown(serials)}, not revoked here: revoke that here first"
        text += f" (`goodstanding revoke`, issuer {issuer}), or make a newer one without it"
        raise FailedPrecondition("REVOCATION_NOT_RECORDED", text, field="crl_der")


def _shown(serials: Iterable[bytes]) -> str:
    first, *others = found = sorted(set(serials))
    named = ", ".join(serial.hex() for serial in found[:_NAMED])
    if not others:
        return f"serial number {first.hex()}"
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"serial numbers {named}{more}"


def _invalid(text: str) -> InvalidArgument:
    return InvalidArgument("CRL_INVALID", text, field="crl_der")
