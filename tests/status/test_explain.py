"""ExplainCertificateStatus: what is explained is what is answered, and the reasons are those of the case."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.ocsp.der import tlv
from goodstanding.status.v1 import status_pb2 as pb
from goodstanding.types.v1 import types_pb2
from services.db.engine import Database
from services.pki.der import public_key_der
from services.pki.keys import issuer_hashes
from services.rpc.authorization import METHOD_ROLES
from tests.status.builders import Registry, Service, number

pytestmark = pytest.mark.asyncio

ALGORITHMS = {"sha1": "06052b0e03021a", "sha256": "0609608648016503040201", "md5": "06082a864886f70d0205"}
UNKNOWN, GOOD, REVOKED = (
    types_pb2.CERTIFICATE_STATUS_UNKNOWN,
    types_pb2.CERTIFICATE_STATUS_GOOD,
    types_pb2.CERTIFICATE_STATUS_REVOKED,
)


@dataclass
class World:
    """Two issuers, and certificates of every kind."""

    registry: Registry
    authorities: dict[str, x509.Certificate] = field(default_factory=dict)
    ders: dict[str, bytes] = field(default_factory=dict)

    def fill(self) -> World:
        registry = self.registry
        for name in ("issuing", "other", "gone"):
            self.authorities[name] = registry.add_issuer(name)
        for value, name in enumerate(("good", "revoked", "hold", "released", "never", "stranger"), 1):
            self.ders[name] = registry.sign("issuing", number(value))
            if name not in ("never", "stranger"):
                registry.issue("issuing", number(value), der=self.ders[name])
        registry.revoke("issuing", number(2), reason=4)
        registry.revoke("issuing", number(3), reason=6)
        registry.revoke("issuing", number(4), reason=6)
        registry.release("issuing", number(4))
        self.ders["differs"] = registry.sign("issuing", number(1), "twin.example.com")
        registry.issue("issuing", number(20))  # status only
        self.ders["status-only"] = registry.sign("issuing", number(20))
        registry.issue("other", number(30))
        registry.retire_issuer("other")
        registry.issue("gone", number(40), number(41))
        registry.revoke("gone", number(41), reason=6)
        registry.compromise("gone", self.authorities["gone"])
        self.ders["foreign"] = _foreign(registry)
        return self

    def hashes(self, issuer: str, algorithm: str) -> tuple[bytes, bytes]:
        authority = self.authorities[issuer]
        if algorithm == "md5":
            name = authority.subject.public_bytes()
            return hashlib.md5(name).digest(), hashlib.md5(b"key").digest()
        return issuer_hashes(authority.subject.public_bytes(), public_key_der(authority), algorithm)


def _foreign(registry: Registry) -> bytes:
    """A certificate with the name of "issuing" on it, signed with another key."""
    stranger = Registry(registry.db)
    stranger._keys["issuing"] = registry._keys["other"]
    return stranger.sign("issuing", number(99))


def request_of(*cert_ids: bytes) -> bytes:
    """The plainest OCSPRequest."""
    return tlv(0x30, tlv(0x30, tlv(0x30, b"".join(tlv(0x30, cert_id) for cert_id in cert_ids))))


def cert_id(name_hash: bytes, key_hash: bytes, serial: int, algorithm: str = "sha1") -> bytes:
    """A CertID, in DER."""
    size = (serial.bit_length() // 8 + 1) if serial >= 0 else 1
    hashed = tlv(0x30, bytes.fromhex(ALGORITHMS[algorithm]) + b"\x05\x00")
    value = serial.to_bytes(size, "big", signed=True)
    return tlv(0x30, hashed + tlv(4, name_hash) + tlv(4, key_hash) + tlv(2, value))


@pytest.fixture
def world(database: Database) -> World:
    """A filled registry."""
    return World(Registry(database)).fill()


def by_certificate(name: str) -> Callable[[World], dict[str, Any]]:
    """The certificate itself, in DER."""
    return lambda world: {"certificate": {"certificate_der": world.ders[name]}}


def by_serial(value: int, issuer: str = "") -> Callable[[World], dict[str, Any]]:
    """A serial number, with the issuer or without."""
    named = {"issuer": issuer, "serial_number": number(value).hex()}
    return lambda _: {"certificate": {"issuer_and_serial_number": named}}


def by_request(value: int, issuer: str = "issuing", algorithm: str = "sha1") -> Callable[[World], dict[str, Any]]:
    """A request with one CertID."""
    serial = int.from_bytes(number(value), "big") if value > 0 else value
    return lambda world: {
        "request_der": request_of(cert_id(*world.hashes(issuer, algorithm), serial, algorithm)),
    }


def bent(kind: str) -> Callable[[World], dict[str, Any]]:
    """Requests whose CertID was put together wrongly."""

    def make(world: World) -> dict[str, Any]:
        name, key = world.hashes("issuing", "sha1")
        whole = hashlib.sha1(public_key_der(world.authorities["issuing"])).digest()
        pairs = {
            "name-only": (name, bytes(20)),
            "key-only": (bytes(20), key),
            "swapped": (key, name),
            "key-with-algorithm": (name, whole),
            "neither": (bytes(20), bytes(20)),
        }
        return {"request_der": request_of(cert_id(*pairs[kind], int.from_bytes(number(1), "big")))}

    return make


CASES: dict[str, tuple[Callable[[World], dict[str, Any]], str, int, dict[str, str]]] = {
    "good by request": (by_request(1), "NOT_REVOKED", GOOD, {"issuing": "MATCH"}),
    "good by SHA-256": (by_request(1, algorithm="sha256"), "NOT_REVOKED", GOOD, {"issuing": "MATCH"}),
    "good by certificate": (by_certificate("good"), "NOT_REVOKED", GOOD, {"issuing": "MATCH"}),
    "good by serial number": (by_serial(1), "NOT_REVOKED", GOOD, {"issuing": "MATCH"}),
    "revoked": (by_request(2), "REVOKED", REVOKED, {"issuing": "MATCH"}),
    "hold": (by_request(3), "ON_HOLD", REVOKED, {"issuing": "MATCH"}),
    "released": (by_request(4), "NOT_REVOKED", GOOD, {"issuing": "MATCH"}),
    "never issued": (by_request(5), "SERIAL_NUMBER_NOT_ISSUED", UNKNOWN, {"issuing": "MATCH"}),
    "never issued, by certificate": (
        by_certificate("never"),
        "SERIAL_NUMBER_NOT_ISSUED",
        UNKNOWN,
        {"issuing": "MATCH"},
    ),
    "never issued, by serial number": (by_serial(5), "SERIAL_NUMBER_NOT_ISSUED", UNKNOWN, {}),
    "of another issuer": (
        by_request(30),
        "SERIAL_NUMBER_NOT_ISSUED",
        UNKNOWN,
        {"issuing": "MATCH", "other": "SERIAL_NUMBER_ONLY"},
    ),
    "retired issuer": (by_request(30, "other"), "NOT_REVOKED", GOOD, {"other": "MATCH"}),
    "compromised issuer": (by_request(40, "gone"), "ISSUER_COMPROMISED", REVOKED, {"gone": "MATCH"}),
    "hold under a compromised issuer": (by_request(41, "gone"), "ISSUER_COMPROMISED", REVOKED, {"gone": "MATCH"}),
    "zero": (by_request(0), "SERIAL_NUMBER_IMPOSSIBLE", UNKNOWN, {"issuing": "MATCH"}),
    "negative": (by_request(-1), "SERIAL_NUMBER_IMPOSSIBLE", UNKNOWN, {"issuing": "MATCH"}),
    "MD5": (
        by_request(1, algorithm="md5"),
        "HASH_ALGORITHM_NOT_SUPPORTED",
        UNKNOWN,
        {"issuing": "NAME_ONLY"},
    ),
    "another key": (bent("name-only"), "ISSUER_NOT_KNOWN", UNKNOWN, {"issuing": "NAME_ONLY"}),
    "another name": (bent("key-only"), "ISSUER_NOT_KNOWN", UNKNOWN, {"issuing": "KEY_ONLY"}),
    "swapped hashes": (bent("swapped"), "ISSUER_NOT_KNOWN", UNKNOWN, {"issuing": "SWAPPED"}),
    "key with algorithm": (bent("key-with-algorithm"), "ISSUER_NOT_KNOWN", UNKNOWN, {"issuing": "KEY_WITH_ALGORITHM"}),
    "nobody's": (bent("neither"), "ISSUER_NOT_KNOWN", UNKNOWN, {"issuing": "SERIAL_NUMBER_ONLY"}),
    "another certificate": (by_certificate("differs"), "CERTIFICATE_DIFFERS", UNKNOWN, {"issuing": "MATCH"}),
    "status only": (by_certificate("status-only"), "NOT_REVOKED", GOOD, {"issuing": "MATCH"}),
    "somebody else's signature": (by_certificate("foreign"), "ISSUER_NOT_KNOWN", UNKNOWN, {"issuing": "NAME_ONLY"}),
    "unknown name of an issuer": (
        by_serial(1, "nobody"),
        "ISSUER_NOT_KNOWN",
        UNKNOWN,
        {"issuing": "SERIAL_NUMBER_ONLY"},
    ),
}


async def explain(service: Service, subject: dict[str, Any]) -> pb.ExplainCertificateStatusResponse:
    """Ask."""
    return await service.stub.ExplainCertificateStatus(pb.ExplainCertificateStatusRequest(**subject))


def reference_of(explanation: pb.CertificateExplanation, subject: dict[str, Any]) -> pb.CertificateReference | None:
    """The same question for GetCertificateStatus, where that takes it."""
    if "certificate" in subject:
        return pb.CertificateReference(**subject["certificate"])
    if not (explanation.cert_id.hash_algorithm and explanation.cert_id.serial_number):
        return None
    return pb.CertificateReference(cert_id=explanation.cert_id)


@pytest.mark.parametrize("case", CASES)
async def test_cases(case: str, world: World, service: Service) -> None:
    """Cause, status and candidates are those of the case, and the record is what a look-up gives (R28, R32, R51)."""
    make, cause, status, fits = CASES[case]
    subject = make(world)
    response = await explain(service, subject)
    (found,) = response.explanations
    assert pb.StatusCause.Name(found.cause) == f"STATUS_CAUSE_{cause}"
    assert found.record.status == status
    told = {each.issuer: pb.IssuerFit.Name(each.fit).removeprefix("ISSUER_FIT_") for each in found.candidates}
    assert told == fits
    assert found.summary
    assert found.advice
    reference = reference_of(found, subject)
    if reference is not None:
        looked_up = await service.stub.GetCertificateStatus(pb.GetCertificateStatusRequest(certificate=reference))
        assert looked_up.record == found.record
        assert (looked_up.history, looked_up.revision) == (response.history, response.revision)


async def test_what_ocsp_clients_are_told(world: World, service: Service) -> None:
    """What differs is unknown, and who asks by serial number is told what is recorded; else both are told the same."""
    (found,) = (await explain(service, by_certificate("differs")(world))).explanations
    assert (found.record.status, found.record_by_serial_number.status) == (UNKNOWN, GOOD)
    for name in ("good", "status-only"):
        (found,) = (await explain(service, by_certificate(name)(world))).explanations
        assert not found.HasField("record_by_serial_number")
        assert ("Only its status is recorded" in found.summary) == (name == "status-only")


async def test_history(world: World, service: Service) -> None:
    """Every change is told with its revision and who did it, oldest first."""
    (found,) = (await explain(service, by_request(4)(world))).explanations
    assert [each.action for each in found.changes] == [
        pb.STATUS_CHANGE_ACTION_HOLD,
        pb.STATUS_CHANGE_ACTION_RELEASE,
    ]
    assert found.changes[0].revocation.reason == 6
    assert not found.changes[1].HasField("revocation")
    assert found.changes[1].revision == found.record.revision
    assert found.changes[0].changed_by.identity == "spiffe://goodstanding/admin/test"
    assert found.certificate.certificate_der == world.ders["released"]
    assert found.issuer.name == "issuing"


async def test_several_issuers_have_it(world: World, service: Service) -> None:
    """A serial number alone is explained for each issuer that has it, rather than refused."""
    world.registry.issue("other", number(1))
    response = await explain(service, by_serial(1)(world))
    assert [each.issuer.name for each in response.explanations] == ["issuing", "other"]


async def test_several_certificates(world: World, service: Service) -> None:
    """There is one explanation for each CertID of a request, in order."""
    hashes = world.hashes("issuing", "sha1")
    serials = [int.from_bytes(number(value), "big") for value in (2, 1, 2)]
    der = request_of(*(cert_id(*hashes, serial) for serial in serials))
    response = await explain(service, {"request_der": der})
    assert [each.record.status for each in response.explanations] == [REVOKED, GOOD, REVOKED]


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ({}, "TARGET_MISSING"),
        ({"request_der": b""}, "OCSP_REQUEST_MALFORMED"),
        ({"request_der": b"0\x03\n\x01\x06"}, "OCSP_REQUEST_MALFORMED"),
        ({"certificate": {"certificate_der": b"0"}}, "CERTIFICATE_MALFORMED"),
        ({"certificate": {"certificate_der": bytes.fromhex("300730053003020101")}}, "CERTIFICATE_MALFORMED"),
        ({"certificate": {"issuer_and_serial_number": {"serial_number": "x"}}}, "SERIAL_INVALID"),
    ],
    ids=["nothing", "empty request", "a response", "no certificate", "half a certificate", "no serial number"],
)
async def test_refused(subject: dict[str, Any], reason: str, world: World, service: Service) -> None:
    """What cannot be read is refused with the field at fault."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await explain(service, subject)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason.encode() in dict(caught.value.trailing_metadata() or ())["grpc-status-details-bin"]


async def test_a_certificate_of_another_version(world: World, service: Service) -> None:
    """A certificate of a version that does not exist is malformed, and no internal error."""
    der = world.ders["good"]
    assert der.count(b"\xa0\x03\x02\x01\x02") == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await explain(
            service,
            {"certificate": {"certificate_der": der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07")}},
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_roles() -> None:
    """It tells who did what: only those who may read the audit log may ask."""
    roles = METHOD_ROLES["/goodstanding.status.v1.CertificateStatusService/ExplainCertificateStatus"]
    assert roles == METHOD_ROLES["/goodstanding.ca.v1.AuditService/ListAuditEntries"]


async def test_a_certificate_is_not_needed_whole(world: World, service: Service) -> None:
    """A certificate in PEM is explained as the same in DER."""
    pem = x509.load_der_x509_certificate(world.ders["revoked"]).public_bytes(Encoding.PEM).decode()
    (found,) = (await explain(service, {"certificate": {"certificate_pem": pem}})).explanations
    assert found.cause == pb.STATUS_CAUSE_REVOKED
