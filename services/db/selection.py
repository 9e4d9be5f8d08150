"""Finding the certificates that a bulk change is about: by public key, by filter, by serial numbers; a page at a time.

A page costs the same wherever it is: it begins behind the last certificate of the one before, in an index's order.
Where no index leads to those that fit, a page looks at `WINDOW` certificates and no more: it may have fewer than it
could, or none, and a place to go on.
Nothing here locks. What is found may have changed when its turn comes, so whoever changes it looks at its status again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, bindparam, func, select

from services.clock import from_epoch, to_epoch
from services.db.certificates import read_record, search_name, without_der
from services.db.keyset import Keyset, Place
from services.db.models import certificate_names, certificate_status, certificates
from services.db.pending import hidden_ids, visible_ids
from services.db.records import CertificateCursor, CertificateRecord, CertificateSelection, CertificateState

_by_time = Keyset(certificates.c.issued_at, certificates.c.id, descending=False)

WINDOW = 20_000
"""How many certificates one page looks at where no index leads to those that fit."""


def highest_id(conn: Connection) -> int:
    """The id of the certificate that was recorded last; 0 without any."""
    found: int = conn.execute(_highest_id).scalar_one()
    return found


def public_key_of(conn: Connection, certificate_id: int) -> bytes | None:
    """The SHA-256 of the SubjectPublicKeyInfo; None where only a status is recorded."""
    return conn.execute(_public_key_of, {"certificate": certificate_id}).scalar_one_or_none()


def select_certificates(
    conn: Connection,
    selection: CertificateSelection,
    *,
    now: int,
    limit: int,
    after: CertificateCursor | None = None,
) -> tuple[list[CertificateRecord], CertificateCursor | None]:
    """The next certificates that are selected, `limit` at the most, without DER; and where to go on, None at the end.

    `now` (seconds) tells expired from valid.
    """
    # Few have the same key or name: these are read in the order of their own index. The others are by time.
    by_id = selection.public_key_sha256 is not None or selection.name is not None
    order = [certificates.c.id] if by_id else _by_time.ordered
    bounds = [] if by_id else _bounds(selection)
    begin = Place(to_epoch(after.at), after.id) if after is not None else None
    floor = None if by_id or not _is_selective(selection) else _by_time.after(conn, bounds, begin, WINDOW)
    conditions = [*bounds, *_conditions(selection, now, by_id=by_id)]
    if hidden := hidden_ids(conn):
        conditions.append((certificates.c.issuer_id + 0).not_in(hidden))
    behind = [[certificates.c.id > after.id] if after is not None else []]
    records: list[CertificateRecord] = []
    for stretch in behind if by_id else _by_time.stretches(begin, floor):
        # From one table first: joined to the others, PostgreSQL would rather read and sort everything.
        page = select(certificates.c.id).where(*conditions, *stretch).order_by(*order).limit(limit - len(records))
        found = page.subquery("page")
        query = without_der.join(found, found.c.id == certificates.c.id).order_by(*order)
        records += [read_record(row, None) for row in conn.execute(query)]
        if len(records) == limit:
            return records, CertificateCursor(records[-1].issued_at, records[-1].id)
    return records, CertificateCursor(from_epoch(floor.time), floor.id) if floor is not None else None


def find_by_serials(conn: Connection, serials: Sequence[bytes]) -> dict[bytes, list[CertificateRecord]]:
    """The certificates of all issuers with those serial numbers, without DER; those never issued are not in it."""
    found: dict[bytes, list[CertificateRecord]] = {}
    for row in conn.execute(_by_serials, {"serials": list(serials)}):
        found.setdefault(row.serial, []).append(read_record(row, None))
    return found


def read_ders(conn: Connection, ids: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Pairs of id and DER of these certificates; those of which only a status is recorded are not among them."""
    for row in conn.execute(_ders, {"ids": list(ids)}):
        if row.der is not None:
            yield row.id, row.der


