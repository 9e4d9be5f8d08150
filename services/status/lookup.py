"""Status look-ups.

Guarantees: the records of one answer, and its position, come from one snapshot; nothing is found for a certificate that
was not recorded here (G2), nor for one that differs from the certificate that was recorded under its serial number; a
compromise of an issuer is in every answer about its certificates that has the compromise's position. A database that
has not reached the revision asked for is an error, never an older answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from cryptography import x509

from services.clock import Clock
from services.db.certificates import find_by_serial
from services.db.crls import latest_crl, newest_list, read_block
from services.db.engine import Connection, Database
from services.db.issuers import issuers_changed_between, list_issuers
from services.db.position import read_position
from services.db.records import (
    FULL,
    CertificateRecord,
    CrlDescription,
    CrlRecord,
    IssuerRecord,
    IssuerState,
    Position,
    StatusRecord,
)
from services.db.status import find_issuers_of_serial, get_status_at, get_statuses
from services.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from services.pki.paths import is_signed_by
from services.status.compromise import as_issuer_stands
from services.status.issuer_index import IssuerIndex, build_index

T = TypeVar("T")

MAX_CRL = 3 * 1024 * 1024
"""Octets of a revocation list that goes into one message."""


class ByCertID(NamedTuple):
    """A certificate by hashes of its issuer (RFC 6960, section 4.1.1)."""

    hash_algorithm: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: bytes


class BySerial(NamedTuple):
    """A certificate by its serial number and the name of its issuer; None while one issuer only has that serial number.

    `field` is the path of the issuer in the request.
    """

    issuer: str | None
    serial: bytes
    field: str


class ByCertificate(NamedTuple):
    """A certificate by itself, and the serial number in it."""

    der: bytes
    serial: bytes


Reference = ByCertID | BySerial | ByCertificate


class Finding(NamedTuple):
    """What is known of one certificate: `issuer` is empty where it is not known, `record` None where there is none."""

    issuer: str
    serial: bytes
    record: StatusRecord | None


@dataclass(frozen=True, slots=True)
class Findings:
    """One finding for each reference, in their order, all as of `position`; `as_of` is a time before they were read."""

    findings: Sequence[Finding]
    position: Position
    as_of: datetime


Key = tuple[int, bytes]
"""Issuer id and serial number."""


class StatusReader:
    """Looks up statuses, issuers and revocation lists. Blocks, and may be called from many threads.

    Every method raises Unavailable while the database cannot be read.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._index: IssuerIndex | None = None

    def get(self, reference: Reference) -> Findings:
        """The status of one certificate. Raises InvalidArgument ISSUER_AMBIGUOUS."""
        return self.batch([reference])

    def batch(self, references: Sequence[Reference], *, history: str = "", min_revision: int = 0) -> Findings:
        """The status of each certificate, from `history` (empty: any) and as of `min_revision` or later.

        Raises FailedPrecondition HISTORY_CHANGED or REVISION_NOT_REACHED, InvalidArgument ISSUER_AMBIGUOUS.
        """
        as_of = self._clock()
        with self._db.read() as conn:
            position = read_position(conn)
            _check_position(position, history, min_revision)
            findings = find_all(conn, self._issuers_at(conn, position), references)
        return Findings(findings, position, as_of)

    def examine(self, look: Callable[[Connection, IssuerIndex], T]) -> tuple[T, Position, datetime]:
        """What `look` finds in one snapshot, its position, and a time before it was read."""
        as_of = self._clock()
        with self._db.read() as conn:
            position = read_position(conn)
            return look(conn, self._issuers_at(conn, position)), position, as_of

    def get_at(self, reference: Reference, at: datetime) -> Finding:
        """The status that one certificate had at a past time: nothing is found for one that was issued later.

        Raises InvalidArgument TIME_INVALID for a time to come, ISSUER_AMBIGUOUS.
        """
        if at > self._clock():
            raise InvalidArgument("TIME_INVALID", "as_of_time is in the future", field="as_of_time")
        with self._db.read() as conn:
            index = self._issuers_at(conn, read_position(conn))
            key = _resolve(conn, index, reference)
            record = None if key is None else get_status_at(conn, *key, at)
        if key is None or record is None:
            return _finding(reference, key, index, {})
        issuer = index.by_id[key[0]]
        if issuer.compromise is not None and issuer.compromise.changed_at > at:
            return Finding(issuer.name, reference.serial, record)
        return Finding(issuer.name, reference.serial, as_issuer_stands(record, issuer))

    def issuers(self) -> tuple[Sequence[IssuerRecord], Position]:
        """All issuers, and the position that they were read at."""
        with self._db.read() as conn:
            position = read_position(conn)
            return tuple(self._issuers_at(conn, position).by_id.values()), position

    def crl(self, issuer: str) -> CrlRecord:
        """The newest full revocation list of an issuer.

        Raises NotFound ISSUER_UNKNOWN, CRL_NOT_AVAILABLE; FailedPrecondition CRL_TOO_LONG.
        """
        with self._db.read() as conn:
            described = self._describe_crl(conn, issuer, FULL)
            if described.size > MAX_CRL:
                raise FailedPrecondition(
                    "CRL_TOO_LONG",
                    f"the revocation list of issuer {issuer!r} has {described.size} octets: "
                    "FetchCertificateRevocationList gives it in pieces",
                    field="issuer",
                )
            crl = latest_crl(conn, described.issuer_id)
        if crl is None:
            raise RuntimeError("a revocation list is described and not there, in one snapshot")
        return crl

    def describe_crl(self, issuer: str, shard: int) -> CrlDescription:
        """The newest revocation list of an issuer, or of one of its shards. Raises NotFound as `crl`."""
        with self._db.read() as conn:
            return self._describe_crl(conn, issuer, shard)

    def crl_block(self, crl: CrlDescription, block: int) -> bytes:
        """One block of a list. Raises Unavailable CRL_REPLACED: newer lists have taken its place."""
        with self._db.read_each() as conn:
            data = read_block(conn, crl, block)
        if not data:
            raise Unavailable("CRL_REPLACED", f"revocation list number {crl.number} is gone: begin again")
        return data

    def _describe_crl(self, conn: Connection, issuer: str, shard: int) -> CrlDescription:
        known = self._issuers_at(conn, read_position(conn)).by_name.get(issuer)
        if known is None:
            raise NotFound("ISSUER_UNKNOWN", f"no issuer is named {issuer!r}", field="issuer")
        crl = newest_list(conn, known.id, shard)
        if crl is None:
            raise NotFound("CRL_NOT_AVAILABLE", f"issuer {issuer!r} has no certificate revocation list", field="issuer")
        if shard != FULL and known.state is IssuerState.OFFLINE:
            return _standing_in(crl, newest_list(conn, known.id, FULL))
        return crl

    def _issuers_at(self, conn: Connection, position: Position) -> IssuerIndex:
        """The issuers of this snapshot, indexed; read again only when one changed since the last time."""
        index = self._index
        if index is not None and index.position == position:
            return index
        if index is None or _has_changed(conn, index.position, position):
            index = build_index(list_issuers(conn), position)
        else:
            index = index.moved_to(position)
        # Threads may overwrite each other's index, even a later one: each is right for the position it carries.
        self._index = index
        return index


