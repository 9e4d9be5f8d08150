"""What makes retries safe (G6): which calls were carried out, and where their results are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select, tuple_

from services.clock import from_epoch, to_epoch
from services.db import driver
from services.db.models import idempotency_keys
from services.db.records import IdempotencyKey, IdempotencyRecord

_key_columns = (idempotency_keys.c.identity, idempotency_keys.c.method, idempotency_keys.c.request_id)
_insertion = driver.Insertion(idempotency_keys)
_by_request_ids = driver.Selection("SELECT * FROM idempotency_keys WHERE identity = ? AND method = ? AND request_id IN")


def find_outcome(conn: Connection, key: IdempotencyKey) -> IdempotencyRecord | None:
    """The call that was made with that key."""
    return find_outcomes(conn, [key]).get(key)


def find_outcomes(conn: Connection, keys: Sequence[IdempotencyKey]) -> dict[IdempotencyKey, IdempotencyRecord]:
    """The calls that were made with those keys; unused ones are not in the answer."""
    wanted: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for key in keys:
        wanted[key.identity, key.method].append(key.request_id)
    records = [_record(row) for who, ids in wanted.items() for row in _by_request_ids.run(conn, ids, *who)]
    return {record.key: record for record in records}


def insert_outcomes(conn: Connection, records: Sequence[IdempotencyRecord]) -> None:
    """Record calls, in the transaction that records their results.

    A key that is used already makes `Database.write` raise Conflict: the other call won, and a new look finds it.
    """
    _insertion.run(conn, [_values(record) for record in records])


def forget_outcomes(conn: Connection, before: datetime, limit: int = 1000) -> int:
    """Forget up to `limit` calls made before that time, and return how many. Keep seven days at least."""
    old = (
        select(*_key_columns)
        .where(idempotency_keys.c.created_at < to_epoch(before))
        .order_by(idempotency_keys.c.created_at)
        .limit(limit)
    )
    return conn.execute(delete(idempotency_keys).where(tuple_(*_key_columns).in_(old))).rowcount


def _values(record: IdempotencyRecord) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    identity, method, request_id = record.key
    return (identity, method, request_id, record.payload_sha256, record.outcome, to_epoch(record.created_at))


def _record(row: Row[Any]) -> IdempotencyRecord:
    key = IdempotencyKey(row.identity, row.method, row.request_id)
    return IdempotencyRecord(key, row.payload_sha256, row.outcome, from_epoch(row.created_at))
