"""Statements that are on the way of every certificate, written out and handed to the driver as they are.

Putting a statement together and converting its values takes longer than the database takes to carry it out, and each
row that is sent by itself lets other threads in between. So many rows go in with one statement, in portions of a few
sizes, because databases and drivers remember what they have prepared by its text. Errors are the same as of any other
statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, CursorResult, Table

_PORTIONS = (64, 32, 16, 8, 4, 2, 1)


def execute(conn: Connection, sql: str, values: Sequence[Any] = ()) -> CursorResult[Any]:
    """Carry out a statement that has a `?` for each value, and no other `?` or `%` in it."""
    return conn.exec_driver_sql(sql if conn.dialect.name == "sqlite" else _of_psycopg(sql), tuple(values))


def execute_each(conn: Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """The same, once for each row of values."""
    if rows:
        conn.exec_driver_sql(sql if conn.dialect.name == "sqlite" else _of_psycopg(sql), list(rows))


class Insertion:
    """Inserts rows into some columns of a table, all of them if none are named."""

    def __init__(self, table: Table, *columns: str) -> None:
        names = columns or tuple(table.c.keys())
        self._begin = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES "  # noqa: S608
        self._row = f"({', '.join('?' * len(names))})"

    def run(self, conn: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, each a value for each column in their order."""
        for portion in _portions(rows):
            sql = self._begin + ", ".join([self._row] * len(portion))
            execute(conn, sql, tuple(chain.from_iterable(portion)))


class Selection:
    """Selects the rows that have one of many values: `sql` ends where the list of these is to follow."""

    def __init__(self, sql: str) -> None:
        self._sql = sql

    def run(self, conn: Connection, values: Sequence[Any], *before: Any) -> Iterator[Any]:
        """The rows. `before` are the values of the marks in front of the list."""
        for portion in _portions(values):
            sql = f"{self._sql} ({', '.join('?' * len(portion))})"
            yield from execute(conn, sql, (*before, *portion))


def _portions(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """All rows, in as few portions as their sizes allow."""
    begin = 0
    for size in _PORTIONS:
        while len(rows) - begin >= size:
            yield rows[begin : begin + size]
            begin += size


@lru_cache(maxsize=256)
def _of_psycopg(sql: str) -> str:
    return sql.replace("?", "%s")
