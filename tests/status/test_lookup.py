"""Look-ups: what is found, what is not, and as of when."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from services.db.crls import add_crl
from services.db.engine import Connection
from services.db.issuers import list_issuers
from services.db.position import advance
from services.db.records import (
    ChangeAction,
    CrlRecord,
    IssuerRecord,
    RevocationRecord,
    StatusChange,
    StatusRecord,
)
from services.db.status import apply_changes, get_statuses
from services.errors import FailedPrecondition, InvalidArgument, NotFound
from services.status.lookup import ByCertID, ByCertificate, BySerial, StatusReader
from tests.status.builders import ACTOR, LATER, NOW, Registry, number, public_key_der

FIELD = "certificates[0].issuer_and_serial_number.issuer"
GOOD, REVOKED, NEVER = number(1), number(2), number(3)


def by_serial(serial: bytes, issuer: str | None = "issuing") -> BySerial:
    """A reference by serial number."""
    return BySerial(issuer, serial, FIELD)


def by_cert_id(issuer: x509.Certificate, serial: bytes, algorithm: str = "sha1") -> ByCertID:
    """A reference by hashes, computed without the code under test (R27)."""
    key_bits = issuer.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    name = issuer.subject.public_bytes()
    return ByCertID(algorithm, hashlib.new(algorithm, name).digest(), hashlib.new(algorithm, key_bits).digest(), serial)


@pytest.fixture
def two(registry: Registry, issuing: x509.Certificate) -> x509.Certificate:
    """An issuer with a good and a revoked certificate."""
    registry.issue("issuing", GOOD, REVOKED)
    registry.revoke("issuing", REVOKED, reason=4)
    return issuing


def test_records_come_in_the_order_asked(reader: StatusReader, two: x509.Certificate) -> None:
    """A batch answers per item, in order, duplicates and unknown ones included (R20, R44)."""
    asked = [NEVER, REVOKED, GOOD, REVOKED]
    found = reader.batch([by_serial(serial) for serial in asked]).findings
    assert [finding.serial for finding in found] == asked
    assert [finding.record and finding.record.serial for finding in found] == [None, REVOKED, GOOD, REVOKED]
    assert {finding.issuer for finding in found} == {"issuing"}


def test_a_record_tells_validity_revocation_and_revision(
    reader: StatusReader, registry: Registry, two: x509.Certificate
) -> None:
    """A revoked certificate comes with when and why (R47), and the revision that did it."""
    found = reader.get(by_serial(REVOKED))
    record = found.findings[0].record
    assert record is not None
    assert record.revocation is not None
    assert (record.not_after, record.revocation.revoked_at, record.revocation.reason) == (LATER, NOW, 4)
    assert record.revision == found.position.revision
    assert found.position == registry.position()
    assert found.as_of == NOW


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_an_issuer_is_found_by_each_hash(reader: StatusReader, two: x509.Certificate, algorithm: str) -> None:
    """CertIDs match under every algorithm that we know (R27)."""
    finding = reader.get(by_cert_id(two, GOOD, algorithm)).findings[0]
    assert finding.issuer == "issuing"
    assert finding.record is not None


def test_both_hashes_have_to_be_those_of_one_issuer(
    reader: StatusReader, registry: Registry, two: x509.Certificate
) -> None:
    """The name of one issuer with the key of another is nobody (R28); nor do hashes match under another algorithm."""
    other = by_cert_id(registry.add_issuer("other"), GOOD)
    ours = by_cert_id(two, GOOD)
    swapped = ours._replace(issuer_key_hash=other.issuer_key_hash)
    relabelled = ours._replace(hash_algorithm="sha256")
    found = reader.batch([swapped, relabelled, ours]).findings
    assert [(finding.issuer, finding.record is None) for finding in found] == [
        ("", True), ("", True), ("issuing", False),
    ]  # fmt: skip


def test_issuers_with_one_name_are_told_apart_by_their_key(reader: StatusReader, registry: Registry) -> None:
    """A re-keyed issuer is another issuer: its serial numbers are its own (R28)."""
    old, new = (registry.add_issuer(name, subject="Same CA") for name in ("old", "new"))
    registry.issue("new", GOOD)
    found = reader.batch([by_cert_id(old, GOOD), by_cert_id(new, GOOD)]).findings
    assert [(finding.issuer, finding.record is None) for finding in found] == [("old", True), ("new", False)]


def test_an_issuer_that_comes_in_later_is_found(
    reader: StatusReader, registry: Registry, two: x509.Certificate
) -> None:
    """The index of issuers follows the database, and is not read again for other changes."""
    reader.get(by_serial(GOOD))
    registry.issue("issuing", number(9))
    assert reader.get(by_serial(GOOD, "late")).findings[0].issuer == ""
    late = registry.add_issuer("late")
    registry.issue("late", GOOD)
    found = reader.batch([by_serial(GOOD, "late"), by_cert_id(late, GOOD)]).findings
    assert [finding.issuer for finding in found] == ["late", "late"]
    assert all(finding.record for finding in found)


def test_issuers_are_read_again_only_when_one_changed(
    reader: StatusReader, registry: Registry, two: x509.Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issuing and revoking leave the index as it is."""
    reads: list[Connection] = []

    def counted(conn: Connection) -> list[IssuerRecord]:
        reads.append(conn)
        return list_issuers(conn)

    monkeypatch.setattr("services.status.lookup.list_issuers", counted)
    reader.get(by_serial(GOOD))
    registry.issue("issuing", number(10))
    reader.get(by_serial(GOOD))
    registry.revoke("issuing", GOOD)
    reader.get(by_serial(GOOD))
    assert len(reads) == 1
    registry.retire_issuer("issuing")
    assert [issuer.state for issuer in reader.issuers()[0]] == ["retired"]
    assert len(reads) == 2


