"""Opening, snapshots, and what a database that cannot be used looks like."""

from __future__ import annotations

import random
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from services.db import credentials, position, schema, sqlite, status
from services.db.engine import Conflict, Connection, Database
from services.db.records import NewCertificate
from services.errors import DomainError, FailedPrecondition, Unavailable

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

Certificates = Callable[..., NewCertificate]


def test_read_sees_one_snapshot(
    database: Database,
    new_certificate: Certificates,
    record: Callable[..., list[int]],
    revoke: Callable[..., int],
) -> None:
    """A commit between two queries of one block is invisible, in the counter and in the rows (DESIGN 4)."""
    row = new_certificate()
    record(row)
    with database.read() as conn:
        before = position.read_position(conn)
        revision = revoke(row)
        assert position.read_position(conn) == before
        assert status.get_statuses(conn, row.issuer_id, [row.serial])[row.serial].revocation is None
    with database.read() as conn:
        assert position.read_position(conn).revision == revision
        assert status.get_statuses(conn, row.issuer_id, [row.serial])[row.serial].revocation is not None


def test_read_each_sees_what_came_in_between(
    database: Database,
    new_certificate: Certificates,
    record: Callable[..., list[int]],
    revoke: Callable[..., int],
) -> None:
    """Without a shared snapshot a later query is never older, so that the position comes before the rows."""
    row = new_certificate()
    record(row)
    with database.read_each() as conn:
        before = position.read_position(conn)
        revision = revoke(row)
        assert status.get_statuses(conn, row.issuer_id, [row.serial])[row.serial].revision == revision
        assert position.read_position(conn).revision == revision == before.revision + 1
    with database.read() as conn:  # the connection is back, and begins transactions again
        assert position.read_position(conn).revision == revision
        revoke(row)
        assert position.read_position(conn).revision == revision


def test_write_is_rolled_back_by_an_exception(
    database: Database, new_certificate: Certificates, revoke: Callable[..., int], record: Callable[..., list[int]]
) -> None:
    """What a block wrote before it failed is gone."""
    with pytest.raises(DomainError, match="too late"), database.write() as conn:
        fail_after_writing(conn)
    with database.read() as conn:
        assert position.read_position(conn).revision == 1  # the issuer


def fail_after_writing(conn: Connection) -> None:
    """Write, and find out too late that it was wrong."""
    position.advance(conn, 5)
    raise DomainError("TEST", "too late")


def test_savepoint_undoes_one_of_many(database: Database) -> None:
    """One caller's part of a shared transaction can fail alone."""
    with database.write() as conn:
        position.advance(conn, 1)
        with pytest.raises(DomainError, match="too late"), conn.begin_nested():
            fail_after_writing(conn)
        position.advance(conn, 1)
    with database.read() as conn:
        assert position.read_position(conn).revision == 2


@pytest.mark.parametrize("read_only", [True, False], ids=["read only", "read and write"])
def test_read_cannot_write(database_url: str, read_only: bool) -> None:
    """Reading blocks are held to it by the database itself."""
    db = Database.open(database_url, read_only=read_only)
    with pytest.raises(Unavailable), db.read() as conn:
        position.advance(conn, 1)
    with pytest.raises(Unavailable), db.read_each() as conn:
        position.advance(conn, 1)
    with db.read() as conn:
        assert position.read_position(conn).revision == 0
    if read_only:
        with pytest.raises(RuntimeError), db.write():
            pass
    db.close()


def test_mistakes_of_ours_are_not_hidden(database: Database) -> None:
    """Wrong SQL never looks like a database that is away."""
    with pytest.raises(ProgrammingError if database.dialect == "postgresql" else Unavailable), database.read() as conn:
        conn.execute(text("SELECT nothing FROM nowhere"))


