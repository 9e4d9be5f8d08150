"""A4: nonces of every length, under each policy (R33, R34, R35, R36, R37)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.estate import Estate
from tests.conformance.subjects import Subject, echoed
from tests.conformance.wire import (
    NONCE,
    Answer,
    Reply,
    Responder,
    cert_id,
    extension,
    load_certificate,
    nonce,
    request,
    tlv,
)

MALFORMED = "malformed_request"
ECHOED = (1, 15, 16, 31, 32, 33, 64, 127, 128)
REFUSED = (0, 129, 255, 1000)


def octets(size: int) -> bytes:
    """A nonce of that length, another one for each length."""
    return bytes((size * 7 + index * 13) % 256 for index in range(size))


def both(responder: Responder, der: bytes) -> tuple[Reply, Reply]:
    """The replies by POST and by GET."""
    return responder.post(der), responder.get(der)


def assert_echoed(answer: Answer, value: bytes) -> None:
    """The nonce came back as it was, where it belongs, not critical, and with nothing beside it (R33, R60)."""
    assert answer.extension(NONCE) == (False, tlv(4, value))
    assert len(answer.data["response_extensions"]) == 1
    assert all(answer.single_extension(NONCE, index) is None for index in range(len(answer.singles)))


def assert_none(answer: Answer) -> None:
    """There is no nonce, and no other extension."""
    assert not answer.data["response_extensions"].native
    assert not any(single["single_extensions"].native for single in answer.singles)


@pytest.fixture(scope="module")
def ignoring(estate: Estate) -> Responder:
    """A gateway that ignores nonces."""
    return estate.gateway("nonce-ignore", nonce="ignore")


@pytest.fixture(scope="module")
def requiring(estate: Estate) -> Responder:
    """A gateway that requires nonces."""
    return estate.gateway("nonce-require", nonce="require")


@pytest.mark.rule("R33", "R34")
@pytest.mark.parametrize("size", ECHOED)
def test_a_nonce_comes_back(responder: Responder, requiring: Responder, subject: Subject, size: int) -> None:
    """From 1 to 128 octets, by default and where one is required."""
    body = request(subject.cert_id(), extensions=[nonce(octets(size))])
    for reply in (*both(responder, body), *both(requiring, body)):
        answer = subject.verified(reply)
        assert (answer.status, echoed(answer)) == ("good", [subject.cert_id()])
        assert_echoed(answer, octets(size))


@pytest.mark.rule("R34", "R35")
@pytest.mark.parametrize("size", ECHOED)
def test_a_nonce_that_is_ignored(ignoring: Responder, subject: Subject, size: int) -> None:
    """The answer is the one that everybody gets."""
    plain = ignoring.post(request(subject.cert_id()))
    assert_none(subject.verified(plain))
    for reply in both(ignoring, request(subject.cert_id(), extensions=[nonce(octets(size))])):
        assert reply.body == plain.body


@pytest.mark.rule("R34")
@pytest.mark.parametrize("critical", [False, True], ids=["not-critical", "critical"])
@pytest.mark.parametrize("size", REFUSED)
def test_a_nonce_of_a_length_that_is_not_allowed(
    responder: Responder, ignoring: Responder, requiring: Responder, subject: Subject, size: int, critical: bool
) -> None:
    """None, or more than 128 octets: malformed under every policy."""
    body = request(subject.cert_id(), extensions=[nonce(octets(size), critical=critical)])
    for gateway in (responder, ignoring, requiring):
        assert {reply.ocsp_status for reply in both(gateway, body)} == {MALFORMED}


@pytest.mark.rule("R33")
@pytest.mark.parametrize(
    "value", [bytes(32), b"\xff" * 32, b"\x04\x20" * 16, b"\x30\x80" * 16], ids=lambda v: v[:2].hex()
)
def test_a_nonce_is_opaque(responder: Responder, subject: Subject, value: bytes) -> None:
    """Whatever its octets look like."""
    answer = subject.verified(responder.post(request(subject.cert_id(), extensions=[nonce(value)])))
    assert_echoed(answer, value)


@pytest.mark.rule("R33")
def test_a_nonce_whatever_the_status(responder: Responder, subject: Subject, revoked: Path) -> None:
    """Revoked and unknown answers have it too, and answers about several certificates have it once."""
    serials = {"good": subject.serial, "revoked": load_certificate(revoked).serial_number, "unknown": 0x5EED}
    for status, serial in serials.items():
        answer = subject.verified(responder.post(request(subject.cert_id(serial), extensions=[nonce(octets(32))])))
        assert answer.status == status
        assert_echoed(answer, octets(32))
    asked = [subject.cert_id(serial) for serial in serials.values()]
    assert_echoed(subject.verified(responder.post(request(*asked, extensions=[nonce(octets(32))]))), octets(32))


@pytest.mark.rule("R33", "R39")
def test_a_critical_nonce(responder: Responder, subject: Subject) -> None:
    """It is a nonce like any other; the one in the answer is not critical."""
    for reply in both(responder, request(subject.cert_id(), extensions=[nonce(octets(32), critical=True)])):
        assert_echoed(subject.verified(reply), octets(32))


@pytest.mark.rule("R33", "R38")
def test_a_nonce_at_a_single_request(responder: Responder, requiring: Responder, subject: Subject) -> None:
    """There it is an extension that nobody knows: ignored, or malformed if critical, and never answered."""
    single = [nonce(octets(32))]
    plain = responder.post(request(subject.cert_id()))
    for reply in both(responder, request(subject.cert_id(), single_extensions=single)):
        assert reply.body == plain.body
    critical = request(subject.cert_id(), single_extensions=[nonce(octets(32), critical=True)])
    assert {reply.ocsp_status for reply in both(responder, critical)} == {MALFORMED}
    in_both = request(subject.cert_id(), single_extensions=single, extensions=[nonce(octets(16))])
    assert_echoed(subject.verified(responder.post(in_both)), octets(16))
    assert requiring.post(request(subject.cert_id(), single_extensions=single)).ocsp_status == MALFORMED


@pytest.mark.rule("R33", "R53")
def test_no_nonce_in_an_error(responder: Responder, subject: Subject) -> None:
    """Errors are five octets, whatever was asked."""
    with_nonce = [nonce(octets(32))]
    foreign = cert_id(subject.issuer, subject.serial, hash_algorithm="md5")
    for body, code in (
        (request(foreign, extensions=with_nonce), 6),
        (request(extensions=with_nonce), 1),
        (request(subject.cert_id(), extensions=[*with_nonce, extension("1.2.3.4", b"", critical=True)]), 1),
    ):
        for reply in both(responder, body):
            assert reply.body == bytes([0x30, 3, 0x0A, 1, code])


@pytest.mark.rule("R35")
def test_no_nonce_asked_none_answered(responder: Responder, ignoring: Responder, subject: Subject) -> None:
    """Before, between and after those who send one; and no two nonces are ever mixed up."""
    plain = request(subject.cert_id())
    for size in (16, 32, 16, 64, 32):
        assert_none(subject.verified(responder.post(plain)))
        with_nonce = request(subject.cert_id(), extensions=[nonce(octets(size))])
        for reply in both(responder, with_nonce):
            assert_echoed(reply.answer, octets(size))
        assert_none(subject.verified(responder.get(plain)))
        assert_none(ignoring.post(with_nonce).answer)


@pytest.mark.rule("R35")
def test_a_nonce_that_is_required(requiring: Responder, subject: Subject) -> None:
    """Without one a request is malformed, however often it is answered with one."""
    assert requiring.post(request(subject.cert_id(), extensions=[nonce(octets(32))])).ocsp_status == "successful"
    for body in (
        request(subject.cert_id()),
        request(subject.cert_id(), subject.cert_id(7)),
        request(subject.cert_id(), extensions=[extension("1.2.3.4", b"\x05\x00")]),
    ):
        assert {reply.ocsp_status for reply in both(requiring, body)} == {MALFORMED}


BARE = {
    "one-octet": b"\x61",
    "a-tag": b"\x04",
    "eight-octets": b"\x00\x01\x02\x03\x04\x05\x06\x07",
    "sixteen-octets": bytes(range(0x60, 0x70)),
    "twenty-octets": b"\xa5" * 20,
    "thirty-two-octets": bytes(range(0x60, 0x80)),
    "128-octets": b"\x5a" * 128,
    "an-integer": b"\x02\x08\x01\x02\x03\x04\x05\x06\x07\x08",
    "a-null": b"\x05\x00",
    "text": b"nonce-1234567890",
    "longer-than-it-says": b"\x04\x7f" + b"\x61" * 14,
}


@pytest.mark.rule("R36")
@pytest.mark.parametrize("critical", [False, True], ids=["not-critical", "critical"])
@pytest.mark.parametrize("name", BARE)
def test_a_bare_nonce(responder: Responder, requiring: Responder, subject: Subject, name: str, critical: bool) -> None:
    """Without the OCTET STRING around it (RFC 2560), it is ignored rather than sent back in another form."""
    body = request(subject.cert_id(), extensions=[extension(NONCE, BARE[name], critical=critical)])
    for reply in both(responder, body):
        answer = subject.verified(reply)
        assert answer.status == "good"
        assert_none(answer)
    assert requiring.post(body).ocsp_status == MALFORMED


@pytest.mark.rule("R36")
def test_a_bare_nonce_that_looks_wrapped(responder: Responder, subject: Subject) -> None:
    """Nobody can tell, and it makes no difference: the same octets come back."""
    bare = b"\x04\x0e" + bytes(range(14))
    answer = subject.verified(responder.post(request(subject.cert_id(), extensions=[extension(NONCE, bare)])))
    assert answer.nonce == bare


@pytest.mark.rule("R17", "R34", "R36")
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x61" * 129, id="bare-129-octets"),
        pytest.param(b"\x61" * 1000, id="bare-thousand-octets"),
        pytest.param(b"\x04\x81\x10" + b"\x61" * 16, id="length-not-minimal"),
        pytest.param(b"\x04\x82\x00\x10" + b"\x61" * 16, id="length-with-leading-zero"),
        pytest.param(b"\x24\x12" + b"\x04\x10" + b"\x61" * 16, id="constructed"),
        pytest.param(b"\x24\x80" + b"\x04\x10" + b"\x61" * 16 + b"\x00\x00", id="indefinite-length"),
        pytest.param(b"\x04\x10" + b"\x61" * 16 + b"\x05\x00", id="trailing-null"),
        pytest.param(b"\x04\x10" + b"\x61" * 16 + b"\x00", id="trailing-zero"),
        pytest.param((b"\x04\x10" + b"\x61" * 16) * 2, id="twice-in-one"),
    ],
)
def test_a_nonce_that_is_neither_bare_nor_der(responder: Responder, subject: Subject, value: bytes) -> None:
    """An OCTET STRING that is not in DER is malformed like any other, and so is a bare one of a wrong length."""
    body = request(subject.cert_id(), extensions=[extension(NONCE, value)])
    assert {reply.ocsp_status for reply in both(responder, body)} == {MALFORMED}


@pytest.mark.rule("R37")
@pytest.mark.parametrize("second", [octets(32), octets(16), b""], ids=["the-same", "another", "empty"])
def test_two_nonces(responder: Responder, ignoring: Responder, subject: Subject, second: bytes) -> None:
    """Which of them should come back? Malformed, even where none would."""
    for critical in (False, True):
        body = request(subject.cert_id(), extensions=[nonce(octets(32)), nonce(second, critical=critical)])
        for gateway in (responder, ignoring):
            assert {reply.ocsp_status for reply in both(gateway, body)} == {MALFORMED}
