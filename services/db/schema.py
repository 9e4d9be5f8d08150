"""The schema's version: bringing a database up to it, and refusing one that is not at it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from services.db import postgresql, sqlite
from services.db.engine import Database, parse_url
from services.db.failures import when_opening
from services.errors import FailedPrecondition

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""All migrations, oldest first: kept here so that a service starts without loading Alembic."""

# Any number will do, as long as it stays the same: upgrades of one database wait for each other.
_UPGRADE_LOCK = 5280_6960


def upgrade(url: str) -> None:
    """Create the database (SQLite) and bring its schema up to date, in one transaction. Safe to repeat, and to race.

    Raises FailedPrecondition: DATABASE_URL_INVALID, DATABASE_FOLDER_MISSING, DATABASE_INVALID, DATABASE_FROM_FUTURE.
    Raises Unavailable: DATABASE_UNAVAILABLE.
    """
    parsed = parse_url(url)
    on_sqlite = parsed.get_backend_name() == "sqlite"
    if on_sqlite:
        sqlite.create_file(parsed)
    engine = sqlite.make_writers(parsed) if on_sqlite else postgresql.make_writers(parsed)
    try:
        with engine.begin() as conn:
            if not on_sqlite:
                conn.execute(text("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"))
                conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
            if _applied(conn) not in (None, *REVISIONS):
                raise _from_future()
            _run_migrations(conn)
    except SQLAlchemyError as error:
        raise when_opening(error, parsed) from error
    finally:
        engine.dispose()


def check_current(db: Database) -> None:
    """Raise FailedPrecondition DATABASE_NEEDS_UPGRADE or DATABASE_FROM_FUTURE unless the schema is this version's."""
    with db.read() as conn:
        applied = _applied(conn)
    if applied == REVISIONS[-1]:
        return
    if applied not in (None, *REVISIONS):
        raise _from_future()
    raise FailedPrecondition(
        "DATABASE_NEEDS_UPGRADE", "the database's schema is older than this goodstanding; run: goodstanding db upgrade"
    )


def migrations_folder() -> Path:
    """Where the migrations are: inside this package when installed, beside `services` in a checkout."""
    installed = Path(__file__).parent / "_migrations"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "migrations"


def _applied(conn: Connection) -> str | None:
    if not inspect(conn).has_table("alembic_version"):
        return None
    applied: str | None = conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return applied


def _from_future() -> FailedPrecondition:
    return FailedPrecondition(
        "DATABASE_FROM_FUTURE", "the database was made by a newer goodstanding; install that version, or a newer one"
    )


def _run_migrations(conn: Connection) -> None:
    from alembic import command  # Alembic takes long to import, and only upgrades need it.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
