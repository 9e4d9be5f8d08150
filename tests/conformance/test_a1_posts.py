"""R1, R11, R22: what a POST may look like, and how its body may come."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.conformance.connection import Connection, chunked, get, post
from tests.conformance.questions import NEVER_ISSUED, Questions
from tests.conformance.wire import OCSP_REQUEST, Responder, cert_id, load_certificate, request, tlv

LIMIT = 32 * 1024
"""Octets of a body."""
FRAMINGS: dict[str, Callable[[bytes], bytes]] = {"content-length": post, "chunked": partial(chunked, size=5000)}


@pytest.fixture(scope="module")
def asked(questions: Questions) -> bytes:
    """A request about a good certificate."""
    return questions.of("good")


@pytest.mark.rule("R1", "R14")
def test_post(responder: Responder, questions: Questions) -> None:
    """The body is the DER of the request; the answer is DER with its type and its exact length."""
    for kind in ("good", "revoked", "unknown"):
        reply = responder.post(questions.of(kind))
        assert reply.answer.status == kind
        assert reply.header("content-type") == "application/ocsp-response"
        assert reply.header("content-length") == str(len(reply.body))


@pytest.mark.rule("R1")
@pytest.mark.parametrize(
    "media_type",
    [
        OCSP_REQUEST,
        "Application/OCSP-Request",
        "APPLICATION/OCSP-REQUEST",
        OCSP_REQUEST + "; charset=utf-8",
        OCSP_REQUEST + ';name="a;b"',
        OCSP_REQUEST + " ;",
        "  " + OCSP_REQUEST + "\t ",
    ],
    ids=repr,
)
def test_spellings_of_the_content_type(responder: Responder, asked: bytes, media_type: str) -> None:
    """Case and parameters make no difference (RFC 9110, section 8.3.1)."""
    with Connection(responder) as connection:
        connection.send(post(asked, media_type=media_type))
        assert connection.reply().answer.status == "good"


@pytest.mark.rule("R1")
@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "application/ocsp-response",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/ocsp-requests",
        "ocsp-request",
        "*/*",
        OCSP_REQUEST + "\r\nContent-Type: text/plain",
        "text/plain; " + OCSP_REQUEST,
    ],
    ids=repr,
)
def test_another_content_type(responder: Responder, asked: bytes, media_type: str | None) -> None:
    """Anything else, or nothing, is 415, and the connection lives on."""
    with Connection(responder) as connection:
        connection.send(post(asked, media_type=media_type))
        reply = connection.reply()
        assert (reply.status, reply.header("accept-post")) == (415, OCSP_REQUEST)
        assert reply.header("cache-control") == "no-store"
        connection.send(post(asked))
        assert connection.reply().answer.status == "good"


@pytest.mark.rule("R1", "R22", "R70")
@pytest.mark.parametrize(
    "body",
    [b"", b"0", b"\x30\x03\x0a\x01\x01", b"-----BEGIN OCSP REQUEST-----\n", b"<html></html>", b"MAA=", bytes(1000)],
    ids=["empty", "one octet", "an answer", "PEM", "HTML", "base64", "zeros"],
)
def test_a_body_that_is_no_request(responder: Responder, asked: bytes, body: bytes) -> None:
    """It is malformedRequest, with HTTP 200, and the connection lives on."""
    with Connection(responder) as connection:
        connection.send(post(body) + post(asked))
        assert connection.reply().ocsp_status == "malformed_request"
        assert connection.reply().answer.status == "good"


@pytest.mark.rule("R11")
@pytest.mark.parametrize("size", [1, 7, 50, 10_000], ids=lambda size: f"chunks of {size}")
@pytest.mark.parametrize(
    "end", [b"0\r\n\r\n", b"000;last\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n"], ids=["plain", "extension", "trailer"]
)
def test_chunked(responder: Responder, asked: bytes, size: int, end: bytes) -> None:
    """A chunked body is the same request, and the connection lives on."""
    with Connection(responder) as connection:
        connection.send(chunked(asked, size=size, end=end) + post(asked))
        assert connection.reply().body == connection.reply().body


@pytest.mark.rule("R11")
def test_a_body_octet_by_octet(responder: Responder, asked: bytes) -> None:
    """A request that comes in packets of one octet is one request."""
    with Connection(responder) as connection:
        for octet in post(asked):
            connection.send(bytes([octet]))
        assert connection.reply().answer.status == "good"


@pytest.mark.rule("R11")
@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
def test_expect(responder: Responder, asked: bytes, expectation: str) -> None:
    """A client that waits to be told to go on is told, and answered (RFC 9110, section 10.1.1)."""
    head = post(asked, f"Expect: {expectation}")[: -len(asked)]
    with Connection(responder) as connection:
        connection.send(head)
        assert connection.reply().status == 100
        connection.send(asked)
        assert connection.reply().answer.status == "good"


@pytest.mark.rule("R11")
@pytest.mark.parametrize("missing", [1, 10, 1000])
def test_a_content_length_above_the_body(responder: Responder, asked: bytes, missing: int) -> None:
    """A client that ends its connection before its body ends gets no answer, for it asked nothing."""
    with Connection(responder) as connection:
        connection.send(post(asked, length=len(asked) + missing))
        connection.socket.shutdown(1)
        assert b"200 OK" not in connection.rest()
    assert responder.post(asked).answer.status == "good"


@pytest.mark.rule("R11")
@pytest.mark.parametrize("rest", [b"garbage\r\n\r\n", bytes(20)], ids=["text", "zeros"])
def test_a_body_above_its_content_length(responder: Responder, asked: bytes, rest: bytes) -> None:
    """Content-Length decides: the request is answered, and what follows is no HTTP, and told so."""
    with Connection(responder) as connection:
        connection.send(post(asked + rest, length=len(asked)))
        assert connection.reply().answer.status == "good"
        assert connection.reply().status == 400
        assert connection.rest() == b""


@pytest.mark.rule("R11", "R70")
def test_a_content_length_below_the_request(responder: Responder, asked: bytes) -> None:
    """A request that is cut off by its Content-Length is malformedRequest; the rest is not read as part of it."""
    with Connection(responder) as connection:
        connection.send(post(asked, length=len(asked) - 1))
        assert connection.reply().ocsp_status == "malformed_request"


@pytest.mark.rule("R11")
@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 2", "Content-Length: 3"),
        ("Content-Length: 2", "Transfer-Encoding: chunked"),
        ("Content-Length: -1",),
        ("Content-Length: 0x10",),
        ("Content-Length: 99999999999999999999999",),
        ("Transfer-Encoding: chunked", "X: y"),
    ],
    ids=["two lengths", "length and chunks", "negative", "hexadecimal", "huge", "broken chunk"],
)
def test_framing_that_is_ambiguous(responder: Responder, lines: tuple[str, ...]) -> None:
    """Nobody guesses where such a body ends: 400, and the connection is closed (RFC 9112, section 6.3)."""
    with Connection(responder) as connection:
        connection.send(get("/", f"Content-Type: {OCSP_REQUEST}", *lines, method="POST") + b"no size\r\n\r\n")
        reply = connection.reply()
        assert (reply.status, reply.header("connection")) == (400, "close")
        assert connection.rest() == b""


@pytest.mark.rule("R11", "R20")
def test_a_large_request(responder: Responder, questions: Questions) -> None:
    """A hundred CertIDs with SHA-512, some 17 kB, are one request."""
    issuer = load_certificate(questions.estate.ca("issuing"))
    der = request(*[cert_id(issuer, NEVER_ISSUED, hash_algorithm="sha512")] * 100)
    assert len(der) > 16_000
    assert len(responder.post(der).answer.singles) == 100


@pytest.mark.rule("R11", "R70")
@pytest.mark.parametrize("spelling", FRAMINGS.values(), ids=FRAMINGS)
def test_the_largest_body(responder: Responder, asked: bytes, spelling: Callable[[bytes], bytes]) -> None:
    """Up to 32 KiB are read, and the connection lives on."""
    body = tlv(0x30, bytes(LIMIT - 4))
    assert len(body) == LIMIT
    with Connection(responder) as connection:
        connection.send(spelling(body) + post(asked))
        assert connection.reply().ocsp_status == "malformed_request"
        assert connection.reply().answer.status == "good"


@pytest.mark.rule("R11")
@pytest.mark.parametrize("zeros", [LIMIT, 1_000_000], ids=["32 KiB", "1 MB"])
@pytest.mark.parametrize("spelling", FRAMINGS.values(), ids=FRAMINGS)
def test_a_body_that_is_too_large(
    responder: Responder, asked: bytes, spelling: Callable[[bytes], bytes], zeros: int
) -> None:
    """A valid request with zeros behind it: the client, which sends everything before it reads, gets to see 413."""
    with Connection(responder) as connection:
        connection.send(spelling(asked + bytes(zeros)))
        reply = connection.reply()
        assert (reply.status, reply.header("connection")) == (413, "close")
        assert reply.header("cache-control") == "no-store"
        assert connection.rest() == b""
