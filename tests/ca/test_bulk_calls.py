"""Bulk revocation over the servicer: what requests hold, what responses tell, and others with the same key."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from goodstanding.ca.v1 import ca_pb2
from goodstanding.types.v1 import types_pb2
from services.ca import bulk_calls, selection
from services.ca.bridge import Bridge
from services.ca.bulk import BulkCommand
from services.ca.bulk_calls import carry_out
from services.ca.selection import ByFilter
from services.ca.servicer import CertificateAuthorityServicer
from services.errors import DomainError, InvalidArgument
from services.rpc.identity import Caller, set_caller
from services.rpc.messages import timestamp
from tests.ca.test_bad_input import call
from tests.ca.world import START, Ca, call_as, make_actor, make_csr

KEY = ec.generate_private_key(ec.SECP256R1())
KEY_DER = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
CSR = make_csr(key=KEY)
COMPROMISE = types_pb2.REVOCATION_REASON_KEY_COMPROMISE


def revoke(ca: Ca, request: ca_pb2.RevokeCertificatesRequest) -> list[ca_pb2.RevocationResult]:
    """All results of one call."""
    actor = make_actor("revoker")
    lasts = START + timedelta(days=90)
    caller = Caller(actor.identity, actor.name, actor.role, actor.fingerprint, lasts, actor.peer, "id")

    async def run() -> list[ca_pb2.RevocationResult]:
        set_caller(caller)
        with ThreadPoolExecutor(1) as pool:
            servicer = CertificateAuthorityServicer(ca.authority, workers=pool, readers=pool, clock=ca.clock)
            context: Any = None
            return [each async for found in servicer.RevokeCertificates(request, context) for each in found.results]

    return asyncio.run(run())


def issue(ca: Ca, count: int = 1) -> list[bytes]:
    """The serial numbers of certificates with the key."""
    return [ca.issue(make_actor("issuer"), csr_der=CSR).certificate.serial for _ in range(count)]


def ways_to_name(certificate: bytes) -> dict[str, bytes]:
    """Everything that a key can be given as."""
    return {
        "public_key_sha256": sha256(KEY_DER).digest(),
        "public_key_der": KEY_DER,
        "certificate_der": certificate,
        "csr_der": CSR,
    }


def test_a_key_in_every_form(ca: Ca) -> None:
    """Its hash, itself, a certificate and a certificate request name the same certificates."""
    serials = [serial.hex() for serial in issue(ca, 2)]
    certificate = ca.issue(make_actor("issuer"), csr_der=CSR, validate_only=False).certificate
    assert certificate.der is not None
    for kind, content in ways_to_name(certificate.der).items():
        key = ca_pb2.PublicKeySelection()
        setattr(key, kind, content)
        results = revoke(ca, ca_pb2.RevokeCertificatesRequest(public_key=key, reason=COMPROMISE, validate_only=True))
        assert [each.certificate.serial_number for each in results] == [*serials, certificate.serial.hex()], kind


def test_results(ca: Ca) -> None:
    """What was, what is, and why not; without DER."""
    first, second = issue(ca, 2)
    ca.revoke(make_actor("revoker"), first, 4)
    named = [
        ca_pb2.ListedCertificate(
            issuer_and_serial_number=types_pb2.IssuerAndSerialNumber(serial_number=text),
            reason=None if reason is None else types_pb2.RevocationReason.ValueType(reason),
        )
        for text, reason in ((first.hex(), 1), (second.hex(), 6), (first.hex(), 5), ("xyz", None), (second.hex(), 77))
    ]
    request = ca_pb2.RevokeCertificatesRequest(
        certificates=ca_pb2.ListedCertificates(certificates=[*named, ca_pb2.ListedCertificate()])
    )
    results = revoke(ca, request)
    assert [(each.index, each.outcome) for each in results] == [(0, 1), (1, 2), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert [each.error.reason for each in results] == [
        "", "", "ALREADY_REVOKED", "SERIAL_INVALID", "REASON_NOT_ALLOWED", "TARGET_MISSING",
    ]  # fmt: skip
    assert (results[0].earlier_revocation.reason, results[0].certificate.revocation.reason) == (4, 1)
    assert results[0].certificate.revocation.revocation_time == timestamp(START)
    assert not results[1].HasField("earlier_revocation")
    assert results[0].certificate.certificate_der == b""
    assert results[2].error.code == 9
    assert results[2].certificate == results[0].certificate
    assert not results[3].HasField("certificate")


def test_a_caller_who_leaves(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than one step is done beyond what was told; the same call again does the rest."""
    monkeypatch.setattr(selection, "STEP", 2)
    issue(ca, 8)
    run = ca.authority.bulk.start(BulkCommand(selection=ByFilter(profile="server")), make_actor("revoker"))

    async def leave() -> int:
        with ThreadPoolExecutor(1) as pool:
            async with aclosing(carry_out(run, Bridge(pool), pool)) as steps:
                return len(await anext(steps))

    assert asyncio.run(leave()) == 2
    assert ca.count("status_changes") == 2
    again = revoke(ca, ca_pb2.RevokeCertificatesRequest(filter=ca_pb2.CertificateFilter(profile="server")))
    assert [each.outcome for each in again] == [4] * 2 + [1] * 6


