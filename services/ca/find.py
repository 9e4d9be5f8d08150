"""Finding certificates and issuers: reads, each in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.ca.issuers import IssuerDirectory
from services.ca.target import BySerial
from services.clock import Clock
from services.db import certificates, issuers
from services.db.engine import Database
from services.db.records import (
    CertificateCursor,
    CertificateFilters,
    CertificateRecord,
    CertificateState,
    IssuerRecord,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Which certificates to list: those that fit all that is given, the latest issued first."""

    page_size: int
    after: CertificateCursor | None = None
    """The last certificate of the page before."""
    issuer: str = ""
    state: CertificateState | None = None
    profile: str = ""
    name: str = ""
    not_after_from: datetime | None = None
    not_after_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `next` asks for the one after it; None on the last."""

    certificates: tuple[CertificateRecord, ...]
    next: CertificateCursor | None


class Finding:
    """The use cases that change nothing."""

    def __init__(self, db: Database, directory: IssuerDirectory, clock: Clock) -> None:
        self._db = db
        self._directory = directory
        self._clock = clock

    def get(self, target: BySerial) -> CertificateRecord:
        """One certificate. Raises NotFound and FailedPrecondition as `BySerial.find`."""
        with self._db.read() as conn:
            return target.find(conn, self._directory)

    def list(self, query: ListQuery) -> Page:
        """One page of certificates, without their DER. Raises NotFound (ISSUER_UNKNOWN)."""
        filters = self._filters(query)
        with self._db.read() as conn:
            found = certificates.list_certificates(
                conn, filters, now=self._clock(), limit=query.page_size + 1, after=query.after
            )
        page = tuple(found[: query.page_size])
        more = len(found) > query.page_size
        return Page(page, CertificateCursor(page[-1].issued_at, page[-1].id) if more else None)

    def issuers(self) -> tuple[IssuerRecord, ...]:
        """All issuers, as they are now."""
        with self._db.read() as conn:
            return tuple(issuers.list_issuers(conn))

    def _filters(self, query: ListQuery) -> CertificateFilters:
        return CertificateFilters(
            issuer_id=self._directory.named(query.issuer).id if query.issuer else None,
            state=query.state,
            profile=query.profile or None,
            name=query.name or None,
            not_after_from=query.not_after_from,
            not_after_until=query.not_after_until,
        )
