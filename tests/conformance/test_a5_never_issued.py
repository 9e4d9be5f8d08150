"""A5: a serial number that was never issued is never good, whatever it is like and whichever choice is made.

It is `unknown` by default (R44); `unauthorized` where the database may not hold all that was issued (R46); revoked, as
RFC 6960 has it, where that is wanted (R50).
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import pytest

from tests.conformance.certificates import Certificates, Certified
from tests.conformance.estate import Estate
from tests.conformance.wire import Answer, Responder, load_certificate, nonce, request

EXTENDED_REVOKE = "1.3.6.1.5.5.7.48.1.9"
NULL = b"\x05\x00"
SINCE_1970 = (datetime(1970, 1, 1, tzinfo=UTC), "certificate_hold")
RANDOM = 20


@pytest.fixture(scope="module")
def issued(certificates: Certificates) -> Certified:
    """A certificate of `issuing`."""
    return certificates.issue("issued.example.com")


@pytest.fixture(scope="module")
def never_issued(certificates: Certificates, issued: Certified) -> dict[str, int]:
    """Serial numbers that `issuing` never gave, by what they are like."""
    strangers = {f"random-{number}": secrets.randbits(127) | 1 << 126 for number in range(RANDOM)}
    return strangers | {
        "one-before-an-issued-one": issued.serial - 1,
        "one-after-an-issued-one": issued.serial + 1,
        "issued-by-another-ca": certificates.issue("other-ca.example.com", "solo").serial,
        "the-ca-itself": certificates.authority("issuing").serial,
        "one": 1,
        "the-longest": 2**159 - 1,
        "an-issued-one-and-an-octet": issued.serial << 8,
        "an-issued-one-without-an-octet": issued.serial >> 8,
    }


def gateway_for(estate: Estate, choice: str) -> Responder:
    """The gateway for one of the choices."""
    names = {"unauthorized": "never-issued-unauthorized", "extended-revoked": "never-issued-revoked"}
    return estate.gateway(names[choice], never_issued=choice) if choice in names else estate.responder


@pytest.mark.rule("R43", "R44")
def test_never_issued_is_unknown(responder: Responder, issued: Certified, never_issued: dict[str, int]) -> None:
    """By POST, by GET and with a nonce: `unknown`, signed, for every one of them."""
    for name, serial in never_issued.items():
        plain = request(issued.cert_id(serial))
        fresh = request(issued.cert_id(serial), extensions=[nonce(b"0123456789abcdef")])
        for reply in (responder.post(plain), responder.get(plain), responder.post(fresh)):
            assert issued.verified(reply).status == "unknown", name


@pytest.mark.rule("R44", "R46")
def test_never_issued_is_unauthorized_by_choice(
    estate: Estate, issued: Certified, never_issued: dict[str, int]
) -> None:
    """Where the database may not hold everything, nothing is said about what it does not hold."""
    gateway = gateway_for(estate, "unauthorized")
    for name, serial in never_issued.items():
        assert gateway.post(request(issued.cert_id(serial))).ocsp_status == "unauthorized", name
    assert issued.verified(gateway.post(issued.request())).status == "good"
    both = request(issued.cert_id(), issued.cert_id(1))
    assert gateway.post(both).ocsp_status == "unauthorized"


@pytest.mark.rule("R44", "R50")
def test_never_issued_is_revoked_by_choice(estate: Estate, issued: Certified, never_issued: dict[str, int]) -> None:
    """As on hold since 1970, with the extension that says what that means, and with no word about a revocation list."""
    gateway = gateway_for(estate, "extended-revoked")
    for name, serial in never_issued.items():
        answer = issued.verified(gateway.post(request(issued.cert_id(serial))))
        assert (answer.status, answer.revocation) == ("revoked", SINCE_1970), name
        assert answer.extension(EXTENDED_REVOKE) == (False, NULL), name
        assert b"\x18\x0f19700101000000Z" in answer.der
        assert not answer.single["single_extensions"].native, name


@pytest.mark.rule("R50", "R60")
def test_the_extension_comes_only_where_it_is_needed(estate: Estate, issued: Certified) -> None:
    """An answer that speaks of an issued certificate alone does not carry it; one that speaks of both does."""
    gateway = gateway_for(estate, "extended-revoked")
    alone = issued.verified(gateway.post(issued.request()))
    assert (alone.status, alone.extension(EXTENDED_REVOKE)) == ("good", None)
    both = issued.verified(gateway.post(request(issued.cert_id(), issued.cert_id(1))))
    assert [both.status_of(0), both.status_of(1)] == ["good", "revoked"]
    assert both.extension(EXTENDED_REVOKE) == (False, NULL)


@pytest.mark.rule("R50")
@pytest.mark.parametrize("choice", ["unknown", "unauthorized"])
def test_the_extension_is_off_by_default(estate: Estate, issued: Certified, choice: str) -> None:
    """Unless it was chosen, no answer carries it: under the baseline requirements nothing may be on hold."""
    gateway = gateway_for(estate, choice)
    assert issued.verified(gateway.post(issued.request())).extension(EXTENDED_REVOKE) is None
    unknown = gateway.post(request(issued.cert_id(1)))
    if unknown.ocsp_status == "successful":
        assert Answer(unknown.body).extension(EXTENDED_REVOKE) is None


@pytest.mark.rule("R46")
def test_an_issuer_that_is_not_ours_is_unauthorized(responder: Responder, estate: Estate, issued: Certified) -> None:
    """Nobody appointed us to speak for it, so the answer cannot be signed; our serial number makes no difference."""
    stranger = load_certificate(estate.system.data / "tls/ca.pem")
    issued_there = Certified((estate.system.data / "tls/ca.pem").read_bytes(), issued.certificate)
    assert stranger.subject != issued.issuer.subject
    assert responder.post(issued_there.request()).ocsp_status == "unauthorized"
    assert responder.get(issued_there.request(hash_algorithm="sha256")).ocsp_status == "unauthorized"
