"""R70, R71: which error for what, and that no cache keeps one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.connection import Connection, get, post
from tests.conformance.estate import Estate
from tests.conformance.paths import spell
from tests.conformance.questions import NEVER_ISSUED, Questions
from tests.conformance.wire import Reply, Responder, cert_id, extension, load_certificate, nonce, request, tlv

STATUSES = {"malformed_request": 1, "internal_error": 2, "try_later": 3, "sign_required": 5, "unauthorized": 6}
"""The numbers of RFC 6960, section 4.2.1, by asn1crypto's names; there is no 4."""
LONGEST_GET = 5000
VALIDATORS = ("etag", "last-modified", "expires", "age")


def assert_error(reply: Reply, status: str) -> None:
    """An unsigned OCSP error that nobody keeps: no lifetime, nothing to compare it by."""
    assert reply.ocsp_status == status
    assert reply.body == bytes([0x30, 0x03, 0x0A, 0x01, STATUSES[status]])
    assert reply.header("content-length") == "5"
    assert_not_kept(reply)


def assert_not_kept(reply: Reply) -> None:
    """No cache may store the response."""
    assert reply.header("cache-control") == "no-store"
    assert [name for name in VALIDATORS if reply.header(name) is not None] == []
    assert reply.header("date") is not None


def _certificate_ids(questions: Questions, count: int) -> list[bytes]:
    return [cert_id(load_certificate(questions.estate.ca("issuing")), NEVER_ISSUED)] * count


MALFORMED: dict[str, Callable[[Questions], bytes]] = {
    "octets behind it": lambda questions: questions.of("good") + b"\0",
    "the end cut off": lambda questions: questions.of("good")[:-1],
    "indefinite length": lambda questions: b"\x30\x80" + questions.of("good")[2:] + b"\0\0",
    "an empty list": lambda questions: request(),
    "another version": lambda questions: request(*_certificate_ids(questions, 1), version=tlv(0x02, b"\x01")),
    "a nonce of 0 octets": lambda questions: request(*_certificate_ids(questions, 1), extensions=[nonce(b"")]),
    "a nonce of 129 octets": lambda questions: request(*_certificate_ids(questions, 1), extensions=[nonce(bytes(129))]),
    "101 Requests": lambda questions: request(*_certificate_ids(questions, 101)),
    "nothing": lambda questions: b"",
}


@pytest.mark.rule("R70", "R71")
@pytest.mark.parametrize("make", MALFORMED.values(), ids=MALFORMED)
def test_malformed_request(responder: Responder, questions: Questions, make: Callable[[Questions], bytes]) -> None:
    """Syntax, the length of a nonce, too many Requests: by POST, and by GET unless that would be too long."""
    der = make(questions)
    assert_error(responder.post(der), "malformed_request")
    if len(der) < LONGEST_GET:
        assert_error(responder.get(der), "malformed_request")


@pytest.mark.rule("R70", "R71")
@pytest.mark.parametrize("with_nonce", [False, True], ids=["plain", "nonce"])
def test_unauthorized(responder: Responder, questions: Questions, with_nonce: bool) -> None:
    """Nobody gave us the right to speak for another CA."""
    foreign = cert_id(load_certificate(questions.good_certificate), 1)
    der = request(foreign, extensions=[nonce(b"n" * 16)] if with_nonce else [])
    assert_error(responder.post(der), "unauthorized")
    assert_error(responder.get(der), "unauthorized")


@pytest.mark.rule("R70", "R71")
def test_try_later_when_there_is_too_much_to_do(estate: Estate, questions: Questions) -> None:
    """Beyond the number of CertIDs that a gateway may have in hand, it says tryLater, and goes on with others."""
    gateway = estate.gateway("crowded", max_pending=1)
    issuer = load_certificate(questions.estate.ca("issuing"))
    der = request(cert_id(issuer, NEVER_ISSUED), cert_id(issuer, NEVER_ISSUED + 1))
    assert_error(gateway.post(der), "try_later")
    assert_error(gateway.get(der), "try_later")
    assert gateway.post(questions.of("good")).answer.status == "good"


