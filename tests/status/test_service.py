"""The unary calls, through real gRPC on both databases."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from goodstanding.status.v1 import status_pb2
from goodstanding.types.v1 import types_pb2
from services.db.crls import add_crl
from services.db.records import CrlRecord
from tests.status.builders import LATER, NOW, Registry, Service, number

pytestmark = pytest.mark.asyncio

GOOD, REVOKED, NEVER = number(1), number(2), number(3)
Reference = status_pb2.CertificateReference


def by_serial(serial: bytes | str, issuer: str = "issuing") -> status_pb2.CertificateReference:
    """A reference by serial number."""
    text = serial if isinstance(serial, str) else serial.hex()
    return Reference(issuer_and_serial_number=types_pb2.IssuerAndSerialNumber(issuer=issuer, serial_number=text))


def by_cert_id(issuer: x509.Certificate, serial: bytes, algorithm: str) -> status_pb2.CertificateReference:
    """A reference by hashes, computed without the code under test (R27)."""
    key_bits = issuer.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    return Reference(
        cert_id=status_pb2.CertID(
            hash_algorithm=algorithm,
            issuer_name_hash=hashlib.new(algorithm, issuer.subject.public_bytes()).digest(),
            issuer_key_hash=hashlib.new(algorithm, key_bits).digest(),
            serial_number=serial.hex(),
        )
    )


async def batch(service: Service, *references: Any, **fields: Any) -> status_pb2.BatchGetCertificateStatusResponse:
    """One batch."""
    request = status_pb2.BatchGetCertificateStatusRequest(certificates=references, **fields)
    return await service.stub.BatchGetCertificateStatus(request)


@pytest.fixture
def issuer(registry: Registry, issuing: x509.Certificate) -> x509.Certificate:
    """An issuer with a good and a revoked certificate."""
    registry.issue("issuing", GOOD, REVOKED)
    registry.revoke("issuing", REVOKED, reason=4)
    return issuing


async def test_a_batch_answers_in_the_order_asked(service: Service, issuer: x509.Certificate) -> None:
    """Every way to name a certificate, in one batch, each answered at its place."""
    references = [
        by_serial(NEVER),
        by_cert_id(issuer, REVOKED, "sha1"),
        by_serial(GOOD),
        by_cert_id(issuer, GOOD, "sha512"),
        by_serial(GOOD, issuer=""),
        by_serial(GOOD, issuer="nobody"),
    ]
    response = await batch(service, *references)
    assert [(record.status, record.issuer, record.serial_number) for record in response.records] == [
        (types_pb2.CERTIFICATE_STATUS_UNKNOWN, "issuing", NEVER.hex()),
        (types_pb2.CERTIFICATE_STATUS_REVOKED, "issuing", REVOKED.hex()),
        (types_pb2.CERTIFICATE_STATUS_GOOD, "issuing", GOOD.hex()),
        (types_pb2.CERTIFICATE_STATUS_GOOD, "issuing", GOOD.hex()),
        (types_pb2.CERTIFICATE_STATUS_GOOD, "issuing", GOOD.hex()),
        (types_pb2.CERTIFICATE_STATUS_UNKNOWN, "", GOOD.hex()),
    ]


async def test_one_status_comes_with_everything(service: Service, registry: Registry, issuer: x509.Certificate) -> None:
    """Validity, revocation, revisions and times of a revoked certificate (R47)."""
    position = registry.position()
    response = await service.stub.GetCertificateStatus(
        status_pb2.GetCertificateStatusRequest(certificate=by_serial(REVOKED))
    )
    record = response.record
    assert record.revocation.reason == types_pb2.REVOCATION_REASON_SUPERSEDED
    assert record.revocation.revocation_time.seconds == int(NOW.timestamp())
    assert record.not_after_time.seconds == int(LATER.timestamp())
    assert record.change_time.seconds == int(NOW.timestamp())
    assert (response.history, response.revision, record.revision) == (
        position.history,
        position.revision,
        position.revision,
    )
    assert response.as_of_time.seconds == int(NOW.timestamp())


async def test_an_unknown_status_is_bare(service: Service, issuer: x509.Certificate) -> None:
    """What was never issued has no times and no revision (R44)."""
    (record,) = (await batch(service, by_serial(NEVER))).records
    assert record.revision == 0
    assert not any(record.HasField(name) for name in ("not_after_time", "revocation", "change_time"))


async def test_a_certificate_is_taken_in_der_and_pem(
    service: Service, registry: Registry, issuing: x509.Certificate
) -> None:
    """A forged certificate with a real serial number is unknown in both (G2)."""
    real, forged = (registry.sign("issuing", GOOD) for _ in range(2))
    registry.issue("issuing", GOOD, der=real)
    references = [Reference(certificate_der=real), Reference(certificate_der=forged)]
    references += [Reference(certificate_pem=_pem(real)), Reference(certificate_pem=_pem(forged))]
    statuses = [record.status for record in (await batch(service, *references)).records]
    good, unknown = types_pb2.CERTIFICATE_STATUS_GOOD, types_pb2.CERTIFICATE_STATUS_UNKNOWN
    assert statuses == [good, unknown, good, unknown]


def _pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{b64encode(der).decode()}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("reference", "reason", "field"),
    [
        (Reference(), "TARGET_MISSING", "certificates[1]"),
        (by_serial("xyz"), "SERIAL_INVALID", "certificates[1].issuer_and_serial_number.serial_number"),
        (by_serial("00"), "SERIAL_INVALID", "certificates[1].issuer_and_serial_number.serial_number"),
        (by_serial("01" * 21), "SERIAL_INVALID", "certificates[1].issuer_and_serial_number.serial_number"),
        (by_serial(""), "SERIAL_INVALID", "certificates[1].issuer_and_serial_number.serial_number"),
        (
            Reference(cert_id=status_pb2.CertID(hash_algorithm="md5", serial_number="01")),
            "HASH_ALGORITHM_UNKNOWN",
            "certificates[1].cert_id.hash_algorithm",
        ),
        (
            Reference(cert_id=status_pb2.CertID(hash_algorithm="sha1")),
            "SERIAL_INVALID",
            "certificates[1].cert_id.serial_number",
        ),
        (Reference(certificate_der=b"0"), "CERTIFICATE_MALFORMED", "certificates[1].certificate_der"),
        (Reference(certificate_pem="no"), "CERTIFICATE_MALFORMED", "certificates[1].certificate_pem"),
    ],
    ids=["nothing", "not hex", "zero", "21 octets", "empty", "md5", "cert_id without serial", "der", "pem"],
)
async def test_a_bad_reference_is_refused_with_its_field(
    service: Service, issuer: x509.Certificate, reference: Any, reason: str, field: str
) -> None:
    """The field at fault is named by its place in the batch."""
    error = await _refusal(batch(service, by_serial(GOOD), reference))
    assert error == (grpc.StatusCode.INVALID_ARGUMENT, reason, field)


@pytest.mark.parametrize("count", [0, 257])
async def test_a_batch_has_1_to_256_certificates(service: Service, issuer: x509.Certificate, count: int) -> None:
    """Neither nothing nor too much is answered."""
    error = await _refusal(batch(service, *[by_serial(GOOD)] * count))
    assert error == (grpc.StatusCode.INVALID_ARGUMENT, "BATCH_SIZE_INVALID", "certificates")


async def test_the_largest_batch_is_answered(service: Service, registry: Registry, issuer: x509.Certificate) -> None:
    """256 certificates, and as many records."""
    serials = [number(i) for i in range(100, 356)]
    registry.issue("issuing", *serials)
    response = await batch(service, *map(by_serial, serials))
    assert [record.serial_number for record in response.records] == [serial.hex() for serial in serials]
    assert {record.status for record in response.records} == {types_pb2.CERTIFICATE_STATUS_GOOD}


async def test_what_the_database_has_not_reached_is_refused(
    service: Service, registry: Registry, issuer: x509.Certificate
) -> None:
    """A reader that has seen more is never given less (G3)."""
    here = registry.position()
    behind = await _refusal(batch(service, by_serial(GOOD), history=here.history, min_revision=here.revision + 1))
    assert behind == (grpc.StatusCode.FAILED_PRECONDITION, "REVISION_NOT_REACHED", "")
    elsewhere = await _refusal(batch(service, by_serial(GOOD), history="other"))
    assert elsewhere == (grpc.StatusCode.FAILED_PRECONDITION, "HISTORY_CHANGED", "")


async def test_issuers_and_their_lists(service: Service, registry: Registry, issuing: x509.Certificate) -> None:
    """What a responder needs at its start."""
    with registry.db.write() as conn:
        add_crl(conn, CrlRecord(registry.issuers["issuing"], 1, b"crl", NOW, LATER))
    listed = await service.stub.ListIssuers(status_pb2.ListIssuersRequest())
    assert [(issuer.name, issuer.subject_der) for issuer in listed.issuers] == [
        ("issuing", issuing.subject.public_bytes())
    ]
    assert listed.revision == registry.position().revision
    crl = await service.stub.GetCertificateRevocationList(
        status_pb2.GetCertificateRevocationListRequest(issuer="issuing")
    )
    assert (crl.crl_der, crl.this_update_time.seconds, crl.next_update_time.seconds) == (
        b"crl",
        int(NOW.timestamp()),
        int(LATER.timestamp()),
    )
    missing = await _refusal(
        service.stub.GetCertificateRevocationList(status_pb2.GetCertificateRevocationListRequest(issuer="nobody"))
    )
    assert missing == (grpc.StatusCode.NOT_FOUND, "ISSUER_UNKNOWN", "issuer")


async def test_without_a_database_nothing_is_answered(
    service: Service, registry: Registry, issuer: x509.Certificate, unplug: Any
) -> None:
    """Unavailable, and never an answer from memory; as before when it is back (G2)."""
    with unplug:
        error = await _refusal(batch(service, by_serial(GOOD)))
        assert error == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", "")
    assert (await batch(service, by_serial(GOOD))).records[0].status == types_pb2.CERTIFICATE_STATUS_GOOD


async def _refusal(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """The code, reason and field of a failed call."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    status = rpc_status.from_call(failed.value)  # type: ignore[arg-type]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return failed.value.code(), info.reason, bad.field_violations[0].field if bad.field_violations else ""
