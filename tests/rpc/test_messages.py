"""Records become messages and requests become values, without surprises in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from goodstanding.ca.v1 import ca_pb2
from goodstanding.types.v1 import types_pb2
from services.db.records import (
    Actor,
    CertificateRecord,
    CompromiseRecord,
    IssuerRecord,
    IssuerState,
    RevocationRecord,
    StatusRecord,
)
from services.errors import InvalidArgument
from services.rpc import messages, requests

from .conftest import Authority

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ACTOR = Actor("spiffe://goodstanding/admin/a", "a", "admin", "ff", "ipv4:127.0.0.1:1", "r1")


def certificate(**changes: Any) -> CertificateRecord:
    """A record of a certificate that ends at NOW."""
    values: dict[str, Any] = {
        "id": 1,
        "issuer_id": 1,
        "issuer_name": "issuing",
        "serial": b"\x0a\xbc",
        "der": b"der",
        "subject": "CN=x",
        "subject_alternative_names": ("DNS:x.example",),
        "profile": "server",
        "not_before": NOW - timedelta(days=1),
        "not_after": NOW,
        "issued_at": NOW - timedelta(days=1),
        "actor": ACTOR,
        "revocation": None,
        "revision": 7,
    }
    return CertificateRecord(**(values | changes))


REVOKED = RevocationRecord(NOW, 1, NOW - timedelta(hours=1))


@pytest.mark.parametrize(
    ("changes", "now", "state"),
    [
        ({}, NOW, types_pb2.CERTIFICATE_STATE_VALID),  # notAfter is the last second of the validity
        ({}, NOW + timedelta(seconds=1), types_pb2.CERTIFICATE_STATE_EXPIRED),
        ({"revocation": REVOKED}, NOW + timedelta(days=9), types_pb2.CERTIFICATE_STATE_REVOKED),
    ],
    ids=["last second", "after it", "revoked and expired"],
)
def test_states(changes: dict[str, Any], now: datetime, state: int) -> None:
    """Revoked goes before expired, and the last second of the validity counts."""
    assert messages.certificate_message(certificate(**changes), now).state == state


def test_a_certificate_message_is_the_whole_record() -> None:
    """Every field is there, absent times are absent, and listings leave the DER out."""
    message = messages.certificate_message(certificate(revocation=REVOKED), NOW)
    assert {field.name for field, _ in message.ListFields()} == set(message.DESCRIPTOR.fields_by_name)
    assert message.serial_number == "0abc"
    assert message.issued_by.request_id == "r1"
    plain = messages.certificate_message(certificate(der=None), NOW, with_der=False)
    assert not plain.HasField("revocation")
    assert plain.certificate_der == b""


def test_status_messages_say_good_or_revoked_or_unknown() -> None:
    """A record is good or revoked; what there is no record of is unknown."""
    record = StatusRecord(1, b"\x01", 1, NOW, None, NOW, 3)
    assert messages.status_message(record, "issuing").status == types_pb2.CERTIFICATE_STATUS_GOOD
    revoked = StatusRecord(1, b"\x01", 1, NOW, REVOKED, NOW, 3)
    message = messages.status_message(revoked, "issuing")
    assert (message.status, message.revocation.reason) == (types_pb2.CERTIFICATE_STATUS_REVOKED, 1)
    assert messages.unknown_status_message().status == types_pb2.CERTIFICATE_STATUS_UNKNOWN


def test_an_issuer_message_does_not_tell_where_its_key_is() -> None:
    """The place of the key stays inside."""
    record = IssuerRecord(1, "issuing", IssuerState.ACTIVE, b"s", b"k", (b"c",), (b"r",), "ca/issuing.key", 2)
    message = messages.issuer_message(record)
    assert message.state == types_pb2.ISSUER_STATE_ACTIVE
    assert b"issuing.key" not in message.SerializeToString()
    assert not message.HasField("compromise")


def test_an_issuer_message_tells_of_a_compromise() -> None:
    """With the revocation that stands for it (R51)."""
    record = IssuerRecord(
        1, "issuing", IssuerState.ACTIVE, b"s", b"k", (b"c",), (), None, 2, CompromiseRecord(REVOKED, NOW, 2)
    )
    assert messages.issuer_message(record).compromise == messages.revocation_message(REVOKED)


def test_reasons_have_the_numbers_of_rfc_5280() -> None:
    """The contract's enum and the stored number are the same; 7 is not in it."""
    assert set(types_pb2.RevocationReason.values()) == {0, 1, 2, 3, 4, 5, 6, 8, 9, 10}


def issue(**fields: Any) -> ca_pb2.IssueCertificateRequest:
    """A request to issue."""
    return ca_pb2.IssueCertificateRequest(**fields)


