"""Retries find the first call (G6)."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from services.db import idempotency, position
from services.db.engine import Conflict, Database
from services.db.records import IdempotencyKey, IdempotencyRecord

KEY = IdempotencyKey("spiffe://goodstanding/issuer/test", "IssueCertificate", "request")


@pytest.fixture
def call(now: datetime) -> IdempotencyRecord:
    """A call that was carried out."""
    return IdempotencyRecord(KEY, bytes(32), 17, now)


def test_call_is_found_by_its_whole_key(database: Database, call: IdempotencyRecord) -> None:
    """Another caller, method or id is another call."""
    others = [KEY._replace(**{name: "another"}) for name in ("identity", "method", "request_id")]
    with database.write() as conn:
        idempotency.insert_outcomes(conn, [call])
        idempotency.insert_outcomes(conn, [])
    with database.read() as conn:
        assert idempotency.find_outcome(conn, KEY) == call
        assert [idempotency.find_outcome(conn, other) for other in others] == [None, None, None]
        assert idempotency.find_outcomes(conn, [*others, KEY]) == {KEY: call}
        assert idempotency.find_outcomes(conn, []) == {}


def test_two_writers_with_one_key(database: Database, call: IdempotencyRecord) -> None:
    """Of two transactions that record the same call one wins; the other gets a conflict and leaves nothing."""
    both = threading.Barrier(2)
    results: list[object] = []

    def write(outcome: int) -> None:
        both.wait()
        try:
            with database.write() as conn:
                idempotency.insert_outcomes(conn, [replace(call, outcome=outcome)])
                position.advance(conn, 1)
            results.append(outcome)
        except Conflict as conflict:
            results.append(conflict.reason)

    threads = [threading.Thread(target=write, args=(outcome,)) for outcome in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "DATABASE_CONFLICT" in results
    (winner,) = [result for result in results if result != "DATABASE_CONFLICT"]
    with database.read() as conn:
        found = idempotency.find_outcome(conn, KEY)
        assert found is not None
        assert found.outcome == winner
        assert position.read_position(conn).revision == 1


def test_old_calls_are_forgotten_in_portions(database: Database, call: IdempotencyRecord, now: datetime) -> None:
    """Only what is older than asked for goes, and not more at once than asked for."""
    week = timedelta(days=7)
    calls = [
        replace(call, key=KEY._replace(request_id=str(n)), created_at=now - week - timedelta(seconds=n))
        for n in range(5)
    ]
    with database.write() as conn:
        idempotency.insert_outcomes(conn, calls)
        assert [idempotency.forget_outcomes(conn, now - week, limit=3) for _ in range(3)] == [3, 1, 0]
        assert set(idempotency.find_outcomes(conn, [call.key for call in calls])) == {calls[0].key}