def test_same_serial_twice_is_a_conflict(
    database: Database, new_certificate: Certificates, record: Callable[..., list[int]]
) -> None:
    """A serial number is recorded once per issuer, and the loser leaves nothing (R89)."""
    row = new_certificate()
    record(row)
    with pytest.raises(Conflict):
        record(new_certificate(), row)
    with database.read() as conn:
        assert position.read_position(conn).revision == 2
        assert conn.execute(text("SELECT count(*) FROM certificates")).scalar() == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "DATABASE_URL_INVALID"),
        ("mysql://root@localhost/x", "DATABASE_URL_INVALID"),
        ("sqlite://", "DATABASE_URL_INVALID"),
        ("sqlite:///:memory:", "DATABASE_URL_INVALID"),
        ("sqlite:////missing/folder/goodstanding.db", "DATABASE_MISSING"),
        ("postgresql://somebody:secret@/x?host=/missing", "DATABASE_UNAVAILABLE"),
        ("postgresql://somebody:secret@127.0.0.1:1/x", "DATABASE_UNAVAILABLE"),
    ],
)
def test_open_explains(url: str, reason: str) -> None:
    """Each way to be wrong has its reason, and no text shows a password."""
    with pytest.raises(DomainError, match=r"^database\.url: ") as caught:
        Database.open(url)
    assert caught.value.reason == reason
    assert "secret" not in caught.value.message
    assert "\n" not in caught.value.message


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """Any other file is named and left alone."""
    path = tmp_path / "goodstanding.db"
    path.write_text("no database\n" * 1000)
    with pytest.raises(FailedPrecondition, match=r"goodstanding\.db") as caught:
        Database.open(f"sqlite:///{path}")
    assert caught.value.reason == "DATABASE_INVALID"
    assert path.read_text() == "no database\n" * 1000


def test_path_with_odd_characters(migrated_sqlite: Path, tmp_path: Path) -> None:
    """A path that is quoted in the URL reaches SQLite as it is."""
    path = tmp_path / "a b?mode=memory#%20;&.db"
    shutil.copy(migrated_sqlite, path)
    Database.open(f"sqlite:///{quote(str(path))}").close()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sqlite_syncs_every_commit(database: Database) -> None:
    """G1: an acknowledged commit has to be on disk."""
    with database.write() as conn:
        assert conn.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
        assert conn.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert conn.execute(text("PRAGMA foreign_keys")).scalar() == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_that_may_lose_commits_is_refused(database_url: str, request: pytest.FixtureRequest) -> None:
    """G1: the same on PostgreSQL, also when only this database is set otherwise."""
    server = request.getfixturevalue("postgres_server")
    name = database_url.partition("@/")[2].partition("?")[0]
    server.admin.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    with pytest.raises(FailedPrecondition, match="synchronous_commit") as caught:
        Database.open(database_url)
    assert caught.value.reason == "DATABASE_NOT_DURABLE"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_role_that_may_only_select(
    database_url: str, issuer_id: int, request: pytest.FixtureRequest, new_certificate: Certificates
) -> None:
    """The status service needs SELECT and nothing else; a missing grant says so."""
    owner = Database.open(database_url)
    with owner.write() as conn:
        conn.execute(text("DROP ROLE IF EXISTS only_select"))
        conn.execute(text("CREATE ROLE only_select LOGIN"))
        conn.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_select"))
        conn.execute(text("REVOKE ALL ON credentials FROM only_select"))
    db = Database.open(database_url.replace("//postgres@", "//only_select@"), read_only=True)
    schema.check_current(db)
    with db.read() as conn, owner.read() as owner_conn:
        assert status.get_statuses(conn, issuer_id, [b"\x01"]) == {}
        assert position.read_position(conn) == position.read_position(owner_conn)
    with pytest.raises(FailedPrecondition) as caught, db.read() as conn:
        credentials.denied_fingerprints(conn)
    assert caught.value.reason == "DATABASE_NOT_ALLOWED"
    db.close()
    with owner.write() as conn:
        conn.execute(text("DROP OWNED BY only_select"))
        conn.execute(text("DROP ROLE only_select"))
    owner.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_lost_connection_is_unavailable_and_comes_back(database: Database, request: pytest.FixtureRequest) -> None:
    """A server that drops its connections costs one call each way, not the process."""
    with database.read() as conn:
        pid = conn.execute(text("SELECT pg_backend_pid()")).scalar()
    request.getfixturevalue("postgres_server").admin.execute("SELECT pg_terminate_backend(%s, 1000)", [pid])
    with pytest.raises(Unavailable) as caught, database.read() as conn:
        position.read_position(conn)
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    assert "terminat" not in caught.value.message
    with database.read() as conn:
        assert position.read_position(conn).revision == 0


