"""Listing certificates, at any number of them.

What it guarantees: no page sorts or reads more than a bounded number of rows, whichever filters are combined. Pages
follow an index in the order of the listing, and never count or skip. Where a filter has no index of its own, a page
looks at `WINDOW` certificates and no more: it may come back with fewer than were asked for, or none, and a place to go
on. Three filters lead to so few certificates that these are sorted: a name, a public key, the start of a serial number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, select

from services.clock import from_epoch, to_epoch
from services.db.certificates import read_record, search_name, with_hold_instructions, without_der
from services.db.keyset import Keyset, Place
from services.db.models import certificate_names, certificate_status, certificates
from services.db.pending import hidden_ids, visible_ids
from services.db.records import (
    CertificateCursor,
    CertificateFilters,
    CertificateOrder,
    CertificatePage,
    CertificateState,
)

WINDOW = 20_000
"""How many certificates one page looks at where no index leads to those that fit."""


def list_certificates(
    conn: Connection,
    filters: CertificateFilters,
    *,
    now: datetime,
    limit: int,
    order: CertificateOrder = CertificateOrder.ISSUED,
    after: CertificateCursor | None = None,
) -> CertificatePage:
    """Up to `limit` certificates that fit, without DER, and where to go on. `now` tells expired from valid."""
    way = _Way(filters, order, hidden_ids(conn))
    bounds = list(way.bounds(filters, now))
    begin = Place(to_epoch(after.at), after.id) if after is not None else None
    floor = None
    if not way.is_short and way.is_selective(filters):
        floor = way.keyset.after(conn, bounds, begin, WINDOW)
    conditions = [*bounds, *way.selections(filters, now)]
    rows: list[Row[Any]] = []
    for stretch in way.keyset.stretches(begin, floor):
        page = _page(way, [*conditions, *stretch], limit + 1 - len(rows))
        # The join may lose the order.
        rows += sorted(conn.execute(page), key=lambda row: (row.moment, row.id), reverse=not way.expiring)
        if len(rows) > limit:
            break
    found = tuple(with_hold_instructions(conn, [read_record(row, None) for row in rows[:limit]]))
    if len(rows) > limit:
        last = found[-1]
        return CertificatePage(found, CertificateCursor(last.not_after if way.expiring else last.issued_at, last.id))
    return CertificatePage(found, CertificateCursor(from_epoch(floor.time), floor.id) if floor is not None else None)


def _page(way: _Way, conditions: Sequence[ColumnElement[bool]], limit: int) -> Select[Any]:
    """The certificates of a page, which is found in one table.

    Joined to the other one first, PostgreSQL expects next to nothing to be left, and reads and sorts everything.
    """
    time, id_ = way.keyset.columns
    query = select(time.label("moment"), id_.label("id")).where(*conditions).order_by(*way.keyset.ordered).limit(limit)
    page = query.subquery("page")
    return without_der.join(page, page.c.id == certificates.c.id).add_columns(page.c.moment)


class _Way:
    """How a listing goes: the index that it follows, and what that index does not tell."""

    def __init__(self, filters: CertificateFilters, order: CertificateOrder, hidden: Sequence[int] = ()) -> None:
        self.expiring = order is CertificateOrder.EXPIRING
        self.is_short = any((filters.name, filters.public_key_sha256, filters.serial_prefix))
        # Revoked certificates are few: their own indexes lead. The columns are equal in both tables.
        revoked = filters.state is CertificateState.REVOKED or (filters.reason is not None and filters.state is None)
        self.by_status = revoked and not self.is_short
        time = "not_after" if self.expiring else "issued_at"
        leading, id_ = (
            (certificate_status, certificate_status.c.certificate_id)
            if self.by_status
            else (certificates, certificates.c.id)
        )
        self.keyset = Keyset(leading.c[time], id_, descending=not self.expiring)
        self.led_by = self._lead(filters)
        self.hidden = hidden if self.led_by != "issuer_id" else ()

    def _lead(self, filters: CertificateFilters) -> str:
        """The filter that has an index of its own in this order."""
        if self.expiring or self.by_status or self.is_short:
            return ""
        return "profile" if filters.profile is not None else "issuer_id" if filters.issuer_id is not None else ""

    def bounds(self, filters: CertificateFilters, now: datetime) -> Iterator[ColumnElement[bool]]:
        """What the index tells: where to begin and where to end."""
        since, until = filters.issued_from, filters.issued_until
        if self.expiring:
            since, until = _expiry(filters, now)
        if since is not None:
            yield self.keyset.columns[0] >= to_epoch(since)
        if until is not None:
            yield self.keyset.columns[0] < to_epoch(until)
        if self.by_status:
            yield certificate_status.c.revoked_at.is_not(None)
        if self.led_by:
            yield certificates.c[self.led_by] == getattr(filters, self.led_by)

    def is_selective(self, filters: CertificateFilters) -> bool:
        """Whether there are filters that only reading a certificate answers."""
        elsewhere = (
            (filters.issued_from, filters.issued_until)
            if self.expiring
            else (filters.not_after_from, filters.not_after_until)
        )
        profile = None if self.led_by == "profile" else filters.profile
        issuer = None if self.led_by == "issuer_id" else filters.issuer_id
        others = (issuer, profile, filters.reason, filters.identity, *elsewhere)
        by_state = filters.state is not None and not self.by_status
        return by_state or bool(self.hidden) or any(value is not None for value in others)

    def selections(self, filters: CertificateFilters, now: datetime) -> Iterator[ColumnElement[bool]]:
        """Every other condition. "+ 0" keeps a database from another index, and from sorting what that finds."""
        if self.hidden:
            yield (self._column("issuer_id") + 0).not_in(self.hidden)
        if filters.issuer_id is not None and self.led_by != "issuer_id":
            yield self._column("issuer_id") + 0 == filters.issuer_id
        if filters.profile is not None and self.led_by != "profile":
            yield self._column("profile").concat("") == filters.profile
        if filters.identity is not None:
            yield self._column("actor_identity") == filters.identity
        yield from self._elsewhere(filters)
        yield from self._of_state(filters, to_epoch(now))
        if filters.name is not None:
            named = select(certificate_names.c.certificate_id)
            yield certificates.c.id.in_(named.where(certificate_names.c.name == search_name(filters.name)))
        if filters.public_key_sha256 is not None:
            yield certificates.c.public_key_sha256 == filters.public_key_sha256
        if filters.serial_prefix is not None:
            yield _begins_with(filters.serial_prefix)

    def _column(self, name: str) -> ColumnElement[Any]:
        """A column of the certificate, in the table that leads if it is there."""
        if not self.by_status:
            return certificates.c[name]
        if name in certificate_status.c:
            return certificate_status.c[name]
        described = select(certificates.c[name]).where(certificates.c.id == certificate_status.c.certificate_id)
        return described.correlate(certificate_status).scalar_subquery()

    def _of_state(self, filters: CertificateFilters, now: int) -> Iterator[ColumnElement[bool]]:
        if self.by_status:
            if filters.reason is not None:
                yield certificate_status.c.reason == filters.reason
            return
        revoked = _revoked(filters.reason)
        if filters.state is CertificateState.REVOKED or filters.reason is not None:
            yield revoked
        if filters.state is CertificateState.VALID:
            yield from (~_revoked(), certificates.c.not_after + 0 >= now)
        if filters.state is CertificateState.EXPIRED:
            yield from (~_revoked(), certificates.c.not_after + 0 < now)

    def _elsewhere(self, filters: CertificateFilters) -> Iterator[ColumnElement[bool]]:
        column, since, until = self._column("not_after"), filters.not_after_from, filters.not_after_until
        if self.expiring:
            column, since, until = self._column("issued_at"), filters.issued_from, filters.issued_until
        if since is not None:
            yield column + 0 >= to_epoch(since)
        if until is not None:
            yield column + 0 < to_epoch(until)


def _expiry(filters: CertificateFilters, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The range of notAfter, which a state may narrow."""
    since, until = filters.not_after_from, filters.not_after_until
    if filters.state is CertificateState.VALID:
        since = max(since, now) if since else now
    if filters.state is CertificateState.EXPIRED:
        until = min(until, now) if until else now
    return since, until


def _revoked(reason: int | None = None) -> ColumnElement[bool]:
    """Whether a certificate is; asked of the index of the revoked, which is small, and not of the key of all."""
    query = select(certificate_status.c.certificate_id).where(
        certificate_status.c.issued_at == certificates.c.issued_at,
        certificate_status.c.certificate_id == certificates.c.id,
        certificate_status.c.revoked_at.is_not(None),
    )
    if reason is not None:
        query = query.where(certificate_status.c.reason == reason)
    return query.correlate(certificates).exists()


def _begins_with(prefix: str) -> ColumnElement[bool]:
    """Serial numbers with these first hex digits: a range of the key, for each issuer."""
    low = bytes.fromhex(prefix + "0" * (len(prefix) % 2))
    high = bytes.fromhex(prefix + "f" * (len(prefix) % 2)) + b"\xff" * 20
    of_them = select(certificate_status.c.certificate_id).where(
        certificate_status.c.issuer_id.in_(visible_ids),
        certificate_status.c.serial >= low,
        certificate_status.c.serial <= high,
    )
    return certificates.c.id.in_(of_them)
