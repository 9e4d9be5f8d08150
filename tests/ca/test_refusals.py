"""Refused calls in the audit log: told with who, what and why, and bounded whoever asks however often."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from goodstanding.ca.v1 import ca_pb2
from goodstanding.types.v1 import types_pb2
from services.ca import refusals
from services.ca.refusals import RefusalLog
from services.ca.servicer import CertificateAuthorityServicer
from services.ca.target import BySerial
from services.db.chain import AuditEvent
from services.errors import (
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from services.rpc.refusals import CallObject, Refusal, describe_call, refusal_of
from tests.ca.world import Ca, audit_entries, call_as, chain_flaws, make_actor

CA = "/goodstanding.ca.v1.CertificateAuthorityService/"


class Ticks:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    """The clock of the log."""
    return Ticks()


@pytest.fixture
def log(ca: Ca, ticks: Ticks) -> RefusalLog:
    """A log of refusals."""
    return RefusalLog(ca.writer, ca.clock, ticks=ticks)


def refusal(name: str = "mallory", reason: str = "ROLE_NOT_ALLOWED", **about: Any) -> Refusal:
    """Somebody was refused to revoke."""
    return Refusal("RevokeCertificate", make_actor("reader", name), reason, CallObject(**about))


def told(ca: Ca) -> list[AuditEvent]:
    """What the log says beyond the hierarchy."""
    return [entry.event for entry in audit_entries(ca.db)[4:]]


def write(log: RefusalLog) -> None:
    """Write, and wait for it."""
    future = log.write()
    if future is not None:
        future.result(10)


def test_a_refusal_is_told(ca: Ca, log: RefusalLog) -> None:
    """Who, what, about which certificate, and why."""
    serial = ca.issue(make_actor("issuer")).certificate.serial
    record = ca.authority.issuers()[1]
    for issuer in ("", "issuing", "no such", "x" * 500 + "\0"):
        log.note(refusal(issuer=issuer, serial=serial, details={"reason": "superseded", "names": ["a" * 500] * 20}))
    write(log)
    events = told(ca)[1:]
    known = ca.authority.get(refusals_target(serial)).id
    assert [(each.issuer, each.certificate_id) for each in events] == [
        (record.name, known),
        (record.name, known),
        (record.name, known),
        (record.name, known),
    ]
    assert {each.actor.name for each in events} == {"mallory"}
    assert {each.result for each in events} == {"ROLE_NOT_ALLOWED"}
    said = json.loads(events[3].details)
    assert said == {"reason": "superseded", "names": ["a" * 128] * 10, "issuer": "x" * 128}
    assert chain_flaws(ca.db) == []


def refusals_target(serial: bytes) -> BySerial:
    """The certificate."""
    return BySerial(serial)


def test_the_same_again_is_counted(ca: Ca, log: RefusalLog, ticks: Ticks) -> None:
    """The first is told at once, the others together at the end of the minute."""
    for _ in range(1000):
        log.note(refusal())
    write(log)
    assert len(told(ca)) == 1
    ticks.now = refusals.MINUTE
    write(log)
    assert [json.loads(each.details) for each in told(ca)] == [{}, {"repeated": 999}]
    log.note(refusal())
    write(log)
    assert len(told(ca)) == 3
    assert log.write() is None


def test_what_was_asked_for_counts(ca: Ca, log: RefusalLog) -> None:
    """Refusals for another reason of revocation are others; beyond the first few they are counted with the first."""
    reasons = [f"reason {number}" for number in range(refusals.MAX_VARIANTS + 3)]
    for reason in reasons:
        log.note(refusal(serial=b"\1", details={"reason": reason}))
    log.note(refusal(serial=b"\1", details={"reason": reasons[1]}))
    log.close()
    assert [json.loads(each.details) for each in told(ca)] == [
        *({"reason": reason} for reason in reasons[: refusals.MAX_VARIANTS]),
        {"reason": reasons[0], "others": 3},
        {"reason": reasons[1], "repeated": 1},
    ]


def test_an_identity_has_a_share(ca: Ca, log: RefusalLog, ticks: Ticks) -> None:
    """One caller cannot fill the log, nor keep others out; what was left out is counted, by whom."""
    for number in range(10_000):
        log.note(refusal(serial=number.to_bytes(4)))
    log.note(refusal("other"))
    write(log)
    assert len(told(ca)) == refusals.PER_IDENTITY + 1
    ticks.now = refusals.MINUTE
    write(log)
    summary = told(ca)[-1]
    assert summary.method == "LeaveOutRefusals"
    left_out = 10_000 - refusals.PER_IDENTITY
    identity = make_actor("reader", "mallory").identity
    assert json.loads(summary.details) == {"identities": {identity: left_out}, "left_out": left_out}


def test_what_is_kept_of_a_refusal_is_short(ca: Ca, log: RefusalLog) -> None:
    """Until the end of the minute no more is held of what a caller sent than an issuer's name may be long."""
    for number in range(refusals.PER_IDENTITY):
        log.note(refusal(issuer="x" * 100_000, serial=bytes([number])))
    assert all(len(part) <= 64 for key in log._seen for part in key)
    log.close()
    assert {json.loads(each.details)["issuer"] for each in told(ca)} == {"x" * 128}


