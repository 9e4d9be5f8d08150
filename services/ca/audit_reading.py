"""Reading the audit log: reads, each in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.ca.issuers import IssuerDirectory
from services.ca.target import BySerial
from services.db import audit
from services.db.audit import AuditCursor, AuditFilters
from services.db.chain import AuditEntry, Head, line
from services.db.engine import Connection, Database
from services.errors import NotFound

EXPORTED = 500
"""How many entries are read at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which entries to list: those that fit all that is given, the latest first."""

    page_size: int
    after: AuditCursor | None = None
    time_from: datetime | None = None
    time_until: datetime | None = None
    identity: str = ""
    method: str = ""
    result: str = ""
    refused: bool = False
    target: BySerial | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """One page. `next` asks for the one after it; None on the last."""

    entries: tuple[AuditEntry, ...]
    next: AuditCursor | None


class AuditReading:
    """The use cases."""

    def __init__(self, db: Database, issuers: IssuerDirectory) -> None:
        self._db = db
        self._issuers = issuers

    def page(self, query: AuditQuery) -> AuditPage:
        """One page of entries. Raises NotFound (ISSUER_UNKNOWN), FailedPrecondition (ISSUER_AMBIGUOUS)."""
        with self._db.read() as conn:
            filters = AuditFilters(
                time_from=query.time_from,
                time_until=query.time_until,
                identity=query.identity or None,
                method=query.method or None,
                result=query.result or None,
                refused=query.refused,
                certificate_id=self._recorded(conn, query.target) if query.target else None,
                serial=query.target.serial if query.target else None,
            )
            entries, after = audit.list_entries(conn, filters, limit=query.page_size, after=query.after)
        return AuditPage(tuple(entries), after)

    def export(self, after: int) -> tuple[list[str], int]:
        """The next entries in the order of the chain, in the form that is hashed; and the number of the last one."""
        with self._db.read_each() as conn:
            entries = audit.read_entries(conn, after=after, limit=EXPORTED)
        return [line(entry) for entry in entries], entries[-1].sequence if entries else after

    def head(self) -> Head:
        """The last entry, as the database keeps it beside the entries."""
        with self._db.read_each() as conn:
            return audit.read_head(conn)

    def _recorded(self, conn: Connection, target: BySerial) -> int | None:
        """The certificate that is meant; None for one that was never recorded: it may have been asked about, too."""
        try:
            return target.find(conn, self._issuers).id
        except NotFound as error:
            if error.reason != "CERTIFICATE_UNKNOWN":
                raise
            return None
