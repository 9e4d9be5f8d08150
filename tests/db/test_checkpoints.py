"""Checkpoints beside the writer: what was committed gets into the file, and the log does not grow for ever."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.db import checkpoints, schema
from services.db.checkpoints import Checkpoints
from services.db.engine import Database
from services.errors import FailedPrecondition
from tests.waiting import wait_until

ROWS = 100


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database file, of which a hundred rows are enough for a checkpoint."""
    monkeypatch.setattr(checkpoints, "ROWS", ROWS)
    file = tmp_path / "goodstanding.db"
    schema.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def db(file: Path) -> Iterator[Database]:
    """The same, open."""
    found = Database.open(f"sqlite:///{file}")
    yield found
    found.close()


def _write(db: Database, count: int) -> None:
    with db.write() as conn:
        conn.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (x)")
        for _ in range(count):
            conn.exec_driver_sql("INSERT INTO t VALUES (1)")


def _in_the_file(file: Path) -> int:
    """How many rows somebody finds who has the file without its log."""
    copy = shutil.copy(file, file.with_suffix(".copy"))
    with closing(sqlite3.connect(copy)) as conn:
        try:
            found: int = conn.execute("SELECT count(*) FROM t").fetchone()[0]
        except sqlite3.Error:  # not there yet, or copied while it was written
            return 0
    return found


def _threads() -> int:
    return sum(thread.name == "db-checkpoints" for thread in threading.enumerate())


def test_what_was_written_gets_into_the_file(db: Database, file: Path) -> None:
    """Without anybody waiting for it, again and again."""
    _write(db, ROWS - 1)
    assert _threads() == 0
    assert _in_the_file(file) == 0
    _write(db, 1)
    wait_until(lambda: _in_the_file(file) == ROWS, within=20)
    for _ in range(ROWS):
        _write(db, 1)
    wait_until(lambda: _in_the_file(file) == 2 * ROWS, within=20)
    assert _threads() == 1


def test_the_thread_ends_with_the_database(db: Database) -> None:
    """No thread is left behind, and none is started any more."""
    _write(db, 2 * ROWS)
    assert _threads() == 1
    db.close()
    assert _threads() == 0


@pytest.mark.parametrize(
    "error",
    [sqlite3.OperationalError("disk I/O error"), FailedPrecondition("DATABASE_INVALID", "not in WAL mode")],
    ids=["disk", "mode"],
)
def test_a_checkpoint_that_fails_is_made_up_for(file: Path, error: Exception) -> None:
    """The log tells why, and the next one is tried all the same."""
    connections: list[sqlite3.Connection | None] = [None, sqlite3.connect(file, check_same_thread=False)]

    def connect() -> sqlite3.Connection:
        if (conn := connections.pop(0)) is None:
            raise error
        return conn

    with capture_logs() as logs:
        found = Checkpoints(connect)
        found.wrote(ROWS)
        wait_until(lambda: len(connections) == 1 and bool(logs), within=20)
        found.wrote(2 * ROWS)
        wait_until(lambda: not connections, within=20)
        found.close()
    assert [entry["reason"] for entry in logs] == [str(error)]


def test_a_reader_does_not_wait_for_a_checkpoint_nor_hold_it_up(db: Database, file: Path) -> None:
    """One who reads an old state keeps it; what came later waits in the log until he has gone."""
    _write(db, ROWS)
    wait_until(lambda: _in_the_file(file) == ROWS, within=20)
    with db.read() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == ROWS
        _write(db, ROWS)
        assert conn.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == ROWS
    _write(db, ROWS)
    wait_until(lambda: _in_the_file(file) == 3 * ROWS, within=20)
