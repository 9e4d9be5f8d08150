"""Opening the database, and the only two ways to use it: `read()` and `write()`.

Guarantees: a `read()` block sees one snapshot, taken at its first query, so never before the block began. A `write()`
block is one transaction: durable when it ends without an exception, wholly absent otherwise. SQLite and PostgreSQL
behave the same. A database that cannot be used is `Unavailable`, whatever the driver calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Self

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from services.db import postgresql, sqlite
from services.db.checkpoints import Checkpoints
from services.db.failures import Conflict, in_use, when_opening
from services.errors import FailedPrecondition

__all__ = ["Conflict", "Connection", "Database", "parse_url"]


class Database:
    """An open database. Safe to use from many threads; each block has a connection of its own."""

    def __init__(self, readers: Engine, writers: Engine | None, checkpoints: Checkpoints | None = None) -> None:
        """Use `Database.open`. Without writers it is read only."""
        self._readers = readers
        self._single_readers = _dialect(readers.url).without_transaction(readers)
        self._writers = writers
        self._checkpoints = checkpoints

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Self:
        """Open `sqlite:///path` or `postgresql://…`; it must exist already (`schema.upgrade` creates it).

        Raises FailedPrecondition: DATABASE_URL_INVALID, DATABASE_MISSING, DATABASE_INVALID (not a database file),
        DATABASE_NOT_DURABLE (PostgreSQL with fsync, full_page_writes or synchronous_commit off).
        Raises Unavailable: DATABASE_UNAVAILABLE. These texts are for operators: they name files and servers.
        Does not look at the schema; `schema.check_current` does.
        """
        parsed = parse_url(url)
        dialect = _dialect(parsed)
        readers, writers = dialect.make_readers(parsed), None if read_only else dialect.make_writers(parsed)
        beside = sqlite.make_checkpoints(parsed, writers) if writers and dialect is sqlite else None
        db = cls(readers, writers, beside)
        try:
            db._check_connection()
        except SQLAlchemyError as error:
            db.close()
            raise when_opening(error, parsed) from error
        except BaseException:
            db.close()
            raise
        return db

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._readers.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One snapshot, read only. Raises Unavailable (DATABASE_UNAVAILABLE)."""
        try:
            with self._readers.connect() as conn:
                yield conn
        except SQLAlchemyError as error:
            raise in_use(error) from error

    @contextmanager
    def read_each(self) -> Iterator[Connection]:
        """Queries that see a snapshot each, a later query never an earlier one. Cheaper than `read`: no transaction.

        Enough for one query, and for the position read *before* the rows. Raises Unavailable (DATABASE_UNAVAILABLE).
        """
        try:
            with self._single_readers.connect() as conn:
                yield conn
        except SQLAlchemyError as error:
            raise in_use(error) from error

    @contextmanager
    def write(self, *, provisional: bool = False) -> Iterator[Connection]:
        """One transaction, committed at the end of the block, rolled back by an exception.

        A `provisional` one need not wait for the disk: should the machine lose its power before another transaction
        was committed, it may never have been. For what nobody is told of until that other one. It is SQLite that does
        not wait, because nothing but the machine can take back there what others have seen.

        Raises Conflict (an Unavailable) when another writer was in the way, so that the block may be run again;
        Unavailable otherwise. After an Unavailable from the commit itself nobody knows whether it happened.
        """
        if self._writers is None:
            raise RuntimeError("the database was opened read only")
        try:
            with self._writers.connect() as conn:
                begin = _dialect(self._writers.url).provisional if provisional else Connection.begin
                with begin(conn):
                    yield conn
        except SQLAlchemyError as error:
            raise in_use(error) from error

    def close(self) -> None:
        """Close all connections. Blocks that still run keep theirs until they end."""
        if self._checkpoints is not None:
            self._checkpoints.close()
        self._readers.dispose()
        if self._writers is not None:
            self._writers.dispose()

    def _check_connection(self) -> None:
        for engine in filter(None, (self._writers, self._readers)):
            with engine.connect() as conn:
                conn.exec_driver_sql("SELECT 1")


def _dialect(url: URL) -> ModuleType:
    return sqlite if url.get_backend_name() == "sqlite" else postgresql


def parse_url(url: str) -> URL:
    """The URL with its driver set. Raises FailedPrecondition DATABASE_URL_INVALID; the text never holds a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise _invalid("it is not a URL") from None
    match parsed.drivername:
        case "sqlite":
            return sqlite.checked_url(parsed)
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise _invalid(f"{other!r} is not a database that goodstanding knows")


def _invalid(why: str) -> FailedPrecondition:
    return FailedPrecondition(
        "DATABASE_URL_INVALID", f"database.url: {why}; it looks like sqlite:///path or postgresql://user@host/name"
    )
