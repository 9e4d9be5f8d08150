"""Bulk revocation: the table of reasons, what is selected, retries, dry runs, and the neighbours' turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from itertools import product
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from services.ca import selection
from services.ca.bulk import BulkCommand, ItemResult, Outcome
from services.ca.selection import ByFilter, ByKey, Listed, ListedTarget, Selection
from services.ca.settings import AuthoritySettings
from services.ca.target import ByCertificate, BySerial
from services.ca.writer import Writer
from services.db import issuers
from services.db import selection as db_selection
from services.db.engine import Database
from services.db.records import Actor, CertificateRecord, CertificateState, RevocationRecord
from services.errors import FailedPrecondition, InvalidArgument, NotFound
from services.pki.certificates import Issuer
from services.pki.crls import make_crl
from services.pki.der import public_key_der
from services.pki.hierarchy import ca_name, make_issuing, make_root
from services.pki.keys import generate_key
from services.pki.reasons import Reason, allowed_reasons
from services.pki.serials import serial_from_int
from tests.ca.test_revoke import COMPROMISE, HOLD, HOUR, RELEASE, expected
from tests.ca.world import START, Ca, Hierarchy, audit_entries, make_actor, make_ca, make_csr, with_id


def revoke_all(
    ca: Ca, actor: Actor, which: Selection, reason: int = Reason.UNSPECIFIED, **more: Any
) -> list[ItemResult]:
    """Carry out a whole bulk revocation."""
    run = ca.authority.bulk.start(BulkCommand(selection=which, reason=reason, **more), actor)
    results: list[ItemResult] = []
    while (step := run.find()) is not None:
        results += run.carry_out(step).result() if step else []
    return results


def listed(serials: Sequence[bytes]) -> Listed:
    """Certificates by serial number."""
    return Listed([ListedTarget(BySerial(serial)) for serial in serials])


def outcomes(results: Sequence[ItemResult]) -> list[str]:
    """The word of each result: the reason of the error where it was refused."""
    return [each.error.reason if each.error else each.outcome.value for each in results]


def key_sha256(ca: Ca, serial: bytes) -> bytes:
    """The hash of a certificate's key."""
    der = ca.authority.get(BySerial(serial)).der
    assert der is not None
    return sha256(public_key_der(x509.load_der_x509_certificate(der))).digest()


@pytest.mark.parametrize("preset", ["rfc5280", "baseline"])
def test_every_transition_between_reasons(
    database: Database, writer: Writer, hierarchy: Hierarchy, issuer: Actor, revoker: Actor, preset: Any
) -> None:
    """All states times all reasons of both presets, in bulk; the time of a revocation never moves (R110, R111)."""
    everything = make_ca(database, writer, hierarchy)
    strict = AuthoritySettings(public_url="http://x", reasons=preset)
    ca = make_ca(database, writer, hierarchy, everything.clock, strict, register=False)
    states = [None, *(reason for reason in Reason if reason is not RELEASE)]
    cells = list(product(states, Reason))
    key = ec.generate_private_key(ec.SECP256R1())
    csr = make_csr(key=key)
    serials = [ca.issue(issuer, csr_der=csr).certificate.serial for _ in cells]
    before = [
        ListedTarget(BySerial(serial), state)
        for serial, (state, _) in zip(serials, cells, strict=True)
        if state is not None
    ]
    assert set(outcomes(revoke_all(everything, revoker, Listed(before)))) == {"revoked", "held"}
    ca.clock.advance(hours=1)
    targets = [ListedTarget(BySerial(serial), asked) for serial, (_, asked) in zip(serials, cells, strict=True)]
    results = revoke_all(ca, revoker, Listed(targets))
    for (state, asked), serial, result in zip(cells, serials, results, strict=True):
        wanted = expected(state, asked) if asked in allowed_reasons(preset) else "REASON_NOT_ALLOWED"
        kept = None if state is None else RevocationRecord(START, state)
        after = {
            "revoked now": RevocationRecord(START + HOUR, asked),
            "reason changed": RevocationRecord(START, asked),
            "released": None,
        }.get(wanted, kept)
        told = {"revoked now": "revoked", "reason changed": "revoked"}.get(wanted, wanted)
        told = "held" if told == "revoked" and asked is HOLD else told
        assert outcomes([result]) == [told], (state, asked)
        assert result.record is not None
        assert (result.earlier, result.record.revocation) == (kept, after), (state, asked)
        stored = ca.authority.get(BySerial(serial))
        assert (stored.revocation, stored.revision) == (after, result.record.revision), (state, asked)