@pytest.mark.rule("R70", "R71")
def test_sig_required_only_when_configured(estate: Estate, responder: Responder, questions: Questions) -> None:
    """Requests without a signature are answered, but for a gateway that was told to want one."""
    assert responder.post(questions.of("good")).answer.status == "good"
    anchors = str(estate.ca_file("root"))
    gateway = estate.gateway("wants-signatures", signed_requests="require", request_trust_anchors=anchors)
    assert_error(gateway.post(questions.of("good")), "sign_required")
    assert_error(gateway.get(questions.of("good")), "sign_required")


@pytest.mark.rule("R70", "R71")
def test_malformed_without_a_required_nonce(estate: Estate, questions: Questions) -> None:
    """A gateway that requires nonces says malformedRequest to a request without one, which is not kept either."""
    gateway = estate.gateway("nonce-require", nonce="require")
    assert_error(gateway.get(questions.of("good")), "malformed_request")
    assert gateway.get(questions.of("nonce")).answer.status == "good"


@pytest.mark.rule("R71", "R78")
@pytest.mark.parametrize("kind", ["malformed", "unauthorized"])
@pytest.mark.parametrize(
    "condition", ["If-None-Match: *", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"], ids=lambda text: text[:13]
)
def test_an_error_is_never_unmodified(responder: Responder, questions: Questions, kind: str, condition: str) -> None:
    """No condition makes a 304 of it, by which a cache would go on giving away what it has."""
    with Connection(responder) as connection:
        connection.send(get(spell("/{ESC}", questions.of(kind)), condition) + post(questions.of(kind), condition))
        for _ in range(2):
            reply = connection.reply()
            assert reply.status == 200
            assert_not_kept(reply)


@pytest.mark.rule("R71")
@pytest.mark.parametrize("query", ["", "?query"])
@pytest.mark.parametrize("kind", ["malformed", "unauthorized"])
def test_the_head_of_an_error(responder: Responder, questions: Questions, kind: str, query: str) -> None:
    """A HEAD says no-store too."""
    reply = responder.send("HEAD", spell("/{ESC}", questions.of(kind)) + query)
    assert (reply.status, reply.header("content-length")) == (200, "5")
    assert_not_kept(reply)


HTTP_ERRORS = {
    "400": get("/a b"),
    "404": get("/healthz"),
    "404 of a POST": post(b"", target="/nowhere"),
    "405": get("/", method="DELETE"),
    "413": post(b"", length=99_999),
    "414": get("/" + "A" * 9_000),
    "415": post(b"0", media_type="text/plain"),
    "431": get("/", *[f"X{number}: y" for number in range(99)]),
}


@pytest.mark.rule("R71")
@pytest.mark.parametrize("octets", HTTP_ERRORS.values(), ids=HTTP_ERRORS)
def test_errors_of_http(responder: Responder, octets: bytes, request: pytest.FixtureRequest) -> None:
    """Errors of HTTP are not kept either, and are no OCSP."""
    with Connection(responder) as connection:
        connection.send(octets)
        reply = connection.reply()
    assert str(reply.status) == request.node.callspec.id[:3]
    assert reply.header("content-type") == "text/plain; charset=utf-8"
    assert_not_kept(reply)


@pytest.mark.rule("R71", "R74")
@pytest.mark.parametrize("hash_algorithm", ["sha1", "sha256"])
def test_unknown_is_not_kept(responder: Responder, questions: Questions, hash_algorithm: str) -> None:
    """`unknown` is authoritative, so it must not say no-store; but it may be issued the next moment: max-age is 0."""
    der = questions.about_serial(NEVER_ISSUED, hash_algorithm, extension("1.3.6.1.4.1.32473.2", b"\5\0"))
    for reply in (responder.get(der), responder.post(der)):
        assert reply.answer.status == "unknown"
        assert reply.header("cache-control") == "max-age=0, must-revalidate"
        assert [name for name in VALIDATORS if reply.header(name) is not None] == []
