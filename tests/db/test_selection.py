"""Finding what a bulk change is about: pages in the order of an index, on whatever it selects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.clock import to_epoch
from services.db import selection
from services.db.engine import Database
from services.db.records import CertificateCursor, CertificateSelection, CertificateState
from tests.db.test_certificates import Certificates, Record, explain

KEY = bytes(32)
BY_TIME = "ix_certificates_issued_at_id"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        pytest.param({"public_key_sha256": KEY}, "ix_certificates_public_key_sha256_id", id="key"),
        pytest.param({"name": "a.example.com"}, "certificate_names USING PRIMARY KEY", id="name"),
        pytest.param({"issuer_id": 1}, "ix_certificates_issuer_id_issued_at_id", id="issuer"),
        pytest.param({"issuer_id": 1, "actor_identity": "x"}, "ix_certificates_issuer_id_issued_at_id", id="actor"),
        pytest.param({"not_after_until": datetime(2027, 1, 1, tzinfo=UTC)}, BY_TIME, id="expiry"),
        pytest.param({"profile": "server"}, "ix_certificates_profile_issued_at_id", id="profile"),
        pytest.param({"state": CertificateState.VALID}, BY_TIME, id="valid"),
    ],
)
def test_pages_follow_an_index(
    database: Database,
    new_certificate: Certificates,
    record: Record,
    now: datetime,
    wanted: dict[str, Any],
    index: str,
) -> None:
    """The next page begins where the last one ended."""
    record(new_certificate())
    found = CertificateSelection(last_id=10, **wanted)
    after = CertificateCursor(now, 1)
    plan = explain(
        database,
        lambda conn: selection.select_certificates(conn, found, now=to_epoch(now), limit=5, after=after),
    )
    assert index in plan, plan
    assert "SCAN certificates" not in plan, plan


def test_pages_meet(database: Database, new_certificate: Certificates, record: Record, now: datetime) -> None:
    """Together they are all that is selected, each once, also where many have the same time."""
    times = [now + timedelta(seconds=number // 4) for number in range(14)]
    ids = record(*(new_certificate(issued_at=time, public_key_sha256=KEY) for time in times))
    for wanted in ({"profile": "server"}, {"public_key_sha256": KEY}):
        found: list[int] = []
        after: CertificateCursor | None = None
        with database.read() as conn:
            chosen = CertificateSelection(last_id=ids[-2], **wanted)
            while True:
                page, after = selection.select_certificates(conn, chosen, now=0, limit=3, after=after)
                found += [record.id for record in page]
                if after is None:
                    break
            assert selection.highest_id(conn) == ids[-1]
            assert selection.public_key_of(conn, ids[0]) == KEY
            assert selection.public_key_of(conn, 10**6) is None
        assert found == ids[:-1], wanted


def test_a_page_looks_at_so_many(
    database: Database, new_certificate: Certificates, record: Record, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where hardly any fit, pages are short or empty, and lead on; together they are all that fit."""
    monkeypatch.setattr(selection, "WINDOW", 4)
    times = [now + timedelta(seconds=number // 3) for number in range(20)]
    lives = [timedelta(days=1 if number in (0, 11, 19) else 9) for number in range(20)]
    rows = [new_certificate(issued_at=at, not_after=now + life) for at, life in zip(times, lives, strict=True)]
    ids = record(*rows)
    for more in ({}, {"profile": "server"}, {"issuer_id": rows[0].issuer_id}):
        wanted = CertificateSelection(last_id=ids[-1], not_after_until=now + timedelta(days=5), **more)
        pages: list[list[int]] = []
        after: CertificateCursor | None = None
        with database.read() as conn:
            while not pages or after is not None:
                page, after = selection.select_certificates(conn, wanted, now=0, limit=3, after=after)
                pages.append([each.id for each in page])
        assert pages == [[ids[0]], [], [ids[11]], [ids[19]], []], more


def test_many_serial_numbers(database: Database, new_certificate: Certificates, record: Record) -> None:
    """Found at once; those that were never issued are left out."""
    rows = [new_certificate() for _ in range(3)]
    record(*rows)
    with database.read() as conn:
        found = selection.find_by_serials(conn, [rows[0].serial, b"\x01", rows[2].serial])
    assert {serial: [each.serial for each in records] for serial, records in found.items()} == {
        row.serial: [row.serial] for row in (rows[0], rows[2])
    }
