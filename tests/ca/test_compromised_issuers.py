"""Issuers whose CA certificate is revoked: what becomes of their certificates, and of what they are asked to issue."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import insert

from services.ca.authority import CertificateAuthority
from services.ca.bootstrap import CA_PROFILE, INIT_ACTOR
from services.ca.issue import IssueCommand
from services.ca.keystore import HeldKeys
from services.ca.revoke import RevokeCommand
from services.ca.settings import AuthoritySettings
from services.ca.target import ByCertificate, BySerial
from services.ca.writer import Writer
from services.db import certificates, issuers, models, position, status
from services.db.engine import Database
from services.db.records import (
    Actor,
    CertificateRecord,
    IssuerRecord,
    IssuerState,
    NewCertificate,
    NewIssuer,
    NewIssuerCertificate,
    RevocationRecord,
    StatusRecord,
)
from services.errors import FailedPrecondition, InvalidArgument
from services.pki import der
from services.pki.certificates import Issuer
from services.pki.crls import make_crl
from services.pki.hierarchy import make_issuing, make_root
from services.pki.keys import generate_key
from services.pki.reasons import Reason
from services.pki.serials import serial_from_int
from services.status.lookup import BySerial as Asked
from services.status.lookup import StatusReader
from tests.ca.world import START, Ca, Hierarchy, ManualClock, make_actor, make_ca, make_csr

HOUR = timedelta(hours=1)
HOLD, RELEASE, SUPERSEDED = Reason.CERTIFICATE_HOLD, Reason.REMOVE_FROM_CRL, Reason.SUPERSEDED
COMPROMISE, CA_COMPROMISE = Reason.KEY_COMPROMISE, Reason.CA_COMPROMISE
SETTINGS = AuthoritySettings(public_url="http://ocsp.example.com")


@dataclass(frozen=True)
class Family:
    """The CA certificates: two of issuer "issuing", one with the same key and another name, one with its own key."""

    hierarchy: Hierarchy
    renewed: x509.Certificate
    twin: x509.Certificate
    other: x509.Certificate
    keys: HeldKeys


@pytest.fixture(scope="session")
def family() -> Family:
    """One family for all tests: keys take time to make."""
    root_key, key, other_key = generate_key("p256"), generate_key("p256"), generate_key("p256")
    root = make_root(name="Test Root", key=root_key, now=START)
    issuing, renewed = (
        make_issuing(root=root, root_key=root_key, name="Issuing", key=key, now=START + offset)
        for offset in (timedelta(0), HOUR)
    )
    twin = make_issuing(root=root, root_key=root_key, name="Twin", key=key, now=START)
    other = make_issuing(root=root, root_key=root_key, name="Other", key=other_key, now=START)
    crl = make_crl(Issuer(root, root_key), number=1, this_update=START, next_update=START + timedelta(days=300))
    keys = HeldKeys({"issuing": key, "twin": key, "other": other_key})
    return Family(Hierarchy(root, issuing, key, crl), renewed, twin, other, keys)


@dataclass(frozen=True)
class World:
    """A certificate authority over the family, with a status reader that has been in use for a while."""

    ca: Ca
    family: Family
    reader: StatusReader
    issuer: Actor
    revoker: Actor

    def issue(self, name: str = "issuing", actor: Actor | None = None, profile: str = "") -> CertificateRecord:
        """A certificate by that issuer."""
        command = IssueCommand(csr_der=make_csr(), issuer=name, profile=profile)
        return self.ca.authority.issue(command, actor or self.issuer).certificate

    def revoke(self, what: x509.Certificate | CertificateRecord, reason: int, **more: object) -> CertificateRecord:
        """Revoke a certificate, by itself."""
        given = what.public_bytes(Encoding.DER) if isinstance(what, x509.Certificate) else what.der
        assert given is not None
        command = RevokeCommand(target=ByCertificate(given), reason=reason, **more)  # type: ignore[arg-type]
        return self.ca.authority.revoke(command, self.revoker)

    def status(self, what: CertificateRecord | x509.Certificate, issuer: str | None = None) -> StatusRecord:
        """What the status service says of a certificate."""
        serial = serial_from_int(what.serial_number) if isinstance(what, x509.Certificate) else what.serial
        record = self.reader.get(Asked(issuer, serial, "issuer")).findings[0].record
        assert record is not None
        return record

    def issuer_record(self, name: str) -> IssuerRecord:
        """An issuer, as recorded."""
        return next(record for record in self.ca.authority.issuers() if record.name == name)

    @property
    def issuing(self) -> x509.Certificate:
        """The CA certificate of "issuing"."""
        return self.family.hierarchy.issuing


@pytest.fixture
def world(database: Database, writer: Writer, family: Family, clock: ManualClock, issuer: Actor) -> World:
    """The family registered: "issuing" with one certificate, "twin" with the same key, "other" with another."""
    ca = make_ca(database, writer, family.hierarchy, clock)
    authority = CertificateAuthority(database, writer, family.keys, SETTINGS, clock=clock)
    for name, certificate in (("twin", family.twin), ("other", family.other)):
        add_issuer(database, name, certificate)
    reader = StatusReader(database, clock)
    reader.issuers()
    return World(replace(ca, authority=authority), family, reader, issuer, make_actor("revoker"))


def add_issuer(database: Database, name: str, certificate: x509.Certificate) -> None:
    """Record an active issuer below the root, and its certificate as one of the root's."""
    own = NewIssuerCertificate(
        certificate.public_bytes(Encoding.DER), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    )
    subject, key = der.subject_der(certificate), der.public_key_der(certificate)
    new = NewIssuer(name, IssuerState.ACTIVE, subject, key, (own,), 1, f"{name}.key", START)
    with database.write() as conn:
        issuers.add_issuer(conn, new, position.advance(conn, 1))
    record_ca_certificate(database, certificate)


