"""A5: issuers that have expired, are revoked, or whose key is in other hands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.conformance.certificates import Certificates, Certified
from tests.conformance.estate import Estate
from tests.conformance.wire import Answer, Responder, nonce, request
from tests.e2e.client import failure
from tests.waiting import wait_until

DAY = timedelta(days=1)
NONCE = nonce(b"fedcba9876543210fedcba9876543210")
CRL_REASONS = ("key_compromise", "affiliation_changed", "superseded", "cessation_of_operation", "privilege_withdrawn")
"""What the baseline requirements allow (7.2.2)."""


@dataclass(frozen=True)
class Compromised:
    """An issuer whose own certificate was revoked for keyCompromise, and certificates that it had issued."""

    authority: Certified
    begin: datetime
    """Nobody had revoked it before."""
    end: datetime
    """It was revoked then."""
    good: Certified
    """Never revoked itself, and asked about just before."""
    unasked: Certified
    """The same, but never asked about before."""
    revoked: Certified
    """Revoked itself, earlier."""
    revoked_at: datetime
    held: Certified
    """On hold since earlier."""


@pytest.fixture(scope="module")
def compromised(estate: Estate, responder: Responder, certificates: Certificates) -> Compromised:
    """The issuer `compromised`, from now on."""
    authority = certificates.authority("compromised")
    good, unasked, revoked, held = (
        certificates.issue(f"{name}.compromised.example.com", "compromised")
        for name in ("good", "unasked", "revoked", "held")
    )
    revoked_at = certificates.revoke(revoked, "SUPERSEDED")
    certificates.revoke(held, "CERTIFICATE_HOLD")
    begin = datetime.now(UTC).replace(microsecond=0)
    for ask in (responder.post, responder.get):
        assert good.verified(ask(good.request())).status == "good"
        assert authority.verified(ask(authority.request())).status == "good"
    wait_until(lambda: datetime.now(UTC) > begin + timedelta(seconds=1), within=5)  # another second than `revoked`
    estate.revoke(estate.ca_file("compromised"), "keyCompromise")
    end = datetime.now(UTC)
    wait_until(lambda: authority.verified(responder.post(authority.request())).status == "revoked", within=10)
    return Compromised(authority, begin, end, good, unasked, revoked, revoked_at, held)


def answers(responder: Responder, subject: Certified) -> list[Answer]:
    """The same question in several ways; nothing was revoked later than thisUpdate (R59)."""
    plain, fresh = subject.request(), request(subject.cert_id(), extensions=[NONCE])
    replies = (responder.post(plain), responder.get(plain), responder.post(fresh))
    found = [subject.verified(reply) for reply in replies]
    assert all(answer.revocation[0] <= answer.this_update for answer in found if answer.status == "revoked")
    return found


@pytest.mark.rule("R43", "R47", "R48", "R87")
def test_a_revoked_ca_certificate(responder: Responder, compromised: Compromised) -> None:
    """The root's responder says so at once, with the reason; one that a CRL may have, and in no entry extension."""
    for answer in answers(responder, compromised.authority):
        assert answer.status == "revoked"
        revoked_at, reason = answer.revocation
        assert compromised.begin <= revoked_at <= compromised.end
        assert reason == "key_compromise"
        assert reason in CRL_REASONS
        assert not answer.single["single_extensions"].native


@pytest.mark.rule("R51")
@pytest.mark.parametrize("name", ["good", "unasked"])
def test_whatever_a_compromised_issuer_issued_is_revoked(
    responder: Responder, compromised: Compromised, name: str
) -> None:
    """With the reason and the time of the issuer's own revocation, though nobody revoked the certificate itself."""
    subject: Certified = getattr(compromised, name)
    [wanted] = {answer.revocation for answer in answers(responder, compromised.authority)}
    for answer in answers(responder, subject):
        assert (answer.status, answer.revocation) == ("revoked", wanted)


@pytest.mark.rule("R51")
def test_what_was_revoked_earlier_stays_so(responder: Responder, compromised: Compromised) -> None:
    """With its own time and reason."""
    for answer in answers(responder, compromised.revoked):
        assert (answer.status, answer.revocation) == ("revoked", (compromised.revoked_at, "superseded"))


@pytest.mark.rule("R51", "R52")
def test_what_was_on_hold_is_revoked_for_good(
    responder: Responder, certificates: Certificates, compromised: Compromised
) -> None:
    """A hold could be released: the compromise takes its place, and a release changes nothing."""
    assert {answer.revocation[1] for answer in answers(responder, compromised.held)} == {"key_compromise"}
    certificates.revoke(compromised.held, "REMOVE_FROM_CRL")
    assert {answer.revocation[1] for answer in answers(responder, compromised.held)} == {"key_compromise"}


