"""A2: requests about several certificates (R20, R21)."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from tests.conformance.estate import Estate
from tests.conformance.subjects import Subject, echoed
from tests.conformance.wire import Responder, load_certificate, nonce, request, tlv

MAX_REQUESTS = 100
FOREIGN = (
    b"\x30\x3d\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00"
    + (b"\x04\x14" + b"\x5a" * 20) * 2
    + b"\x02\x04\x01\x02\x03\x04"
)


@pytest.fixture(scope="module")
def by_status(subject: Subject, revoked: Path) -> dict[str, bytes]:
    """A CertID for each status."""
    return {
        "good": subject.cert_id(),
        "revoked": subject.cert_id(load_certificate(revoked).serial_number),
        "unknown": subject.cert_id(0x5EED),
    }


@pytest.mark.rule("R20")
@pytest.mark.parametrize("order", list(permutations(("good", "revoked", "unknown"))), ids="-".join)
def test_one_answer_for_each_request_in_order(
    responder: Responder, subject: Subject, by_status: dict[str, bytes], order: tuple[str, ...]
) -> None:
    """Statuses mix freely, and come in the order asked."""
    body = request(*[by_status[status] for status in order])
    for reply in (responder.post(body), responder.get(body)):
        answer = subject.verified(reply)
        assert echoed(answer) == [by_status[status] for status in order]
        assert [answer.status_of(index) for index in range(3)] == list(order)


@pytest.mark.rule("R20")
def test_the_same_cert_id_twice(responder: Responder, subject: Subject, by_status: dict[str, bytes]) -> None:
    """Each of them is answered."""
    asked = [by_status[status] for status in ("good", "good", "revoked", "good", "revoked")]
    answer = subject.verified(responder.post(request(*asked)))
    assert echoed(answer) == asked
    assert [answer.status_of(index) for index in range(5)] == ["good", "good", "revoked", "good", "revoked"]


@pytest.mark.rule("R20", "R26", "R29")
def test_the_same_certificate_in_several_spellings(responder: Responder, subject: Subject) -> None:
    """Each is answered in its own spelling."""
    hashes = ("sha1", "sha256", "sha384", "sha512")
    asked = [subject.cert_id(hash_algorithm=name, null_parameters=null) for name in hashes for null in (True, False)]
    answer = subject.verified(responder.post(request(*asked)))
    assert echoed(answer) == asked
    assert {answer.status_of(index) for index in range(len(asked))} == {"good"}


@pytest.mark.rule("R20")
@pytest.mark.parametrize("count", [2, 8, 99, MAX_REQUESTS])
@pytest.mark.parametrize("hash_algorithm", ["sha1", "sha512"])
def test_as_many_as_are_allowed(responder: Responder, subject: Subject, count: int, hash_algorithm: str) -> None:
    """All of them are answered, and the nonce comes along."""
    serials = [subject.serial if index % 10 == 0 else 1_000_000 + index for index in range(count)]
    asked = [subject.cert_id(serial, hash_algorithm=hash_algorithm) for serial in serials]
    answer = subject.verified(responder.post(request(*asked, extensions=[nonce(b"n" * 32)])))
    assert echoed(answer) == asked
    expected = ["good" if serial == subject.serial else "unknown" for serial in serials]
    assert [answer.status_of(index) for index in range(count)] == expected
    assert answer.nonce == tlv(4, b"n" * 32)


@pytest.mark.rule("R20")
@pytest.mark.parametrize("count", [MAX_REQUESTS + 1, 2 * MAX_REQUESTS, 400])
def test_more_than_are_allowed(responder: Responder, subject: Subject, count: int) -> None:
    """None of them is answered: a message is answered wholly or not at all."""
    body = request(*[subject.cert_id(1_000_000 + index) for index in range(count)])
    assert responder.post(body).ocsp_status == "malformed_request"


@pytest.mark.rule("R20")
def test_the_limit_is_about_requests_not_certificates(responder: Responder, subject: Subject) -> None:
    """The same certificate counts each time."""
    assert len(subject.verified(responder.post(request(*[subject.cert_id()] * MAX_REQUESTS))).singles) == MAX_REQUESTS
    body = request(*[subject.cert_id()] * (MAX_REQUESTS + 1))
    assert responder.post(body).ocsp_status == "malformed_request"


@pytest.mark.rule("R21", "R65")
@pytest.mark.parametrize("other", ["rsa", "solo", "rolled", "renamed"])
def test_two_issuers_in_one_message(estate: Estate, responder: Responder, subject: Subject, other: str) -> None:
    """Nobody signs for both, though each is answered when asked about alone."""
    stranger = Subject(estate.ca(other), 0x5EED)
    assert stranger.verified(responder.post(request(stranger.cert_id()))).status == "unknown"
    for asked in ((subject, stranger), (stranger, subject), (subject, subject, stranger)):
        body = request(*[each.cert_id() for each in asked])
        assert responder.post(body).ocsp_status == "unauthorized"
        assert responder.get(body).ocsp_status == "unauthorized"


@pytest.mark.rule("R21")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_issuer_that_is_not_ours_among_others(responder: Responder, subject: Subject, place: int) -> None:
    """No entry is dropped: the whole is unauthorized."""
    asked = [subject.cert_id(), subject.cert_id(7)]
    asked.insert(place, FOREIGN)
    assert responder.post(request(*asked)).ocsp_status == "unauthorized"


@pytest.mark.rule("R17", "R20")
def test_one_request_that_is_malformed_among_good_ones(responder: Responder, subject: Subject) -> None:
    """It makes the whole malformed."""
    bad = tlv(0x30, subject.cert_id()[2:-4])
    for asked in ([subject.cert_id(), bad], [bad, subject.cert_id()], [FOREIGN, bad]):
        assert responder.post(request(*asked)).ocsp_status == "malformed_request"