def renew_issuing(database: Database, certificate: x509.Certificate) -> None:
    """Give "issuing" a second certificate, which chains then go through after the first."""
    values = {
        "issuer_id": 2,
        "preference": 1,
        "der": certificate.public_bytes(Encoding.DER),
        "not_before": int(certificate.not_valid_before_utc.timestamp()),
        "not_after": int(certificate.not_valid_after_utc.timestamp()),
    }
    with database.write() as conn:
        conn.execute(insert(models.issuer_certificates), values)
        issuers.set_issuer_state(conn, 2, IssuerState.ACTIVE, position.advance(conn, 1))
    record_ca_certificate(database, certificate)


def record_ca_certificate(database: Database, certificate: x509.Certificate) -> None:
    """Record a CA certificate as one that the root issued."""
    row = NewCertificate(
        issuer_id=1,
        serial=serial_from_int(certificate.serial_number),
        der=certificate.public_bytes(Encoding.DER),
        subject=certificate.subject.rfc4514_string(),
        common_name=None,
        subject_alternative_names=(),
        profile=CA_PROFILE,
        public_key_sha256=hashlib.sha256(der.public_key_der(certificate)).digest(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issued_at=START,
        actor=INIT_ACTOR,
    )
    with database.write() as conn:
        ids = certificates.insert_certificates(conn, [row])
        status.insert_statuses(conn, [row], ids, position.advance(conn, 1))


def refusal(call: Callable[[], object]) -> str:
    """The reason why issuing is refused."""
    with pytest.raises(FailedPrecondition) as refused:
        call()
    assert [violation.field for violation in refused.value.violations] == ["issuer"]
    return refused.value.reason


@pytest.mark.parametrize("reason", [COMPROMISE, CA_COMPROMISE], ids=["keyCompromise", "cACompromise"])
def test_every_certificate_of_a_compromised_issuer_is_revoked(world: World, reason: Reason) -> None:
    """R51: at once, and of every issuer with that key; with the CA certificate's revocation, unless revoked before."""
    leaf, before, held, twins, others = (world.issue(name) for name in ["issuing"] * 3 + ["twin", "other"])
    world.ca.clock.advance(hours=1)
    world.revoke(before, SUPERSEDED)
    world.revoke(held, HOLD)
    assert world.status(leaf).revocation is None
    world.ca.clock.advance(hours=1)
    revoked = world.revoke(world.issuing, reason, invalidity_at=START)
    by_issuer = RevocationRecord(START + 2 * HOUR, reason, START)
    expected = StatusRecord(
        leaf.issuer_id, leaf.serial, leaf.id, leaf.not_after, by_issuer, START + 2 * HOUR, revoked.revision
    )
    assert world.status(leaf) == expected
    assert world.status(leaf, "issuing") == expected
    assert world.status(before).revocation == RevocationRecord(START + HOUR, SUPERSEDED)
    assert world.status(held).revocation == replace(by_issuer, revoked_at=START + HOUR)
    assert world.status(twins).revocation == by_issuer
    assert world.status(others).revocation is None
    assert world.status(world.issuing).revocation == by_issuer
    assert world.status(world.family.twin).revocation is None
    assert world.reader.get(Asked("issuing", b"\x01" * 16, "")).findings[0].record is None  # R44


def test_a_certificate_revoked_after_the_compromise_keeps_its_time(world: World) -> None:
    """What came first counts; a release of a hold makes nothing good again."""
    leaf, held = world.issue(), world.issue()
    world.revoke(held, HOLD)
    world.ca.clock.advance(hours=1)
    world.revoke(world.issuing, COMPROMISE)
    world.ca.clock.advance(hours=1)
    world.revoke(leaf, Reason.PRIVILEGE_WITHDRAWN)
    world.revoke(held, RELEASE)
    for record in (leaf, held):
        found = world.status(record)
        assert found.revocation == RevocationRecord(START + HOUR, COMPROMISE)
        assert found.changed_at == START + 2 * HOUR


@pytest.mark.parametrize("reason", [SUPERSEDED, Reason.CESSATION_OF_OPERATION, HOLD, Reason.AA_COMPROMISE], ids=str)
def test_other_reasons_leave_what_was_issued_alone(world: World, reason: Reason) -> None:
    """Until the reason is raised to keyCompromise: then since the CA certificate was revoked, as a change of now."""
    leaf = world.issue()
    world.revoke(world.issuing, reason)
    assert world.status(leaf).revocation is None
    assert world.issuer_record("issuing").compromise is None
    assert world.status(world.issuing).revocation == RevocationRecord(START, reason)
    world.ca.clock.advance(hours=1)
    raised = world.revoke(world.issuing, COMPROMISE)
    found = world.status(leaf)
    assert found.revocation == RevocationRecord(START, COMPROMISE)
    assert (found.changed_at, found.revision) == (START + HOUR, raised.revision)


def test_the_first_certificate_that_tells_of_a_compromise_counts(world: World) -> None:
    """Another one changes nothing, and a better reason of its own does."""
    leaf = world.issue()
    first = world.revoke(world.issuing, CA_COMPROMISE)
    world.ca.clock.advance(hours=1)
    world.revoke(world.family.twin, COMPROMISE)
    found = world.status(leaf)
    assert (found.revocation, found.revision) == (RevocationRecord(START, CA_COMPROMISE), first.revision)
    raised = world.revoke(world.issuing, COMPROMISE)
    found = world.status(leaf)
    assert (found.revocation, found.revision) == (RevocationRecord(START, COMPROMISE), raised.revision)
    assert found.changed_at == START + HOUR


def test_a_compromise_is_recorded_with_its_actor(world: World) -> None:
    """The change that compromises an issuer is the revocation of its certificate, with who asked for it."""
    revoked = world.revoke(world.issuing, COMPROMISE)
    compromise = world.issuer_record("issuing").compromise
    assert compromise is not None
    assert world.issuer_record("issuing").revision == revoked.revision == compromise.revision
    with world.ca.db.read() as conn:
        change = status.get_change(conn, compromise.revision)
    assert change is not None
    assert (change.actor, change.revocation) == (world.revoker, compromise.revocation)


def test_a_compromised_issuer_issues_no_more(world: World) -> None:
    """Except for responders: that all is revoked has to be signed by somebody."""
    responder = make_actor("responder")
    assert world.issue("twin")
    world.revoke(world.issuing, COMPROMISE)
    assert refusal(lambda: world.issue("issuing")) == "ISSUER_COMPROMISED"
    assert refusal(lambda: world.issue("twin")) == "ISSUER_COMPROMISED"
    assert world.issue("issuing", responder, "ocsp-responder").profile == "ocsp-responder"
    assert world.issue("").issuer_name == "other"
    world.revoke(world.family.other, SUPERSEDED)
    assert refusal(lambda: world.issue("")) == "ISSUER_AMBIGUOUS"


def test_a_revoked_issuer_issues_no_more(world: World) -> None:
    """While it has no other certificate; a hold counts while it lasts."""
    responder = make_actor("responder")
    world.revoke(world.issuing, HOLD)
    assert refusal(lambda: world.issue("issuing")) == "ISSUER_REVOKED"
    assert world.issue("issuing", responder, "ocsp-responder")
    assert world.issue("twin")
    world.revoke(world.issuing, RELEASE)
    leaf = world.issue("issuing")
    world.revoke(world.issuing, SUPERSEDED)
    assert refusal(lambda: world.issue("issuing")) == "ISSUER_REVOKED"
    assert world.status(leaf).revocation is None


def test_another_certificate_of_the_issuer_takes_over(world: World) -> None:
    """Chains go through the one that is not revoked."""
    renew_issuing(world.ca.db, world.family.renewed)
    old, new = (one.public_bytes(Encoding.DER) for one in (world.issuing, world.family.renewed))
    assert world.issuer_record("issuing").certificates_der == (old, new)
    world.revoke(world.issuing, SUPERSEDED)
    assert world.issuer_record("issuing").certificates_der == (new, old)
    world.ca.clock.advance(hours=2)
    result = world.ca.authority.issue(IssueCommand(csr_der=make_csr(), issuer="issuing"), world.issuer)
    assert result.chain_der == (new,)
    world.revoke(world.family.renewed, HOLD)
    assert refusal(lambda: world.issue("issuing")) == "ISSUER_REVOKED"


def test_below_a_compromised_root(world: World) -> None:
    """Every CA certificate of the root is revoked, and nothing is issued below it; what was issued stays as it is."""
    leaf = world.issue()
    world.revoke(world.family.hierarchy.root, CA_COMPROMISE)
    assert world.status(world.issuing).revocation == RevocationRecord(START, CA_COMPROMISE)
    assert world.status(leaf).revocation is None
    assert refusal(lambda: world.issue()) == "ISSUER_REVOKED"


def test_what_was_signed_before_is_not_recorded_after(world: World, database: Database, family: Family) -> None:
    """Another process that has not heard of it yet is stopped where it would record."""
    with Writer(database) as writer:
        unaware = CertificateAuthority(database, writer, family.keys, SETTINGS, clock=world.ca.clock)
        unaware.directory._ticks = lambda: 0.0  # what it has read of issuers never gets old
        command = IssueCommand(csr_der=make_csr(), issuer="issuing")
        unaware.issue(command, world.issuer)
        world.revoke(world.issuing, COMPROMISE)
        assert unaware.directory.named("issuing").compromise is None
        count = world.ca.count("certificates")
        assert refusal(lambda: unaware.issue(command, world.issuer)) == "ISSUER_COMPROMISED"
        assert world.ca.count("certificates") == count


@pytest.mark.parametrize("preset", ["rfc5280", "baseline"])
def test_a_ca_certificate_needs_a_reason(
    database: Database,
    writer: Writer,
    hierarchy: Hierarchy,
    revoker: Actor,
    preset: Literal["rfc5280", "baseline"],
) -> None:
    """R48: an answer about a revoked CA certificate has to say why."""
    ca = make_ca(database, writer, hierarchy, settings=AuthoritySettings(public_url="http://x", reasons=preset))
    for certificate in (hierarchy.issuing, hierarchy.root):
        target = BySerial(serial_from_int(certificate.serial_number))
        with pytest.raises(InvalidArgument) as refused:
            ca.authority.revoke(RevokeCommand(target=target), revoker)
        assert refused.value.reason == "REASON_REQUIRED"
        assert refused.value.violations[0].field == "reason"
        assert ca.authority.get(target).revocation is None


def test_validate_only_compromises_nobody(world: World) -> None:
    """It shows the revocation, and records none."""
    shown = world.revoke(world.issuing, COMPROMISE, validate_only=True)
    assert shown.revocation == RevocationRecord(START, COMPROMISE)
    assert world.issuer_record("issuing").compromise is None
    assert world.issue()


def test_a_retry_after_a_compromise_gets_what_was_issued(world: World) -> None:
    """G6: the certificate was issued before, and a retry is told so."""
    command, asked = IssueCommand(csr_der=make_csr(), issuer="issuing"), replace(world.issuer, request_id="r")
    first = world.ca.authority.issue(command, asked)
    by_request_id = replace(world.revoker, request_id="c")
    revoke = RevokeCommand(target=ByCertificate(world.issuing.public_bytes(Encoding.DER)), reason=COMPROMISE)
    revoked = [world.ca.authority.revoke(revoke, by_request_id) for _ in range(2)]
    assert revoked[0] == revoked[1]
    assert world.ca.count("status_changes") == 1
    assert world.ca.authority.issue(command, asked).certificate.serial == first.certificate.serial