def test_without_an_issuer_the_only_one_is_meant(
    reader: StatusReader, registry: Registry, two: x509.Certificate
) -> None:
    """A serial number alone is enough while one issuer has it; nobody's serial number is unknown."""
    found = reader.batch([by_serial(GOOD, None), by_serial(NEVER, None)]).findings
    assert [(finding.issuer, finding.record is None) for finding in found] == [("issuing", False), ("", True)]


def test_an_ambiguous_serial_number_is_refused(reader: StatusReader, registry: Registry, two: x509.Certificate) -> None:
    """Where several issuers have the serial number, the field that would tell is named."""
    registry.add_issuer("other")
    registry.issue("other", GOOD)
    with pytest.raises(InvalidArgument) as refused:
        reader.get(by_serial(GOOD, None))
    assert (refused.value.reason, refused.value.violations[0].field) == ("ISSUER_AMBIGUOUS", FIELD)
    assert "issuing, other" in refused.value.message


def test_a_certificate_is_compared_with_the_recorded_one(
    reader: StatusReader, registry: Registry, issuing: x509.Certificate
) -> None:
    """A certificate with the serial number of a real one is unknown if it is another, or if nobody recorded the real
    one and the issuer has not signed it (G2).
    """
    registry.add_issuer("other")
    real, forged = (registry.sign("issuing", GOOD) for _ in range(2))
    registry.issue("issuing", GOOD, der=real)
    registry.issue("issuing", REVOKED)
    imported, others = registry.sign("issuing", REVOKED), registry.sign("other", REVOKED)
    asked = [(real, GOOD), (forged, GOOD), (imported, REVOKED), (others, REVOKED)]
    found = reader.batch([ByCertificate(der, serial) for der, serial in asked]).findings
    assert [(finding.issuer, finding.record is None) for finding in found] == [
        ("issuing", False), ("", True), ("issuing", False), ("", True),
    ]  # fmt: skip


def test_a_database_that_is_behind_refuses(reader: StatusReader, registry: Registry, two: x509.Certificate) -> None:
    """min_revision and history are kept, or refused; never answered from an older state (G3)."""
    here = registry.position()
    assert reader.batch([by_serial(GOOD)], history=here.history, min_revision=here.revision).position == here
    with pytest.raises(FailedPrecondition) as behind:
        reader.batch([by_serial(GOOD)], history=here.history, min_revision=here.revision + 1)
    assert behind.value.reason == "REVISION_NOT_REACHED"
    registry.new_history()
    with pytest.raises(FailedPrecondition) as elsewhere:
        reader.batch([by_serial(GOOD)], history=here.history)
    assert elsewhere.value.reason == "HISTORY_CHANGED"


