"""Recording, finding and listing certificates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from services.db import certificates, issuers, position, status
from services.db.engine import Database
from services.db.listing import list_certificates
from services.db.records import (
    CertificateCursor,
    CertificateFilters,
    CertificateOrder,
    CertificateRecord,
    CertificateState,
    NewCertificate,
    NewIssuer,
)

Certificates = Callable[..., NewCertificate]
Record = Callable[..., list[int]]


def test_what_was_recorded_is_found(database: Database, new_certificate: Certificates, record: Record) -> None:
    """Every column comes back as it went in, by serial, by id, and whoever issued it."""
    row = new_certificate()
    (id_,) = record(row)
    with database.read() as conn:
        found = certificates.get_certificate(conn, row.issuer_id, row.serial)
        assert found is not None
        assert certificates.get_certificate_by_id(conn, id_) == found
        assert certificates.find_by_serial(conn, row.serial) == [found]
        assert certificates.get_certificate(conn, row.issuer_id + 1, row.serial) is None
        assert certificates.get_certificate(conn, row.issuer_id, b"\x01") is None
        assert certificates.get_certificate_by_id(conn, id_ + 1) is None
        assert certificates.find_by_serial(conn, b"\x01") == []
    assert (found.id, found.issuer_name, found.revision, found.revocation) == (id_, "issuing", 2, None)
    shared = ("issuer_id", "serial", "der", "subject", "subject_alternative_names", "profile")
    for name in (*shared, "not_before", "not_after", "issued_at", "actor"):
        assert getattr(found, name) == getattr(row, name), name


def test_serial_of_two_issuers(
    database: Database, new_certificate: Certificates, record: Record, new_issuer: Callable[..., NewIssuer]
) -> None:
    """Serial numbers are unique per issuer only."""
    with database.write() as conn:
        other = issuers.add_issuer(conn, replace(new_issuer("other")), position.advance(conn, 1))
    row = new_certificate()
    record(row, replace(row, issuer_id=other))
    with database.read() as conn:
        assert [found.issuer_id for found in certificates.find_by_serial(conn, row.serial)] == [row.issuer_id, other]
        assert status.find_issuers_of_serial(conn, row.serial) == [row.issuer_id, other]
        assert status.find_issuers_of_serial(conn, b"\x01") == []


def test_ids_are_in_order_and_new(database: Database, new_certificate: Certificates, record: Record) -> None:
    """Ids follow the rows, over several batches, and a batch of none is nothing."""
    ids = record(*(new_certificate() for _ in range(40))) + record(new_certificate())
    assert ids == sorted(set(ids))
    with database.write() as conn:
        assert certificates.insert_certificates(conn, []) == []


def test_pages_follow_each_other(
    database: Database, new_certificate: Certificates, record: Record, now: datetime
) -> None:
    """Pages hold each certificate once, the latest first, also where many were issued in one second."""
    rows = [new_certificate(issued_at=now + timedelta(seconds=n // 4)) for n in range(22)]
    record(*rows)
    found: list[CertificateRecord] = []
    after = None
    with database.read() as conn:
        while True:
            page = list_certificates(conn, CertificateFilters(), now=now, limit=5, after=after)
            found += page.certificates
            after = page.next
            if after is None:
                break
    assert [item.serial for item in found] == [row.serial for row in reversed(rows)]
    assert {item.der for item in found} == {None}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param({}, "abcd", id="all"),
        pytest.param({"state": CertificateState.VALID}, "a", id="valid"),
        pytest.param({"state": CertificateState.REVOKED}, "cd", id="revoked, expired or not"),
        pytest.param({"state": CertificateState.EXPIRED}, "b", id="expired"),
        pytest.param({"profile": "client"}, "b", id="profile"),
        pytest.param({"name": "A.Example.COM"}, "a", id="name in any case"),
        pytest.param({"name": "192.0.2.1"}, "a", id="address"),
        pytest.param({"name": "cn only"}, "b", id="common name"),
        pytest.param({"name": "example.com"}, "", id="whole names only"),
        pytest.param({"name": "https://example.com/" + "x" * 300}, "c", id="long name"),
        pytest.param({"name": "https://example.com/" + "x" * 301}, "", id="other long name"),
        pytest.param({"not_after_from": 10}, "acd", id="expires from"),
        pytest.param({"not_after_from": 11, "not_after_until": 30}, "", id="expires from until"),
        pytest.param({"not_after_until": 11}, "bcd", id="expires until"),
        pytest.param({"state": CertificateState.REVOKED, "name": "d.example.com"}, "d", id="combined"),
        pytest.param({"issuer_id": -1}, "", id="another issuer"),
    ],
)
def test_filters(
    database: Database,
    new_certificate: Certificates,
    record: Record,
    revoke: Callable[..., int],
    now: datetime,
    filters: dict[str, Any],
    expected: str,
) -> None:
    """A certificate is listed when it fits all filters, the latest first, page by page."""
    names: dict[str, dict[str, Any]] = {
        "a": {
            "subject_alternative_names": ("DNS:a.example.com", "IP:192.0.2.1"),
            "not_after": now + timedelta(days=30),
        },
        "b": {"common_name": "CN only", "profile": "client", "not_after": now - timedelta(seconds=1)},
        "c": {"subject_alternative_names": ("URI:https://example.com/" + "x" * 300,)},
        "d": {"subject_alternative_names": ("DNS:d.example.com", "DNS:D.example.com")},
    }
    rows = {key: new_certificate(**{"not_after": now + timedelta(days=10), **given}) for key, given in names.items()}
    record(*rows.values())
    revoke(rows["c"], rows["d"])
    given: dict[str, Any] = {
        name: now + timedelta(days=value) if name.startswith("not_after") else value for name, value in filters.items()
    }
    with database.read() as conn:
        found: list[CertificateRecord] = []
        after = None
        while True:
            page = list_certificates(conn, CertificateFilters(**given), now=now, limit=1, after=after)
            found += page.certificates
            after = page.next
            if after is None:
                break
    by_serial = {row.serial: key for key, row in rows.items()}
    assert "".join(sorted(by_serial[item.serial] for item in found)) == expected
    assert found == sorted(found, key=lambda item: item.id, reverse=True)


def test_live_delegates(
    database: Database, new_certificate: Certificates, record: Record, revoke: Callable[..., int], now: datetime
) -> None:
    """Only this identity's, of this issuer and profile, and not expired. Revoking frees nothing (R66)."""
    row = new_certificate(profile="ocsp-responder")
    revoked = new_certificate(profile="ocsp-responder")
    record(
        row,
        revoked,
        new_certificate(profile="ocsp-responder", not_after=now - timedelta(seconds=1)),
        new_certificate(profile="ocsp-responder", actor=replace(row.actor, identity="another")),
        new_certificate(),
    )
    revoke(revoked)
    with database.read() as conn:
        count = certificates.count_live_delegates
        assert count(conn, row.actor.identity, row.issuer_id, now) == 2
        assert count(conn, row.actor.identity, row.issuer_id + 1, now) == 0
        assert count(conn, row.actor.identity, row.issuer_id, row.not_after) == 2
        assert count(conn, row.actor.identity, row.issuer_id, row.not_after + timedelta(seconds=1)) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "ix_certificates_issued_at_id"),
        ({"issuer_id": 1}, "ix_certificates_issuer_id_issued_at_id"),
        ({"profile": "server"}, "ix_certificates_profile_issued_at_id"),
        ({"state": CertificateState.VALID}, "ix_certificates_issued_at_id"),
        ({"state": CertificateState.REVOKED}, "ix_certificate_status_revoked"),
        ({"state": CertificateState.REVOKED, "issuer_id": 1}, "ix_certificate_status_revoked"),
        (
            {"state": CertificateState.REVOKED, "not_after_from": datetime(2030, 1, 1, tzinfo=UTC)},
            "ix_certificate_status_revoked_not_after",
        ),
        ({"state": CertificateState.EXPIRED}, "ix_certificates_not_after_id"),
        ({"not_after_from": datetime(2030, 1, 1, tzinfo=UTC)}, "ix_certificates_not_after_id"),
        (
            {"not_after_until": datetime(2030, 1, 1, tzinfo=UTC), "issuer_id": 1, "profile": "server"},
            "ix_certificates_not_after_id",
        ),
    ],
    ids=[
        "all",
        "of an issuer",
        "of a profile",
        "valid",
        "revoked",
        "revoked of an issuer",
        "revoked by expiry",
        "expired",
        "expiring from",
        "expiring until of an issuer and a profile",
    ],
)
def test_listing_follows_an_index(
    database: Database,
    new_certificate: Certificates,
    record: Record,
    now: datetime,
    filters: dict[str, Any],
    index: str,
) -> None:
    """No page is sorted or skipped to: its cost does not grow with the table."""
    record(new_certificate())
    after = CertificateCursor(now, 10)
    order = CertificateOrder.EXPIRING if "not_after" in index else CertificateOrder.ISSUED
    plan = explain(
        database,
        lambda conn: list_certificates(conn, CertificateFilters(**filters), now=now, limit=5, after=after, order=order),
    )
    assert index in plan
    assert "TEMP B-TREE" not in plan
    assert not [line for line in scans(plan) if "issuers" not in line]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_lookups_use_an_index(database: Database, issuer_id: int, now: datetime) -> None:
    """No look-up reads a whole table of certificates."""
    lookups: dict[str, Callable[[Any], object]] = {
        "delegates": lambda conn: certificates.count_live_delegates(conn, "x", issuer_id, now),
        "status": lambda conn: status.get_statuses(conn, issuer_id, [b"\x01", b"\x02"]),
        "certificate": lambda conn: certificates.get_certificate(conn, issuer_id, b"\x01"),
        "serial": lambda conn: certificates.find_by_serial(conn, b"\x01"),
        "changes": lambda conn: status.changes_between(conn, 1, 2, 3),
        "name": lambda conn: list_certificates(conn, CertificateFilters(name="x"), now=now, limit=5),
    }
    for name, lookup in lookups.items():
        plan = explain(database, lookup)
        assert not [line for line in scans(plan) if "issuers" not in line], (name, plan)
        if name == "delegates":
            assert "ix_certificates_delegates" in plan


def scans(plan: str) -> list[str]:
    """The tables that are read whole. A page, which was found by an index, may be."""
    return [line for line in plan.splitlines() if "SCAN" in line and line != "SCAN page"]


def explain(database: Database, query: Callable[[Any], object]) -> str:
    """How SQLite would carry out the statements of `query`."""
    statements: list[tuple[str, Any]] = []
    with database.read() as conn:
        engine = conn.engine

        def remember(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
            statements.append((statement, parameters))

        event.listen(engine, "before_cursor_execute", remember)
        query(conn)
        event.remove(engine, "before_cursor_execute", remember)
        selects = [(statement, values) for statement, values in statements if statement.startswith("SELECT")]
        return "\n".join(
            row[3]
            for statement, values in selects
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        )


def test_names_are_recorded_once(database: Database, new_certificate: Certificates, record: Record) -> None:
    """A name that is both common name and alternative name, in another case, is one row."""
    record(new_certificate(common_name="A.example.com", subject_alternative_names=("DNS:a.example.com",)))
    with database.read() as conn:
        assert conn.execute(text("SELECT name FROM certificate_names")).scalars().all() == ["a.example.com"]
