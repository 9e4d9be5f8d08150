"""SQLite connections: WAL, every commit synced, transactions begun by us and not by the driver's guess.

A file that is replaced while it is open (a restored backup) is noticed before its next use: SQLite itself would go on
with the old one, which has no name any more.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

from services.db.checkpoints import WAL_PAGES, Checkpoints
from services.errors import FailedPrecondition

BUSY_SECONDS = 5.0
_NO_BEGIN = "goodstanding_no_begin"


def checked_url(url: URL) -> URL:
    """The URL with its path made absolute. Raises FailedPrecondition DATABASE_URL_INVALID for one without a file."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:") or url.query or url.host:
        raise FailedPrecondition(
            "DATABASE_URL_INVALID",
            "database.url: sqlite needs a file and nothing else, as in sqlite:///goodstanding.db",
        )
    return url.set(database=str(Path(url.database).absolute()))


def create_file(url: URL) -> None:
    """Create an empty database file, readable by its owner only, unless there is one.

    Raises FailedPrecondition DATABASE_FOLDER_MISSING or DATABASE_INVALID.
    """
    path = _path(url)
    if not path.parent.is_dir():
        raise FailedPrecondition(
            "DATABASE_FOLDER_MISSING", f"database.url: the folder {path.parent} does not exist; create it first"
        )
    try:
        # SQLite gives its -wal and -shm files the permissions of this one.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise FailedPrecondition(
            "DATABASE_INVALID", f"database.url: {path} cannot be opened: {error.strerror}"
        ) from error


def make_checkpoints(url: URL, writers: Engine) -> Checkpoints:
    """Checkpoints beside the writer, made by a thread as soon as much was written. The caller closes them."""
    checkpoints = Checkpoints(lambda: _connect(_path(url), query_only=False))

    @event.listens_for(writers, "checkin")
    def count_rows(connection: Any, _: Any) -> None:
        if connection is not None:  # it was found to be of no use
            checkpoints.wrote(connection.total_changes)

    return checkpoints


def make_readers(url: URL) -> Engine:
    """Connections that cannot write."""
    return _make_engine(url, begin="BEGIN", query_only=True, pool_size=8)


def make_writers(url: URL) -> Engine:
    """Connections that hold the write lock from the first moment of a transaction, so that none fails half-way."""
    return _make_engine(url, begin="BEGIN IMMEDIATE", query_only=False, pool_size=1)


@contextmanager
def provisional(conn: Connection) -> Iterator[None]:
    """A transaction that the next one which is not provisional makes durable: the log is synced as a whole then.

    It can be lost with the machine only, and so with the service that wrote it: that begins another history.
    """
    raw = conn.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    raw.execute("PRAGMA synchronous = NORMAL")
    try:
        with conn.begin():
            yield
    finally:
        try:
            raw.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:  # it is of no use any more, and nobody shall go on with it like that
            conn.invalidate()


def without_transaction(readers: Engine) -> Engine:
    """The same connections, without BEGIN: each query is a transaction."""
    return readers.execution_options(**{_NO_BEGIN: True})


def _make_engine(url: URL, *, begin: str, query_only: bool, pool_size: int) -> Engine:
    path = _path(url)
    if not path.exists():
        raise FailedPrecondition(
            "DATABASE_MISSING",
            f"database.url: there is no database at {path}; bring it back from a backup, or correct the path; "
            "only where there has never been one: goodstanding db upgrade",
        )
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, query_only=query_only),
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=8,
        pool_timeout=BUSY_SECONDS,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def remember_file(_: Any, record: Any) -> None:
        record.info["file"] = found = _identity(path)
        record.info["history_suffix"] = f"{found[1]:x}" if found else ""

    @event.listens_for(engine, "checkout")
    def check_file(_: Any, record: Any, __: Any) -> None:
        if _identity(path) != record.info["file"]:
            raise InvalidatePoolError

    @event.listens_for(engine, "begin")
    def begin_transaction(conn: Connection) -> None:
        if not conn.get_execution_options().get(_NO_BEGIN):
            conn.exec_driver_sql(begin)

    return engine


def _connect(path: Path, *, query_only: bool) -> sqlite3.Connection:
    conn = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        isolation_level=None,  # the driver would begin transactions for writes only, and reads would see no snapshot
        timeout=BUSY_SECONDS,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        (mode,) = conn.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise FailedPrecondition(
                "DATABASE_INVALID", f"database.url: {path} is on a file system where SQLite cannot use WAL; move it"
            )
        conn.execute("PRAGMA synchronous = FULL")  # NORMAL would lose acknowledged commits when the power fails (G1)
        conn.execute("PRAGMA foreign_keys = ON")
        conn.execute("PRAGMA cache_size = -16384")
        conn.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        conn.execute(f"PRAGMA query_only = {int(query_only)}")
        if not query_only:
            # What it takes to undo a statement with many rows would go into a file of its own otherwise.
            conn.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        conn.close()
        raise
    return conn


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _path(url: URL) -> Path:
    return Path(url.database or "")
