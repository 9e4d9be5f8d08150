"""PostgreSQL connections: one snapshot per read, durable commits or none, and no waiting without an end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from services.errors import FailedPrecondition

if TYPE_CHECKING:
    import psycopg  # where it is needed it is imported late: on SQLite it is not

CONNECT_SECONDS = 5
# A server that vanished without a word would otherwise be waited for for a quarter of an hour, or two. Only over TCP.
_KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds, and not less than the statement_timeout below
}
_NOT_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")

# The same patience as with SQLite's lock; and no statement runs on when nobody waits for it any more.
_SETTINGS = (
    "SELECT set_config('lock_timeout', '5s', false), set_config('statement_timeout', '20s', false), "
    "set_config('idle_in_transaction_session_timeout', '60s', false), "
    "set_config('default_transaction_read_only', %s, false)"
)

# Which server, and which of its timelines: a stand-by that is promoted starts a new timeline on open connections too,
# so it is asked for again with every position. Some hosted servers forbid it: then the stored history alone counts.
TIMELINE = (
    "(SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())"
    " ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END)"
)
_SYSTEM = f"SELECT system_identifier::text, {TIMELINE} FROM pg_control_system()"  # noqa: S608


def make_readers(url: URL) -> Engine:
    """Connections that read one snapshot per transaction."""
    return _make_engine(url, isolation="REPEATABLE READ", read_only=True, pool_size=8)


def make_writers(url: URL) -> Engine:
    """Connections that write."""
    return _make_engine(url, isolation="READ COMMITTED", read_only=False, pool_size=2)


def without_transaction(readers: Engine) -> Engine:
    """The same connections, each query a transaction: one way to the server and back instead of three."""
    return readers.execution_options(isolation_level="AUTOCOMMIT")


def copy_in(conn: Connection, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """`COPY … FROM STDIN`: a third of what INSERT takes for many rows. Raises SQLAlchemy's errors, as statements do."""
    import psycopg

    try:
        with conn.connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[attr-defined]
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg.Error, dialect=conn.dialect) from error


@contextmanager
def provisional(conn: Connection) -> Iterator[None]:
    """A transaction like any other, which waits for the disk.

    Others see what was committed before it is durable then, revisions among it, and a server that crashes comes back
    without it, while all services go on in the same history: revisions would be given a second time, and watchers that
    saw the first would never be told what the second stand for (G3).
    """
    with conn.begin():
        yield


def _make_engine(
    url: URL, *, isolation: Literal["READ COMMITTED", "REPEATABLE READ"], read_only: bool, pool_size: int
) -> Engine:
    engine = create_engine(
        url,
        # A database without an encoding of its own would give bytes for text.
        connect_args={"connect_timeout": CONNECT_SECONDS, "client_encoding": "utf8", **_KEEPALIVE},
        pool_size=pool_size,
        max_overflow=8,
        pool_timeout=CONNECT_SECONDS,
        use_native_hstore=False,
        hide_parameters=True,
        isolation_level=isolation,  # here, and not in `set_up`: SQLAlchemy comes back to it after AUTOCOMMIT
    )

    @event.listens_for(engine, "connect")
    def set_up(conn: psycopg.Connection[Any], record: Any) -> None:
        try:
            conn.autocommit = True
            conn.execute(_SETTINGS, ["on" if read_only else "off"])
            _check_durable(conn)
            record.info["history_suffix"] = _system_identifier(conn)
            conn.autocommit = False
            conn.read_only = read_only
        except BaseException:
            conn.close()
            raise

    return engine


def _check_durable(conn: psycopg.Connection[Any]) -> None:
    """G1 is worth nothing on a server that acknowledges commits before they are on disk."""
    rows = conn.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(_NOT_DURABLE)])
    for name, setting in rows:
        if setting == "off":
            raise FailedPrecondition(
                "DATABASE_NOT_DURABLE",
                f"database.url: PostgreSQL runs with {name} = off and could lose acknowledged changes; turn it on"
                " (for the server, and for this database and user)",
            )


def _system_identifier(conn: psycopg.Connection[Any]) -> str | None:
    from psycopg import NotSupportedError, ProgrammingError

    try:
        with closing(conn.execute(_SYSTEM)) as cursor:
            row = cursor.fetchone()
    except (ProgrammingError, NotSupportedError):
        return None
    return None if row is None else f"{int(row[0]):x}"
