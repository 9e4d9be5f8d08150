"""Revocation lists are made when they should be, and say what the status service says (R106 to R113)."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry

from services.ca.crl_figures import CrlFigures
from services.ca.crl_health import CrlHealth
from services.ca.crl_making import make_crl, make_offline_crl
from services.ca.crl_schedule import COALESCE_SECONDS, REST
from services.ca.settings import AuthoritySettings
from services.ca.writer import Writer
from services.clock import from_epoch
from services.db import crls, issuers
from services.db.engine import Database
from services.db.position import advance, new_history
from services.db.records import FULL, Actor, CrlDescription, CrlScope
from services.errors import AlreadyExists
from services.pki.crl_entries import RevokedEntries
from services.pki.issuers import Issuer
from services.pki.reasons import Reason
from services.pki.serials import serial_from_int
from tests.ca.revocation_lists import (
    ISSUING,
    PUBLIC_URL,
    Lists,
    Ticks,
    answers,
    entries_of,
    issue,
    make_schedule,
    number_of,
)
from tests.ca.test_bulk import issue_ca
from tests.ca.world import START, Ca, Hierarchy, make_ca, make_csr

ADMIN = Actor("spiffe://goodstanding/admin/test", "test", "admin", "ab" * 32, "ipv4:127.0.0.1:1", "")


def test_the_first_list_is_made_at_the_start(lists: Lists, hierarchy: Hierarchy) -> None:
    """An issuer whose key is here has a list at once, full and empty; that of the root stays as it was (R107, R109)."""
    assert lists.step() == 1
    crl = lists.crl()
    assert (number_of(crl), len(crl)) == (1, 0)
    assert crl.next_update_utc is not None
    assert crl.next_update_utc - crl.last_update_utc == timedelta(days=7)
    assert crl.is_signature_valid(hierarchy.issuing_key.public_key())
    assert [type(each.value) for each in crl.extensions] == [x509.AuthorityKeyIdentifier, x509.CRLNumber]
    assert lists.step(60) == 0
    assert lists.ca.count("crl_lists") == 2


def test_changes_are_waited_for_a_moment(lists: Lists, issuer: Actor, revoker: Actor) -> None:
    """Changes that come together make one list, and the next one waits in proportion to what the last one took."""
    serials = issue(lists.ca, issuer, 3)
    lists.step()
    lists.ca.revoke(revoker, serials[0])
    assert lists.step() == 0
    lists.ca.revoke(revoker, serials[1])
    assert lists.step(COALESCE_SECONDS / 2) == 0
    assert lists.step(COALESCE_SECONDS / 2) == 1
    assert entries_of(lists.crl()).keys() == {serials[0], serials[1]}
    assert lists.settle() == 0
    assert REST >= 2


def test_lists_say_what_ocsp_says(lists: Lists, issuer: Actor, revoker: Actor) -> None:
    """Status, reason, date and invalidity date agree for every serial number, through holds and releases (R113)."""
    ca, clock = lists.ca, lists.ca.clock
    serials = issue(ca, issuer, 8)
    lists.step()
    steps: list[tuple[int, Reason, dict[str, object]]] = [
        (0, Reason.UNSPECIFIED, {}),
        (1, Reason.KEY_COMPROMISE, {"invalidity_at": START - timedelta(days=3)}),
        (2, Reason.CERTIFICATE_HOLD, {}),
        (3, Reason.CERTIFICATE_HOLD, {}),
        (4, Reason.SUPERSEDED, {}),
        (2, Reason.REMOVE_FROM_CRL, {}),
        (4, Reason.KEY_COMPROMISE, {"invalidity_at": START - timedelta(days=9)}),
        (3, Reason.CESSATION_OF_OPERATION, {}),
        (5, Reason.CERTIFICATE_HOLD, {}),
        (5, Reason.REMOVE_FROM_CRL, {}),
        (5, Reason.PRIVILEGE_WITHDRAWN, {}),
    ]
    for index, reason, more in steps:
        clock.advance(seconds=7)
        ca.revoke(revoker, serials[index], reason, **more)
        lists.settle()
        assert entries_of(lists.crl()) == answers(ca.db, serials)
    assert len(entries_of(lists.crl())) == 5


def test_an_entry_stays_until_a_scheduled_list_has_shown_it_expired(
    lists: Lists, issuer: Actor, revoker: Actor
) -> None:
    """It is in the first scheduled list after the expiry, and not in the next one (R111)."""
    ca = lists.ca
    serial = ca.issue(issuer, validity=timedelta(days=2)).certificate.serial
    lists.step()
    ca.revoke(revoker, serial)
    shown = []
    for _ in range(5):
        lists.settle()
        shown.append(serial in entries_of(lists.crl()))
        lists.step(timedelta(hours=25).total_seconds())
    assert shown == [True, True, True, False, False]
    late = issue(ca, issuer)[0]
    ca.clock.advance(days=400)
    lists.step()
    ca.revoke(revoker, late)
    lists.settle()
    assert late in entries_of(lists.crl())


def test_there_is_a_list_every_day_without_any_change(lists: Lists) -> None:
    """A new one is made on schedule, and after the clock was set back (R109)."""
    assert [lists.step(seconds) for seconds in (0, 86399, 1, 86399, 1)] == [1, 0, 1, 0, 1]
    lists.ca.clock.advance(days=-30)
    assert [lists.step(10), lists.step(10)] == [1, 0]
    assert number_of(lists.crl()) == 4


def test_a_restart_goes_on_where_it_was(lists: Lists, issuer: Actor, revoker: Actor) -> None:
    """After a restart no list is made for nothing, and what was missed is in the next, with a higher number (R108)."""
    ca = lists.ca
    serials = issue(ca, issuer, 2)
    lists.step()
    ca.revoke(revoker, serials[0])
    lists.settle()
    for expected in (0, 1):
        with ca.db.write() as conn:
            new_history(conn)
        ticks = Ticks()
        again = Lists(ca, make_schedule(ca, ticks), ticks)
        if expected:
            ca.revoke(revoker, serials[1])
        assert again.settle() == expected
        again.schedule.close()
    assert (number_of(lists.crl()), set(entries_of(lists.crl()))) == (3, set(serials))


def test_a_restored_database_is_read_anew(lists: Lists, issuer: Actor, revoker: Actor) -> None:
    """In another history, what was known is forgotten."""
    ca = lists.ca
    (serial,) = issue(ca, issuer)
    ca.revoke(revoker, serial)
    lists.settle()
    with ca.db.write() as conn:
        new_history(conn)
        conn.exec_driver_sql("DELETE FROM crl_lists WHERE issuer_id = 2")
    assert lists.settle() == 1
    assert (number_of(lists.crl()), len(lists.crl())) == (2, 1)


def test_processes_side_by_side(lists: Lists, issuer: Actor, revoker: Actor) -> None:
    """Two of them never give out a number twice, and do not make the same list twice without need (R108)."""
    ca, other_ticks = lists.ca, Ticks()
    other = Lists(ca, make_schedule(ca, other_ticks), other_ticks)
    serials = issue(ca, issuer, 6)
    assert lists.step() + other.step() == 1
    for serial in serials[:3]:
        ca.revoke(revoker, serial)
        assert lists.settle() + other.settle() == 1
    with ThreadPoolExecutor(2) as pool:
        for serial in serials[3:]:
            ca.revoke(revoker, serial)
            assert sum(pool.map(Lists.settle, (lists, other))) >= 1
    assert entries_of(lists.crl()).keys() == set(serials)
    other.schedule.close()


def make(ca: Ca, hierarchy: Hierarchy, revision: int) -> CrlDescription:
    """A list straight away."""
    signer = Issuer(hierarchy.issuing, hierarchy.issuing_key)
    later = START + timedelta(days=1)
    return make_crl(
        ca.db,
        signer,
        CrlScope(ISSUING, FULL, None),
        RevokedEntries(),
        revision=revision,
        this_update=START,
        next_update=later,
    )


def test_numbers_only_grow(ca: Ca, hierarchy: Hierarchy) -> None:
    """Of many that make lists at once each gets another number, and the newest list is never one that knows less."""
    with ca.db.write() as conn:
        crls.add_full_scope(conn, ISSUING)

    def attempt(revision: int) -> CrlDescription | None:
        try:
            return make(ca, hierarchy, revision)
        except AlreadyExists:
            return None

    with ThreadPoolExecutor(4) as pool:
        made = [crl for crl in pool.map(attempt, [1, 2, 3, 4, 5, 6, 7, 8]) if crl is not None]
    assert len({crl.number for crl in made}) == len(made)
    in_order = sorted(made, key=lambda crl: crl.number)
    assert [crl.revision for crl in in_order] == sorted(crl.revision for crl in made)
    with pytest.raises(AlreadyExists, match="later changes"):
        make(ca, hierarchy, 0)
    assert ca.count("crl_blocks") == ca.count("crl_lists") <= crls.KEPT + 1


def test_old_lists_are_forgotten(lists: Lists, issuer: Actor, revoker: Actor) -> None:
    """Only the newest few of a scope are kept, and the last scheduled one, which tells what has been shown."""
    ca = lists.ca
    serials = issue(ca, issuer, 6)
    lists.step()
    for serial in serials:
        ca.revoke(revoker, serial)
        assert lists.settle() == 1
    with ca.db.read() as conn:
        assert [crls.newest_list(conn, ISSUING, FULL, scheduled=each).number for each in (False, True)] == [7, 1]  # type: ignore[union-attr]
    assert (ca.count("crl_lists"), ca.count("crl_blocks")) == (crls.KEPT + 2, crls.KEPT + 1)


def compromise_issuing(ca: Ca, hierarchy: Hierarchy) -> None:
    """Revoke the CA certificate for key compromise."""
    serial = serial_from_int(hierarchy.issuing.serial_number)
    ca.revoke(ADMIN, serial, Reason.KEY_COMPROMISE, invalidity_at=START - timedelta(days=1))


def test_a_compromised_issuer(lists: Lists, issuer: Actor, revoker: Actor, responder: Actor) -> None:
    """Its list has everything that it ever issued, as OCSP answers it, responder certificates of later on too (R51)."""
    ca = lists.ca
    serials = issue(ca, issuer, 4)
    ca.revoke(revoker, serials[0], Reason.SUPERSEDED)
    ca.revoke(revoker, serials[1], Reason.CERTIFICATE_HOLD)
    lists.settle()
    ca.clock.advance(hours=1)
    compromise_issuing(ca, lists.ca.hierarchy)
    ca.revoke(revoker, serials[2], Reason.AFFILIATION_CHANGED)
    lists.step(2)
    lists.settle()
    assert entries_of(lists.crl()) == answers(ca.db, serials)
    assert len(lists.crl()) == 4
    ca.revoke(revoker, serials[1], Reason.REMOVE_FROM_CRL)
    lists.settle()
    assert entries_of(lists.crl()) == answers(ca.db, serials)
    delegate = ca.issue(responder, profile="ocsp-responder", csr_der=make_csr(), issuer="issuing")
    lists.step(86400)
    serials.append(delegate.certificate.serial)
    assert entries_of(lists.crl()) == answers(ca.db, serials)


def test_shards(sharded: Lists, issuer: Actor, revoker: Actor) -> None:
    """A certificate names the shard that lists it, to the octet; together the shards are the full list (R112)."""
    ca = sharded.ca
    results = [ca.issue(issuer) for _ in range(12)]
    assert sharded.step() == 4
    for result in results:
        ca.revoke(revoker, result.certificate.serial)
    assert sharded.settle() >= 2
    full = entries_of(sharded.crl())
    parts = {scope: entries_of(sharded.crl(scope)) for scope in (1, 2, 3)}
    assert {serial: entry for part in parts.values() for serial, entry in part.items()} == full
    assert sum(map(len, parts.values())) == len(full) == 12
    for result in results:
        (point,) = point_of(result.certificate.der)
        (scope,) = (scope for scope, part in parts.items() if result.certificate.serial in part)
        idp = sharded.crl(scope).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert idp.critical
        assert idp.value.full_name == point.full_name
        assert (point.reasons, point.crl_issuer) == (None, None)


def point_of(der: bytes | None) -> list[x509.DistributionPoint]:
    """The CRL distribution points of a certificate."""
    assert der is not None
    certificate = x509.load_der_x509_certificate(der)
    return list(certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value)


def test_more_shards_and_another_address_later(sharded: Lists, issuer: Actor, revoker: Actor) -> None:
    """Certificates keep the shard they name, whatever the configuration becomes; so do those that name none."""
    ca = sharded.ca
    before = [ca.issue(issuer).certificate for _ in range(4)]
    sharded.step()
    for settings, shards in [
        (AuthoritySettings(public_url=PUBLIC_URL, crl_distribution="sharded", crl_shards=5), 5),
        (AuthoritySettings(public_url="http://new.example.com", crl_distribution="sharded", crl_shards=2), 7),
        (AuthoritySettings(public_url="http://new.example.com"), 7),
    ]:
        later = make_ca(ca.db, ca.writer, ca.hierarchy, ca.clock, settings, register=False)
        before += [later.issue(issuer).certificate for _ in range(3)]
        ticks = Ticks()
        lists = Lists(later, make_schedule(later, ticks), ticks)
        lists.settle()
        with ca.db.read() as conn:
            assert [scope.scope for scope in crls.scopes_of(conn, ISSUING)] == list(range(shards + 1))
        lists.schedule.close()
    for certificate in before:
        ca.revoke(revoker, certificate.serial)
    ticks = Ticks()
    lists = Lists(later, make_schedule(later, ticks), ticks)
    lists.settle()
    lists.schedule.close()
    listed = {scope: set(entries_of(lists.crl(scope))) for scope in range(8)}
    assert listed[0] == set().union(*(listed[scope] for scope in range(1, 8))) == {each.serial for each in before}
    for certificate in before[:-3]:
        (point,) = point_of(certificate.der)
        (scope,) = (scope for scope in range(1, 8) if certificate.serial in listed[scope])
        idp = lists.crl(scope).extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
        assert idp.full_name == point.full_name
    assert {each.serial for each in before[-3:]} <= listed[1]


@pytest.mark.parametrize("distribution", ["none", "full", "sharded"])
def test_what_certificates_name(
    database: Database, writer: Writer, hierarchy: Hierarchy, issuer: Actor, responder: Actor, distribution: str
) -> None:
    """Leaves name what is configured, one http address; responder certificates never name a list (R66, R98)."""
    settings = AuthoritySettings(public_url=PUBLIC_URL, crl_distribution=distribution, crl_shards=1)  # type: ignore[arg-type]
    ca = make_ca(database, writer, hierarchy, settings=settings)
    leaf = x509.load_der_x509_certificate(ca.issue(issuer).certificate.der or b"")
    delegate = ca.issue(responder, profile="ocsp-responder", csr_der=make_csr(), issuer="issuing").certificate
    named = [each.value for each in leaf.extensions if isinstance(each.value, x509.CRLDistributionPoints)]
    urls = [name.value for value in named for point in value for name in point.full_name or ()]
    wanted = {"none": [], "full": [f"{PUBLIC_URL}/crl/issuing.crl"], "sharded": [f"{PUBLIC_URL}/crl/issuing/1.crl"]}
    assert urls == wanted[distribution]
    extensions = x509.load_der_x509_certificate(delegate.der or b"").extensions
    assert all(not isinstance(each.value, x509.CRLDistributionPoints) for each in extensions)


@pytest.mark.parametrize("distribution", ["none", "full", "sharded"])
def test_cas_always_name_a_list(database: Database, writer: Writer, distribution: str) -> None:
    """The certificate of a CA names one, one http address, also where leaves name none (R98)."""
    settings = AuthoritySettings(public_url=PUBLIC_URL, crl_distribution=distribution, crl_shards=1)  # type: ignore[arg-type]
    _, made = issue_ca(database, writer, ADMIN, settings)
    (point,) = point_of(made.der)
    assert [name.value for name in point.full_name or ()] == [
        f"{PUBLIC_URL}/crl/issuing/1.crl" if distribution == "sharded" else f"{PUBLIC_URL}/crl/issuing.crl"
    ]


def test_the_list_of_an_issuer_that_is_offline(ca: Ca, hierarchy: Hierarchy, revoker: Actor) -> None:
    """Whoever has its key makes the next one: with what was revoked, and a number above that of before."""
    ca.revoke(ADMIN, serial_from_int(hierarchy.issuing.serial_number), Reason.CESSATION_OF_OPERATION)
    with ca.db.read() as conn:
        root, issuing = issuers.list_issuers(conn)
    key = hierarchy.issuing_key
    made = make_offline_crl(
        ca.db, issuing, Issuer(hierarchy.issuing, key), now=START, next_update=START + timedelta(days=300)
    )
    assert (made.number, made.entries) == (1, 0)
    with pytest.raises(ValueError, match="not the key"):
        make_offline_crl(ca.db, root, Issuer(hierarchy.issuing, key), now=START, next_update=START)
    with ca.db.read() as conn:
        assert crls.newest_list(conn, root.id, FULL).number == 1  # type: ignore[union-attr]


def test_metrics_and_the_warning_about_an_offline_issuer(
    lists: Lists, issuer: Actor, revoker: Actor, capsys: pytest.CaptureFixture[str]
) -> None:
    """Number, times, entries and size of each list are told; once a day, that one ends that nobody here can renew."""
    registry, ticks = CollectorRegistry(), Ticks()
    schedule = make_schedule(lists.ca, ticks, CrlFigures(registry))
    one = Lists(lists.ca, schedule, ticks)
    (serial,) = issue(one.ca, issuer)
    one.ca.revoke(revoker, serial)
    one.settle()

    def value(name: str, issuer: str) -> float | None:
        return registry.get_sample_value(f"goodstanding_crl_{name}", {"issuer": issuer, "scope": "0"})

    assert (value("number", "issuing"), value("entries", "issuing")) == (1.0, 1.0)
    assert from_epoch(int(value("next_update_seconds", "issuing") or 0)) > one.ca.clock()
    assert value("number", "root") == 1.0
    assert registry.get_sample_value("goodstanding_crl_make_seconds_count") == 1.0
    assert "offline issuer" not in capsys.readouterr().out
    one.step(timedelta(days=280).total_seconds())
    one.step(60)
    assert capsys.readouterr().out.count("offline issuer") == 1
    schedule.close()


def test_a_long_list_is_stored_in_blocks(ca: Ca, hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes out as it went in, whatever its length; a list that is refused leaves no block behind (G1)."""
    monkeypatch.setattr(crls, "BLOCK", 100)
    with ca.db.write() as conn:
        crls.add_full_scope(conn, ISSUING)
    made = make(ca, hierarchy, 5)
    blocks = ca.count("crl_blocks")
    assert blocks > 3
    with ca.db.read() as conn:
        crl = crls.latest_crl(conn, ISSUING)
    assert crl is not None
    assert hashlib.sha256(crl.der).digest() == made.sha256
    with pytest.raises(AlreadyExists):
        make(ca, hierarchy, 4)
    assert ca.count("crl_blocks") == blocks


