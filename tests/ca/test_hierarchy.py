"""Changing the hierarchy: what comes in, what is refused, and what a roll-over leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca.authority import CertificateAuthority
from services.ca.batch import Batch, Exclusive, Plan
from services.ca.crl_schedule import CrlSchedule
from services.ca.hierarchy import ImportCommand, Imported, record_ca_certificates
from services.ca.keystore import HeldKeys
from services.ca.revoke import RevokeCommand
from services.ca.settings import AuthoritySettings
from services.ca.target import BySerial
from services.ca.writer import Writer
from services.db import certificates, crls, issuers, position, status
from services.db.engine import Database
from services.db.records import FULL, Actor, IssuerRecord, IssuerState
from services.errors import DomainError, FailedPrecondition
from services.pki.certificates import Issuer, PrivateKey, key_usage
from services.pki.crls import CrlEntry, make_crl
from services.pki.hierarchy import make_issuing, make_root, renew
from services.pki.issuers import public_key_of
from services.pki.keys import generate_key
from services.pki.reasons import Reason
from services.pki.serials import serial_from_int
from tests.ca.test_issue_calls import asked, issue_many
from tests.ca.world import START, Ca, Hierarchy, ManualClock, make_actor, make_ca, make_csr

ROOT_KEY = generate_key()
SECOND_KEY = generate_key()
LATER = START + timedelta(days=3000)


class Cupboard:
    """A source of keys in memory, in which some cannot be opened."""

    def __init__(self, **keys: PrivateKey) -> None:
        self.keys = {f"file:ca/{name}.key": key for name, key in keys.items()}

    def open(self, reference: str, issuer: str, public_key_der: bytes) -> PrivateKey:
        """The key, or the errors that a source has."""
        reference = f"file:{reference.removeprefix('file:')}"
        if reference not in self.keys:
            raise FailedPrecondition("KEY_MISSING", f"the key of issuer {issuer} is not there")
        if public_key_of(self.keys[reference]) != public_key_der:
            raise FailedPrecondition("KEY_MISMATCH", "another key")
        return self.keys[reference]


ADMIN = make_actor("admin")


@pytest.fixture
def admin() -> Actor:
    """Whoever runs the CA."""
    return ADMIN


@pytest.fixture(scope="session")
def hierarchy() -> Hierarchy:
    """A hierarchy whose root's key we have."""
    root = make_root(name="Root", key=ROOT_KEY, now=START)
    key = generate_key()
    issuing = make_issuing(root=root, root_key=ROOT_KEY, name="Issuing", key=key, now=START)
    crl = make_crl(Issuer(root, ROOT_KEY), number=1, this_update=START, next_update=START + timedelta(days=365))
    return Hierarchy(root, issuing, key, crl)


@pytest.fixture
def ca(database: Database, writer: Writer, hierarchy: Hierarchy, clock: ManualClock) -> Ca:
    """A certificate authority that can open the key of "second", too."""
    make_ca(database, writer, hierarchy, clock)
    keys = HeldKeys({}, Cupboard(issuing=hierarchy.issuing_key, second=SECOND_KEY))
    settings = AuthoritySettings(public_url="http://ocsp.example.com")
    authority = CertificateAuthority(database, writer, keys, settings, clock=clock)
    return Ca(authority, database, clock, hierarchy, writer)


def below_root(ca: Ca, name: str = "Second", key: PrivateKey = SECOND_KEY, **more: Any) -> x509.Certificate:
    """Another CA below the root."""
    return make_issuing(root=ca.hierarchy.root, root_key=ROOT_KEY, name=name, key=key, now=ca.clock(), **more)


def bring_in(ca: Ca, actor: Actor, *found: x509.Certificate, **more: Any) -> Imported:
    """Import it under the name "second", with its key unless it is to be offline."""
    given = {"name": "second", "key_ref": "file:ca/second.key"} | more
    encoded = tuple(each.public_bytes(Encoding.DER) for each in found)
    return ca.authority.hierarchy.begin_import(ImportCommand(certificates_der=encoded, **given), actor).result(10)


def revision(ca: Ca) -> int:
    """The last revision."""
    with ca.db.read() as conn:
        return position.read_position(conn).revision


def by_name(ca: Ca) -> dict[str, IssuerRecord]:
    """The issuers as recorded."""
    return {record.name: record for record in ca.authority.issuers()}


