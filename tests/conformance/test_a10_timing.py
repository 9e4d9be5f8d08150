"""A10: how long answers are valid, and how soon another is there: the baseline requirements' rules for it (R84–R87)."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from cryptography import x509

from gateway.answers import Revocation, Status
from gateway.evidence import CertificateKey
from gateway.validity import Preset, ValidityPolicy
from tests.conformance.certificates import Certificates, Certified
from tests.conformance.estate import Estate
from tests.conformance.verification import verify
from tests.conformance.wire import Answer, Responder, nonce, request
from tests.waiting import wait_until

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
NONCE = nonce(b"0123456789abcdef")


@pytest.fixture(scope="module")
def asked(certificates: Certificates) -> dict[str, Certified]:
    """Certificates of two issuers, one of them revoked."""
    found = {name: certificates.issue(f"{name}-timing.example.com", "solo") for name in ("good", "revoked")}
    certificates.revoke(found["revoked"], "KEY_COMPROMISE")
    return found | {"rsa": certificates.issue("rsa-timing.example.com", "rsa")}


def live(responder: Responder, subject: Certified) -> list[Answer]:
    """By POST, by GET and with a nonce."""
    plain, fresh = subject.request(), request(subject.cert_id(), extensions=[NONCE])
    return [subject.verified(reply) for reply in (responder.post(plain), responder.get(plain), responder.post(fresh))]


# The preset, and what is different for one issuer.
GATEWAYS = {
    "default": ("default", ""),
    "baseline": ("baseline", ""),
    "short": ("short", ""),
    "an-hour-for-rsa": ("default", "[gateway.issuers.rsa]\nvalidity = 3600\n"),
    "baseline-for-solo": ("short", '[gateway.issuers.solo]\npreset = "baseline"\n'),
}
VALIDITIES = {
    ("default", "solo"): 12 * HOUR,
    ("baseline", "solo"): DAY,
    ("short", "solo"): 10 * 60 * SECOND,
    ("an-hour-for-rsa", "solo"): 12 * HOUR,
    ("an-hour-for-rsa", "rsa"): HOUR,
    ("baseline-for-solo", "solo"): DAY,
    ("baseline-for-solo", "rsa"): 10 * 60 * SECOND,
}


@pytest.mark.rule("R57", "R84")
@pytest.mark.parametrize(("gateway", "issuer"), [pytest.param(*each, id="-".join(each)) for each in VALIDITIES])
def test_validity(estate: Estate, asked: dict[str, Certified], gateway: str, issuer: str) -> None:
    """From thisUpdate to nextUpdate it is what was configured, for all and for one issuer, with a nonce and without."""
    preset, more = GATEWAYS[gateway]
    named = gateway if gateway in {"baseline", "short"} else f"{gateway}-timing"
    responder = estate.gateway(named, more, preset=preset) if gateway != "default" else estate.responder
    names = ("good", "revoked") if issuer == "solo" else ("rsa",)
    for answer in (answer for name in names for answer in live(responder, asked[name])):
        interval = answer.next_update - answer.this_update
        assert interval == VALIDITIES[gateway, issuer]
        # Three quarters of it are left, less what clocks may differ by.
        assert answer.next_update - datetime.now(UTC) > interval / 2


@pytest.mark.rule("R84", "R86")
def test_baseline(estate: Estate, asked: dict[str, Certified]) -> None:
    """Both ends counted: eight hours at the least and ten days at the most; never older than four days, nor with less
    than eight hours left.
    """
    gateway = estate.gateway("baseline", preset="baseline")
    for answer in live(gateway, asked["good"]) + live(gateway, asked["revoked"]):
        assert 8 * HOUR <= answer.next_update - answer.this_update + SECOND <= 10 * DAY
        now = datetime.now(UTC)
        assert answer.next_update - now > 8 * HOUR
        assert now - answer.this_update < 4 * DAY


@pytest.mark.rule("R85")
def test_answers_of_a_minute_are_replaced(estate: Estate, asked: dict[str, Certified]) -> None:
    """Watched while two of them take over: whoever asks, and whenever, half of the minute or more is left."""
    gateway = estate.gateway("brief", validity=60, clock_skew=0, max_age=300)
    ends: set[datetime] = set()

    def replaced_twice() -> bool:
        for answer in live(gateway, asked["good"]):
            assert answer.next_update - answer.this_update == 60 * SECOND
            assert answer.next_update - datetime.now(UTC) >= 30 * SECOND
            ends.add(answer.next_update)
        time.sleep(0.1)  # so as not to ask thousands of times
        return len(ends) >= 3

    wait_until(replaced_twice, within=60)


@pytest.mark.rule("R84", "R86")
@pytest.mark.parametrize("hours", [7, 16, 25, 33])
def test_baseline_hours_later(estate: Estate, asked: dict[str, Certified], hours: int) -> None:
    """A gateway whose clock is ahead gives answers that have eight hours left by its clock, whatever the hour."""
    script, ahead = Path(__file__).with_name("clock_ahead.py"), hours * HOUR
    program = (sys.executable, str(script), str(ahead.total_seconds()))
    gateway = estate.gateway(f"baseline-{hours}-hours-ahead", program=program, preset="baseline")
    try:
        for subject in (asked["good"], asked["revoked"]):
            for reply in (gateway.post(subject.request()), gateway.get(subject.request())):
                verify(reply.answer, subject.ca, ahead=ahead)
                now = datetime.now(UTC) + ahead
                assert reply.answer.next_update - now >= 8 * HOUR
                assert now - reply.answer.this_update <= 4 * DAY
                assert 8 * HOUR <= reply.answer.next_update - reply.answer.this_update + SECOND <= 10 * DAY
    finally:
        gateway.stop()


KEY = CertificateKey("solo", b"\x01")
BEGIN = 1_800_000_000
LIFE = int((3 * DAY).total_seconds())
"""Of a delegate."""
AGES = (0, 1, 59, 60, 61, 3_599, 3_600, 10_799, 10_800, 10_801, 50_000, 86_399, 86_400, 86_401, 129_599)
"""Seconds that a delegate lives before it is renewed, for which times are worked out."""
SKEWS = (0, 60)
STATUSES = {
    "good": Status(KEY, True, None, BEGIN - 10**7, BEGIN + 10**8, 1),
    "good-since-now": Status(KEY, True, None, BEGIN, BEGIN + 10**8, 1),
    "revoked": Status(KEY, True, Revocation(BEGIN - 10**6, 1), BEGIN - 10**6, BEGIN + 10**8, 1),
}


def check_refresh(policy: ValidityPolicy, status: Status, now: int, latest: timedelta, oldest: timedelta) -> None:
    """When the next answer takes over, `latest` is left at least of this one, which is `oldest` at most."""
    window = policy.window(status, now, BEGIN, BEGIN + 30 * LIFE)
    assert window is not None
    assert window.good_from <= now < window.good_until
    after, moment = window, now
    # An answer that began with the signer, or with the status, may be signed once more with the same times.
    while after.this_update == window.this_update:
        moment = after.good_until
        found = policy.window(status, moment, BEGIN, BEGIN + 30 * LIFE)
        assert found is not None
        after = found
    assert after.next_update > window.next_update
    assert window.next_update - moment >= latest.total_seconds()
    assert moment - window.this_update <= oldest.total_seconds()


@pytest.mark.rule("R85")
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("validity", [600, 3_600, 8 * 3_600 - 1, 12 * 3_600, 16 * 3_600 - 1])
def test_a_short_answer_is_replaced_in_its_first_half(validity: int, status: str) -> None:
    """Valid for less than sixteen hours: another is there before half of the time is left."""
    for age, skew in product(AGES, SKEWS):
        half = timedelta(seconds=validity / 2)
        check_refresh(ValidityPolicy(validity, skew), STATUSES[status], BEGIN + age, half, half)


@pytest.mark.rule("R86")
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("validity", [16 * 3_600, 24 * 3_600, 4 * 86_400, 7 * 86_400, 10 * 86_400 - 1])
def test_a_long_answer_is_replaced_in_time(validity: int, status: str) -> None:
    """Valid for sixteen hours or more: another is there eight hours before its end, and after four days at the most."""
    for age, skew in product(AGES, SKEWS):
        policy = ValidityPolicy.of(Preset.BASELINE, validity, None, skew)
        check_refresh(policy, STATUSES[status], BEGIN + age, 8 * HOUR, 4 * DAY)


@pytest.mark.rule("R84")
def test_no_answer_that_is_too_short() -> None:
    """Where the signer ends before the least time is over, the baseline preset makes no answer at all; a second more,
    and both ends counted it is eight hours.
    """
    policy = ValidityPolicy.of(Preset.BASELINE, None, None, 60)
    left = int((8 * HOUR).total_seconds()) - 1
    for spare, possible in ((0, True), (-1, False)):
        # The last answer begins with a status that came about just now.
        status = Status(KEY, True, None, BEGIN, BEGIN + 10**8, 1)
        window = policy.window(status, BEGIN, BEGIN - LIFE, BEGIN + left + spare)
        assert (window is not None) == possible


@pytest.mark.rule("R87")
@pytest.mark.parametrize("issuer", ["issuing", "rsa", "direct"])
def test_answers_about_ca_certificates(responder: Responder, certificates: Certificates, issuer: str) -> None:
    """They are as young as all others, though once in twelve months would do."""
    authority = certificates.authority(issuer)
    for answer in live(responder, authority):
        assert answer.status == "good"
        assert answer.next_update - answer.this_update <= 366 * DAY
        assert datetime.now(UTC) - answer.this_update < DAY


@pytest.mark.rule("R87")
def test_the_list_of_the_root(responder: Responder) -> None:
    """The root's revocation list, which CA certificates point to, is valid for twelve months at the most."""
    reply = responder.send("GET", "/crl/root.crl")
    crl = x509.load_der_x509_crl(reply.body)
    assert crl.next_update_utc is not None
    assert crl.last_update_utc <= datetime.now(UTC) < crl.next_update_utc
    assert crl.next_update_utc - crl.last_update_utc <= 366 * DAY
