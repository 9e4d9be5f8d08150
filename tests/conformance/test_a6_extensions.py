"""A6: what answers tell beyond the status, by choice: archive cutoff, invalidity date, list of revocations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asn1crypto import core, crl, ocsp

from tests.conformance.certificates import Certificates, Certified
from tests.conformance.estate import Estate, Gateway
from tests.conformance.wire import Answer, Reply, Responder, nonce, request
from tests.waiting import wait_until

ARCHIVE_CUTOFF = "1.3.6.1.5.5.7.48.1.6"
CRL_REFERENCE = "1.3.6.1.5.5.7.48.1.3"
INVALIDITY_DATE = "2.5.29.24"
REASON_CODE = "2.5.29.21"
RETENTION = 31_536_000
DAY = timedelta(days=1)
NONCE = nonce(b"0123456789abcdef")
PUBLIC_PATH = "/pki"


@pytest.fixture(scope="module")
def extras(estate: Estate) -> Gateway:
    """A gateway that tells all of it."""
    return estate.gateway("extras", archive_cutoff=RETENTION, invalidity_date=True, crl_reference=True)


@pytest.fixture(scope="module")
def expired(certificates: Certificates) -> Certified:
    """A certificate that ended yesterday."""
    now = datetime.now(UTC)
    subject = certificates.sign("archived.example.com", "solo", now - 3 * DAY, now - DAY)
    certificates.record(subject, "solo")
    return subject


def ask(responder: Responder, subject: Certified) -> list[Answer]:
    """By POST, by GET and with a nonce."""
    replies = (
        responder.post(subject.request()),
        responder.get(subject.request()),
        responder.post(request(subject.cert_id(), extensions=[NONCE])),
    )
    return [subject.verified(reply) for reply in replies]


def generalized_time(moment: datetime) -> bytes:
    """DER of a GeneralizedTime."""
    return b"\x18\x0f" + moment.strftime("%Y%m%d%H%M%SZ").encode()


@pytest.mark.rule("R58", "R61")
def test_archive_cutoff(extras: Gateway, expired: Certified) -> None:
    """About an expired certificate: producedAt less the time for which statuses are kept, not critical."""
    for answer in ask(extras, expired):
        assert answer.status == "good"
        cutoff = generalized_time(answer.produced_at - timedelta(seconds=RETENTION))
        assert answer.single_extension(ARCHIVE_CUTOFF) == (False, cutoff)
        assert len(answer.single["single_extensions"]) == 1
        assert answer.extension(ARCHIVE_CUTOFF) is None


@pytest.mark.rule("R60", "R61")
def test_no_archive_cutoff(
    responder: Responder, extras: Gateway, certificates: Certificates, expired: Certified
) -> None:
    """Not about a certificate that has not expired, and not unless it was chosen."""
    current = certificates.issue("not-archived.example.com", "solo")
    for answer in (*ask(extras, current), *ask(responder, expired)):
        assert isinstance(answer.single["single_extensions"], core.Void)


@pytest.mark.rule("R58", "R62")
def test_invalidity_date(responder: Responder, extras: Gateway, certificates: Certificates) -> None:
    """Where one was recorded and telling it was chosen; the time of the revocation is another thing."""
    subject = certificates.issue("invalid-since.example.com", "solo")
    since = datetime.now(UTC).replace(microsecond=0) - 20 * DAY
    at = certificates.revoke(subject, "KEY_COMPROMISE", invalidity_time=since)
    wait_until(lambda: extras.post(subject.request()).answer.status == "revoked", within=10)
    for answer in ask(extras, subject):
        assert answer.revocation == (at, "key_compromise")
        assert answer.single_extension(INVALIDITY_DATE) == (False, generalized_time(since))
    wait_until(lambda: responder.post(subject.request()).answer.status == "revoked", within=10)
    for answer in ask(responder, subject):
        assert isinstance(answer.single["single_extensions"], core.Void)


@pytest.mark.rule("R60", "R62")
def test_no_invalidity_date(extras: Gateway, certificates: Certificates) -> None:
    """Where none was recorded there is none to tell."""
    subject = certificates.issue("invalid-since-when.example.com", "solo")
    certificates.revoke(subject, "KEY_COMPROMISE")
    wait_until(lambda: extras.post(subject.request()).answer.status == "revoked", within=10)
    for answer in ask(extras, subject):
        assert answer.single_extension(INVALIDITY_DATE) is None


def served(gateway: Gateway, issuer: str) -> bytes:
    """The list of an issuer."""
    return bytes(gateway.send("GET", f"{PUBLIC_PATH}/crl/{issuer}.crl").body)


def number_of(der: bytes) -> int:
    """Its number."""
    (number,) = (
        extension["extn_value"].parsed.native
        for extension in crl.CertificateList.load(der)["tbs_cert_list"]["crl_extensions"]
        if extension["extn_id"].native == "crl_number"
    )
    return int(number)


def reference(answer: Answer) -> Any:
    """The CrlID of an answer; None if it has none."""
    found = answer.single_extension(CRL_REFERENCE)
    if found is None:
        return None
    critical, value = found
    assert not critical
    return ocsp.CrlId.load(value, strict=True)


@dataclass(frozen=True)
class Lists:
    """A gateway that names lists, and what is on those of two issuers."""

    gateway: Gateway
    der: bytes
    """Of `solo-rsa`."""
    listed: Certified
    revoked_at: datetime
    good: Certified
    other: Certified
    """On the list of `rolled`."""


def _names_a_list(reply: Reply) -> bool:
    """A gateway that has just begun may have to say tryLater, where the machine is busy."""
    return reply.ocsp_status == "successful" and reference(reply.answer) is not None


@pytest.fixture(scope="module")
def lists(estate: Estate, certificates: Certificates) -> Lists:
    """The certificates are revoked before the gateway starts; the CA makes the lists."""
    listed, good = (certificates.issue(f"{name}.example.com", "solo-rsa") for name in ("on", "never"))
    other = certificates.issue("on-another.example.com", "rolled")
    revoked_at = certificates.revoke(listed, "KEY_COMPROMISE")
    certificates.revoke(other, "KEY_COMPROMISE")
    gateway = estate.gateway("lists", crl_reference=True, public_url=f"http://localhost{PUBLIC_PATH}")
    for subject in (listed, other):
        wait_until(lambda subject=subject: _names_a_list(gateway.post(subject.request())), within=20)  # type: ignore[misc]
    return Lists(gateway, served(gateway, "solo-rsa"), listed, revoked_at, good, other)


@pytest.mark.rule("R48", "R62")
def test_crl_reference(lists: Lists) -> None:
    """An answer about a revoked certificate names the published list that has it, and repeats no entry extension of it:
    that very list can be fetched, and says the same.
    """
    this_update = crl.CertificateList.load(lists.der)["tbs_cert_list"]["this_update"].native
    for answer in ask(lists.gateway, lists.listed):
        named = reference(answer)
        assert (named["crl_num"].native, named["crl_time"].native) == (number_of(lists.der), this_update)
        url = named["crl_url"].native
        assert url.startswith("http://localhost/")
        assert lists.gateway.send("GET", url.removeprefix("http://localhost")).body == lists.der
        assert answer.revocation == (lists.revoked_at, "key_compromise")
        assert answer.single_extension(REASON_CODE) is None


@pytest.mark.rule("R62")
def test_crl_reference_of_another_issuer(lists: Lists) -> None:
    """Each issuer has lists of its own."""
    number = number_of(served(lists.gateway, "rolled"))
    assert [reference(answer)["crl_num"].native for answer in ask(lists.gateway, lists.other)] == [number] * 3


@pytest.mark.rule("R60", "R62")
def test_no_crl_reference(responder: Responder, certificates: Certificates, lists: Lists) -> None:
    """Not about what is good, such as all below the root, whose list is empty; and not unless it was chosen."""
    for subject in (lists.good, certificates.authority("rolled")):
        for answer in ask(lists.gateway, subject):
            assert isinstance(answer.single["single_extensions"], core.Void)
    for answer in ask(responder, lists.listed):
        assert isinstance(answer.single["single_extensions"], core.Void)