def _standing_in(shard: CrlDescription, full: CrlDescription | None) -> CrlDescription:
    """What is at a shard's address once the issuer's key is elsewhere, and with it whoever makes lists: the newer one.

    A full list has no issuing distribution point, so it is complete wherever a certificate points to (RFC 5280, 6.3.3).
    """
    return shard if full is None or full.this_update <= shard.this_update else full


def find_all(conn: Connection, index: IssuerIndex, references: Sequence[Reference]) -> list[Finding]:
    """One finding for each reference. Raises InvalidArgument ISSUER_AMBIGUOUS."""
    keys = [_resolve(conn, index, reference) for reference in references]
    records = _read_records(conn, keys)
    return [_finding(reference, key, index, records) for reference, key in zip(references, keys, strict=True)]


def _has_changed(conn: Connection, before: Position, now: Position) -> bool:
    """Whether an issuer may have changed between two positions; a snapshot from before the index counts as a change."""
    if before.history != now.history or before.revision > now.revision:
        return True
    return bool(issuers_changed_between(conn, before.revision, now.revision))


def _check_position(position: Position, history: str, min_revision: int) -> None:
    metadata = {"history": position.history, "revision": str(position.revision)}
    if history and history != position.history:
        raise FailedPrecondition(
            "HISTORY_CHANGED",
            "the database has another history: watch again, and drop what is cached",
            metadata=metadata,
        )
    if position.revision < min_revision:
        raise FailedPrecondition(
            "REVISION_NOT_REACHED",
            f"the database is at revision {position.revision}, and {min_revision} was asked for: try again",
            metadata=metadata,
        )


