"""An issuer in each database, and makers of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from services.db import certificates, issuers, position, status
from services.db.engine import Database
from services.db.records import (
    Actor,
    ChangeAction,
    IssuerState,
    NewCertificate,
    NewIssuer,
    NewIssuerCertificate,
    RevocationRecord,
    StatusChange,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACTOR = Actor("spiffe://goodstanding/issuer/test", "test", "issuer", "ab" * 32, "ipv4:127.0.0.1:1", "request")


@pytest.fixture
def actor() -> Actor:
    """Somebody."""
    return ACTOR


@pytest.fixture
def now() -> datetime:
    """The time in these tests."""
    return NOW


@pytest.fixture
def new_issuer() -> Callable[..., NewIssuer]:
    """Makes issuers to add."""

    def make(name: str, parent_id: int | None = None) -> NewIssuer:
        certificate = NewIssuerCertificate(f"{name} certificate".encode(), NOW, NOW + timedelta(days=3650))
        key_ref = f"ca/{name}.key"
        return NewIssuer(
            name, IssuerState.ACTIVE, name.encode(), b"key", (certificate,), parent_id, key_ref, created_at=NOW
        )

    return make


@pytest.fixture
def issuer_id(database: Database, new_issuer: Callable[..., NewIssuer]) -> int:
    """The id of an issuer."""
    with database.write() as conn:
        return issuers.add_issuer(conn, new_issuer("issuing"), position.advance(conn, 1))


@pytest.fixture
def new_certificate(issuer_id: int) -> Callable[..., NewCertificate]:
    """Makes certificates to record, each with the next serial number unless one is given."""
    serials = itertools.count(1)

    def make(**given: object) -> NewCertificate:
        values: dict[str, object] = {
            "issuer_id": issuer_id,
            "serial": b"\x7f" + next(serials).to_bytes(15),
            "der": b"certificate",
            "subject": "CN=test.example.com",
            "common_name": "test.example.com",
            "subject_alternative_names": ("DNS:test.example.com", "IP:127.0.0.1"),
            "profile": "server",
            "public_key_sha256": bytes(32),
            "not_before": NOW,
            "not_after": NOW + timedelta(days=90),
            "issued_at": NOW,
            "actor": ACTOR,
        }
        return NewCertificate(**{**values, **given})  # type: ignore[arg-type]

    return make


@pytest.fixture
def record(database: Database) -> Callable[..., list[int]]:
    """Records certificates the way the certificate authority does, and returns their ids."""

    def insert(*rows: NewCertificate) -> list[int]:
        with database.write() as conn:
            ids = certificates.insert_certificates(conn, rows)
            status.insert_statuses(conn, rows, ids, position.advance(conn, len(rows)))
        return ids

    return insert


@pytest.fixture
def revoke(database: Database) -> Callable[..., int]:
    """Changes statuses, and returns the revision of the last change. Without a reason it releases."""

    def apply(*rows: NewCertificate, reason: int | None = 1) -> int:
        changes = [make_change(row, reason) for row in rows]
        with database.write() as conn:
            first = position.advance(conn, len(changes))
            status.apply_changes(conn, changes, first)
        return first + len(changes) - 1

    return apply


def make_change(row: NewCertificate, reason: int | None) -> StatusChange:
    """A revocation with that reason, or a release."""
    action = ChangeAction.RELEASE if reason is None else ChangeAction.HOLD if reason == 6 else ChangeAction.REVOKE
    revocation = None if reason is None else RevocationRecord(NOW + timedelta(days=1), reason, NOW)
    return StatusChange(row.issuer_id, row.serial, action, revocation, NOW + timedelta(days=1), ACTOR)


@pytest.fixture
def change() -> Callable[[NewCertificate, int | None], StatusChange]:
    """Makes changes without applying them."""
    return make_change
