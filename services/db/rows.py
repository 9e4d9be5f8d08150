"""Rows to records and back, where several queries need the same piece."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from services.clock import from_epoch, to_epoch
from services.db.records import Actor, RevocationRecord

PEER_LENGTH = 128  # the only part of an actor whose length nobody checks before


def actor_values(actor: Actor) -> dict[str, str]:
    """The columns that tell who did it."""
    return {
        "actor_identity": actor.identity,
        "actor_name": actor.name,
        "actor_role": actor.role,
        "actor_fingerprint": actor.fingerprint,
        "peer": actor.peer[:PEER_LENGTH],
        "request_id": actor.request_id,
    }


def actor_row(actor: Actor) -> tuple[str, ...]:
    """The values of `actor_values` alone, in the order of the columns."""
    return (actor.identity, actor.name, actor.role, actor.fingerprint, actor.peer[:PEER_LENGTH], actor.request_id)


def read_actor(row: Row[Any]) -> Actor:
    """Who did it, from a row with all columns of `actor_values`."""
    return Actor(row.actor_identity, row.actor_name, row.actor_role, row.actor_fingerprint, row.peer, row.request_id)


def revocation_values(revocation: RevocationRecord | None) -> dict[str, int | None]:
    """The columns of a revocation; all NULL without one."""
    if revocation is None:
        return {"revoked_at": None, "reason": None, "invalidity_at": None}
    return {
        "revoked_at": to_epoch(revocation.revoked_at),
        "reason": revocation.reason,
        "invalidity_at": optional_to_epoch(revocation.invalidity_at),
    }


def read_revocation(revoked_at: int | None, reason: int | None, invalidity_at: int | None) -> RevocationRecord | None:
    """The revocation in the columns of `revocation_values`."""
    if revoked_at is None:
        return None
    return RevocationRecord(from_epoch(revoked_at), reason or 0, optional_from_epoch(invalidity_at))


def optional_to_epoch(moment: datetime | None) -> int | None:
    """Seconds since 1970, or None."""
    return None if moment is None else to_epoch(moment)


def optional_from_epoch(seconds: int | None) -> datetime | None:
    """The UTC time, or None."""
    return None if seconds is None else from_epoch(seconds)
