"""Finding what a bulk change is about: pages in the order of an index, on whatever it selects."""

from __future__ import annotations

from datetime import datetime, timedelta
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
        pytest.param({"issuer_id": 1}, BY_TIME, id="issuer"),
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
            while page := selection.select_certificates(conn, chosen, now=0, limit=3, after=after):
                found += [record.id for record in page]
                after = CertificateCursor(page[-1].issued_at, page[-1].id)
            assert selection.highest_id(conn) == ids[-1]
            assert selection.public_key_of(conn, ids[0]) == KEY
            assert selection.public_key_of(conn, 10**6) is None
        assert found == ids[:-1], wanted


def test_many_serial_numbers(database: Database, new_certificate: Certificates, record: Record) -> None:
    """Found at once; those that were never issued are left out."""
    rows = [new_certificate() for _ in range(3)]
    record(*rows)
    with database.read() as conn:
        found = selection.find_by_serials(conn, [rows[0].serial, b"\x01", rows[2].serial])
    assert {serial: [each.serial for each in records] for serial, records in found.items()} == {
        row.serial: [row.serial] for row in (rows[0], rows[2])
    }
