"""Places in a listing by time and id, and the stretches between them that an index leads to.

What it guarantees: a stretch is found without a walk past rows outside of it, however many have the same time. SQLite
follows a comparison of both columns at once by the time only, where the id is the number of the row; imported
certificates of which only the status came all have the time of their issuer. So one comparison becomes up to three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select


class Place(NamedTuple):
    """A row in a listing. The time is in seconds since 1970."""

    time: int
    id: int


class Keyset:
    """The two columns that a listing is ordered by."""

    def __init__(self, time: ColumnElement[Any], id_: ColumnElement[Any], *, descending: bool) -> None:
        self.columns = (time, id_)
        self.ordered = [column.desc() if descending else column.asc() for column in self.columns]
        self._descending = descending

    def stretches(self, after: Place | None, last: Place | None) -> Iterator[list[ColumnElement[bool]]]:
        """Conditions for the rows behind `after`, up to and with `last`: stretches that follow each other."""
        time, id_ = self.columns
        if after is not None and last is not None and after.time == last.time:
            yield [time == after.time, self._behind(id_, after.id), ~self._behind(id_, last.id)]
            return
        if after is not None:
            yield [time == after.time, self._behind(id_, after.id)]
        between = [self._behind(time, after.time)] if after is not None else []
        if last is None:
            yield between
            return
        yield [*between, time > last.time if self._descending else time < last.time]
        yield [time == last.time, ~self._behind(id_, last.id)]

    def after(
        self, conn: Connection, conditions: Sequence[ColumnElement[bool]], begin: Place | None, count: int
    ) -> Place | None:
        """The place so many rows behind `begin`, of those that fit; None where there are not that many."""
        left = count
        for stretch in self.stretches(begin, None):
            these = [*conditions, *stretch]
            row = conn.execute(
                select(*self.columns).where(*these).order_by(*self.ordered).offset(left).limit(1)
            ).first()
            if row is not None:
                return Place(row[0], row[1])
            # There are no more than `left` of them, or there would be a row.
            left -= conn.execute(select(func.count(self.columns[1])).where(*these)).scalar_one()
        return None

    def _behind(self, column: ColumnElement[Any], value: int) -> ColumnElement[bool]:
        return column < value if self._descending else column > value
