"""Filling a database with a population: SQLite in a few large transactions, PostgreSQL by COPY.

What makes it fast is the order: every table is filled in the order of its key. Durability is forgone while
it lasts; afterwards the database is an ordinary one. A load that is cut off leaves a database that is good for nothing.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from benchmarks import scale_audit, scale_rows
from benchmarks.scale_audit import AuditTrail
from benchmarks.scale_rows import PROFILES, Population, Row
from benchmarks.sizes import Progress
from services.db import counts
from services.db.engine import Database

Part = tuple[str, Sequence[str], Iterator[Row]]

_BLOCK = 2_000
_STEP = 1_000_000
_CACHE_KIB = 262_144
_READ = (
    "SELECT max(length(serial)), max(revision) FROM certificate_status WHERE issuer_id > 0",
    "SELECT max(length(name)) FROM certificate_names WHERE name > ''",
)
_INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid IN ('certificates'::regclass, 'audit_entries'::regclass)
AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)
"""


def load(url: str, population: Population, trail: AuditTrail, progress: Progress = lambda _: None) -> None:
    """Fill a database, whose issuer is there already, and set its position and the head of its audit log."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        _load_sqlite(Path(parsed.database or ""), population, trail, progress)
    else:
        _load_postgresql(url, population, trail, progress)
    progress("certificate_counts")
    db = Database.open(url)
    try:
        with db.write() as conn:
            counts.add_imported(conn, scale_audit.counts(population, PROFILES))
    finally:
        db.close()


def size_on_disk(url: str) -> int:
    """Octets that a database takes, with its indexes."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Path(parsed.database or "").stat().st_size
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


def warm(url: str) -> None:
    """Read the tables with random keys once: on a server that runs for a while, the system has them in memory."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(Path(parsed.database or ""))) as conn:
            for query in _READ:
                conn.execute(query).fetchall()
        return
    with psycopg.connect(url) as conn:
        for path in ("seqscan", "indexscan"):
            conn.execute(f"SET LOCAL enable_{path} = off")
            for query in _READ:
                conn.execute(query)
            conn.execute(f"SET LOCAL enable_{path} = on")


def _parts(population: Population, trail: AuditTrail) -> list[Part]:
    return [
        ("certificates", scale_rows.CERTIFICATE_COLUMNS, population.certificates()),
        ("certificate_status", scale_rows.STATUS_COLUMNS, population.statuses()),
        ("certificate_names", scale_rows.NAME_COLUMNS, population.names()),
        ("status_changes", scale_rows.CHANGE_COLUMNS, population.changes()),
        ("idempotency_keys", scale_rows.MEMORY_COLUMNS, population.memories()),
        ("audit_entries", scale_audit.COLUMNS, trail.entries()),
    ]


def _told(table: str, rows: Iterable[Row], progress: Progress) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if number % _STEP == 0 and number:
            progress(f"{table}: {number:,} rows")
        yield row


def _load_sqlite(file: Path, population: Population, trail: AuditTrail, progress: Progress) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        # Without a journal nothing is written twice; nobody else has the file open, and who is cut off starts anew.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            conn.execute(f"PRAGMA {pragma}")
        for table, columns, rows in _parts(population, trail):
            progress(table)
            places = ", ".join("?" * len(columns))
            conn.execute("BEGIN")
            conn.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", _told(table, rows, progress)
            )
            conn.execute("COMMIT")
        conn.execute("UPDATE position SET value = ?", (population.revision,))
        conn.execute("UPDATE audit_head SET sequence = ?, hash = ?", trail.head)
        conn.execute("PRAGMA journal_mode = WAL")


def _load_postgresql(url: str, population: Population, trail: AuditTrail, progress: Progress) -> None:
    with psycopg.connect(url, autocommit=True) as conn, _hurried(conn), _without_indexes(conn, progress):
        # No foreign key is looked up: that the rows fit each other is what they were made for.
        conn.execute("SET session_replication_role = replica")
        conn.execute("SET synchronous_commit = off")
        for table, columns, rows in _parts(population, trail):
            progress(table)
            named = sql.SQL(", ").join(map(sql.Identifier, columns))
            command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), named)
            with conn.cursor() as cursor, cursor.copy(command) as copy:
                told = _told(table, rows, progress)
                while block := list(islice(told, _BLOCK)):
                    copy.write("".join(map(_line, block)))
        conn.execute("UPDATE position SET value = %s", (population.revision,))
        conn.execute("UPDATE audit_head SET sequence = %s, hash = %s", trail.head)
        last = population.last_id + population.count
        conn.execute("SELECT setval('certificates_id_seq', %s)", (last,))
    with psycopg.connect(url, autocommit=True) as conn:
        progress("vacuum and analyze, which autovacuum would do sooner or later")
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")
    os.sync()  # what was written in a hurry is not to slow what is measured


@contextmanager
def _hurried(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """The server, meanwhile, does not care about crashes. The services would refuse to use it like that."""
    hurried = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "'4GB'", "autovacuum": "off"}
    for name, value in hurried.items():
        conn.execute(f"ALTER SYSTEM SET {name} = {value}")
    conn.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        for name in hurried:
            conn.execute(f"ALTER SYSTEM RESET {name}")
        conn.execute("SELECT pg_reload_conf()")
        while _setting(conn.info.dsn, "fsync") == "off":
            time.sleep(0.02)


def _setting(dsn: str, name: str) -> str:
    with psycopg.connect(dsn) as conn:
        row = conn.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def _without_indexes(conn: psycopg.Connection[Any], progress: Progress) -> Iterator[None]:
    """Indexes that are no constraints are made at the end: sorting is quicker than inserting."""
    found = conn.execute(_INDEXES).fetchall()
    for name, _ in found:
        conn.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    yield
    conn.execute("SET maintenance_work_mem = '256MB'")
    for name, definition in found:
        progress(name)
        conn.execute(definition)


def _line(row: Row) -> str:
    return "\t".join(map(_field, row)) + "\n"


def _field(value: object) -> str:
    """No text here holds anything that COPY would take for more than text."""
    if type(value) is bytes:
        return "\\\\x" + value.hex()
    return "\\N" if value is None else str(value)
