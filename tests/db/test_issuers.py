"""Issuers, revocation lists and credentials: the small tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.db import credentials, crls, issuers, position, status
from services.db.engine import Database
from services.db.records import (
    CredentialRecord,
    CrlRecord,
    IssuerRecord,
    IssuerState,
    NewCertificate,
    NewIssuer,
    StatusChange,
)
from services.errors import AlreadyExists

Issuers = Callable[..., NewIssuer]
Changes = Callable[[NewCertificate, int | None], StatusChange]


def test_issuers_come_back_with_their_chain(database: Database, new_issuer: Issuers) -> None:
    """An issuer brings the preferred certificate of each issuer above it, nearest first."""
    with database.write() as conn:
        root = issuers.add_issuer(conn, new_issuer("root"), position.advance(conn, 1))
        middle = issuers.add_issuer(conn, new_issuer("middle", root), position.advance(conn, 1))
        issuers.add_issuer(conn, new_issuer("leaf", middle), position.advance(conn, 1))
    with database.read() as conn:
        found = issuers.list_issuers(conn)
        changed = issuers.issuers_changed_between(conn, 1, 2)
    assert [(issuer.name, issuer.revision) for issuer in found] == [("root", 1), ("middle", 2), ("leaf", 3)]
    assert [issuer.chain_der for issuer in found] == [
        (),
        (b"root certificate",),
        (b"middle certificate", b"root certificate"),
    ]
    assert found[0].certificates_der == (b"root certificate",)
    assert found[0].key_ref == "ca/root.key"
    assert changed == [found[1]]


def test_several_certificates_keep_their_order(database: Database, new_issuer: Issuers) -> None:
    """A renewed or cross-signed CA certificate belongs to the same issuer; the first is preferred."""
    one = new_issuer("issuing")
    two = replace(one.certificates[0], der=b"renewed")
    with database.write() as conn:
        issuers.add_issuer(conn, replace(one, certificates=(two, *one.certificates)), position.advance(conn, 1))
    with database.read() as conn:
        assert issuers.list_issuers(conn)[0].certificates_der == (b"renewed", b"issuing certificate")


@pytest.mark.parametrize(
    "change", [{"subject_der": b"other"}, {"name": "other"}], ids=["same name", "same subject and key"]
)
def test_issuer_exists_once(database: Database, new_issuer: Issuers, change: dict[str, Any]) -> None:
    """An issuer is a name, and a subject with a public key: never one row per CA certificate (DESIGN 4)."""
    with database.write() as conn:
        issuers.add_issuer(conn, new_issuer("issuing"), position.advance(conn, 1))
    with pytest.raises(AlreadyExists) as caught, database.write() as conn:
        issuers.add_issuer(conn, replace(new_issuer("issuing"), **change), position.advance(conn, 1))
    assert caught.value.reason == "ISSUER_EXISTS"


def test_an_issuer_may_have_a_long_key_and_a_long_name(database: Database, new_issuer: Issuers) -> None:
    """A key of ML-DSA-87 and a subject of a kilobyte, both of which are random to an index; still it exists once."""
    one = replace(new_issuer("one"), subject_der=os.urandom(1024), public_key_der=os.urandom(2614))
    with database.write() as conn:
        issuers.add_issuer(conn, one, position.advance(conn, 1))
    other_key = replace(one, name="two", public_key_der=os.urandom(2614))
    with database.write() as conn:
        issuers.add_issuer(conn, other_key, position.advance(conn, 1))
    with pytest.raises(AlreadyExists), database.write() as conn:
        issuers.add_issuer(conn, replace(one, name="three"), position.advance(conn, 1))


def test_state_of_an_issuer_changes_with_its_revision(database: Database, new_issuer: Issuers) -> None:
    """Watchers learn of it."""
    with database.write() as conn:
        id_ = issuers.add_issuer(conn, new_issuer("issuing"), position.advance(conn, 1))
        issuers.set_issuer_state(conn, id_, IssuerState.RETIRED, position.advance(conn, 1))
    with database.read() as conn:
        (changed,) = issuers.issuers_changed_between(conn, 1, 2)
        assert issuers.issuers_changed_between(conn, 2, 2) == []
    assert (changed.state, changed.revision) == (IssuerState.RETIRED, 2)


def test_a_ca_certificate_that_is_revoked_and_released(
    database: Database, new_issuer: Issuers, new_certificate: Callable[..., NewCertificate], change: Changes
) -> None:
    """It goes behind the others while it lasts, and the issuer counts as revoked when none is left."""
    one = new_issuer("middle")
    spare = replace(one.certificates[0], der=b"spare")
    with database.write() as conn:
        middle = issuers.add_issuer(conn, replace(one, certificates=(*one.certificates, spare)), 1)
        issuers.add_issuer(conn, new_issuer("leaf", middle), 2)
    found = []
    for revision, (der, reason) in enumerate(
        [(b"middle certificate", 6), (b"spare", 4), (b"middle certificate", None), (b"other", 1)], 3
    ):
        with database.write() as conn:
            issuers.follow_certificate(conn, der, change(new_certificate(), reason), revision, compromises=False)
        with database.read() as conn:
            above, below = issuers.list_issuers(conn)[-2:]
        found.append((above.revision, above.certificates_der[0], above.revoked, below.chain_der[0], below.revoked))
    assert found == [
        (3, b"spare", False, b"spare", False),
        (4, b"middle certificate", True, b"middle certificate", True),
        (5, b"middle certificate", False, b"middle certificate", False),
        (5, b"middle certificate", False, b"middle certificate", False),
    ]


def test_a_compromise_is_of_the_key(
    database: Database,
    new_issuer: Issuers,
    new_certificate: Callable[..., NewCertificate],
    record: Callable[..., list[int]],
    change: Changes,
) -> None:
    """Every issuer with it, and what is below them is revoked; the first certificate that told so goes on counting."""
    first, second = new_certificate(), new_certificate()
    with database.write() as conn:
        one = issuers.add_issuer(conn, new_issuer("one"), position.advance(conn, 1))
        issuers.add_issuer(conn, new_issuer("two"), position.advance(conn, 1))
        issuers.add_issuer(conn, replace(new_issuer("below", one), public_key_der=b"k2"), position.advance(conn, 1))
        issuers.add_issuer(conn, replace(new_issuer("other"), public_key_der=b"k3"), position.advance(conn, 1))
        conn.execute(text("UPDATE issuers SET public_key_der = subject_der WHERE name = 'issuing'"))
    record(first, second)
    found = []
    for row, der, reason in (
        (first, b"one certificate", 2),
        (second, b"two certificate", 1),
        (first, b"one certificate", 1),
    ):
        with database.write() as conn:
            revision = position.advance(conn, 1)
            status.apply_changes(conn, [change(row, reason)], revision)
            issuers.follow_certificate(conn, der, change(row, reason), revision, compromises=True)
        with database.read() as conn:
            by_name = {issuer.name: issuer for issuer in issuers.list_issuers(conn)}
        assert {name for name, issuer in by_name.items() if issuer.compromise} == {"one", "two"}
        assert by_name["below"].revoked
        assert not by_name["other"].revoked
        assert by_name["one"].compromise == by_name["two"].compromise
        assert by_name["one"].compromise is not None
        found.append((by_name["one"].compromise.revocation.reason, revision - by_name["one"].compromise.revision))
    assert found == [(2, 0), (2, 1), (1, 0)]
    with database.write() as conn:
        issuers.add_issuer(conn, new_issuer("late"), position.advance(conn, 1))
        by_name = {issuer.name: issuer for issuer in issuers.list_issuers(conn)}
    assert by_name["late"].compromise == by_name["one"].compromise


def test_issuer_needs_a_certificate(database: Database, new_issuer: Issuers) -> None:
    """Without one nobody could check what it signs."""
    with pytest.raises(ValueError, match="without a certificate"), database.write() as conn:
        issuers.add_issuer(conn, replace(new_issuer("issuing"), certificates=()), 1)


def test_latest_crl_and_growing_numbers(database: Database, issuer_id: int, now: datetime) -> None:
    """Numbers only grow (R108), and the greatest is the latest."""
    first = CrlRecord(issuer_id, 1, b"first", now, now + timedelta(days=7))
    with database.write() as conn:
        assert crls.latest_crl(conn, issuer_id) is None
        crls.add_crl(conn, first)
        crls.add_crl(conn, replace(first, number=3, der=b"third"))
        for number in (2, 3):
            with pytest.raises(AlreadyExists):
                crls.add_crl(conn, replace(first, number=number))
    with database.read() as conn:
        assert crls.latest_crl(conn, issuer_id) == replace(first, number=3, der=b"third")
        assert crls.latest_crl(conn, issuer_id + 1) is None


def test_credentials_are_denied_for_good(database: Database, now: datetime) -> None:
    """A denial has its time and reason, and neither a second one nor a new description takes it back."""
    admin = CredentialRecord("ab" * 32, "admin", "admin", "spiffe://goodstanding/admin/admin", now, now, None, "")
    other = replace(admin, fingerprint="cd" * 32, created_at=now + timedelta(seconds=1))
    with database.write() as conn:
        credentials.upsert_credential(conn, admin)
        credentials.upsert_credential(conn, other)
        assert credentials.denied_fingerprints(conn) == frozenset()
        denied = credentials.deny_credential(conn, admin.fingerprint, now, "stolen")
        assert denied == replace(admin, denied_at=now, denied_because="stolen")
        assert credentials.deny_credential(conn, admin.fingerprint, now + timedelta(days=1), "again") == denied
        assert credentials.deny_credential(conn, "ef" * 32, now, "unknown") is None
        credentials.upsert_credential(conn, replace(admin, name="renamed"))
    with database.read() as conn:
        assert credentials.denied_fingerprints(conn) == {admin.fingerprint}
        assert credentials.get_credential(conn, "ef" * 32) is None
        assert credentials.list_credentials(conn) == [other, replace(denied, name="renamed")]


def test_known_issuers_are_never_stale(
    database: Database,
    new_issuer: Issuers,
    new_certificate: Callable[..., NewCertificate],
    record: Callable[..., list[int]],
    change: Changes,
) -> None:
    """Whatever happened to the issuers since the last look, the next transaction sees."""
    known = issuers.KnownIssuers()

    def look() -> dict[int, IssuerRecord]:
        with database.write() as conn:
            seen = dict(known.by_id(conn))
            assert seen == {each.id: each for each in issuers.list_issuers(conn)}
            return seen

    before = look()  # one that the other fixtures need
    with database.write() as conn:
        first = issuers.add_issuer(conn, new_issuer("first"), position.advance(conn, 1))
    with database.write() as conn:
        issuers.add_issuer(conn, new_issuer("second", first), position.advance(conn, 1))
    assert [each.name for each in look().values()] == [*(each.name for each in before.values()), "first", "second"]
    with database.write() as conn:
        issuers.set_issuer_state(conn, first, IssuerState.RETIRED, position.advance(conn, 1))
    assert look()[first].state is IssuerState.RETIRED
    row = new_certificate()
    record(row)
    with database.write() as conn:
        revision = position.advance(conn, 1)
        status.apply_changes(conn, [change(row, 1)], revision)
        issuers.follow_certificate(conn, b"first certificate", change(row, 1), revision, compromises=True)
    assert look()[first].compromise is not None