def test_health_tells_of_lists_that_are_not_current(lists: Lists) -> None:
    """One that is made here and comes late, or one that is over; nobody has to have made them for that."""
    ca = lists.ca
    health = CrlHealth(ca.db, ca.authority.directory, timedelta(days=1), ca.clock)
    assert health.look() == {"crl/root": True}
    lists.step()
    assert health.look() == {"crl/root": True, "crl/issuing": True}
    ca.clock.advance(hours=25)
    assert health.look()["crl/issuing"]
    ca.clock.advance(seconds=1)
    assert health.look() == {"crl/root": True, "crl/issuing": False}
    lists.step(COALESCE_SECONDS)
    assert health.look()["crl/issuing"]
    ca.clock.now = START + timedelta(days=300)
    assert health.look() == {"crl/root": False, "crl/issuing": False}


def test_health_wants_every_shard(sharded: Lists) -> None:
    """One without a list is enough to say no."""
    ca = sharded.ca
    health = CrlHealth(ca.db, ca.authority.directory, timedelta(days=1), ca.clock)
    sharded.step()
    assert health.look()["crl/issuing"]
    with ca.db.write() as conn:
        advance(conn, 1)
        crls.add_shards(conn, ISSUING, "http://elsewhere.example.com/", 1)
    assert not health.look()["crl/issuing"]
