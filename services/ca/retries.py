"""Retries (G6): the same caller, method, request id and payload get the same result; another payload is refused."""

from __future__ import annotations

from datetime import timedelta

from services.ca.batch import Memory
from services.clock import Clock
from services.db import idempotency
from services.db.engine import Database
from services.db.records import Actor, IdempotencyKey, IdempotencyRecord
from services.errors import AlreadyExists

KEPT = timedelta(days=7)
PRUNE_STEP = 500


def retry_key(actor: Actor, method: str) -> IdempotencyKey | None:
    """What a retry of this call is known by; None for a call without request id."""
    return IdempotencyKey(actor.identity, method, actor.request_id) if actor.request_id else None


def require_same(earlier: IdempotencyRecord | Memory, payload_sha256: bytes) -> None:
    """Raises AlreadyExists (REQUEST_ID_REUSED) unless the earlier call had this payload."""
    if earlier.payload_sha256 != payload_sha256:
        raise AlreadyExists(
            "REQUEST_ID_REUSED",
            "this request_id was used for another request within the last seven days; choose a new one",
            field="request_id",
        )


def prune(db: Database, clock: Clock) -> int:
    """Forget calls older than is promised, a step at a time so that writers never wait long; return how many."""
    forgotten = 0
    while True:
        with db.write() as conn:
            step = idempotency.forget_outcomes(conn, clock() - KEPT, PRUNE_STEP)
        forgotten += step
        if step < PRUNE_STEP:
            return forgotten