def test_a_full_queue(ca: Ca, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bulk revocation waits until there is room again, and tells that it is alive."""
    monkeypatch.setattr(bulk_calls, "QUEUE_FULL_SECONDS", 0.01)
    monkeypatch.setattr(bulk_calls, "SIGN_OF_LIFE_SECONDS", 0.02)
    issue(ca, 2)
    run = ca.authority.bulk.start(BulkCommand(selection=ByFilter(profile="server")), make_actor("revoker"))

    async def wait() -> list[int]:
        found = []
        with ThreadPoolExecutor(1) as pool, monkeypatch.context() as full:
            full.setattr(ca.writer, "_max_queue", 0)
            async for results in carry_out(run, Bridge(pool), pool):
                found.append(len(results))
                full.undo()
        return found

    *while_full, last = asyncio.run(wait())
    assert (set(while_full), last) == ({0}, 2)


@pytest.mark.parametrize("dry_run", [False, True], ids=["real", "dry-run"])
def test_no_revocation_waits_for_requests_to_issue(ca: Ca, dry_run: bool) -> None:
    """One or many are revoked while all threads that check and sign are busy with something else."""
    one, *_ = issue(ca, 3)
    named = types_pb2.IssuerAndSerialNumber(serial_number=one.hex())
    alone = ca_pb2.RevokeCertificateRequest(issuer_and_serial_number=named, reason=COMPROMISE, validate_only=dry_run)
    alone.all_with_same_key = True
    many = ca_pb2.RevokeCertificatesRequest(
        filter=ca_pb2.CertificateFilter(profile="server"), reason=COMPROMISE, validate_only=dry_run
    )
    over = threading.Event()

    async def run() -> tuple[int, int]:
        call_as(make_actor("revoker"))
        with ThreadPoolExecutor(1) as busy, ThreadPoolExecutor(1) as readers:
            busy.submit(over.wait, 30)
            servicer = CertificateAuthorityServicer(ca.authority, workers=busy, readers=readers, clock=ca.clock)
            context: Any = None
            try:
                async with asyncio.timeout(20):
                    others = (await servicer.RevokeCertificate(alone, context)).others_with_same_key_count
                    answers = servicer.RevokeCertificates(many, context)
                    return others, len([each async for found in answers for each in found.results])
            finally:
                over.set()

    assert asyncio.run(run()) == (2, 3)


LISTED = ca_pb2.ListedCertificate(issuer_and_serial_number=types_pb2.IssuerAndSerialNumber(serial_number="0a"))


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        pytest.param({}, "SELECTION_MISSING", "selection", id="nothing"),
        pytest.param({"certificates": {}}, "LIST_SIZE_INVALID", "certificates.certificates", id="empty-list"),
        pytest.param(
            {"certificates": {"certificates": [LISTED] * 1001}},
            "LIST_SIZE_INVALID",
            "certificates.certificates",
            id="long-list",
        ),
        pytest.param({"filter": {}}, "FILTER_MISSING", "filter", id="empty-filter"),
        pytest.param({"filter": {"name": "a\0"}}, "NAME_INVALID", "filter.name", id="nul"),
        pytest.param({"filter": {"state": 9}}, "STATE_INVALID", "state", id="state"),
        pytest.param({"public_key": {}}, "PUBLIC_KEY_INVALID", "public_key.key", id="no-key"),
        *(
            pytest.param(
                {"public_key": {kind: content}}, "PUBLIC_KEY_INVALID", f"public_key.{kind}", id=f"{kind}-{len(content)}"
            )
            for kind in ways_to_name(b"")
            for content in (b"garbage", bytes(65537))
        ),
        pytest.param({"filter": {"name": "a"}, "reason": 77}, "REASON_NOT_ALLOWED", "reason", id="reason"),
        pytest.param({"filter": {"name": "a"}, "request_id": " "}, "REQUEST_ID_INVALID", "request_id", id="request-id"),
    ],
)
def test_requests_that_are_refused(ca: Ca, fields: dict[str, Any], reason: str, field: str) -> None:
    """Each has its reason and its field."""
    with pytest.raises(DomainError) as refused:
        revoke(ca, ca_pb2.RevokeCertificatesRequest(**fields))
    assert (refused.value.reason, refused.value.violations[0].field) == (reason, field)


def request_for(serial: bytes, **fields: Any) -> ca_pb2.RevokeCertificateRequest:
    """One certificate and all with its key."""
    return ca_pb2.RevokeCertificateRequest(
        issuer_and_serial_number=types_pb2.IssuerAndSerialNumber(serial_number=serial.hex()),
        all_with_same_key=True,
        **fields,
    )


def test_all_with_the_same_key(ca: Ca) -> None:
    """They are revoked when the call succeeds, and a retry tells the same."""
    serials = issue(ca, 3)
    request = request_for(serials[0], reason=COMPROMISE, request_id="same-key")
    dry = call(ca, "RevokeCertificate", request_for(serials[0], reason=COMPROMISE, validate_only=True), "revoker")
    assert (dry.others_with_same_key_count, ca.count("status_changes")) == (2, 0)
    for _ in range(2):
        response = call(ca, "RevokeCertificate", request, "revoker")
        assert response.others_with_same_key_count == 2
        assert response.certificate.revocation.reason == COMPROMISE
        assert (response.unchanged, response.others_unchanged_count) == (False, 0)
        assert ca.count("status_changes") == 3
    for more in ({"request_id": "another"}, {"request_id": "another"}, {}, {"validate_only": True}):
        later = call(ca, "RevokeCertificate", request_for(serials[1], reason=COMPROMISE, **more), "revoker")
        assert (later.unchanged, later.others_with_same_key_count, later.others_unchanged_count) == (True, 2, 2)


def test_the_same_key_for_another_reason(ca: Ca) -> None:
    """Only a compromise is one of the key; nothing is revoked otherwise."""
    (serial,) = issue(ca)
    with pytest.raises(InvalidArgument) as refused:
        call(ca, "RevokeCertificate", request_for(serial, reason=4), "revoker")
    assert (refused.value.reason, ca.count("status_changes")) == ("SAME_KEY_REASON", 0)
