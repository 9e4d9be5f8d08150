"""The counter that orders changes, and the history that it counts in.

Revisions follow the order of commits, because a writer holds the counter's row from the moment it takes revisions until
it commits. So a reader that has seen revision r in one snapshot has seen every change up to r.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, literal_column, select, update

from services.db import driver
from services.db.models import position
from services.db.postgresql import TIMELINE
from services.db.records import Position

_stored = select(position.c.history, position.c.value)
_with_timeline = select(position.c.history, position.c.value, literal_column(TIMELINE).label("timeline"))
_ADVANCE = "UPDATE position SET value = value + ? RETURNING value"


def read_position(conn: Connection) -> Position:
    """The revision of the last change in this snapshot, and its history.

    The name of the history changes with the database file or, on PostgreSQL, the server and its timeline: after a
    restore or a fail-over the revisions of before mean nothing.
    """
    suffix: str | None = conn.info["history_suffix"]
    if conn.dialect.name == "sqlite":
        history, value = conn.execute(_stored).one()
        return Position(f"{history}-{suffix}", value)
    if suffix is None:
        history, value = conn.execute(_stored).one()
        return Position(history, value)
    history, value, timeline = conn.execute(_with_timeline).one()
    return Position(f"{history}-{suffix}-{timeline}", value)


def advance(conn: Connection, count: int) -> int:
    """Take `count` (≥ 1) revisions and return the first. From here to the commit other writers wait.

    So call it late, unless what the transaction reads decides what it writes: then call it before the first read.
    """
    if count < 1:
        raise ValueError("at least one revision")
    value: int = driver.execute(conn, _ADVANCE, (count,)).scalar_one()
    return value - count + 1


def new_history(conn: Connection) -> str:
    """Begin a new history, and return the stored part of its name. Takes one revision, so that pollers see it."""
    history = secrets.token_hex(8)
    advance(conn, 1)
    conn.execute(update(position).values(history=history))
    return history