def test_locked_file_is_unavailable(migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that waits too long gives up with an error that callers may retry on; readers never wait."""
    path = tmp_path / "goodstanding.db"
    shutil.copy(migrated_sqlite, path)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    db = Database.open(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="try again"), db.write():
        pass
    with db.read() as conn:
        assert position.read_position(conn).revision == 0
    other.close()
    db.close()


def test_a_full_disk_is_named(migrated_sqlite: Path, tmp_path: Path) -> None:
    """Whoever waits for it to pass by itself waits in vain."""
    path = tmp_path / "goodstanding.db"
    shutil.copy(migrated_sqlite, path)
    db = Database.open(f"sqlite:///{path}")

    def fill() -> None:
        with db.write() as conn:
            (pages,) = conn.exec_driver_sql("PRAGMA page_count").one()
            conn.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            conn.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(1000000) AS content")

    with pytest.raises(Unavailable, match="disk of the database is full"):
        fill()
    db.close()


def test_replaced_file_is_noticed(migrated_sqlite: Path, tmp_path: Path) -> None:
    """A restored backup is used at once, under another history, and a missing file is an error rather than the past."""
    path = tmp_path / "goodstanding.db"
    shutil.copy(migrated_sqlite, path)
    db = Database.open(f"sqlite:///{path}")
    with db.write() as conn:
        position.advance(conn, 7)
    with db.read() as conn:
        before = position.read_position(conn)
    backup = tmp_path / "backup.db"
    shutil.copy(migrated_sqlite, backup)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    backup.replace(path)
    with db.read() as conn:
        after = position.read_position(conn)
    assert (before.revision, after.revision) == (7, 0)
    assert before.history != after.history
    path.unlink()
    with pytest.raises(Unavailable), db.read() as conn:
        position.read_position(conn)
    db.close()


def test_a_database_without_an_encoding_gives_text_all_the_same(postgres_server: PostgresServer) -> None:
    """A cluster that was made without a locale has databases in SQL_ASCII; the driver would hand out bytes."""
    name = f"ascii_{uuid.uuid4().hex}"
    postgres_server.admin.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        url = postgres_server.url(name)
        schema.upgrade(url)
        database = Database.open(url)
        with database.read() as conn:
            assert isinstance(position.read_position(conn).history, str)
        database.close()
    finally:
        postgres_server.drop(name)


def test_what_is_too_long_for_an_index(database: Database) -> None:
    """It is no outage, which would be told to everybody whose changes are in the same transaction."""
    long = random.Random(1).randbytes(20_000)
    mark = "?" if database.dialect == "sqlite" else "%s"
    with database.write() as conn:
        conn.exec_driver_sql(f"CREATE TABLE long (x {'blob' if mark == '?' else 'bytea'} UNIQUE)")
    if database.dialect == "sqlite":  # it has room for anything
        with database.write() as conn:
            conn.exec_driver_sql(f"INSERT INTO long VALUES ({mark})", (long,))
        return
    with pytest.raises(OperationalError), database.write() as conn:
        conn.exec_driver_sql(f"INSERT INTO long VALUES ({mark})", (long,))


def _syncs(conn: Connection) -> str:
    """How a commit of this connection gets to the disk: 2 and on mean that it waits for it."""
    asked = "PRAGMA synchronous" if conn.dialect.name == "sqlite" else "SHOW synchronous_commit"
    return str(conn.exec_driver_sql(asked).scalar_one())


def test_only_what_is_provisional_does_not_wait_for_the_disk(database: Database) -> None:
    """Whether it is committed or not, the connection waits again afterwards (G1).

    PostgreSQL always waits: its server may crash and come back while the services go on, which have seen a revision
    that was lost, and is given again (G3).
    """
    durable, hurried = {"sqlite": ("2", "1"), "postgresql": ("on", "on")}[database.dialect]
    with database.write() as conn:
        assert _syncs(conn) == durable
    with database.write(provisional=True) as conn:
        assert _syncs(conn) == hurried
        position.advance(conn, 1)
    with database.write() as conn:
        assert _syncs(conn) == durable
        assert position.advance(conn, 1) == 2
    with pytest.raises(ZeroDivisionError), database.write(provisional=True) as conn:
        _ = position.advance(conn, 1) // 0
    with database.write() as conn:
        assert _syncs(conn) == durable
        assert position.advance(conn, 1) == 3