def revoke(**fields: Any) -> ca_pb2.RevokeCertificateRequest:
    """A request to revoke."""
    return ca_pb2.RevokeCertificateRequest(**fields)


Case = tuple[Callable[[], object], str, str]
BAD: dict[str, Case] = {
    "no csr": (lambda: requests.read_csr(issue()), "CSR_MISSING", "certificate_request"),
    "validity 0": (lambda: requests.read_lifetime(issue(validity=Duration())), "VALIDITY_INVALID", "validity"),
    "validity fraction": (
        lambda: requests.read_lifetime(issue(validity=Duration(seconds=1, nanos=1))),
        "VALIDITY_INVALID",
        "validity",
    ),
    "validity huge": (
        lambda: requests.read_lifetime(issue(validity=Duration(seconds=2**62))),
        "VALIDITY_INVALID",
        "validity",
    ),
    "time huge": (
        lambda: requests.read_lifetime(issue(not_after_time=Timestamp(seconds=2**62))),
        "TIME_INVALID",
        "not_after_time",
    ),
    "time nanos": (
        lambda: requests.read_time(Timestamp(nanos=-1), "invalidity_time"),
        "TIME_INVALID",
        "invalidity_time",
    ),
    "no target": (lambda: requests.read_revoke_target(revoke()), "TARGET_MISSING", "target"),
    "empty target": (
        lambda: requests.read_revoke_target(revoke(issuer_and_serial_number=types_pb2.IssuerAndSerialNumber())),
        "SERIAL_INVALID",
        "issuer_and_serial_number.serial_number",
    ),
    "der garbage": (
        lambda: requests.read_revoke_target(revoke(certificate_der=b"0")),
        "CERTIFICATE_MALFORMED",
        "certificate_der",
    ),
    "pem garbage": (
        lambda: requests.read_revoke_target(revoke(certificate_pem="x")),
        "CERTIFICATE_MALFORMED",
        "certificate_pem",
    ),
    "der large": (
        lambda: requests.read_revoke_target(revoke(certificate_der=b"0" * (requests.MAX_CERTIFICATE_SIZE + 1))),
        "CERTIFICATE_MALFORMED",
        "certificate_der",
    ),
    "reason 7": (lambda: requests.read_reason(7), "REASON_NOT_ALLOWED", "reason"),
    "reason -1": (lambda: requests.read_reason(-1), "REASON_NOT_ALLOWED", "reason"),
    "state 99": (lambda: requests.read_state(99), "STATE_INVALID", "state"),
    "request id long": (lambda: requests.read_request_id("x" * 129), "REQUEST_ID_INVALID", "request_id"),
    "request id newline": (lambda: requests.read_request_id("x\n"), "REQUEST_ID_INVALID", "request_id"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_parts_of_requests_name_their_field(case: str) -> None:
    """Whatever is wrong gets a reason and the field at fault."""
    read, reason, field = BAD[case]
    with pytest.raises(InvalidArgument) as caught:
        read()
    assert (caught.value.reason, caught.value.violations[0].field) == (reason, field)


def test_good_parts_of_requests(authority: Authority) -> None:
    """Each part comes out as a plain value; what was left out is None."""
    assert requests.read_csr(issue(csr_der=b"d")) == (b"d", None)
    assert requests.read_csr(issue(csr_pem="p")) == (None, "p")
    assert requests.read_lifetime(issue()) == (None, None)
    assert requests.read_lifetime(issue(validity=Duration(seconds=60))) == (None, timedelta(minutes=1))
    assert requests.read_lifetime(issue(not_after_time=messages.timestamp(NOW))) == (NOW, None)
    assert requests.read_optional_time(revoke(), "invalidity_time") is None
    assert requests.read_optional_time(revoke(invalidity_time=messages.timestamp(NOW)), "invalidity_time") == NOW
    assert (requests.read_request_id(""), requests.read_request_id("a-1")) == ("", "a-1")
    assert [requests.read_state(number) for number in range(4)] == [None, "valid", "revoked", "expired"]
    pem = authority.root.pem.decode()
    der = requests.read_certificate(pem=pem, field="certificate_pem")
    assert requests.read_revoke_target(revoke(certificate_der=der)).certificate_der == der
    assert messages.pem(der) == pem
    assert messages.pem_chain((der, der)) == pem * 2
    with pytest.raises(InvalidArgument, match="2 certificates"):
        requests.read_certificate(pem=pem * 2, field="certificate_pem")


def test_a_time_without_a_zone_is_a_mistake_of_ours() -> None:
    """A naive time never becomes a message."""
    with pytest.raises(ValueError, match="time zone"):
        messages.timestamp(datetime(2026, 1, 1))  # noqa: DTZ001
