"""Certificate revocation lists, as signed, and the numbers they take.

Guarantees: a number is given out once for each scope, whoever asks, and greater than all before it (R108); a list is
seen whole or not at all; the newest list of a scope is never followed by one that knows less.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from services.clock import from_epoch, to_epoch
from services.db.models import crl_blocks, crl_lists, crl_scopes
from services.db.records import FULL, CrlDescription, CrlRecord, CrlScope
from services.errors import AlreadyExists

MAX_NUMBER = 2**63 - 1
"""What the database holds; RFC 5280 would allow 20 octets."""

BLOCK = 1024 * 1024
"""Octets in a row at most: a message of gRPC holds four times as much."""

KEPT = 3
"""How many lists of a scope are kept: whoever is reading an older one may finish."""


def scopes_of(conn: Connection, issuer_id: int) -> list[CrlScope]:
    """The scopes that the issuer has lists of, or shall have; the full one first."""
    query = select(crl_scopes).where(crl_scopes.c.issuer_id == issuer_id).order_by(crl_scopes.c.scope)
    return [_scope(row) for row in conn.execute(query)]


def add_full_scope(conn: Connection, issuer_id: int) -> None:
    """See to it that there is the scope of the full list. Call `position.advance` before, as for `add_shards`."""
    if all(each.scope != FULL for each in scopes_of(conn, issuer_id)):
        conn.execute(insert(crl_scopes), {"issuer_id": issuer_id, "scope": FULL, "url": None, "last_number": 0})


def shards_of(conn: Connection, issuer_id: int, prefix: str) -> list[CrlScope]:
    """The shards of an issuer whose addresses begin with `prefix`, in the order of their numbers."""
    return [each for each in scopes_of(conn, issuer_id) if each.url is not None and each.url.startswith(prefix)]


def add_shards(conn: Connection, issuer_id: int, prefix: str, count: int) -> list[CrlScope]:
    """The first `count` shards whose addresses begin with `prefix`; those that are missing are added.

    The address of a shard is `prefix`, the number of its scope, and `.crl`. No two shards of an issuer ever have the
    same number, so those of an address of before can still be told from these.
    """
    known = scopes_of(conn, issuer_id)
    found = [each for each in known if each.url is not None and each.url.startswith(prefix)]
    first = max((each.scope for each in known), default=FULL) + 1
    added = [CrlScope(issuer_id, n, f"{prefix}{n}.crl") for n in range(first, first + count - len(found))]
    if added:
        rows = [{"issuer_id": issuer_id, "scope": each.scope, "url": each.url, "last_number": 0} for each in added]
        conn.execute(insert(crl_scopes), rows)
    return [*found, *added][:count]


def take_number(conn: Connection, issuer_id: int, scope: int) -> int:
    """The next number of a scope, which nobody else gets, even if no list comes of it.

    Raises LookupError for a scope that does not exist.
    """
    query = (
        update(crl_scopes)
        .where(crl_scopes.c.issuer_id == issuer_id, crl_scopes.c.scope == scope)
        .values(last_number=crl_scopes.c.last_number + 1)
        .returning(crl_scopes.c.last_number)
    )
    number: int | None = conn.execute(query).scalar_one_or_none()
    if number is None:
        raise LookupError(f"issuer {issuer_id} has no scope {scope}")
    return number


def take_over_number(conn: Connection, issuer_id: int, number: int) -> None:
    """See to it that the next number of the full list is greater than this one, which another CA has used (R108).

    Call `position.advance` before, as for `add_full_scope`.
    """
    add_full_scope(conn, issuer_id)
    scope = (crl_scopes.c.issuer_id == issuer_id) & (crl_scopes.c.scope == FULL)
    conn.execute(update(crl_scopes).where(scope, crl_scopes.c.last_number < number).values(last_number=number))


def add_blocks(conn: Connection, issuer_id: int, scope: int, number: int, first: int, blocks: Iterable[bytes]) -> None:
    """Store blocks of a list that is not published yet, the first of them as block number `first`."""
    key = {"issuer_id": issuer_id, "scope": scope, "number": number}
    conn.execute(insert(crl_blocks), [{**key, "block": n, "data": data} for n, data in enumerate(blocks, first)])


def publish(conn: Connection, crl: CrlDescription) -> None:
    """Make a list, whose blocks are stored, the newest of its scope, and forget the oldest.

    Raises AlreadyExists CRL_NUMBER_USED unless its number is greater than all before it (R108), and CRL_SUPERSEDED
    where the newest list knows of later changes. Forget its blocks then (`forget_blocks`).
    """
    # Locks the scope: lists of it are published one after the other.
    conn.execute(
        update(crl_scopes)
        .where(crl_scopes.c.issuer_id == crl.issuer_id, crl_scopes.c.scope == crl.scope)
        .values(last_number=func.coalesce(crl_scopes.c.last_number, 0))
    )
    newest = newest_list(conn, crl.issuer_id, crl.scope)
    if newest is not None and crl.number <= newest.number:
        raise AlreadyExists("CRL_NUMBER_USED", f"the issuer's latest revocation list is number {newest.number} already")
    if newest is not None and crl.revision < newest.revision:
        raise AlreadyExists("CRL_SUPERSEDED", f"revocation list number {newest.number} knows of later changes")
    conn.execute(insert(crl_lists), _values(crl))
    _forget_old(conn, crl)


def forget_blocks(conn: Connection, issuer_id: int, scope: int, number: int) -> None:
    """Forget what was stored of a list that will not be published."""
    blocks = crl_blocks.c
    conn.execute(
        delete(crl_blocks).where(blocks.issuer_id == issuer_id, blocks.scope == scope, blocks.number == number)
    )


def newest_list(conn: Connection, issuer_id: int, scope: int, *, scheduled: bool = False) -> CrlDescription | None:
    """The list with the greatest number; with `scheduled`, of those only whose time had come."""
    query = (
        select(crl_lists)
        .where(crl_lists.c.issuer_id == issuer_id, crl_lists.c.scope == scope)
        .order_by(crl_lists.c.number.desc())
        .limit(1)
    )
    if scheduled:
        query = query.where(crl_lists.c.scheduled == 1)
    row = conn.execute(query).one_or_none()
    return None if row is None else _description(row)


def newest_times(conn: Connection) -> list[tuple[CrlScope, datetime | None, datetime | None]]:
    """Each scope, and thisUpdate and nextUpdate of its newest list; None while there is none."""
    rows = conn.execute(_newest_times)
    return [(_scope(row), _moment(row.this_update), _moment(row.next_update)) for row in rows]


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else from_epoch(seconds)


_newest = (
    select(crl_lists.c.issuer_id, crl_lists.c.scope, func.max(crl_lists.c.number).label("number"))
    .group_by(crl_lists.c.issuer_id, crl_lists.c.scope)
    .subquery("newest")
)
_newest_times = select(crl_scopes, crl_lists.c.this_update, crl_lists.c.next_update).select_from(
    crl_scopes.outerjoin(
        _newest, (_newest.c.issuer_id == crl_scopes.c.issuer_id) & (_newest.c.scope == crl_scopes.c.scope)
    ).outerjoin(
        crl_lists,
        (crl_lists.c.issuer_id == _newest.c.issuer_id)
        & (crl_lists.c.scope == _newest.c.scope)
        & (crl_lists.c.number == _newest.c.number),
    )
)


def read_block(conn: Connection, crl: CrlDescription, block: int) -> bytes | None:
    """One block of a list; None behind the last one, and where the list was forgotten meanwhile."""
    columns = crl_blocks.c
    query = select(columns.data).where(
        columns.issuer_id == crl.issuer_id,
        columns.scope == crl.scope,
        columns.number == crl.number,
        columns.block == block,
    )
    return conn.execute(query).scalar_one_or_none()


def add_crl(conn: Connection, crl: CrlRecord, *, revision: int = 0) -> None:
    """Record a full list that was signed elsewhere. Raises AlreadyExists CRL_NUMBER_USED, CRL_SUPERSEDED, as `publish`.

    Its number is the last that was taken from then on. `revision`: what it knows; no entries are counted.
    """
    add_full_scope(conn, crl.issuer_id)
    description = CrlDescription(
        issuer_id=crl.issuer_id,
        scope=FULL,
        number=crl.number,
        this_update=crl.this_update,
        next_update=crl.next_update,
        revision=revision,
        scheduled=True,
        entries=0,
        size=len(crl.der),
        sha256=hashlib.sha256(crl.der).digest(),
    )
    publish(conn, description)
    blocks = [crl.der[start : start + BLOCK] for start in range(0, len(crl.der), BLOCK)]
    add_blocks(conn, crl.issuer_id, FULL, crl.number, 0, blocks)
    conn.execute(
        update(crl_scopes)
        .where(crl_scopes.c.issuer_id == crl.issuer_id, crl_scopes.c.scope == FULL)
        .where(crl_scopes.c.last_number < crl.number)
        .values(last_number=crl.number)
    )


def require_next(conn: Connection, crl: CrlRecord) -> None:
    """Raise AlreadyExists CRL_NUMBER_USED unless its number is greater than all before it (R108).

    Those are the numbers of lists that are here, and those that were used before the issuer came in
    (`take_over_number`). Of the latter, the error's metadata have the greatest, `last_number`, in decimal.
    """
    newest = newest_list(conn, crl.issuer_id, FULL)
    if newest is not None and crl.number <= newest.number:
        raise AlreadyExists("CRL_NUMBER_USED", f"the issuer's latest revocation list is number {newest.number} already")
    scope = (crl_scopes.c.issuer_id == crl.issuer_id) & (crl_scopes.c.scope == FULL)
    used = conn.execute(select(crl_scopes.c.last_number).where(scope)).scalar_one_or_none() or 0
    if crl.number <= used:
        text = f"the issuer has used the numbers of revocation lists up to {used} already"
        raise AlreadyExists("CRL_NUMBER_USED", text, metadata={"last_number": str(used)})


def latest_crl(conn: Connection, issuer_id: int) -> CrlRecord | None:
    """The newest full list, whole."""
    newest = newest_list(conn, issuer_id, FULL)
    if newest is None:
        return None
    columns = crl_blocks.c
    query = (
        select(columns.data)
        .where(columns.issuer_id == issuer_id, columns.scope == FULL, columns.number == newest.number)
        .order_by(columns.block)
    )
    der = b"".join(conn.execute(query).scalars())
    return CrlRecord(issuer_id, newest.number, der, newest.this_update, newest.next_update)


def _forget_old(conn: Connection, crl: CrlDescription) -> None:
    """Keep the newest lists, and the newest scheduled one, which tells what may be left out of the next."""
    lists, blocks = crl_lists.c, crl_blocks.c
    in_scope = (lists.issuer_id == crl.issuer_id) & (lists.scope == crl.scope)
    kept = list(conn.execute(select(lists.number).where(in_scope).order_by(lists.number.desc()).limit(KEPT)).scalars())
    scheduled = conn.execute(select(func.max(lists.number)).where(in_scope, lists.scheduled == 1)).scalar()
    # Blocks of lists that others are storing have a number that is taken already, and greater than this one's, or will
    # not be published.
    conn.execute(
        delete(crl_blocks).where(
            blocks.issuer_id == crl.issuer_id,
            blocks.scope == crl.scope,
            blocks.number < crl.number,
            blocks.number.not_in(kept),
        )
    )
    conn.execute(delete(crl_lists).where(in_scope, lists.number.not_in([*kept, scheduled or 0])))


def _scope(row: Row[Any]) -> CrlScope:
    return CrlScope(row.issuer_id, row.scope, row.url)


def _values(crl: CrlDescription) -> dict[str, Any]:
    return {
        "issuer_id": crl.issuer_id,
        "scope": crl.scope,
        "number": crl.number,
        "this_update": to_epoch(crl.this_update),
        "next_update": to_epoch(crl.next_update),
        "revision": crl.revision,
        "scheduled": int(crl.scheduled),
        "entries": crl.entries,
        "size": crl.size,
        "sha256": crl.sha256,
    }


def _description(row: Row[Any]) -> CrlDescription:
    return CrlDescription(
        issuer_id=row.issuer_id,
        scope=row.scope,
        number=row.number,
        this_update=from_epoch(row.this_update),
        next_update=from_epoch(row.next_update),
        revision=row.revision,
        scheduled=bool(row.scheduled),
        entries=row.entries,
        size=row.size,
        sha256=row.sha256,
    )
