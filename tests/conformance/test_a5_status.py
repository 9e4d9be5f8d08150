"""A5: good, revoked and on hold: each is answered as soon as it is so, with when and why.

A revocation counts from when its caller is told of it: from one second later on nobody is told `good` (G3), whatever
the way of asking, and whatever was answered before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.conformance import wire
from tests.conformance.certificates import Certificates, Certified, KeepAlive
from tests.conformance.estate import Estate
from tests.conformance.wire import Answer, Reply, Responder, nonce, request
from tests.waiting import wait_until

BOUND = 1.0
NONCE = nonce(b"0123456789abcdef0123456789abcdef")

REASONS = {
    "unspecified": None,
    "keyCompromise": "key_compromise",
    "cACompromise": "ca_compromise",
    "affiliationChanged": "affiliation_changed",
    "superseded": "superseded",
    "cessationOfOperation": "cessation_of_operation",
    "certificateHold": "certificate_hold",
    "privilegeWithdrawn": "privilege_withdrawn",
    "aACompromise": "aa_compromise",
}
"""RFC 5280's names, and what asn1crypto calls them in an answer; None: the field is absent."""


def told_until(ask: Callable[[], Reply], subject: Certified, wanted: str) -> Answer:
    """Ask until the answer is `wanted`. Whoever asks a second after now must not be told anything else."""
    begin = time.monotonic()
    while True:
        asked = time.monotonic()
        reply = ask()
        if reply.ocsp_status == "try_later":  # rather than what may be old
            assert asked - begin < wire.TIMEOUT
            continue
        answer = subject.verified(reply)
        if answer.status == wanted:
            return answer
        assert asked - begin < BOUND, f"{answer.status} after {asked - begin:.3f} s"


@pytest.mark.rule("R43", "R45")
@pytest.mark.parametrize("issuer", ["issuing", "rsa", "solo", "direct"])
def test_what_was_just_issued_is_good(responder: Responder, certificates: Certificates, issuer: str) -> None:
    """With the first question, a moment after it was issued, and not a quarter of an hour later."""
    for number in range(3):
        subject = certificates.issue(f"new-{number}.example.com", issuer)
        assert responder.post(request(subject.cert_id(subject.serial - 1))).answer.status == "unknown"
        assert subject.verified(responder.post(subject.request())).status == "good"
        assert subject.verified(responder.get(subject.request())).status == "good"


@pytest.mark.rule("R43", "R45")
def test_unknown_is_not_held_against_what_is_issued_then(responder: Responder, certificates: Certificates) -> None:
    """A serial number that was `unknown` a moment ago is good as soon as its certificate is recorded."""
    now = datetime.now(UTC)
    subject = certificates.sign("asked-before.example.com", "solo", now, now + timedelta(days=1))
    asks = (responder.post, responder.get)
    assert [subject.verified(ask(subject.request())).status for ask in asks] == ["unknown", "unknown"]
    certificates.record(subject, "solo")
    assert [subject.verified(ask(subject.request())).status for ask in asks] == ["good", "good"]


@pytest.mark.rule("R47", "R48")
@pytest.mark.parametrize("reason", REASONS)
def test_reason(estate: Estate, responder: Responder, certificates: Certificates, reason: str) -> None:
    """The reason that was given is in the answer, unspecified as no reason at all, and nowhere else."""
    subject = certificates.issue(f"{reason}.example.com".lower())
    begin = datetime.now(UTC).replace(microsecond=0)
    file = estate.folder / f"{reason}.pem"
    file.write_bytes(subject.certificate.public_bytes(Encoding.PEM))
    estate.revoke(file, reason)
    end = datetime.now(UTC)
    answer = told_until(lambda: responder.post(subject.request()), subject, "revoked")
    at, told = answer.revocation
    assert told == REASONS[reason]
    assert begin <= at <= end
    assert at <= answer.this_update
    # A CRL entry extension has no place in an answer; by default there are no others either.
    assert answer.single_extension("2.5.29.21") is None
    assert not answer.single["single_extensions"].native


@pytest.mark.rule("R47", "R52")
@pytest.mark.parametrize("reason", ["7", "removeFromCRL"])
def test_what_is_no_reason(estate: Estate, responder: Responder, certificates: Certificates, reason: str) -> None:
    """Number 7 does not exist, and removeFromCRL revokes nothing: the command fails, and the certificate stays good."""
    subject = certificates.issue(f"no-reason-{reason}.example.com".lower())
    command = ("goodstanding", "revoke", f"{subject.serial:x}", "--issuer", "issuing", "--reason", reason)
    assert estate.system.run(*command, check=False).returncode != 0
    assert subject.verified(responder.post(subject.request())).status == "good"


