"""What drivers and SQLAlchemy raise, turned once into domain errors.

Errors in use tell callers nothing but that the database is away; the driver's words go to the log. Errors when opening
are read by operators, and name the file or server. Mistakes of our own (wrong SQL, wrong types) stay what they are.
"""

from __future__ import annotations

import sqlite3

import structlog
from sqlalchemy import URL
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.errors import DomainError, FailedPrecondition, Unavailable

_logger = structlog.get_logger(__name__)

_OURS = (DataError, NotSupportedError, ProgrammingError)
_SERIALIZATION_FAILURE, _DEADLOCK, _NOT_ALLOWED, _DISK_FULL = "40001", "40P01", "42501", "53100"
_LIMIT_EXCEEDED = "54"
"""The class of PostgreSQL's errors "program limit exceeded"; psycopg counts them among those of operation."""


class Conflict(Unavailable):
    """Another writer was in the way (same key, deadlock). Nothing was written; the same work may succeed now."""


def in_use(error: SQLAlchemyError) -> Exception:
    """What `Database.read` and `Database.write` raise in the place of `error`."""
    if _is_conflict(error):
        _logger.info("database conflict", error=_words(error))
        return Conflict("DATABASE_CONFLICT", "another change was recorded at the same time; try again")
    if _state(error) == _NOT_ALLOWED:
        _logger.error("database access refused", error=_words(error))
        return FailedPrecondition("DATABASE_NOT_ALLOWED", "the database refuses its user this access; grant it")
    if isinstance(error, PoolTimeout) or (isinstance(error, DBAPIError) and not _is_ours(error)):
        _logger.warning("database unavailable", error=_words(error))
        if _is_full(error):
            return Unavailable("DATABASE_UNAVAILABLE", "the disk of the database is full; make room, and try again")
        return Unavailable("DATABASE_UNAVAILABLE", "the database cannot be used now; try again later")
    return error


def when_opening(error: SQLAlchemyError, url: URL) -> DomainError:
    """What opening raises in the place of `error`."""
    place = url.render_as_string(hide_password=True)
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return FailedPrecondition(
            "DATABASE_INVALID", f"database.url: {place} is damaged or not a database; restore it from a backup"
        )
    return Unavailable("DATABASE_UNAVAILABLE", f"database.url: {place} cannot be opened: {_words(error)}")


def _is_conflict(error: SQLAlchemyError) -> bool:
    if isinstance(error, IntegrityError):
        return True
    return isinstance(error, OperationalError) and _state(error) in (_SERIALIZATION_FAILURE, _DEADLOCK)


def _is_full(error: SQLAlchemyError) -> bool:
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_FULL or _state(error) == _DISK_FULL


def _is_ours(error: SQLAlchemyError) -> bool:
    """Whether the database is well, and was asked for what it cannot do, such as to index a value that is too long."""
    return isinstance(error, _OURS) or (_state(error) or "").startswith(_LIMIT_EXCEEDED)


def _state(error: SQLAlchemyError) -> str | None:
    """PostgreSQL's SQLSTATE."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _words(error: SQLAlchemyError) -> str:
    """The first line of the driver's message; later lines may quote values."""
    text = str(error.orig if isinstance(error, DBAPIError) else error)
    return text.strip().partition("\n")[0]