def test_a_new_issuer_issues(ca: Ca, admin: Actor, issuer: Actor) -> None:
    """It comes in active with its key, has a status, takes revisions that watchers see, and issues at once."""
    certificate, before = below_root(ca), revision(ca)
    done = bring_in(ca, admin, certificate)
    assert done.issuer is not None
    assert (done.issuer.state, done.added, done.issuer.key_ref) == (IssuerState.ACTIVE, 1, "file:ca/second.key")
    with ca.db.read() as conn:
        root, _, second = issuers.list_issuers(conn)
        told = issuers.issuers_changed_between(conn, before, revision(ca))
        serial = serial_from_int(certificate.serial_number)
        recorded = certificates.get_certificate(conn, root.id, serial)
        assert status.get_statuses(conn, root.id, [serial])[serial].revocation is None
    assert told == [second]
    assert second.chain_der == root.certificates_der
    assert recorded is not None
    assert (recorded.profile, recorded.actor.identity) == ("ca", admin.identity)
    leaf = x509.load_der_x509_certificate(ca.issue(issuer, issuer="second").certificate.der or b"")
    leaf.verify_directly_issued_by(certificate)


def test_what_a_ca_further_up_rules_out(ca: Ca, issuer: Actor) -> None:
    """A path is checked as a whole: what the CA above the issuer is constrained to holds for the issuer, too."""
    key = generate_key()
    builder = x509.CertificateBuilder(
        ca.hierarchy.root.subject, x509.Name.from_rfc4514_string("CN=Policy"), key.public_key(), 77, START, LATER
    )
    for value, critical in (
        (x509.BasicConstraints(ca=True, path_length=1), True),
        (x509.NameConstraints([x509.DNSName("corp.example")], None), True),
        (key_usage(ca=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ):
        builder = builder.add_extension(value, critical)
    policy = builder.sign(ROOT_KEY, hashes.SHA256())
    below = make_issuing(root=policy, root_key=key, name="Second", key=SECOND_KEY, now=START)
    bring_in(ca, ADMIN, policy, name="policy", key_ref=None)
    bring_in(ca, ADMIN, below)
    with pytest.raises(DomainError) as refused:
        ca.issue(issuer, issuer="second", csr_der=make_csr("corp.example.org"))
    assert refused.value.reason == "ISSUER_CONSTRAINED"
    assert ca.issue(issuer, issuer="second", csr_der=make_csr("www.corp.example"))


def test_twice_is_once(ca: Ca, admin: Actor) -> None:
    """What is known is not recorded again, and the call succeeds."""
    certificate = below_root(ca)
    first = bring_in(ca, admin, certificate)
    before = revision(ca), ca.count("certificates"), ca.count("issuer_certificates")
    again = bring_in(ca, admin, certificate)
    assert (again.issuer, again.added) == (first.issuer, 0)
    # A reserved revision may come to nothing.
    assert (ca.count("certificates"), ca.count("issuer_certificates")) == before[1:]


def test_validate_only_records_nothing(ca: Ca, admin: Actor) -> None:
    """Everything is checked, and nothing is there afterwards."""
    done = bring_in(ca, admin, below_root(ca), validate_only=True)
    assert (done.issuer, done.added) == (None, 1)
    assert by_name(ca).keys() == {"root", "issuing"}


def test_a_renewed_certificate_is_preferred(ca: Ca, admin: Actor, issuer: Actor) -> None:
    """The issuer stays one, has both certificates, and chains go through the new one."""
    old = ca.hierarchy.issuing
    ca.clock.advance(days=30)
    new = renew(old, Issuer(ca.hierarchy.root, ROOT_KEY), now=ca.clock())
    done = bring_in(ca, admin, new, name="issuing", key_ref=None)
    assert done.issuer is not None
    assert done.issuer.certificates_der == tuple(each.public_bytes(Encoding.DER) for each in (new, old))
    assert done.issuer.state is IssuerState.ACTIVE
    result = ca.issue(issuer)
    assert result.chain_der == (new.public_bytes(Encoding.DER),)
    leaf = x509.load_der_x509_certificate(result.certificate.der or b"")
    for either in (old, new):
        leaf.verify_directly_issued_by(either)


def test_a_roll_over_is_one_step(ca: Ca, admin: Actor, issuer: Actor, responder: Actor) -> None:
    """Exactly one issuer is active before and after; the old one goes on for responders, and only for them (R32)."""
    old_leaf = ca.issue(issuer)
    bring_in(ca, admin, below_root(ca, name="Issuing"), retired_issuers=("issuing",))
    found = by_name(ca)
    assert (found["issuing"].state, found["second"].state) == (IssuerState.RETIRED, IssuerState.ACTIVE)
    assert ca.issue(issuer).certificate.issuer_name == "second"
    with pytest.raises(FailedPrecondition) as refused:
        ca.issue(issuer, issuer="issuing")
    assert refused.value.reason == "ISSUER_NOT_ACTIVE"
    for name in ("issuing", "second"):
        delegate = ca.issue(responder, issuer=name, profile="ocsp-responder")
        assert delegate.certificate.issuer_name == name
    revoker = make_actor("revoker")
    assert ca.revoke(revoker, old_leaf.certificate.serial, Reason.SUPERSEDED).revocation is not None


def test_retire_and_activate(ca: Ca, admin: Actor, issuer: Actor) -> None:
    """Both ways, each once recorded and the second time without effect; the root is neither."""
    bring_in(ca, admin, below_root(ca))
    with pytest.raises(FailedPrecondition) as ambiguous:
        ca.issue(issuer)
    assert ambiguous.value.reason == "ISSUER_AMBIGUOUS"
    for state, issues_by in ((IssuerState.RETIRED, "second"), (IssuerState.RETIRED, "second")):
        assert ca.authority.hierarchy.begin_update("issuing", state, ADMIN).result(10).state is state
        assert ca.issue(issuer).certificate.issuer_name == issues_by
    assert (
        ca.authority.hierarchy.begin_update("issuing", IssuerState.ACTIVE, ADMIN).result(10).state is IssuerState.ACTIVE
    )
    with pytest.raises(FailedPrecondition) as active:
        ca.authority.hierarchy.begin_update("issuing", IssuerState.OFFLINE, ADMIN).result(10)
    assert active.value.reason == "ISSUER_STILL_ACTIVE"
    for state in (IssuerState.RETIRED, IssuerState.OFFLINE):
        ca.authority.hierarchy.begin_update("issuing", state, ADMIN).result(10)
    assert (by_name(ca)["issuing"].state, by_name(ca)["issuing"].key_ref) == (IssuerState.OFFLINE, None)
    with pytest.raises(FailedPrecondition):
        ca.issue(make_actor("responder"), issuer="issuing", profile="ocsp-responder")
    with pytest.raises(FailedPrecondition) as refused:
        ca.authority.hierarchy.begin_update("root", IssuerState.RETIRED, ADMIN).result(10)
    assert refused.value.reason == "ISSUER_OFFLINE"


def test_nothing_is_recorded_after_a_retirement_was_told(
    database: Database, writer: Writer, ca: Ca, hierarchy: Hierarchy, issuer: Actor
) -> None:
    """Not even what was signed by somebody who had not heard of it yet."""
    ca.issue(issuer)  # from now on, it is known for a second that "issuing" is active
    keys = HeldKeys({}, Cupboard(issuing=hierarchy.issuing_key))
    other = CertificateAuthority(database, writer, keys, AuthoritySettings(public_url="http://x"), clock=ca.clock)
    other.hierarchy.begin_update("issuing", IssuerState.RETIRED, ADMIN).result(10)
    before = ca.count("certificates")
    with pytest.raises(FailedPrecondition) as refused:
        ca.issue(issuer)
    assert refused.value.reason == "ISSUER_NOT_ACTIVE"
    assert ca.count("certificates") == before


def test_many_requests_do_not_notice_a_roll_over(
    database: Database, writer: Writer, ca: Ca, hierarchy: Hierarchy, issuer: Actor, admin: Actor
) -> None:
    """What was signed with the old key while the new one took over is signed anew, where no issuer was named."""
    ca.issue(issuer)  # from now on, it is known for a second that "issuing" is active
    keys = HeldKeys({}, Cupboard(issuing=hierarchy.issuing_key, second=SECOND_KEY))
    other = CertificateAuthority(database, writer, keys, AuthoritySettings(public_url="http://x"), clock=ca.clock)
    bring_in(replace(ca, authority=other), admin, below_root(ca), retired_issuers=("issuing",))
    results = issue_many(ca, [asked(f"id-{number}", issuer="issuing" if number == 7 else "") for number in range(20)])
    assert [each.error.reason or each.certificate.issuer for each in results] == [
        "ISSUER_NOT_ACTIVE" if number == 7 else "second" for number in range(20)
    ]


def stranger(ca: Ca) -> x509.Certificate:
    """A CA below another root."""
    root = make_root(name="Elsewhere", key=SECOND_KEY, now=ca.clock())
    return make_issuing(root=root, root_key=SECOND_KEY, name="Second", key=generate_key(), now=ca.clock())


def below_issuing(ca: Ca) -> x509.Certificate:
    """Made to look as if the issuing CA had another path length."""
    above = make_issuing(
        root=ca.hierarchy.root,
        root_key=ROOT_KEY,
        name="Issuing",
        key=ca.hierarchy.issuing_key,
        now=ca.clock(),
        path_length=1,
    )
    return make_issuing(root=above, root_key=ca.hierarchy.issuing_key, name="Second", key=SECOND_KEY, now=ca.clock())


@pytest.mark.parametrize(
    ("make", "changes", "reason"),
    [
        pytest.param(stranger, {"key_ref": None}, "ISSUER_CHAIN_INCOMPLETE", id="nobody-known-signed-it"),
        pytest.param(below_issuing, {}, "ISSUER_CHAIN_INVALID", id="below-path-length-0"),
        pytest.param(below_root, {"key_ref": "file:ca/issuing.key"}, "KEY_MISMATCH", id="the-key-of-another"),
        pytest.param(below_root, {"name": "issuing", "key_ref": None}, "ISSUER_EXISTS", id="the-name-of-another"),
        pytest.param(below_root, {"key_ref": "file:ca/third.key"}, "KEY_MISSING", id="no-key"),
        pytest.param(below_root, {"key_ref": "file:../x.key"}, "KEY_REFERENCE_INVALID", id="a-key-outside"),
        pytest.param(below_root, {"key_ref": "file:/etc/x.key"}, "KEY_REFERENCE_INVALID", id="an-absolute-path"),
        pytest.param(below_root, {"key_ref": "pkcs11:x"}, "KEY_REFERENCE_INVALID", id="another-scheme"),
        pytest.param(below_root, {"name": "Second!"}, "ISSUER_NAME_INVALID", id="a-name-for-no-address"),
        pytest.param(below_root, {"retired_issuers": ("nobody",)}, "ISSUER_UNKNOWN", id="retires-nobody"),
        pytest.param(below_root, {"retired_issuers": ("root",)}, "ISSUER_OFFLINE", id="retires-the-root"),
        pytest.param(below_root, {"key_ref": None, "retired": True}, "STATE_INVALID", id="retired-without-key"),
    ],
)
def test_what_cannot_come_in(
    ca: Ca, admin: Actor, make: Callable[[Ca], x509.Certificate], changes: dict[str, Any], reason: str
) -> None:
    """It is refused with its reason, and nothing is recorded."""
    with pytest.raises(DomainError) as refused:
        bring_in(ca, admin, make(ca), **changes)
    assert refused.value.reason == reason
    assert by_name(ca).keys() == {"root", "issuing"}


def test_a_second_parent_is_refused(ca: Ca, admin: Actor) -> None:
    """An issuer has one chain: a cross-certificate by another CA is told apart from a renewal, and not recorded."""
    key = generate_key()
    other = make_root(name="Other", key=key, now=ca.clock())
    bring_in(ca, admin, other, name="other", key_ref=None)
    own = ca.hierarchy.issuing
    crossed = make_issuing(root=other, root_key=key, name=own.subject, key=ca.hierarchy.issuing_key, now=ca.clock())
    with pytest.raises(FailedPrecondition, match="than the one above issuing so far") as refused:
        bring_in(ca, admin, crossed, name="issuing", key_ref=None)
    assert refused.value.reason == "ISSUER_CHAIN_INVALID"
    assert by_name(ca)["issuing"].certificates_der == (own.public_bytes(Encoding.DER),)


def test_no_certificate_of_a_ca(ca: Ca, admin: Actor, issuer: Actor) -> None:
    """A leaf, nothing, rubbish, and certificates of two CAs are no issuer."""
    leaf = ca.issue(issuer).certificate.der or b""
    two = tuple(each.public_bytes(Encoding.DER) for each in (ca.hierarchy.root, ca.hierarchy.issuing))
    for found in ((leaf,), (), (b"rubbish",), two):
        with pytest.raises(DomainError) as refused:
            ca.authority.hierarchy.begin_import(ImportCommand(name="x", certificates_der=found), admin)
        assert refused.value.reason == "ISSUER_CERTIFICATE_INVALID"


def test_a_revoked_certificate_makes_no_issuer(ca: Ca, admin: Actor) -> None:
    """Nor does its renewal by a certificate that is revoked already."""
    renewed = renew(ca.hierarchy.issuing, Issuer(ca.hierarchy.root, ROOT_KEY), now=ca.clock())
    bring_in(ca, admin, renewed, name="issuing", key_ref=None)
    ca.revoke(make_actor("revoker"), serial_from_int(renewed.serial_number), Reason.SUPERSEDED)
    assert by_name(ca)["issuing"].revoked is False
    assert bring_in(ca, admin, renewed, name="issuing", key_ref=None).added == 0


class Waiting(Exclusive):
    """A work that keeps the writer busy, so that what comes meanwhile shares the next batch."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def decide(self, _batch: Batch) -> Plan[None]:
        """Wait."""
        self.begun.set()
        self.over.wait(10)
        return Plan(lambda: None)


def in_one_batch(ca: Ca, *begin: Callable[[], Future[Any]]) -> list[Any]:
    """What calls come to that are written in the same batch; the reason of those that are refused."""
    waiting = Waiting()
    held = ca.writer.submit(waiting)
    waiting.begun.wait(10)
    futures = [each() for each in begin]
    waiting.over.set()
    held.result(10)
    errors = [future.exception(10) for future in futures]
    return [
        error.reason if isinstance(error, DomainError) else future.result()
        for error, future in zip(errors, futures, strict=True)
    ]


def test_two_changes_of_an_issuer_at_once(ca: Ca) -> None:
    """Each sees what the other has come to: no issuer is active without its key, nothing is recorded twice."""
    changing, renewed = (
        ca.authority.hierarchy,
        renew(ca.hierarchy.issuing, Issuer(ca.hierarchy.root, ROOT_KEY), now=ca.clock()),
    )
    command = ImportCommand(name="issuing", certificates_der=(renewed.public_bytes(Encoding.DER),))
    twice = in_one_batch(ca, *[lambda: changing.begin_import(command, ADMIN)] * 2)
    assert [each.added for each in twice] == [1, 0]
    assert len(by_name(ca)["issuing"].certificates_der) == 2
    changing.begin_update("issuing", IssuerState.RETIRED, ADMIN).result(10)
    states = IssuerState.OFFLINE, IssuerState.ACTIVE
    _, refused = in_one_batch(ca, *[partial(changing.begin_update, "issuing", state, ADMIN) for state in states])
    assert refused == "ISSUER_OFFLINE"
    assert (by_name(ca)["issuing"].state, by_name(ca)["issuing"].key_ref) == (IssuerState.OFFLINE, None)


def test_a_certificate_that_is_revoked_as_it_comes_in(ca: Ca) -> None:
    """Whichever was first: an issuer whose certificate is revoked is revoked."""
    renewed = renew(ca.hierarchy.issuing, Issuer(ca.hierarchy.root, ROOT_KEY), now=ca.clock())
    serial = serial_from_int(renewed.serial_number)
    with ca.db.write() as conn:
        position.advance(conn, 1)
        record_ca_certificates(conn, [renewed], by_name(ca)["root"].id, ca.clock, ADMIN)
    come_in = ImportCommand(name="issuing", certificates_der=(renewed.public_bytes(Encoding.DER),))
    revoke = RevokeCommand(target=BySerial(serial), reason=Reason.SUPERSEDED)
    in_one_batch(
        ca,
        lambda: ca.authority.hierarchy.begin_import(come_in, ADMIN),
        lambda: ca.authority.begin_revoke(revoke, ADMIN),
    )
    ca.revoke(ADMIN, serial_from_int(ca.hierarchy.issuing.serial_number), Reason.SUPERSEDED)
    assert by_name(ca)["issuing"].revoked


def test_numbers_that_were_used_elsewhere(ca: Ca) -> None:
    """R108: an issuer that came in with the number of its last list goes on above it; programs are told the number."""
    root, now = Issuer(ca.hierarchy.root, ROOT_KEY), ca.clock()
    with ca.db.write() as conn:
        position.advance(conn, 1)
        crls.take_over_number(conn, by_name(ca)["root"].id, 0x1000)

    def record(number: int) -> int:
        der = make_crl(root, number=number, this_update=now, next_update=now + timedelta(days=30))
        return ca.authority.foreign_crls.begin("root", der, ADMIN).result(10)

    for number in (2, 0x1000):
        with pytest.raises(DomainError) as refused:
            record(number)
        assert (refused.value.reason, refused.value.metadata) == ("CRL_NUMBER_USED", {"last_number": "4096"})
    assert record(0x1001) == 0x1001
    with pytest.raises(DomainError) as refused:
        record(0x1001)
    # Of a list that was made here meanwhile: what is in the new one may be out of date, and another number is no cure.
    assert refused.value.metadata == {}


def delta_of(issuer: Issuer, *, number: int, this_update: datetime, next_update: datetime) -> bytes:
    """A list of what has changed since list number 1 (RFC 5280, section 5.2.4)."""
    builder = x509.CertificateRevocationListBuilder(issuer.name, this_update, next_update)
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    return builder.sign(issuer.private_key, issuer.hash_algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def test_a_list_of_an_issuer_that_went_offline(ca: Ca, issuer: Actor) -> None:
    """While its key is here, its lists are made here; afterwards lists from elsewhere go on from the last of them."""
    serial = ca.issue(issuer).certificate.serial
    ca.revoke(make_actor("revoker"), serial)
    schedule = CrlSchedule(ca.db, ca.authority.directory, ca.authority.crl_points, clock=ca.clock)
    assert schedule.step() == 1
    signer, now = Issuer(ca.hierarchy.issuing, ca.hierarchy.issuing_key), ca.clock()

    def record(number: int) -> int:
        entries = [CrlEntry(serial, now)]
        der = make_crl(signer, entries, number=number, this_update=now, next_update=now + timedelta(days=30))
        return ca.authority.foreign_crls.begin("issuing", der, ADMIN).result(10)

    for state in (IssuerState.ACTIVE, IssuerState.RETIRED):
        ca.authority.hierarchy.begin_update("issuing", state, ADMIN).result(10)
        with pytest.raises(DomainError) as refused:
            record(2)
        assert refused.value.reason == "CRL_SUPERSEDED"
    ca.authority.hierarchy.begin_update("issuing", IssuerState.OFFLINE, ADMIN).result(10)
    assert [record(number) for number in (2, 3)] == [2, 3]
    with pytest.raises(DomainError, match="is not loaded"):
        ca.authority.directory.with_key(by_name(ca)["issuing"])
    ca.clock.advance(days=2)
    assert schedule.step() == 0, "the service would have no key after a start, either"
    # With its key back, the next list of ours has the next number, and every change since.
    bring_in(ca, ADMIN, ca.hierarchy.issuing, name="issuing", key_ref="file:ca/issuing.key")
    ca.revoke(make_actor("revoker"), ca.issue(issuer).certificate.serial)
    ca.clock.advance(days=2)
    schedule = CrlSchedule(ca.db, ca.authority.directory, ca.authority.crl_points, clock=ca.clock)
    assert schedule.step() == 1
    with ca.db.read() as conn:
        latest = crls.newest_list(conn, by_name(ca)["issuing"].id, FULL)
    assert latest is not None
    assert (latest.number, latest.entries) == (4, 2)


def test_a_list_of_an_offline_issuer(ca: Ca) -> None:
    """It is recorded if it is the issuer's, current, and its number is above all before (R108)."""
    root, now = Issuer(ca.hierarchy.root, ROOT_KEY), ca.clock()
    later = now + timedelta(days=30)
    seventh = make_crl(root, number=7, this_update=now, next_update=later)
    assert ca.authority.foreign_crls.begin("root", seventh, ADMIN).result(10) == 7
    with ca.db.read() as conn:
        latest = crls.latest_crl(conn, by_name(ca)["root"].id)
    assert latest is not None
    assert latest.number == 7
    own = Issuer(ca.hierarchy.issuing, ca.hierarchy.issuing_key)
    for der, reason in (
        (make_crl(root, number=7, this_update=now, next_update=later), "CRL_NUMBER_USED"),
        (make_crl(own, number=9, this_update=now, next_update=later), "CRL_INVALID"),
        (make_crl(root, number=9, this_update=now - timedelta(days=2), next_update=now), "CRL_INVALID"),
        (b"rubbish", "CRL_INVALID"),
        (make_crl(root, number=9, this_update=now + timedelta(hours=1), next_update=later), "CRL_INVALID"),
        (delta_of(root, number=9, this_update=now, next_update=later), "CRL_INVALID"),
        (make_crl(root, number=2**62, this_update=now, next_update=later), "CRL_INVALID"),
        (make_crl(root, number=2**100, this_update=now, next_update=later), "CRL_INVALID"),
    ):
        with pytest.raises(DomainError) as refused:
            ca.authority.foreign_crls.begin("root", der, ADMIN).result(10)
        assert refused.value.reason == reason