def test_many_identities_have_a_limit(ca: Ca, log: RefusalLog) -> None:
    """Neither can many callers fill it."""
    for number in range(500):
        log.note(refusal(f"m{number}"))
    log.close()
    events = told(ca)
    assert len(events) == refusals.TOTAL + 1
    said = json.loads(events[-1].details)
    assert said["left_out"] == 500 - refusals.TOTAL
    assert len(said["identities"]) == refusals.MAX_NAMED + 1


def test_refusals_wait_for_a_writer_that_takes_nothing(ca: Ca, log: RefusalLog) -> None:
    """What cannot be written stays, in a bounded number."""
    ca.writer.close()
    log.note(refusal())
    assert log.write() is None
    for minute in range(100):
        for number in range(100):
            log.note(refusal(f"{minute}-{number}"))
        log._ticks.now += refusals.MINUTE  # type: ignore[attr-defined]
    assert len(log._waiting) <= refusals.MAX_WAITING
    log.close()


@pytest.mark.parametrize(
    ("error", "method", "dry_run", "expected"),
    [
        pytest.param(PermissionDenied("ROLE_NOT_ALLOWED", ""), "ListCertificates", False, True, id="role, reading"),
        pytest.param(PermissionDenied("PROFILE_NOT_ALLOWED", ""), "IssueCertificate", True, True, id="profile"),
        pytest.param(Unauthenticated("CREDENTIAL_DENIED", ""), "GetCertificate", False, True, id="denied"),
        pytest.param(InvalidArgument("CSR_MALFORMED", ""), "IssueCertificate", False, True, id="wrong request"),
        pytest.param(InvalidArgument("CSR_MALFORMED", ""), "IssueCertificate", True, False, id="dry run"),
        pytest.param(NotFound("CERTIFICATE_UNKNOWN", ""), "RevokeCertificate", False, True, id="not found"),
        pytest.param(NotFound("CERTIFICATE_UNKNOWN", ""), "GetCertificate", False, False, id="not found, reading"),
        pytest.param(FailedPrecondition("ALREADY_REVOKED", ""), "RevokeCertificate", False, True, id="refused"),
        pytest.param(ResourceExhausted("TOO_MANY_DELEGATES", ""), "IssueCertificate", False, True, id="delegates"),
        pytest.param(ResourceExhausted("TOO_MANY_CALLS", ""), "IssueCertificate", False, False, id="limit"),
        pytest.param(ResourceExhausted("QUEUE_FULL", ""), "IssueCertificate", False, False, id="queue"),
        pytest.param(Unavailable("DATABASE_UNAVAILABLE", ""), "IssueCertificate", False, False, id="failure"),
    ],
)
def test_what_is_a_decision(error: DomainError, method: str, dry_run: bool, expected: bool) -> None:
    """Refusals of changes, and callers who may not; neither limits, failures and dry runs, nor reads."""
    describe_call(lambda: CallObject(request_id="id", dry_run=dry_run))
    found = refusal_of(error, CA + method, None, "peer")
    assert (found is not None) == expected
    if found is not None:
        assert (found.method, found.reason, found.actor.request_id) == (method, error.reason, "id")
        assert found.actor == replace(found.actor, identity="", peer="peer")


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing."""
REFUSED: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "IssueCertificate": (
        ca_pb2.IssueCertificateRequest(issuer="nobody", profile="x"),
        "nobody",
        {"csr_sha256": EMPTY, "profile": "x"},
    ),
    "RevokeCertificate": (
        ca_pb2.RevokeCertificateRequest(
            issuer_and_serial_number=types_pb2.IssuerAndSerialNumber(issuer="nobody", serial_number="12"),
            reason=types_pb2.REVOCATION_REASON_SUPERSEDED,
        ),
        "nobody",
        {"reason": "superseded"},
    ),
    "RevokeCertificates": (
        ca_pb2.RevokeCertificatesRequest(
            filter=ca_pb2.CertificateFilter(issuer="nobody"), reason=types_pb2.REVOCATION_REASON_SUPERSEDED
        ),
        "nobody",
        {"reason": "superseded", "selection": "filter"},
    ),
    "BlockPublicKeys": (
        ca_pb2.BlockPublicKeysRequest(public_key_sha256=[b"12"], comment="why"),
        "",
        {"comment": "why", "public_keys_sha256": ["3132"]},
    ),
    "UnblockPublicKeys": (
        ca_pb2.UnblockPublicKeysRequest(public_key_sha256=[b"12"] * 20, comment="why"),
        "",
        {"comment": "why", "public_keys_sha256": ["3132"] * 10},
    ),
    "ImportIssuer": (
        ca_pb2.ImportIssuerRequest(name="new", key_reference="/etc/key", certificates_der=[b""]),
        "new",
        {
            "key_reference": "/etc/key",
            "certificates_sha256": [EMPTY],
        },
    ),
    "UpdateIssuer": (
        ca_pb2.UpdateIssuerRequest(name="nobody", state=types_pb2.ISSUER_STATE_RETIRED),
        "nobody",
        {"state": "retired"},
    ),
    "ImportCertificateRevocationList": (
        ca_pb2.ImportCertificateRevocationListRequest(issuer="nobody"),
        "nobody",
        {"crl_sha256": EMPTY},
    ),
}
"""Calls that are refused; the issuer and the details that the log has of them."""


def refusal_of_call(ca: Ca, method: str, request: Any) -> Refusal | None:
    """What the interceptor would tell of a call that is refused."""

    async def run() -> Refusal | None:
        call_as(make_actor("admin"))
        with ThreadPoolExecutor(1) as pool:
            servicer = CertificateAuthorityServicer(ca.authority, workers=pool, readers=pool, clock=ca.clock)
            try:
                answers = getattr(servicer, method)(request, None)
                if method == "RevokeCertificates":
                    [_ async for _ in answers]
                else:
                    await answers
            except DomainError as error:
                return refusal_of(error, CA + method, None, "peer")
        raise AssertionError("it was not refused")

    return asyncio.run(run())


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("method", REFUSED)
def test_what_is_told_of_each_call(ca: Ca, method: str) -> None:
    """What a refused call was about, whichever it was; nothing where it was a dry run."""
    request, issuer, details = REFUSED[method]
    found = refusal_of_call(ca, method, request)
    assert found is not None
    assert (found.about.issuer, found.about.details) == (issuer, details)
    if "validate_only" in request.DESCRIPTOR.fields_by_name:
        request.validate_only = True
        assert refusal_of_call(ca, method, request) is None
