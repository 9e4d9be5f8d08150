"""A compromised issuer: the status of its certificates, and what a watcher is told."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cryptography import x509

from goodstanding.status.v1 import status_pb2
from goodstanding.types.v1 import types_pb2
from services.db.records import CompromiseRecord, IssuerRecord, IssuerState, RevocationRecord, StatusRecord
from services.status.compromise import as_issuer_stands
from services.status.lookup import BySerial, StatusReader
from tests.status.builders import LATER, NOW, Registry, Service, number

LEAF, HELD = number(1), number(2)
HOUR = timedelta(hours=1)
BY_ISSUER = RevocationRecord(NOW, 1, NOW - HOUR)
COMPROMISE = CompromiseRecord(BY_ISSUER, NOW + HOUR, 20)


def record(revocation: RevocationRecord | None, changed_at: datetime, revision: int) -> StatusRecord:
    """The status of a certificate, as recorded."""
    return StatusRecord(1, LEAF, 1, LATER, revocation, changed_at, revision)


@pytest.mark.parametrize(
    ("own", "stands"),
    [
        pytest.param(record(None, NOW - HOUR, 5), record(BY_ISSUER, NOW + HOUR, 20), id="good"),
        pytest.param(record(None, NOW + 2 * HOUR, 30), record(BY_ISSUER, NOW + 2 * HOUR, 30), id="issued after it"),
        pytest.param(
            record(RevocationRecord(NOW - HOUR, 4), NOW - HOUR, 5),
            record(RevocationRecord(NOW - HOUR, 4), NOW - HOUR, 5),
            id="revoked before",
        ),
        pytest.param(
            record(RevocationRecord(NOW, 1), NOW, 20), record(RevocationRecord(NOW, 1), NOW, 20), id="at the same time"
        ),
        pytest.param(
            record(RevocationRecord(NOW + 2 * HOUR, 4), NOW + 2 * HOUR, 30),
            record(BY_ISSUER, NOW + 2 * HOUR, 30),
            id="revoked after it",
        ),
        pytest.param(
            record(RevocationRecord(NOW - HOUR, 6), NOW - HOUR, 5),
            record(RevocationRecord(NOW - HOUR, 1, NOW - HOUR), NOW + HOUR, 20),
            id="on hold before",
        ),
        pytest.param(
            record(RevocationRecord(NOW + HOUR, 6), NOW + HOUR, 30),
            record(BY_ISSUER, NOW + HOUR, 30),
            id="on hold after it",
        ),
    ],
)
def test_certificates_of_a_compromised_issuer(own: StatusRecord, stands: StatusRecord) -> None:
    """R51: never good; a revocation of its own stands where it came first, and a hold never."""
    sound = IssuerRecord(1, "issuing", IssuerState.ACTIVE, b"", b"", (b"",), (), None, 20)
    compromised = IssuerRecord(1, "issuing", IssuerState.ACTIVE, b"", b"", (b"",), (), None, 40, COMPROMISE)
    assert as_issuer_stands(own, sound) == own
    assert as_issuer_stands(own, compromised) == stands


def test_each_answer_has_the_compromise_of_its_snapshot(
    registry: Registry, reader: StatusReader, issuing: x509.Certificate
) -> None:
    """Issuers that were indexed for an earlier look-up do not make a later one good (G2)."""
    registry.issue("issuing", LEAF)
    asked = BySerial("issuing", LEAF, "")
    before = reader.get(asked)
    revision = registry.compromise("issuing", issuing)
    after = reader.get(asked)
    assert before.findings[0].record is not None
    assert before.findings[0].record.revocation is None
    assert after.position.revision == revision
    assert after.findings[0].record is not None
    assert after.findings[0].record.revocation == RevocationRecord(NOW, 1)
    assert after.findings[0].record.revision == revision


@pytest.mark.asyncio
async def test_a_watcher_is_told_of_the_issuer_before_the_pong(
    service: Service, registry: Registry, issuing: x509.Certificate
) -> None:
    """One message about the issuer stands for all of its certificates (G3)."""
    registry.issue("issuing", LEAF)
    watch = service.watch()
    await watch.start(registry.position())
    await watch.ping(1)
    await watch.told_until_pong(1)
    revision = registry.compromise("issuing", issuing)
    await watch.ping(2)
    *told, pong = await watch.told_until_pong(2)
    (issuer,) = [issuer for message in told for issuer in message.changes.issuers]
    assert (issuer.name, issuer.revision, pong.pong.revision) == ("issuing", revision, revision)
    assert issuer.compromise.reason == types_pb2.REVOCATION_REASON_KEY_COMPROMISE
    assert issuer.compromise.revocation_time.ToDatetime(NOW.tzinfo) == NOW


@pytest.mark.asyncio
async def test_changes_below_a_compromised_issuer_are_never_told_as_good(
    service: Service, registry: Registry, issuing: x509.Certificate
) -> None:
    """Neither a release that came later, nor one that came before and is told now; each under its own revision."""
    registry.issue("issuing", LEAF, HELD)
    start = registry.position()
    registry.revoke("issuing", LEAF, HELD, reason=6)
    released = [registry.release("issuing", LEAF)]
    registry.compromise("issuing", issuing)
    released.append(registry.release("issuing", HELD))
    watch = service.watch()
    await watch.start(start)
    await watch.ping(1)
    told = await watch.told_until_pong(1)
    records = [record for message in told for record in message.changes.records]
    statuses = {record.serial_number: record for record in records}
    assert {record.status for record in records} == {types_pb2.CERTIFICATE_STATUS_REVOKED}
    assert [statuses[serial.hex()].revision for serial in (LEAF, HELD)] == released
    assert [record.revision for record in records] == sorted(record.revision for record in records)


@pytest.mark.asyncio
async def test_look_ups_and_listings_over_grpc(service: Service, registry: Registry, issuing: x509.Certificate) -> None:
    """A leaf is REVOKED, what was never issued stays UNKNOWN, and ListIssuers shows why."""
    registry.issue("issuing", LEAF)
    registry.compromise("issuing", issuing)
    request = status_pb2.BatchGetCertificateStatusRequest()
    for serial in (LEAF, HELD):
        reference = request.certificates.add().issuer_and_serial_number
        reference.issuer, reference.serial_number = "issuing", serial.hex()
    leaf, never = (await service.stub.BatchGetCertificateStatus(request)).records
    assert leaf.status == types_pb2.CERTIFICATE_STATUS_REVOKED
    assert leaf.revocation.reason == types_pb2.REVOCATION_REASON_KEY_COMPROMISE
    assert never.status == types_pb2.CERTIFICATE_STATUS_UNKNOWN
    (issuer,) = (await service.stub.ListIssuers(status_pb2.ListIssuersRequest())).issuers
    assert issuer.compromise == leaf.revocation