@pytest.mark.rule("R43", "R47", "R52")
def test_hold_and_release(responder: Responder, certificates: Certificates) -> None:
    """On hold is revoked; released is good again, as if nothing had been; and so a second time."""
    subject = certificates.issue("held.example.com")

    def ask() -> Reply:
        return responder.get(subject.request())

    assert ask().answer.status == "good"
    for _ in range(2):
        certificates.revoke(subject, "CERTIFICATE_HOLD")
        assert told_until(ask, subject, "revoked").revocation[1] == "certificate_hold"
        certificates.revoke(subject, "REMOVE_FROM_CRL")
        wait_until(lambda: ask().answer.status == "good", within=10)
    fresh = subject.verified(responder.post(request(subject.cert_id(), extensions=[NONCE])))
    assert fresh.status == "good"


@pytest.mark.rule("R47", "R52")
def test_hold_becomes_a_revocation(responder: Responder, certificates: Certificates) -> None:
    """The time stays that of the hold, and there is no way back."""
    subject = certificates.issue("held-then-revoked.example.com")
    held = certificates.revoke(subject, "CERTIFICATE_HOLD")
    certificates.revoke(subject, "KEY_COMPROMISE")
    with pytest.raises(grpc.RpcError):
        certificates.revoke(subject, "REMOVE_FROM_CRL")
    said = (held, "key_compromise")
    wait_until(lambda: subject.verified(responder.post(subject.request())).revocation == said, within=10)


@pytest.mark.rule("R49")
def test_a_revocation_is_seen_at_once(estate: Estate, responder: Responder, certificates: Certificates) -> None:
    """By POST, by GET, with a nonce, among others, on a connection that was open, and at another gateway: by all of
    them, though each of them has just said `good`, and holds that answer ready.
    """
    subject = certificates.issue("seen-at-once.example.com")
    other = estate.gateway("never-issued-revoked", never_issued="extended-revoked")
    plain, fresh = subject.request(), request(subject.cert_id(), extensions=[NONCE])
    with KeepAlive(responder) as connection:
        ways: dict[str, Callable[[], Reply]] = {
            "post": lambda: responder.post(plain),
            "get": lambda: responder.get(plain),
            "sha-256": lambda: responder.get(subject.request(hash_algorithm="sha256")),
            "nonce": lambda: responder.post(fresh),
            "open connection": lambda: connection.post(plain),
            "another gateway": lambda: other.get(plain),
        }
        for _ in range(2):
            assert {name: subject.verified(ask()).status for name, ask in ways.items()} == dict.fromkeys(ways, "good")
        before = responder.get(plain)
        certificates.revoke(subject, "KEY_COMPROMISE")
        for ask in ways.values():
            told_until(ask, subject, "revoked")
        for ask in ways.values():
            assert subject.verified(ask()).status == "revoked"
    after = responder.get(plain, if_none_match=str(before.header("etag")))
    assert (after.status, after.answer.status) == (200, "revoked")


@pytest.mark.rule("R49")
def test_every_request_of_one_message_is_seen_revoked(responder: Responder, certificates: Certificates) -> None:
    """Of two certificates in one request one is revoked: the answer about the other stays what it was."""
    kept, lost = (certificates.issue(f"{name}-of-two.example.com") for name in ("kept", "lost"))
    both = request(kept.cert_id(), lost.cert_id())
    assert [kept.verified(responder.post(both)).status_of(index) for index in (0, 1)] == ["good", "good"]
    certificates.revoke(lost)
    told_until(lambda: responder.post(lost.request()), lost, "revoked")
    assert [kept.verified(responder.post(both)).status_of(index) for index in (0, 1)] == ["good", "revoked"]


@pytest.mark.rule("R46")
def test_a_revocation_outlives_the_certificate(responder: Responder, certificates: Certificates) -> None:
    """After its expiry a revoked certificate is revoked still, and one that was good is good still: both are kept."""
    subjects = {
        # It counts from a minute ago: notBefore is put back, for clients whose clock is behind.
        name: certificates.issue(f"{name}-and-expired.example.com", validity=timedelta(seconds=63))
        for name in ("good", "revoked")
    }
    revoked_at = certificates.revoke(subjects["revoked"], "CESSATION_OF_OPERATION")
    end = max(subject.certificate.not_valid_after_utc for subject in subjects.values())
    wait_until(lambda: datetime.now(UTC) > end + timedelta(seconds=1), within=10)
    answers = {name: subject.verified(responder.post(subject.request())) for name, subject in subjects.items()}
    assert {name: answer.status for name, answer in answers.items()} == {"good": "good", "revoked": "revoked"}
    assert answers["revoked"].revocation == (revoked_at, "cessation_of_operation")
