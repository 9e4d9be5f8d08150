"""Listing and counting at size: whatever is combined, what comes back is right, and no page reads without a bound."""

from __future__ import annotations

import itertools
import re
import runpy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.db import certificates, counts, issuers, listing, position, schema, status
from services.db.engine import Connection, Database
from services.db.listing import list_certificates
from services.db.records import (
    CertificateCount,
    CertificateCursor,
    CertificateFilters,
    CertificateOrder,
    CertificateRecord,
    CertificateState,
    NewCertificate,
    NewIssuer,
)
from tests.db.conftest import make_change
from tests.db.test_certificates import explain

SIZE = 2000
REASONS = (1, 4, 6)


@dataclass(frozen=True)
class Population:
    """Many certificates, and what became of them."""

    rows: list[NewCertificate]
    revoked: dict[bytes, int]
    now: datetime
    names: dict[int, str]

    def state(self, row: NewCertificate) -> CertificateState:
        """The state of a certificate."""
        if row.serial in self.revoked:
            return CertificateState.REVOKED
        return CertificateState.EXPIRED if row.not_after < self.now else CertificateState.VALID

    def fits(self, row: NewCertificate, filters: CertificateFilters) -> bool:
        """Whether a certificate fits, decided without the database."""
        names = {row.common_name, *(name.partition(":")[2] for name in row.subject_alternative_names)}
        return (
            (filters.issuer_id is None or row.issuer_id == filters.issuer_id)
            and (filters.state is None or self.state(row) == filters.state)
            and (filters.profile is None or row.profile == filters.profile)
            and (filters.name is None or filters.name in names)
            and (filters.not_after_from is None or row.not_after >= filters.not_after_from)
            and (filters.not_after_until is None or row.not_after < filters.not_after_until)
            and (filters.issued_from is None or row.issued_at >= filters.issued_from)
            and (filters.issued_until is None or row.issued_at < filters.issued_until)
            and (filters.reason is None or self.revoked.get(row.serial) == filters.reason)
            and (filters.serial_prefix is None or row.serial.hex().startswith(filters.serial_prefix))
            and (filters.public_key_sha256 is None or row.public_key_sha256 == filters.public_key_sha256)
            and (filters.identity is None or row.actor.identity == filters.identity)
        )