@pytest.mark.rule("R44", "R51")
def test_what_a_compromised_issuer_never_issued_is_unknown(responder: Responder, compromised: Compromised) -> None:
    """As before: whoever has the key could have signed it, but nothing here says that anybody did."""
    for serial in (1, compromised.good.serial + 1):
        reply = responder.post(request(compromised.good.cert_id(serial)))
        assert compromised.good.verified(reply).status == "unknown"


@pytest.mark.rule("R51")
def test_a_gateway_that_starts_after_a_compromise(estate: Estate, compromised: Compromised) -> None:
    """It gets a signer for the issuer all the same: somebody has to say what became of the certificates."""
    gateway = estate.gateway("after-a-compromise")
    for subject in (compromised.good, compromised.revoked, compromised.authority):
        assert {answer.status for answer in answers(gateway, subject)} == {"revoked"}


@pytest.mark.rule("R51")
@pytest.mark.usefixtures("compromised")
def test_a_compromised_issuer_issues_no_more(certificates: Certificates) -> None:
    """Nobody should trust what it would sign."""
    refused = failure(lambda: certificates.issue("too-late.example.com", "compromised"))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "ISSUER_COMPROMISED")


@pytest.mark.rule("R48")
def test_a_ca_certificate_is_not_revoked_without_a_reason(
    estate: Estate, responder: Responder, certificates: Certificates
) -> None:
    """The command refuses, whether unspecified is said or meant, and the certificate stays good."""
    authority = certificates.authority("direct")
    for options in ((), ("--reason", "unspecified")):
        command = ("goodstanding", "revoke", "--cert", str(estate.ca_file("direct")), *options)
        done = estate.system.run(*command, check=False)
        assert done.returncode == 1
        assert "reason" in done.stderr
    assert authority.verified(responder.post(authority.request())).status == "good"


@pytest.mark.rule("R47", "R48")
def test_an_issuer_that_ceased(estate: Estate, responder: Responder, certificates: Certificates) -> None:
    """Its own certificate is revoked, with the reason; what it issued keeps a status of its own, because its key is in
    nobody else's hands.
    """
    authority = certificates.authority("ceased")
    kept, lost = (certificates.issue(f"{name}.ceased.example.com", "ceased") for name in ("kept", "lost"))
    estate.revoke(estate.ca_file("ceased"), "cessationOfOperation")
    certificates.revoke(lost, "KEY_COMPROMISE")
    wait_until(lambda: authority.verified(responder.post(authority.request())).status == "revoked", within=10)
    wait_until(lambda: lost.verified(responder.post(lost.request())).status == "revoked", within=10)
    assert authority.verified(responder.get(authority.request())).revocation[1] == "cessation_of_operation"
    assert lost.verified(responder.get(lost.request())).revocation[1] == "key_compromise"
    assert kept.verified(responder.get(kept.request())).status == "good"


@pytest.mark.rule("R46")
def test_an_expired_issuer_is_unauthorized(responder: Responder, certificates: Certificates) -> None:
    """Nobody can speak for it any more, neither about what it issued nor about anything else."""
    now = datetime.now(UTC)
    subject = certificates.sign("of-expired.example.com", "expired", now - 2 * DAY, now + DAY)
    certificates.record(subject, "expired")
    for ask in (responder.post, responder.get):
        assert ask(subject.request()).ocsp_status == "unauthorized"
        assert ask(request(subject.cert_id(1))).ocsp_status == "unauthorized"


@pytest.mark.rule("R43", "R46")
def test_the_certificate_of_an_expired_issuer(responder: Responder, certificates: Certificates) -> None:
    """The root still speaks about it."""
    authority = certificates.authority("expired")
    assert authority.certificate.not_valid_after_utc < datetime.now(UTC)
    assert authority.verified(responder.post(authority.request())).status == "good"


@pytest.mark.rule("R43", "R44")
@pytest.mark.parametrize("issuer", ["issuing", "direct", "rolled", "renamed", "rsa", "direct-rsa"])
def test_ca_certificates(responder: Responder, certificates: Certificates, issuer: str) -> None:
    """The responder of an offline root answers for the CAs below it: good, and what it never issued is unknown."""
    authority = certificates.authority(issuer)
    assert authority.verified(responder.post(authority.request())).status == "good"
    stranger = request(authority.cert_id(authority.serial + 1))
    assert authority.verified(responder.post(stranger)).status == "unknown"
