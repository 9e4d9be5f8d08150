"""Taking out what an issuer has issued: reads, each page in a snapshot of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.ca.issuers import IssuerDirectory
from services.clock import Clock
from services.db import exports, issuers
from services.db.compromise import revocation_as_issuer_stands
from services.db.engine import Connection, Database
from services.db.exports import BEGINNING, ExportedRow, ExportPlace
from services.db.position import read_position
from services.db.records import IssuerRecord, RevocationRecord
from services.db.rows import read_revocation

PAGE = 500
"""How many certificates are read at a time."""


@dataclass(frozen=True, slots=True)
class ExportHead:
    """What an export is about, and where it began."""

    issuer: IssuerRecord
    crl_number: int
    count: int
    revision: int
    as_of: datetime


@dataclass(frozen=True, slots=True)
class ExportPage:
    """The next certificates, each with the revocation that OCSP answers with."""

    rows: Sequence[tuple[ExportedRow, RevocationRecord | None]]
    next: ExportPlace | None
    """Where to go on; None at the end."""


@dataclass(frozen=True, slots=True)
class ExportEnd:
    """What was recorded meanwhile."""

    count: int
    changes: int


class Exporting:
    """The use cases."""

    def __init__(self, db: Database, directory: IssuerDirectory, clock: Clock) -> None:
        self._db = db
        self._directory = directory
        self._clock = clock

    def begin(self, name: str) -> ExportHead:
        """The issuer of that name, or the only active one.

        Raises NotFound ISSUER_UNKNOWN; FailedPrecondition ISSUER_NOT_ACTIVE, ISSUER_AMBIGUOUS.
        """
        now = self._clock()
        issuer_id = self._directory.named_or_active(name, now).id
        with self._db.read() as conn:
            position = read_position(conn)
            return ExportHead(
                issuer=_issuer(conn, issuer_id),
                crl_number=exports.highest_crl_number(conn, issuer_id),
                count=exports.count_issued(conn, issuer_id),
                revision=position.revision,
                as_of=now,
            )

    def page(self, head: ExportHead, after: ExportPlace = BEGINNING) -> ExportPage:
        """The certificates behind a place."""
        with self._db.read() as conn:
            # In the same snapshot: no page shows a certificate of a compromised issuer as good (R51).
            compromise = _issuer(conn, head.issuer.id).compromise
            rows = exports.read_exported(conn, head.issuer.id, after, PAGE)
        found = [(row, revocation_as_issuer_stands(_own(row), compromise)) for row in rows]
        return ExportPage(found, ExportPlace(rows[-1].issued_at, rows[-1].id) if rows else None)

    def end(self, head: ExportHead) -> ExportEnd:
        """What was recorded since the beginning."""
        with self._db.read() as conn:
            issuer = _issuer(conn, head.issuer.id)
            changes = exports.count_changes(conn, issuer.id, head.revision)
            of_issuer = issuer.compromise != head.issuer.compromise
            return ExportEnd(exports.count_issued(conn, issuer.id), changes + of_issuer)


def _own(row: ExportedRow) -> RevocationRecord | None:
    own = read_revocation(row.revoked_at, row.reason, row.invalidity_at)
    return replace(own, hold_instruction=row.hold_instruction) if own and row.hold_instruction else own


def _issuer(conn: Connection, issuer_id: int) -> IssuerRecord:
    return next(record for record in issuers.list_issuers(conn) if record.id == issuer_id)