@pytest.fixture
def population(
    database: Database,
    issuer_id: int,
    new_issuer: Callable[..., NewIssuer],
    new_certificate: Callable[..., NewCertificate],
    now: datetime,
) -> Population:
    """Two thousand certificates of two issuers, with every attribute different from its neighbours'."""
    with database.write() as conn:
        other = issuers.add_issuer(conn, replace(new_issuer("other")), position.advance(conn, 1))
    rows = []
    for n in range(SIZE):
        row = new_certificate(
            issuer_id=(issuer_id, other)[n % 7 == 0],
            serial=bytes((0x10 + n % 13, n % 11)) + n.to_bytes(14),
            profile=("server", "client", "server-short")[n % 3],
            common_name=f"host{n % 97}.example.com",
            subject_alternative_names=(f"DNS:host{n % 97}.example.com",),
            public_key_sha256=(n % 401).to_bytes(32),
            # Some hundreds have the same time, as very many that were imported have.
            issued_at=now + timedelta(minutes=min(n, 1400) // 3),
            not_after=now + timedelta(minutes=n * 37 % SIZE if n % 4 else 800),
        )
        rows.append(replace(row, actor=replace(row.actor, identity=f"identity-{n % 5}")))
    chosen = {row.serial: REASONS[n % 3] for n, row in enumerate(rows) if n % 9 == 0}
    with database.write() as conn:
        ids = certificates.insert_certificates(conn, rows)
        status.insert_statuses(conn, rows, ids, position.advance(conn, len(rows)))
        changes = [make_change(row, chosen[row.serial]) for row in rows if row.serial in chosen]
        status.apply_changes(conn, changes, position.advance(conn, len(changes)))
    return Population(rows, chosen, now + timedelta(minutes=900, seconds=7), {issuer_id: "issuing", other: "other"})


def all_pages(conn: Connection, filters: CertificateFilters, now: datetime, **more: Any) -> list[CertificateRecord]:
    """Everything that a listing finds."""
    found: list[CertificateRecord] = []
    after = None
    while True:
        page = list_certificates(conn, filters, now=now, limit=100, after=after, **more)
        assert len(page.certificates) <= 100
        found += page.certificates
        after = page.next
        if after is None:
            return found


def single(issuer_id: int, now: datetime) -> dict[str, dict[str, Any]]:
    """Each filter on its own."""
    return {
        "issuer": {"issuer_id": issuer_id},
        "valid": {"state": CertificateState.VALID},
        "revoked": {"state": CertificateState.REVOKED},
        "expired": {"state": CertificateState.EXPIRED},
        "profile": {"profile": "client"},
        "name": {"name": "host5.example.com"},
        "expiry": {"not_after_from": now + timedelta(minutes=700), "not_after_until": now + timedelta(minutes=950)},
        "issued": {"issued_from": now + timedelta(minutes=100), "issued_until": now + timedelta(minutes=400)},
        "reason": {"reason": 6},
        "serial": {"serial_prefix": "1102"},
        "odd serial": {"serial_prefix": "12030"},
        "key": {"public_key_sha256": (7).to_bytes(32)},
        "identity": {"identity": "identity-3"},
    }


def combinations(issuer_id: int, now: datetime, count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Filters together."""
    for names in itertools.combinations(single(issuer_id, now).items(), count):
        given: dict[str, Any] = {}
        for _, each in names:
            given |= each
        if len(given) == sum(len(each) for _, each in names):
            yield " and ".join(name for name, _ in names), given


@pytest.mark.parametrize("window", [150, 20_000], ids=["small window", "large window"])
def test_filters_and_orders_combine(
    database: Database, population: Population, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    """Every pair of filters, in both orders, finds exactly what fits, each once and in order."""
    monkeypatch.setattr(listing, "WINDOW", window)
    begin = population.rows[0].issued_at
    pairs = list(combinations(population.rows[0].issuer_id, begin, 2))
    some = [*combinations(population.rows[0].issuer_id, begin, 1), *pairs[:: 4 if window == 150 else 9], ("all", {})]
    with database.read() as conn:
        for (name, given), order in itertools.product(some, CertificateOrder):
            filters = CertificateFilters(**given)
            found = all_pages(conn, filters, population.now, order=order)
            expected = {row.serial for row in population.rows if population.fits(row, filters)}
            assert [each.serial for each in found if each.serial not in expected] == [], (name, order)
            assert len(found) == len(expected), (name, order)
            places = [
                (each.not_after if order is CertificateOrder.EXPIRING else each.issued_at, each.id) for each in found
            ]
            assert places == sorted(places, reverse=order is CertificateOrder.ISSUED), (name, order)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_combination_reads_or_sorts_the_whole_table(
    database: Database, new_certificate: Callable[..., NewCertificate], now: datetime
) -> None:
    """Every pair of filters follows an index in the order of the listing, or one that leads to a few."""
    short = ("name", "key", "serial")
    for order in CertificateOrder:
        cursor = CertificateCursor(now, 10)
        for name, given in [("all", {}), *combinations(1, now, 1), *combinations(1, now, 2)]:
            plan = explain(
                database,
                lambda conn, given=given, order=order, cursor=cursor: list_certificates(  # type: ignore[misc]
                    conn, CertificateFilters(**given), now=now, limit=5, order=order, after=cursor
                ),
            )
            assert "SCAN certificate" not in plan, (name, order, plan)
            if name == "all":  # what has the same time is not walked past
                assert re.search(r"=\? AND (id|rowid)[<>]\?", plan), plan
            if not any(word in name for word in short):
                assert "TEMP B-TREE" not in plan, (name, order, plan)
                revoked = "revoked" in name or "reason" in name
                by_time = "not_after" if order is CertificateOrder.EXPIRING else "issued_at"
                index = "ix_certificate_status_revoked" if revoked else f"{by_time}_id ("
                assert index in plan or "valid" in name or "expired" in name, (name, order, plan)


def test_counts_are_those_of_the_lists(database: Database, population: Population) -> None:
    """Counts agree with what is there, at any time, also within the hour in which certificates expire."""
    for now in (population.now, population.rows[0].issued_at, population.now + timedelta(days=9)):
        there = replace(population, now=now)
        expected = Counter((there.names[row.issuer_id], row.profile, there.state(row)) for row in there.rows)
        with database.read() as conn:
            found = counts.count_certificates(conn, now)
            of_one = counts.count_certificates(conn, now, population.rows[0].issuer_id)
        told = {
            (each.issuer_name, each.profile, state): getattr(each, state.value)
            for each in found
            for state in CertificateState
        }
        assert {key: value for key, value in told.items() if value} == dict(expected)
        assert of_one == [each for each in found if each.issuer_name == population.names[population.rows[0].issuer_id]]
        assert found == sorted(found, key=lambda each: (each.issuer_name, each.profile))


def test_a_database_of_before_is_counted_once(database: Database, population: Population) -> None:
    """What an upgrade counts is what would have been counted all along."""
    fill = runpy.run_path(str(schema.migrations_folder() / "versions" / "0005_audit.py"))["FILL_COUNTS"]
    with database.read() as conn:
        before = counts.count_certificates(conn, population.now)
    with database.write() as conn:
        conn.execute(text("DELETE FROM certificate_counts"))
        conn.execute(text(fill))
    with database.read() as conn:
        assert counts.count_certificates(conn, population.now) == before


def test_counts_follow_every_change(
    database: Database,
    new_certificate: Callable[..., NewCertificate],
    record: Callable[..., list[int]],
    now: datetime,
) -> None:
    """Holding, raising, releasing and revoking, several in one transaction, count once each."""
    row, other = new_certificate(), new_certificate()
    record(row, other)

    def apply(*reasons: int | None) -> CertificateCount:
        with database.write() as conn:
            changes = [make_change(row, reason) for reason in reasons]
            status.apply_changes(conn, changes, position.advance(conn, len(changes)))
        with database.read() as conn:
            (found,) = counts.count_certificates(conn, now)
        return found

    assert apply(6) == CertificateCount("issuing", "server", valid=1, revoked=1, expired=0)
    assert apply(None) == CertificateCount("issuing", "server", valid=2, revoked=0, expired=0)
    assert apply(6, None, 6) == CertificateCount("issuing", "server", valid=1, revoked=1, expired=0)
    assert apply(1) == CertificateCount("issuing", "server", valid=1, revoked=1, expired=0)