def test_an_answer_is_one_snapshot(
    reader: StatusReader, registry: Registry, two: x509.Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation that commits between the reading of the revision and of the rows is in neither (G3)."""
    before = registry.position()

    def revoke_first(conn: Connection, issuer_id: int, serials: Sequence[bytes]) -> dict[bytes, StatusRecord]:
        registry.revoke("issuing", GOOD)
        return get_statuses(conn, issuer_id, serials)

    monkeypatch.setattr("services.status.lookup.get_statuses", revoke_first)
    found = reader.get(by_serial(GOOD))
    assert found.position == before
    assert found.findings[0].record is not None
    assert found.findings[0].record.revocation is None
    assert registry.position().revision == before.revision + 1


def test_a_reason_for_every_crl_that_is_not_there(
    reader: StatusReader, registry: Registry, issuing: x509.Certificate
) -> None:
    """An unknown issuer, and one without a list, are told apart; the newest list is given."""
    for issuer, reason in (("nobody", "ISSUER_UNKNOWN"), ("issuing", "CRL_NOT_AVAILABLE")):
        with pytest.raises(NotFound) as missing:
            reader.crl(issuer)
        assert missing.value.reason == reason
    with registry.db.write() as conn:
        for crl_number in (1, 2):
            add_crl(conn, CrlRecord(registry.issuers["issuing"], crl_number, b"crl", NOW, LATER))
        advance(conn, 1)
    assert reader.crl("issuing").number == 2


def test_all_issuers_are_listed_with_their_position(
    reader: StatusReader, registry: Registry, issuing: x509.Certificate
) -> None:
    """Listing gives what a responder needs to match and answer for them."""
    issuers, position = reader.issuers()
    assert position == registry.position()
    assert [(issuer.name, issuer.subject_der, issuer.public_key_der) for issuer in issuers] == [
        ("issuing", issuing.subject.public_bytes(), public_key_der(issuing))
    ]


@pytest.mark.parametrize(
    ("hours", "expected"),
    [(-1, None), (0, "good"), (1, 6), (2, 6), (3, "good"), (4, "good"), (5, 4), (9, 4)],
)
def test_the_status_of_a_past_time(
    reader: StatusReader, registry: Registry, two: x509.Certificate, hours: int, expected: str | int | None
) -> None:
    """What was recorded then: not issued yet, on hold, released, revoked, each from its second on."""
    with registry.db.write() as conn:
        for hour, action, reason in ((1, "hold", 6), (3, "release", None), (5, "revoke", 4)):
            revocation = None if reason is None else RevocationRecord(NOW + timedelta(hours=hour), reason)
            changed_at = NOW + timedelta(hours=hour)
            change = StatusChange(
                registry.issuers["issuing"], GOOD, ChangeAction(action), revocation, changed_at, ACTOR
            )
            apply_changes(conn, [change], advance(conn, 1))
    later = StatusReader(registry.db, lambda: NOW + timedelta(days=1))
    found = later.get_at(by_serial(GOOD), NOW + timedelta(hours=hours))
    assert found.issuer == "issuing"
    if expected is None:
        assert found.record is None
    elif expected == "good":
        assert found.record is not None
        assert found.record.revocation is None
    else:
        assert found.record is not None
        assert found.record.revocation is not None
        assert found.record.revocation.reason == expected
        assert found.record.changed_at <= NOW + timedelta(hours=hours)


def test_the_past_status_of_what_was_never_issued(reader: StatusReader, two: x509.Certificate) -> None:
    """Nothing is found, and a time to come is refused."""
    assert reader.get_at(by_serial(NEVER), NOW).record is None
    with pytest.raises(InvalidArgument, match="future"):
        reader.get_at(by_serial(GOOD), NOW + timedelta(seconds=1))


def test_a_past_status_knows_of_compromised_issuers(
    reader: StatusReader, registry: Registry, two: x509.Certificate
) -> None:
    """From when its issuer's compromise was recorded, a certificate was revoked (R51)."""
    registry.compromise("issuing", two)
    record = reader.get_at(by_serial(GOOD), NOW).record
    assert record is not None
    assert record.revocation is not None
    assert reader.get_at(by_serial(GOOD), NOW - timedelta(seconds=1)).record is None
