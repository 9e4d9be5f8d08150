"""Making one revocation list: number, signature, storage, publication.

1. The number is taken, durably: nobody else ever gets it (R108).
2. The list is signed.
3. Its octets are stored in small transactions, so that others can write in between; nobody sees them yet.
4. It is published, unless the newest list has a higher number or knows of later changes.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from services.ca.crl_contents import Contents
from services.clock import to_epoch
from services.db import crls
from services.db.engine import Database
from services.db.position import advance
from services.db.records import FULL, CrlDescription, CrlScope, IssuerRecord
from services.errors import AlreadyExists, Unavailable
from services.pki.crl_entries import RevokedEntries
from services.pki.crl_signing import SignedCrl, sign_crl
from services.pki.issuers import Issuer

SLACK = timedelta(minutes=10)
"""How much longer than it must an entry stays: a change may be recorded a moment after the time it carries."""


def make_crl(
    db: Database,
    issuer: Issuer,
    scope: CrlScope,
    entries: RevokedEntries,
    *,
    revision: int,
    this_update: datetime,
    next_update: datetime,
    scheduled: bool = True,
) -> CrlDescription:
    """Make the next list of a scope out of entries as of `revision`, and publish it.

    Raises AlreadyExists CRL_NUMBER_USED or CRL_SUPERSEDED when somebody else was quicker, and Unavailable. Numbers that
    were taken in vain stay unused.
    """
    with db.write() as conn:
        number = crls.take_number(conn, scope.issuer_id, scope.scope)  # step 1
    signed = sign_crl(  # step 2
        issuer,
        entries.octets(),
        number=number,
        this_update=this_update,
        next_update=next_update,
        distribution_point=scope.url,
    )
    description = CrlDescription(
        issuer_id=scope.issuer_id,
        scope=scope.scope,
        number=number,
        this_update=this_update.replace(microsecond=0),
        next_update=next_update.replace(microsecond=0),
        revision=revision,
        scheduled=scheduled,
        entries=len(entries),
        size=signed.size,
        sha256=signed.sha256,
    )
    try:
        last = _store(db, description, signed)  # step 3
        with db.write() as conn:
            crls.publish(conn, description)  # step 4
            crls.add_blocks(conn, scope.issuer_id, scope.scope, number, *last)
    except AlreadyExists:
        with suppress(Unavailable), db.write() as conn:
            crls.forget_blocks(conn, scope.issuer_id, scope.scope, number)
        raise
    return description


def _store(db: Database, crl: CrlDescription, signed: SignedCrl) -> tuple[int, list[bytes]]:
    """Store all blocks but the last one, and return that, with its number: it goes along with the publication."""
    first, waiting = 0, list[bytes]()
    for number, block in enumerate(signed.blocks(crls.BLOCK)):
        if waiting:
            with db.write() as conn:
                crls.add_blocks(conn, crl.issuer_id, crl.scope, crl.number, first, waiting)
        first, waiting = number, [block]
    return first, waiting


def make_offline_crl(
    db: Database, record: IssuerRecord, issuer: Issuer, *, now: datetime, next_update: datetime
) -> CrlDescription:
    """Make the full list of an issuer whose key is here only for the moment, such as a root's.

    `record` as it was read just now. Raises AlreadyExists CRL_NUMBER_USED or CRL_SUPERSEDED when another list was made
    meanwhile, and Unavailable; it may be called again. ValueError for a key that is not the issuer's.
    """
    if issuer.public_key_der != record.public_key_der:
        raise ValueError("not the key of this issuer")
    with db.write() as conn:
        advance(conn, 1)
        crls.add_full_scope(conn, record.id)
    with db.read() as conn:
        before = crls.newest_list(conn, record.id, FULL, scheduled=True)
    shown = 0 if before is None else to_epoch(before.this_update - SLACK)
    contents = Contents(db)
    contents.follow({record.id: (FULL,)}, since=0, not_before=shown)
    return make_crl(
        db,
        issuer,
        CrlScope(record.id, FULL, None),
        contents.entries((record.id, FULL)),
        revision=contents.position.revision,
        this_update=now,
        next_update=next_update,
    )
