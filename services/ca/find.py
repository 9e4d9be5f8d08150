"""Finding certificates and issuers: reads, each in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.ca.issuers import IssuerDirectory
from services.ca.target import BySerial
from services.clock import Clock
from services.db import issuers
from services.db.counts import count_certificates
from services.db.engine import Database
from services.db.listing import list_certificates
from services.db.records import (
    CertificateCount,
    CertificateCursor,
    CertificateFilters,
    CertificateOrder,
    CertificatePage,
    CertificateRecord,
    CertificateState,
    IssuerRecord,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Which certificates to list: those that fit all that is given, the latest issued first."""

    page_size: int
    after: CertificateCursor | None = None
    """Where the page before ended."""
    order: CertificateOrder = CertificateOrder.ISSUED
    issuer: str = ""
    state: CertificateState | None = None
    profile: str = ""
    name: str = ""
    not_after_from: datetime | None = None
    not_after_until: datetime | None = None
    issued_from: datetime | None = None
    issued_until: datetime | None = None
    reason: int | None = None
    serial_prefix: str = ""
    public_key_sha256: bytes = b""
    identity: str = ""

    def behind(self, cursor: CertificateCursor) -> ListQuery:
        """The same query for the page after that place."""
        return replace(self, after=cursor)


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

    def list(self, query: ListQuery) -> CertificatePage:
        """One page of certificates, without their DER. Raises NotFound (ISSUER_UNKNOWN)."""
        filters = self._filters(query)
        with self._db.read() as conn:
            return list_certificates(
                conn, filters, now=self._clock(), limit=query.page_size, order=query.order, after=query.after
            )

    def count(self, issuer: str) -> Sequence[CertificateCount]:
        """How many certificates there are, of one issuer or of all. Raises NotFound (ISSUER_UNKNOWN)."""
        issuer_id = self._directory.named(issuer).id if issuer else None
        with self._db.read() as conn:
            return count_certificates(conn, self._clock(), issuer_id)

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
            issued_from=query.issued_from,
            issued_until=query.issued_until,
            reason=query.reason,
            serial_prefix=query.serial_prefix or None,
            public_key_sha256=query.public_key_sha256 or None,
            identity=query.identity or None,
        )