def _resolve(conn: Connection, index: IssuerIndex, reference: Reference) -> Key | None:
    """Which row to read for a reference; None where there can be none."""
    if isinstance(reference, BySerial):
        return _resolve_serial(conn, index, reference)
    if isinstance(reference, ByCertID):
        hashes = (reference.hash_algorithm, reference.issuer_name_hash, reference.issuer_key_hash)
        issuer = index.by_hashes.get(hashes)
        return (issuer.id, reference.serial) if issuer else None
    # Comparing the whole certificate leaves nothing of it to be believed, the issuer's name least of all. Where only a
    # status was imported there is nothing to compare with: then the issuer has to have signed it.
    same = (found for found in find_by_serial(conn, reference.serial) if _is_it(found, reference.der, index))
    return next(((found.issuer_id, found.serial) for found in same), None)


def _is_it(found: CertificateRecord, der: bytes, index: IssuerIndex) -> bool:
    if found.der is not None:
        return found.der == der
    issuer = index.by_id.get(found.issuer_id)
    if issuer is None:
        return False
    authority = x509.load_der_x509_certificate(issuer.certificates_der[0])
    return is_signed_by(x509.load_der_x509_certificate(der), authority)


def _resolve_serial(conn: Connection, index: IssuerIndex, reference: BySerial) -> Key | None:
    if reference.issuer is not None:
        issuer = index.by_name.get(reference.issuer)
        return (issuer.id, reference.serial) if issuer else None
    candidates = find_issuers_of_serial(conn, reference.serial)
    if len(candidates) > 1:
        names = ", ".join(sorted(index.by_id[issuer_id].name for issuer_id in candidates))
        raise InvalidArgument(
            "ISSUER_AMBIGUOUS", f"several issuers have that serial number: name one of {names}", field=reference.field
        )
    return (candidates[0], reference.serial) if candidates else None


def _finding(reference: Reference, key: Key | None, index: IssuerIndex, records: Mapping[Key, StatusRecord]) -> Finding:
    if key is None:
        return Finding("", reference.serial, None)
    # A key stands for a certificate of a known issuer, issued or not.
    issuer, record = index.by_id[key[0]], records.get(key)
    return Finding(issuer.name, reference.serial, as_issuer_stands(record, issuer) if record else None)


def _read_records(conn: Connection, keys: Iterable[Key | None]) -> dict[Key, StatusRecord]:
    by_issuer: dict[int, list[bytes]] = {}
    for key in keys:
        if key is not None:
            by_issuer.setdefault(key[0], []).append(key[1])
    return {
        (issuer_id, serial): record
        for issuer_id, serials in by_issuer.items()
        for serial, record in get_statuses(conn, issuer_id, serials).items()
    }