def _bounds(selection: CertificateSelection) -> list[ColumnElement[bool]]:
    """What the index that is followed tells: that of a profile, of an issuer, or of all, each by time."""
    column = certificates.c
    led = _led_by(selection)
    found = [column[led] == getattr(selection, led)] if led else []
    found += [column.issued_at >= to_epoch(selection.issued_from)] if selection.issued_from else []
    found += [column.issued_at < to_epoch(selection.issued_until)] if selection.issued_until else []
    return found


def _led_by(selection: CertificateSelection) -> str:
    return "profile" if selection.profile is not None else "issuer_id" if selection.issuer_id is not None else ""


def _is_selective(selection: CertificateSelection) -> bool:
    """Whether there are filters that only reading a certificate answers. Hardly any has the profile of CAs."""
    others = (selection.actor_identity, selection.state, selection.not_after_from, selection.not_after_until)
    both = selection.profile is not None and selection.issuer_id is not None
    return both or any(value is not None for value in others)


def _conditions(selection: CertificateSelection, now: int, *, by_id: bool) -> list[ColumnElement[bool]]:
    """Every other condition. "+ 0" keeps SQLite from reading by another index, and sorting that."""
    column = certificates.c
    led = "" if by_id else _led_by(selection)
    wanted: list[tuple[object, ColumnElement[bool]]] = [
        (selection.public_key_sha256, column.public_key_sha256 == selection.public_key_sha256),
        (None if led == "issuer_id" else selection.issuer_id, column.issuer_id + 0 == selection.issuer_id),
        (None if led == "profile" else selection.profile, column.profile.concat("") == selection.profile),
        (selection.actor_identity, column.actor_identity == selection.actor_identity),
    ]
    found = [condition for value, condition in wanted if value is not None]
    if selection.not_profiles:
        found.append(column.profile.concat("").not_in(selection.not_profiles))
    if by_id:
        found += [column.issued_at >= to_epoch(selection.issued_from)] if selection.issued_from else []
        found += [column.issued_at < to_epoch(selection.issued_until)] if selection.issued_until else []
    if selection.not_after_from:
        found.append(column.not_after + 0 >= to_epoch(selection.not_after_from))
    if selection.not_after_until:
        found.append(column.not_after + 0 < to_epoch(selection.not_after_until))
    if selection.name is not None:
        named = select(certificate_names.c.certificate_id).where(
            certificate_names.c.name == search_name(selection.name)
        )
        found.append(column.id.in_(named))
    return [*found, column.id + 0 <= selection.last_id, *_state_conditions(selection.state, now)]


def _state_conditions(state: CertificateState | None, now: int) -> list[ColumnElement[bool]]:
    match state:
        case None:
            return []
        case CertificateState.REVOKED:
            return [_is_revoked]
        case CertificateState.VALID:
            return [~_is_revoked, certificates.c.not_after + 0 >= now]
        case CertificateState.EXPIRED:
            return [~_is_revoked, certificates.c.not_after + 0 < now]


_is_revoked = (
    select(certificate_status.c.serial)
    .where(
        certificate_status.c.issuer_id == certificates.c.issuer_id,
        certificate_status.c.serial == certificates.c.serial,
        certificate_status.c.revoked_at.is_not(None),
    )
    .exists()
)
_highest_id = select(func.coalesce(func.max(certificates.c.id), 0))
_public_key_of = select(certificates.c.public_key_sha256).where(certificates.c.id == bindparam("certificate"))
_ders = select(certificates.c.id, certificates.c.der).where(certificates.c.id.in_(bindparam("ids", expanding=True)))
# One look-up per issuer: there is no index by serial number alone.
_by_serials = without_der.where(
    certificates.c.id.in_(
        select(certificate_status.c.certificate_id).where(
            certificate_status.c.issuer_id.in_(visible_ids),
            certificate_status.c.serial.in_(bindparam("serials", expanding=True)),
        )
    )
).order_by(certificates.c.id)
