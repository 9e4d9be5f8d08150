"""A4: extensions of requests: twice, unknown, critical, and those that change nothing (R37, R38, R39, R40, R41)."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest
from asn1crypto import x509

from tests.conformance.subjects import Subject, echoed
from tests.conformance.wire import Responder, extension, nonce, request, tlv

MALFORMED = "malformed_request"
BASIC = bytes.fromhex("06092b0601050507300101")
OTHER_TYPE = bytes.fromhex("06032a0304")
ACCEPTABLE, ARCHIVE, LOCATOR, PREFERRED = (f"1.3.6.1.5.5.7.48.1.{n}" for n in (4, 6, 7, 8))
PRIVATE = "1.3.6.1.4.1.55555.1"
KNOWN = {
    "acceptable-responses": extension(ACCEPTABLE, tlv(0x30, BASIC)),
    "preferred-algorithms": extension(PREFERRED, tlv(0x30)),
    "unknown": extension(PRIVATE, b"\x05\x00"),
}


def statuses(responder: Responder, der: bytes) -> set[str]:
    """The statuses by POST and by GET."""
    return {responder.post(der).ocsp_status, responder.get(der).ocsp_status}


def assert_no_difference(responder: Responder, subject: Subject, der: bytes) -> None:
    """The answer is the one that a bare request gets, by POST and by GET."""
    plain = responder.post(request(subject.cert_id()))
    answer = subject.verified(plain)
    assert (answer.status, echoed(answer)) == ("good", [subject.cert_id()])
    assert responder.post(der).body == plain.body
    assert responder.get(der).body == plain.body


def locator(url: str) -> bytes:
    """The value of a service locator that points somewhere."""
    name = x509.Name.build({"common_name": "Another CA"}).dump()
    method = bytes.fromhex("06082b06010505073001")
    return tlv(0x30, name, tlv(0x30, tlv(0x30, method, tlv(0x86, url.encode()))))


@pytest.mark.rule("R37")
@pytest.mark.parametrize("name", KNOWN)
def test_an_extension_twice(responder: Responder, subject: Subject, name: str) -> None:
    """Malformed, wherever the second one stands, and whether it is known or not."""
    one, other = KNOWN[name], nonce(b"n" * 32)
    for extensions in ([one, one], [one, other, one], [other, one, one]):
        assert statuses(responder, request(subject.cert_id(), extensions=extensions)) == {MALFORMED}


@pytest.mark.rule("R37")
@pytest.mark.parametrize("oid", [PRIVATE, LOCATOR])
def test_an_extension_twice_at_a_single_request(responder: Responder, subject: Subject, oid: str) -> None:
    """The same goes for each Request."""
    one, other = extension(oid, locator("http://a/")), extension(oid, locator("http://b/"))
    assert statuses(responder, request(subject.cert_id(), single_extensions=[one, other])) == {MALFORMED}


@pytest.mark.rule("R37", "R38")
def test_the_same_extension_at_different_places(responder: Responder, subject: Subject) -> None:
    """Once for the message and once for each Request is not twice."""
    one = extension(PRIVATE, b"\x05\x00")
    assert_no_difference(responder, subject, request(subject.cert_id(), extensions=[one], single_extensions=[one]))
    several = request(subject.cert_id(), subject.cert_id(7), extensions=[one], single_extensions=[one])
    assert len(subject.verified(responder.post(several)).singles) == 2


UNKNOWN = {
    "null": (PRIVATE, b"\x05\x00"),
    "empty-value": (PRIVATE, b""),
    "value-not-der": (PRIVATE, b"\x30\x80\x00\x00\xff"),
    "archive-cutoff": (ARCHIVE, tlv(0x18, b"20200101000000Z")),
    "subject-alternative-name": ("2.5.29.17", tlv(0x30)),
    "twenty-arcs": ("1.3.6.1.4.1." + ".".join(["99999"] * 14), b"\x05\x00"),
    "large-arcs": ("2.25.268435455.268435455", b"\x05\x00"),
    "uuid": ("2.25.340282366920938463463374607431768211455", b"\x05\x00"),
}


@pytest.mark.rule("R38")
@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_extension(responder: Responder, subject: Subject, name: str) -> None:
    """It is ignored, whatever its value, at either place."""
    one = extension(*UNKNOWN[name])
    assert_no_difference(responder, subject, request(subject.cert_id(), extensions=[one]))
    assert_no_difference(responder, subject, request(subject.cert_id(), single_extensions=[one]))


@pytest.mark.rule("R38")
@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_critical_extension(responder: Responder, subject: Subject, name: str) -> None:
    """Who insists on what we do not know gets no status from us, at either place."""
    one = extension(*UNKNOWN[name], critical=True)
    assert statuses(responder, request(subject.cert_id(), extensions=[one])) == {MALFORMED}
    assert statuses(responder, request(subject.cert_id(), extensions=[nonce(b"n" * 32), one])) == {MALFORMED}
    assert statuses(responder, request(subject.cert_id(), single_extensions=[one])) == {MALFORMED}


@pytest.mark.rule("R38")
def test_a_critical_extension_at_one_of_several_requests(responder: Responder, subject: Subject) -> None:
    """There is no answer to a part of a message."""
    insists = tlv(0xA0, tlv(0x30, extension(PRIVATE, b"", critical=True)))
    bare, insisting = tlv(0x30, subject.cert_id()), tlv(0x30, subject.cert_id(7), insists)
    for requests in ((bare, insisting), (insisting, bare)):
        assert statuses(responder, tlv(0x30, tlv(0x30, tlv(0x30, *requests)))) == {MALFORMED}


@pytest.mark.rule("R38")
@pytest.mark.parametrize(("oid", "single"), [(ACCEPTABLE, True), (PREFERRED, True), (LOCATOR, False)])
def test_a_known_extension_at_the_other_place(responder: Responder, subject: Subject, oid: str, single: bool) -> None:
    """There it has no meaning: ignored, or malformed if critical."""

    def placed(one: bytes) -> bytes:
        if single:
            return request(subject.cert_id(), single_extensions=[one])
        return request(subject.cert_id(), extensions=[one])

    assert_no_difference(responder, subject, placed(extension(oid, tlv(0x30))))
    assert statuses(responder, placed(extension(oid, tlv(0x30), critical=True))) == {MALFORMED}


@pytest.mark.rule("R39")
@pytest.mark.parametrize("oid", [ACCEPTABLE, PREFERRED])
def test_a_known_critical_extension(responder: Responder, subject: Subject, oid: str) -> None:
    """It is processed as ever."""
    value = tlv(0x30, BASIC) if oid == ACCEPTABLE else tlv(0x30)
    one = extension(oid, value, critical=True)
    assert_no_difference(responder, subject, request(subject.cert_id(), extensions=[one]))
    with_nonce = request(subject.cert_id(), extensions=[one, nonce(b"n" * 32, critical=True)])
    assert subject.verified(responder.post(with_nonce)).nonce == tlv(4, b"n" * 32)


ACCEPTABLE_RESPONSES = {
    "basic": tlv(0x30, BASIC),
    "basic-first": tlv(0x30, BASIC, OTHER_TYPE),
    "basic-last": tlv(0x30, OTHER_TYPE, BASIC),
    "without-basic": tlv(0x30, OTHER_TYPE),
    "none": tlv(0x30),
    "a-hundred-others": tlv(0x30, OTHER_TYPE * 100),
}


@pytest.mark.rule("R40")
@pytest.mark.parametrize("critical", [False, True], ids=["not-critical", "critical"])
@pytest.mark.parametrize("name", ACCEPTABLE_RESPONSES)
def test_acceptable_responses(responder: Responder, subject: Subject, name: str, critical: bool) -> None:
    """Answers are basic ones, which every client has to take (RFC 6960, section 4.4.3), wanted or not."""
    one = extension(ACCEPTABLE, ACCEPTABLE_RESPONSES[name], critical=critical)
    assert_no_difference(responder, subject, request(subject.cert_id(), extensions=[one]))


@pytest.mark.rule("R17", "R40")
@pytest.mark.parametrize("value", ["", "3080" + "0000", "308100", "3000" + "00", "30020601"])
def test_acceptable_responses_that_are_not_der(responder: Responder, subject: Subject, value: str) -> None:
    """The value of an extension that we know has to be DER."""
    one = extension(ACCEPTABLE, bytes.fromhex(value))
    assert statuses(responder, request(subject.cert_id(), extensions=[one])) == {MALFORMED}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somewhere that a request can point at."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.mark.rule("R41")
@pytest.mark.parametrize("critical", [False, True], ids=["not-critical", "critical"])
def test_a_service_locator_is_not_followed(
    responder: Responder, subject: Subject, listener: socket.socket, critical: bool
) -> None:
    """It changes nothing, and nobody comes to the address in it, nor to that in the name of who asks."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/ocsp"
    one = extension(LOCATOR, locator(url), critical=critical)
    name = tlv(0x86, url.encode())
    assert_no_difference(responder, subject, request(subject.cert_id(), single_extensions=[one], requestor_name=name))
    # Not for a certificate that is not known here either, nor for an issuer that is not ours.
    unknown = responder.post(request(subject.cert_id(7), single_extensions=[one]))
    assert subject.verified(unknown).status == "unknown"
    foreign = request(subject.cert_id(hash_algorithm="md5"), single_extensions=[one])
    assert statuses(responder, foreign) == {"unauthorized"}
    assert select.select([listener], [], [], 0.5)[0] == []


@pytest.mark.rule("R41")
def test_a_service_locator_without_a_locator(responder: Responder, subject: Subject) -> None:
    """The address is OPTIONAL."""
    name = x509.Name.build({"common_name": "Another CA"}).dump()
    one = extension(LOCATOR, tlv(0x30, name))
    assert_no_difference(responder, subject, request(subject.cert_id(), single_extensions=[one]))


@pytest.mark.rule("R17", "R38")
def test_an_empty_list_of_extensions(responder: Responder, subject: Subject) -> None:
    """Where there is a list there is something in it (RFC 5280, section 4.1)."""
    cert_id = subject.cert_id()
    empty = tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, cert_id)), tlv(0xA2, tlv(0x30))))
    empty_single = tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, cert_id, tlv(0xA0, tlv(0x30))))))
    assert statuses(responder, empty) == {MALFORMED}
    assert statuses(responder, empty_single) == {MALFORMED}
