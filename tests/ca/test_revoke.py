"""Revoking: every change of mind about a reason, the times that stay, and how a certificate is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca.revoke import RevokeCommand
from services.ca.settings import AuthoritySettings
from services.ca.target import ByCertificate, BySerial
from services.ca.writer import Writer
from services.db import status
from services.db.engine import Database
from services.db.records import Actor, ChangeAction, RevocationRecord
from services.errors import DomainError, FailedPrecondition, InvalidArgument, NotFound
from services.pki.keys import generate_key
from services.pki.reasons import Reason
from tests.ca.world import START, Ca, Hierarchy, make_ca

HOUR = timedelta(hours=1)
HOLD, RELEASE, COMPROMISE = Reason.CERTIFICATE_HOLD, Reason.REMOVE_FROM_CRL, Reason.KEY_COMPROMISE


def expected(before: Reason | None, asked: Reason) -> str:
    """The table: what becomes of a certificate in state `before`."""
    if asked is RELEASE:
        return "released" if before is HOLD else "NOT_ON_HOLD"
    if before is None:
        return "revoked now"
    if asked is before:
        return "unchanged"
    return "reason changed" if before is HOLD or asked is COMPROMISE else "ALREADY_REVOKED"


def test_every_transition_between_reasons(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """All states times all reasons; the time of a revocation never moves (R111)."""
    states = [None, *(reason for reason in Reason if reason is not RELEASE)]
    for before, asked in product(states, Reason):
        ca.clock.now = START
        serial = ca.issue(issuer).certificate.serial
        if before is not None:
            ca.revoke(revoker, serial, before)
        ca.clock.advance(hours=1)
        try:
            revocation = ca.revoke(revoker, serial, asked).revocation
        except FailedPrecondition as error:
            outcome = error.reason
        else:
            outcome = {
                None: "released",
                RevocationRecord(START + HOUR, asked): "revoked now",
                RevocationRecord(START, asked): "unchanged" if asked is before else "reason changed",
            }[revocation]
        assert outcome == expected(before, asked), (before, asked)
        stored = ca.authority.get(BySerial(serial)).revocation
        kept = RevocationRecord(START, before) if before is not None else None
        assert stored == (revocation if outcome[0].islower() else kept)


def test_a_change_is_recorded_with_its_actor(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """Who, from where, under which request id, and which revision: for hold and release alike."""
    serial = ca.issue(issuer).certificate.serial
    held = ca.revoke(replace(revoker, request_id="h"), serial, HOLD, invalidity_at=START - HOUR)
    released = ca.revoke(replace(revoker, request_id="r"), serial, RELEASE)
    with ca.db.read() as conn:
        changes = [status.get_change(conn, record.revision) for record in (held, released)]
    found = [
        (change.action, change.actor.request_id, change.actor.peer, change.revocation) for change in changes if change
    ]
    assert found == [
        (ChangeAction.HOLD, "h", revoker.peer, RevocationRecord(START, HOLD, START - HOUR)),
        (ChangeAction.RELEASE, "r", revoker.peer, None),
    ]
    assert released.revision > held.revision


def test_an_invalidity_time_stays_unless_a_new_one_comes(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """An upgrade to keyCompromise may bring one, and otherwise keeps the first."""
    serial = ca.issue(issuer).certificate.serial
    ca.revoke(revoker, serial, Reason.SUPERSEDED, invalidity_at=START - HOUR)
    upgraded = ca.revoke(revoker, serial, COMPROMISE)
    assert upgraded.revocation == RevocationRecord(START, COMPROMISE, START - HOUR)


@pytest.mark.parametrize("reason", [HOLD, COMPROMISE], ids=["hold", "compromise"])
def test_an_invalidity_time_may_come_later(ca: Ca, issuer: Actor, revoker: Actor, reason: Reason) -> None:
    """The same reason again adds one, or takes an earlier one; a later one, or none, leaves what is recorded."""
    serial = ca.issue(issuer).certificate.serial
    first = ca.revoke(revoker, serial, reason)
    ca.clock.advance(hours=1)
    found = [
        ca.revoke(revoker, serial, reason, invalidity_at=START - hours * HOUR if hours else None)
        for hours in (2, 1, 2, 0, 3)
    ]
    assert [each.revocation for each in found] == [
        RevocationRecord(START, reason, START - hours * HOUR) for hours in (2, 2, 2, 2, 3)
    ]
    assert first.revision < found[0].revision == found[3].revision < found[4].revision
    with ca.db.read() as conn:
        change = status.get_change(conn, found[4].revision)
    assert change is not None
    assert change.action is (ChangeAction.HOLD if reason is HOLD else ChangeAction.REVOKE)


@pytest.mark.parametrize(
    ("reason", "ahead"), [pytest.param(COMPROMISE, 1, id="future"), pytest.param(RELEASE, -1, id="release")]
)
def test_invalidity_times_that_are_refused(ca: Ca, issuer: Actor, revoker: Actor, reason: Reason, ahead: int) -> None:
    """Not in the future, and not with a release."""
    serial = ca.issue(issuer).certificate.serial
    with pytest.raises(InvalidArgument) as refused:
        ca.revoke(revoker, serial, reason, invalidity_at=START + timedelta(seconds=ahead))
    assert refused.value.reason == "INVALIDITY_TIME_INVALID"
    assert refused.value.violations[0].field == "invalidity_time"


def test_the_shorter_list_of_reasons(
    database: Database, writer: Writer, hierarchy: Hierarchy, issuer: Actor, revoker: Actor
) -> None:
    """The baseline preset knows no hold (R110)."""
    settings = AuthoritySettings(public_url="http://x", reasons="baseline")
    ca = make_ca(database, writer, hierarchy, settings=settings)
    serial = ca.issue(issuer).certificate.serial
    with pytest.raises(InvalidArgument) as refused:
        ca.revoke(revoker, serial, HOLD)
    assert refused.value.reason == "REASON_NOT_ALLOWED"
    assert ca.revoke(revoker, serial, COMPROMISE).revocation


def test_by_the_certificate_itself(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """The stored bytes name it."""
    der = ca.issue(issuer).certificate.der
    assert der is not None
    assert ca.authority.revoke(RevokeCommand(target=ByCertificate(der)), revoker).revocation


def forge(der: bytes, *, own_name: bool = False) -> bytes:
    """A certificate with the serial number and issuer of another, signed with a key of our own."""
    given = x509.load_der_x509_certificate(der)
    key = generate_key("p256")
    builder = (
        x509.CertificateBuilder()
        .subject_name(given.subject)
        .issuer_name(given.subject if own_name else given.issuer)
        .public_key(key.public_key())
        .serial_number(given.serial_number)
        .not_valid_before(given.not_valid_before_utc)
        .not_valid_after(given.not_valid_after_utc)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("own_name", [False, True], ids=["our-issuer-name", "self-signed"])
def test_a_forged_certificate_revokes_nothing(ca: Ca, issuer: Actor, revoker: Actor, own_name: bool) -> None:
    """The right serial number is not enough."""
    record = ca.issue(issuer).certificate
    assert record.der is not None
    with pytest.raises(FailedPrecondition) as refused:
        ca.authority.revoke(RevokeCommand(target=ByCertificate(forge(record.der, own_name=own_name))), revoker)
    assert refused.value.reason == "CERTIFICATE_MISMATCH"
    assert ca.authority.get(BySerial(record.serial)).revocation is None


@pytest.mark.parametrize(
    ("target", "error", "reason", "field"),
    [
        pytest.param(
            BySerial(b"\x01" * 16),
            NotFound,
            "CERTIFICATE_UNKNOWN",
            "issuer_and_serial_number.serial_number",
            id="never-issued",
        ),
        pytest.param(
            BySerial(b"\x01" * 16, "issuing"),
            NotFound,
            "CERTIFICATE_UNKNOWN",
            "issuer_and_serial_number.serial_number",
            id="never-issued-by-this-one",
        ),
        pytest.param(
            BySerial(b"\x01", "nobody"),
            NotFound,
            "ISSUER_UNKNOWN",
            "issuer_and_serial_number.issuer",
            id="unknown-issuer",
        ),
        pytest.param(
            ByCertificate(b"garbage"), InvalidArgument, "CERTIFICATE_MALFORMED", "certificate_der", id="garbage"
        ),
    ],
)
def test_certificates_that_are_not_ours(
    ca: Ca, revoker: Actor, target: BySerial | ByCertificate, error: type[DomainError], reason: str, field: str
) -> None:
    """Each has its class, reason and field."""
    with pytest.raises(error) as refused:
        ca.authority.revoke(RevokeCommand(target=target), revoker)
    assert refused.value.reason == reason
    assert refused.value.violations[0].field == field


def test_validate_only_changes_nothing(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """It shows what would be, and refuses what would be refused."""
    serial = ca.issue(issuer).certificate.serial
    shown = ca.revoke(replace(revoker, request_id="v"), serial, HOLD, validate_only=True)
    assert shown.revocation == RevocationRecord(START, HOLD)
    with pytest.raises(FailedPrecondition):
        ca.revoke(revoker, serial, RELEASE, validate_only=True)
    assert (ca.count("status_changes"), ca.count("idempotency_keys")) == (0, 0)


def test_concurrent_revocations_are_decided_one_after_the_other(
    database: Database, hierarchy: Hierarchy, issuer: Actor, revoker: Actor
) -> None:
    """Two writers, four reasons at once: exactly one wins, the others hear that it did."""
    with Writer(database) as one, Writer(database) as two:
        cas = [make_ca(database, one, hierarchy), make_ca(database, two, hierarchy, register=False)]
        reasons = [Reason.SUPERSEDED, Reason.CESSATION_OF_OPERATION, Reason.PRIVILEGE_WITHDRAWN, Reason.CA_COMPROMISE]
        for _ in range(5):
            serial = cas[0].issue(issuer).certificate.serial

            def attempt(number: int, serial: bytes = serial) -> bool:
                try:
                    return bool(cas[number % 2].revoke(revoker, serial, reasons[number]))
                except FailedPrecondition:
                    return False

            with ThreadPoolExecutor(4) as pool:
                assert sum(pool.map(attempt, range(4))) == 1
        assert cas[0].count("status_changes") == 5