def test_a_list_with_mistakes(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """Each is told for itself; the good ones are revoked, one that is named twice only once."""
    first, second, third = (ca.issue(issuer).certificate for _ in range(3))
    assert third.der is not None
    targets = [
        ListedTarget(BySerial(first.serial)),
        ListedTarget(BySerial(b"\x01" * 16)),
        ListedTarget(BySerial(second.serial, "nobody")),
        ListedTarget(BySerial(second.serial, "issuing"), HOLD),
        ListedTarget(InvalidArgument("SERIAL_INVALID", "no serial number")),
        ListedTarget(ByCertificate(b"garbage")),
        ListedTarget(ByCertificate(third.der)),
        ListedTarget(BySerial(first.serial)),
        ListedTarget(BySerial(second.serial), RELEASE),
    ]
    results = revoke_all(ca, revoker, Listed(targets), Reason.SUPERSEDED)
    assert [each.index for each in results] == list(range(9))
    assert outcomes(results) == [
        "revoked", "CERTIFICATE_UNKNOWN", "ISSUER_UNKNOWN", "held", "SERIAL_INVALID", "CERTIFICATE_MALFORMED",
        "revoked", "unchanged", "released",
    ]  # fmt: skip
    assert ca.count("status_changes") == 4
    assert results[7].record == replace(results[0].record, der=None) if results[0].record else False


def test_by_key(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """All certificates with the key, more than fit into one step, and no other."""
    csr = make_csr(key=ec.generate_private_key(ec.SECP256R1()))
    serials = [ca.issue(issuer, csr_der=csr).certificate.serial for _ in range(selection.STEP + 1)]
    other = ca.issue(issuer).certificate.serial
    results = revoke_all(ca, revoker, ByKey(key_sha256(ca, serials[0])), COMPROMISE, invalidity_at=START - HOUR)
    assert [each.record.serial for each in results if each.record] == serials
    assert {each.record.revocation for each in results if each.record} == {
        RevocationRecord(START, COMPROMISE, START - HOUR)
    }
    assert ca.authority.get(BySerial(other)).revocation is None


def test_the_key_of_a_ca(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """The CA certificate with that key is revoked, needs a reason, and compromises its issuer (R48, R51)."""
    serial = serial_from_int(ca.hierarchy.issuing.serial_number)
    which = ByKey(key_sha256(ca, serial))
    assert outcomes(revoke_all(ca, revoker, which)) == ["REASON_REQUIRED"]
    assert outcomes(revoke_all(ca, revoker, which, COMPROMISE)) == ["revoked"]
    with ca.db.read() as conn:
        compromised = [record.name for record in issuers.list_issuers(conn) if record.compromise]
    assert compromised == ["issuing"]
    with pytest.raises(FailedPrecondition) as refused:
        ca.issue(issuer)
    assert refused.value.reason == "ISSUER_COMPROMISED"


def test_filters(ca: Ca, issuer: Actor, revoker: Actor, responder: Actor) -> None:
    """Each filter selects what fits it, all together what fits all; CAs and responders only by their profile."""
    other = make_actor("issuer", "other")
    names = {}
    for name, actor, hours in (("a", issuer, 0), ("b", other, 1), ("c", issuer, 2)):
        ca.clock.now = START + hours * HOUR
        csr = make_csr(f"{name}.example.com")
        validity = timedelta(days=10 if name == "c" else 20)
        names[ca.issue(actor, csr_der=csr, validity=validity).certificate.serial] = name
    names[ca.issue(responder, profile="ocsp-responder").certificate.serial] = "r"
    revoke_all(ca, revoker, ByFilter(name="B.example.com"), HOLD)

    def found(**fields: Any) -> str:
        results = revoke_all(ca, revoker, ByFilter(**fields), Reason.SUPERSEDED, validate_only=True)
        return "".join(names.get(each.record.serial, "?") for each in results if each.record)

    assert found(issuer="issuing") == found(profile="server") == "abc"
    assert found(name="A.example.com") == "a"
    assert found(identity=other.identity) == "b"
    assert found(identity=issuer.identity, issued_from=START + HOUR) == "c"
    assert found(issued_from=START + HOUR) == "bc"
    assert found(issued_until=START + HOUR, issuer="issuing") == "a"
    assert found(not_after_from=START + timedelta(days=15), profile="server") == "ab"
    assert found(not_after_until=START + timedelta(days=15)) == "c"
    assert found(state=CertificateState.VALID) == "ac"
    assert found(state=CertificateState.REVOKED) == "b"
    assert found(name="nobody.example.com") == ""
    assert found(issuer="root") == ""
    assert found(profile="ca") == "??"
    assert found(profile="ocsp-responder") == found(profile="ocsp-responder", identity=responder.identity) == "r"
    assert found(identity=responder.identity) == ""
    with pytest.raises(InvalidArgument, match="empty filter"):
        found()
    with pytest.raises(NotFound):
        found(issuer="nobody")
    assert ca.count("status_changes") == 1


def test_pages_of_a_filter(ca: Ca, issuer: Actor, revoker: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps go on where the last one ended, and not to what is issued while they run."""
    monkeypatch.setattr(selection, "STEP", 3)
    serials = [ca.issue(issuer).certificate.serial for _ in range(7)]
    run = ca.authority.bulk.start(BulkCommand(selection=ByFilter(profile="server")), revoker)
    found: list[bytes] = []
    while step := run.find():
        found += [each.record.serial for each in run.carry_out(step).result() if each.record]
        ca.issue(issuer)
    assert found == serials
    again = revoke_all(ca, revoker, ByFilter(profile="server"))
    assert outcomes(again) == ["unchanged"] * 7 + ["revoked"] * 3
    assert [each.index for each in again] == list(range(10))


def test_a_filter_that_hardly_any_fits(ca: Ca, issuer: Actor, revoker: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding comes up for air, with nothing to show; nobody else has to wait for a look at everything."""
    monkeypatch.setattr(db_selection, "WINDOW", 2)
    days = [9 if number == 5 else 20 for number in range(7)]
    serials = [ca.issue(issuer, validity=timedelta(days=each)).certificate.serial for each in days]
    which = ByFilter(not_after_until=START + timedelta(days=10))
    run = ca.authority.bulk.start(BulkCommand(selection=which), revoker)
    steps = []
    while (step := run.find()) is not None:
        steps.append([each.record.serial for each in step if each.record])
    assert [each for each in steps if each] == [[serials[5]]]
    assert [] in steps


def test_a_dry_run_tells_what_would_be(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """The same results as the real one, but for revisions, and nothing is recorded."""
    serials = [ca.issue(issuer).certificate.serial for _ in range(3)]
    ca.revoke(revoker, serials[1], Reason.SUPERSEDED)
    which = listed([*serials, b"\x01" * 16])
    changes = ca.count("status_changes")
    dry = revoke_all(ca, with_id(revoker, "dry"), which, HOLD, validate_only=True)
    assert (ca.count("status_changes"), ca.count("idempotency_keys")) == (changes, 0)
    real = revoke_all(ca, with_id(revoker, "dry"), which, HOLD)
    assert outcomes(dry) == outcomes(real) == ["held", "ALREADY_REVOKED", "held", "CERTIFICATE_UNKNOWN"]
    assert [each.record and each.record.revocation for each in dry] == [
        each.record and each.record.revocation for each in real
    ]


def test_retries_have_the_same_results(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """With a request id each certificate gets what it got, whatever has become of it since (G6)."""
    serials = [ca.issue(issuer).certificate.serial for _ in range(3)]
    caller = with_id(revoker, "id-1")
    first = revoke_all(ca, caller, listed(serials[:2]), HOLD)
    ca.revoke(revoker, serials[0], RELEASE)
    ca.clock.advance(hours=1)
    again = revoke_all(ca, caller, listed(serials), HOLD)
    assert again[:2] == first
    assert outcomes(again) == ["held"] * 3
    assert ca.authority.get(BySerial(serials[0])).revocation is None
    reused = revoke_all(ca, caller, listed(serials), COMPROMISE)
    assert outcomes(reused) == ["REQUEST_ID_REUSED"] * 3
    assert outcomes(revoke_all(ca, with_id(revoker, "id-2"), listed(serials), HOLD)) == [
        "held",
        "unchanged",
        "unchanged",
    ]
    assert outcomes(revoke_all(ca, with_id(revoker, "id-2"), listed(serials), HOLD)) == [
        "held",
        "unchanged",
        "unchanged",
    ]


def test_one_named_twice_under_a_request_id(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """It has the same result twice, and another reason for it is refused."""
    serial = ca.issue(issuer).certificate.serial
    targets = [ListedTarget(BySerial(serial), reason) for reason in (HOLD, HOLD, RELEASE)]
    results = revoke_all(ca, with_id(revoker, "id"), Listed(targets))
    assert outcomes(results) == ["held", "held", "REQUEST_ID_REUSED"]
    assert ca.count("status_changes") == 1


@pytest.mark.parametrize(
    ("reason", "invalidity", "told"),
    [
        pytest.param(7, None, "REASON_NOT_ALLOWED", id="no-reason"),
        pytest.param(COMPROMISE, START + HOUR, "INVALIDITY_TIME_INVALID", id="future"),
        pytest.param(RELEASE, START - HOUR, "INVALIDITY_TIME_INVALID", id="release-with-a-time"),
    ],
)
def test_calls_that_are_refused_as_a_whole(ca: Ca, revoker: Actor, reason: int, invalidity: Any, told: str) -> None:
    """What no certificate could be revoked with is refused before anything is read."""
    with pytest.raises(InvalidArgument) as refused:
        revoke_all(ca, revoker, ByFilter(profile="server"), reason, invalidity_at=invalidity)
    assert refused.value.reason == told


def test_the_same_key_needs_a_compromise(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """`all_with_same_key` is for keyCompromise, and means the certificate itself, too."""
    csr = make_csr(key=ec.generate_private_key(ec.SECP256R1()))
    serials = [ca.issue(issuer, csr_der=csr).certificate.serial for _ in range(2)]
    start = ca.authority.bulk.start_same_key
    with pytest.raises(InvalidArgument) as refused:
        start(BySerial(serials[0]), revoker, reason=Reason.SUPERSEDED, invalidity_at=None, validate_only=False)
    assert refused.value.reason == "SAME_KEY_REASON"
    run = start(BySerial(serials[0]), revoker, reason=COMPROMISE, invalidity_at=None, validate_only=False)
    assert [each.outcome for each in run.carry_out(run.find() or []).result()] == [Outcome.REVOKED] * 2


def test_changes_of_one_batch_see_each_other(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """Steps and single revocations in one batch are decided one after the other."""
    serials = [ca.issue(issuer).certificate.serial for _ in range(8)]
    runs = [
        ca.authority.bulk.start(BulkCommand(selection=listed(serials), reason=reason), revoker) for reason in (5, 1, 5)
    ]
    steps = [run.find() or [] for run in runs]
    results = [run.carry_out(step) for run, step in zip(runs, steps, strict=True)]
    told = [outcomes(each.result()) for each in results]
    assert told == [["revoked"] * 8, ["revoked"] * 8, ["ALREADY_REVOKED"] * 8]
    assert ca.revoke(revoker, serials[0], COMPROMISE).revision == results[1].result()[0].record.revision  # type: ignore[union-attr]
    with ca.db.read() as conn:
        revisions = list(conn.exec_driver_sql("SELECT revision FROM status_changes ORDER BY revision").scalars())
    assert len(set(revisions)) == 16


def issue_ca(
    database: Database, writer: Writer, actor: Actor, settings: AuthoritySettings | None = None
) -> tuple[Ca, CertificateRecord]:
    """A CA whose issuer has room below it, and the certificate of a CA that it issued from a request."""
    root_key, key = generate_key("p256"), generate_key("p256")
    root = make_root(name="Test Root", key=root_key, now=START)
    upper = make_issuing(root=root, root_key=root_key, name="Upper", key=key, now=START, path_length=1)
    crl = make_crl(Issuer(root, root_key), number=1, this_update=START, next_update=START + timedelta(days=300))
    ca = make_ca(database, writer, Hierarchy(root, upper, key, crl), settings=settings)
    request = x509.CertificateSigningRequestBuilder().subject_name(ca_name("Lower"))
    csr = request.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
    return ca, ca.issue(actor, profile="intermediate", csr_der=csr).certificate


def test_cas_are_revoked_with_a_reason_and_by_their_profile(
    database: Database, writer: Writer, issuer: Actor, revoker: Actor
) -> None:
    """CAs that are no issuers here: a filter refuses them, and however selected, they need a reason (R48)."""
    admin = make_actor("admin")
    ca, lower = issue_ca(database, writer, admin)
    leaf = ca.issue(issuer).certificate
    assert lower.der is not None
    swept = revoke_all(ca, revoker, ByFilter(issuer="issuing"), Reason.SUPERSEDED)
    assert {
        each.record.serial: outcome for each, outcome in zip(swept, outcomes(swept), strict=True) if each.record
    } == {
        lower.serial: "PROFILE_REQUIRED",
        leaf.serial: "revoked",
    }
    ways: list[Selection] = [
        ByFilter(profile="intermediate"),
        ByKey(key_sha256(ca, lower.serial)),
        listed([lower.serial]),
        Listed([ListedTarget(ByCertificate(lower.der))]),
    ]
    assert [outcomes(revoke_all(ca, revoker, which)) for which in ways] == [["REASON_REQUIRED"]] * 4
    assert ca.authority.get(BySerial(lower.serial)).revocation is None
    assert outcomes(revoke_all(ca, revoker, ways[0], Reason.SUPERSEDED)) == ["revoked"]


def test_a_serial_number_that_a_ca_has_as_well(
    ca: Ca, issuer: Actor, revoker: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one CA issued is revoked by a filter, though a CA's own certificate has the same number from another.

    Those of OpenSSL begin at 1000, and each counts for itself.
    """
    (own,) = (
        x509.load_der_x509_certificate(each.certificates_der[0]) for each in ca.authority.issuers() if each.chain_der
    )
    serial = serial_from_int(own.serial_number)
    monkeypatch.setattr(ca.authority._issuing._signing, "_serials", lambda: serial)
    leaf = ca.issue(issuer).certificate
    assert leaf.serial == serial
    swept = revoke_all(ca, revoker, ByFilter(issued_from=START - timedelta(days=9)), Reason.SUPERSEDED)
    assert [each.record.id for each in swept if each.record] == [leaf.id]
    assert outcomes(swept) == ["revoked"]


def test_the_audit_log_tells_what_was_passed_over(ca: Ca, issuer: Actor, revoker: Actor) -> None:
    """Each change has an entry, which names the certificate; a step has one for the others, and a dry run none."""
    serials = [ca.issue(issuer).certificate.serial for _ in range(3)]
    ca.revoke(revoker, serials[0], Reason.SUPERSEDED)
    ca.revoke(revoker, serials[1], COMPROMISE)
    before = len(audit_entries(ca.db))
    which = listed([*serials, b"\x01" * 16])
    revoke_all(ca, revoker, which, Reason.SUPERSEDED, validate_only=True)
    assert len(audit_entries(ca.db)) == before
    revoke_all(ca, revoker, which, Reason.SUPERSEDED)
    changed, told = (entry.event for entry in audit_entries(ca.db)[before:])
    assert (changed.method, changed.serial) == ("RevokeCertificate", serials[2])
    assert changed.certificate_id == ca.authority.get(BySerial(serials[2])).id
    assert (told.method, told.result, told.actor.identity) == ("RevokeCertificates", "OK", revoker.identity)
    assert json.loads(told.details) == {
        "refused": {"ALREADY_REVOKED": 1, "CERTIFICATE_UNKNOWN": 1},
        "refused_first": [f"issuing {serials[1].hex()} ALREADY_REVOKED"],
        "unchanged": 1,
    }
