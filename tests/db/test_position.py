"""Revisions follow the order of commits, and histories are told apart."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from services.db import position, status
from services.db.engine import Database
from services.db.records import NewCertificate, StatusChange

WRITERS = 4
TRANSACTIONS = 25


def test_watcher_skips_nothing_under_concurrent_writers(
    database: Database,
    new_certificate: Callable[..., NewCertificate],
    record: Callable[..., list[int]],
    change: Callable[[NewCertificate, int | None], StatusChange],
) -> None:
    """A reader that has seen revision r has seen every change up to r, whoever commits first (DESIGN 4)."""
    rows = [new_certificate() for _ in range(WRITERS * TRANSACTIONS * 2)]
    record(*rows)
    with database.read() as conn:
        start = position.read_position(conn).revision
    done = threading.Event()

    def write(mine: list[NewCertificate]) -> None:
        chance = random.Random(mine[0].serial)
        for pair in zip(mine[::2], mine[1::2], strict=True):
            with database.write() as conn:
                time.sleep(chance.random() / 500)
                first = position.advance(conn, 2)
                time.sleep(chance.random() / 500)
                status.apply_changes(conn, [change(row, 1) for row in pair], first)

    seen: list[int] = []

    def watch() -> None:
        known = start
        while True:
            last_round = done.is_set()
            with database.read() as conn:
                through = position.read_position(conn).revision
                seen.extend(
                    record.revision for record in status.changes_between(conn, known, through, limit=1000).records
                )
            known = through
            if last_round:
                return

    with ThreadPoolExecutor(WRITERS + 1) as executor:
        watcher = executor.submit(watch)
        writers = [executor.submit(write, rows[n::WRITERS]) for n in range(WRITERS)]
        wait(writers)
        done.set()
        for future in (*writers, watcher):
            future.result()
    assert seen == list(range(start + 1, start + len(rows) + 1))


def test_advance_returns_the_first_of_many(database: Database) -> None:
    """Revisions start at 1 and leave no gap."""
    with database.write() as conn:
        assert [position.advance(conn, 1), position.advance(conn, 32), position.advance(conn, 1)] == [1, 2, 34]


def test_advance_takes_at_least_one(database: Database) -> None:
    """A writer that changes nothing has no business with the counter."""
    with database.write() as conn, pytest.raises(ValueError, match="at least one"):
        position.advance(conn, 0)


def test_rolled_back_revisions_are_given_again(database: Database) -> None:
    """Only commits count."""
    with pytest.raises(ValueError, match="at least one"), database.write() as conn:
        assert position.advance(conn, 3) + position.advance(conn, 0)
    with database.write() as conn:
        assert position.advance(conn, 1) == 1


def test_new_history_is_another_and_moves_the_counter(database: Database) -> None:
    """Whoever polls the counter alone sees a new history as well."""
    with database.read() as conn:
        before = position.read_position(conn)
        assert position.read_position(conn) == before
    with database.write() as conn:
        stored = position.new_history(conn)
    with database.read() as conn:
        after = position.read_position(conn)
    assert after.history.startswith(stored)
    assert after.history != before.history
    assert after.revision == before.revision + 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_history_names_server_and_timeline(database: Database) -> None:
    """A promoted stand-by has another history than its primary had."""
    with database.read() as conn:
        *_, system, timeline = position.read_position(conn).history.split("-")
    assert int(system, 16) > 0
    assert timeline == "1"
