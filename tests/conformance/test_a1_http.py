"""R12–R16: HTTP of every age, with any headers, and several requests on one connection."""

from __future__ import annotations

import socket

import pytest

from tests.conformance.connection import Connection, chunked, get, post
from tests.conformance.paths import spell
from tests.conformance.questions import AUTHORITATIVE, ERRORS, Questions
from tests.conformance.wire import Responder

ALLOWED = "GET, HEAD, POST"
OLD = {
    "1.0 without Host": ("1.0", ()),
    "1.0 with Host": ("1.0", ("Host: ocsp.test",)),
    "1.0 asking for keep-alive": ("1.0", ("Connection: keep-alive",)),
    "1.1 with close": ("1.1", ("Connection: close",)),
    "1.1 with close among others": ("1.1", ("Connection: te, Close", "TE: trailers")),
}


@pytest.fixture(scope="module")
def target(questions: Questions) -> str:
    """The target of a GET about a good certificate."""
    return spell("/{ESC}", questions.of("good"))


@pytest.mark.rule("R12")
@pytest.mark.parametrize(("version", "headers"), OLD.values(), ids=OLD)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_without_keep_alive(
    responder: Responder, questions: Questions, target: str, version: str, headers: tuple[str, ...], method: str
) -> None:
    """One answer with its length, and then the end of the connection, without User-Agent or Accept."""
    with Connection(responder) as connection:
        if method == "POST":
            connection.send(post(questions.of("good"), *headers, version=version))
        else:
            connection.send(get(target, *headers, version=version, method=method))
        reply = connection.reply(head=method == "HEAD")
        assert connection.rest() == b""
    assert (reply.status, reply.header("connection")) == (200, "close")
    assert reply.header("transfer-encoding") is None
    if method == "HEAD":
        assert int(reply.header("content-length") or 0) > 5
    else:
        assert reply.answer.status == "good"


@pytest.mark.rule("R12")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_closes_its_side_first(responder: Responder, target: str, version: str) -> None:
    """It is answered, and then the connection ends."""
    with Connection(responder) as connection:
        connection.send(get(target, version=version))
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.reply().answer.status == "good"
        assert connection.rest() == b""


@pytest.mark.rule("R12", "R14")
def test_an_error_over_http_1_0(responder: Responder) -> None:
    """Errors end the same way, whether of OCSP or of HTTP."""
    for octets in (get("/", version="1.0"), get("/healthz", version="1.0"), post(b"", version="1.0", media_type="x")):
        with Connection(responder) as connection:
            connection.send(octets)
            reply = connection.reply()
            assert reply.header("content-length") == str(len(reply.body))
            assert connection.rest() == b""


@pytest.mark.rule("R13")
@pytest.mark.parametrize(
    "accept",
    [
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "application/ocsp-response",
        "image/png",
        "application/json;q=0",
        "*/*;q=0",
        "",
        "nonsense;;;,",
    ],
    ids=repr,
)
def test_any_accept(responder: Responder, questions: Questions, target: str, accept: str) -> None:
    """Nothing is negotiated, and there is no 406."""
    with Connection(responder) as connection:
        connection.send(get(target, f"Accept: {accept}") + post(questions.of("good"), f"Accept: {accept}"))
        assert connection.reply().answer.status == "good"
        assert connection.reply().answer.status == "good"


@pytest.mark.rule("R14", "R81")
@pytest.mark.parametrize("kind", AUTHORITATIVE + ERRORS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_compression(responder: Responder, questions: Questions, kind: str, method: str) -> None:
    """The body goes out as it is, with its exact length, whatever the client could unpack; no charset, no Vary."""
    der = questions.of(kind)
    wishes = ("Accept-Encoding: gzip, deflate, br, zstd", "Accept-Charset: utf-8", "TE: gzip", "Range: bytes=0-9")
    with Connection(responder) as connection:
        connection.send(get(spell("/{ESC}", der), *wishes) if method == "GET" else post(der, *wishes))
        reply = connection.reply()
    assert (reply.status, reply.header("content-type")) == (200, "application/ocsp-response")
    assert reply.header("content-length") == str(len(reply.body))
    for name in ("content-encoding", "transfer-encoding", "vary", "set-cookie", "content-range"):
        assert reply.header(name) is None


@pytest.mark.rule("R14")
def test_no_compression_of_what_is_no_ocsp(responder: Responder) -> None:
    """The texts of HTTP errors have their exact length, too."""
    reply = responder.send("GET", "/metrics", {"accept-encoding": "gzip"})
    assert reply.status == 404
    assert reply.header("content-length") == str(len(reply.body))
    assert reply.header("content-encoding") is None


@pytest.mark.rule("R15")
@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/MAA=", "/ocsp", "/nowhere", "*"])
def test_other_methods(responder: Responder, target: str, method: str, path: str) -> None:
    """405 with Allow, with and without a body, and the connection lives on."""
    with Connection(responder) as connection:
        connection.send(get(path, "Content-Length: 3", method=method) + b"abc" + get(path, method=method) + get(target))
        for _ in range(2):
            reply = connection.reply()
            assert (reply.status, reply.header("allow")) == (405, ALLOWED)
            assert reply.header("cache-control") == "no-store"
        assert connection.reply().answer.status == "good"


@pytest.mark.rule("R15")
@pytest.mark.parametrize(("method", "status"), [("CONNECT", 405), ("BREW", 400), ("get", 400)])
def test_methods_that_end_the_connection(responder: Responder, method: str, status: int) -> None:
    """What would open a tunnel, and what is no method, is refused for good."""
    with Connection(responder) as connection:
        connection.send(get("ocsp.test:80", method=method))
        assert connection.reply().status == status
        assert connection.rest() == b""


@pytest.mark.rule("R15", "R79")
@pytest.mark.parametrize("kind", AUTHORITATIVE + ERRORS)
@pytest.mark.parametrize("query", ["", "?query"])
def test_head(responder: Responder, questions: Questions, kind: str, query: str) -> None:
    """A HEAD gets the headers of the GET, and no body."""
    path = spell("/{ESC}", questions.of(kind)) + query
    with Connection(responder) as connection:
        connection.send(get(path, method="HEAD") + get(path))
        head, whole = connection.reply(head=True), connection.reply()
    assert head.status == whole.status == 200
    # The lengths of ECDSA signatures vary, and these two kinds are signed each time; and a second may begin between.
    changing = {"date", "cache-control"} | ({"content-length"} if kind in ("unknown", "nonce") else set())
    assert [name for name, _ in head.headers] == [name for name, _ in whole.headers]
    for name in {name for name, _ in head.headers} - changing:
        assert head.header(name) == whole.header(name)


@pytest.mark.rule("R16")
def test_plain_http(responder: Responder, target: str) -> None:
    """Plain http is served as it is: no redirect to https, and no header that would make browsers go there."""
    with Connection(responder) as connection:
        connection.send(get(target, "Upgrade-Insecure-Requests: 1"))
        reply = connection.reply()
    assert reply.answer.status == "good"
    assert reply.header("strict-transport-security") is None
    assert reply.header("location") is None


@pytest.mark.rule("R12", "R16")
@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
def test_an_offer_to_upgrade(responder: Responder, questions: Questions, target: str, upgrade: str) -> None:
    """It is not taken up, and the request is answered as HTTP/1.1 (RFC 9110, section 7.8)."""
    offer = (f"Upgrade: {upgrade}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__")
    with Connection(responder) as connection:
        connection.send(get(target, *offer))
        assert connection.reply().answer.status == "good"
        connection.send(post(questions.of("revoked"), *offer))
        assert connection.reply().answer.status == "revoked"


@pytest.mark.rule("R1", "R2", "R11")
def test_keep_alive(responder: Responder, questions: Questions, target: str) -> None:
    """One connection carries as many requests as its client likes, one after the other."""
    with Connection(responder) as connection:
        for _ in range(20):
            for octets, status in ((get(target), "good"), (post(questions.of("revoked")), "revoked")):
                connection.send(octets)
                assert connection.reply().answer.status == status


@pytest.mark.rule("R1", "R2", "R11")
def test_pipelining(responder: Responder, questions: Questions, target: str) -> None:
    """Answers come in the order of the requests, whatever they are and however long each takes."""
    requests: list[tuple[bytes, str]] = [
        (get(target), "good"),
        (post(questions.of("unknown")), "unknown"),
        (chunked(questions.of("revoked")), "revoked"),
        (get("/"), "malformed_request"),
        (post(questions.of("nonce")), "good"),
        (get("/", method="DELETE"), "405"),
        (post(questions.of("unauthorized")), "unauthorized"),
        (get(spell("/ocsp//{b64}", questions.of("revoked"))), "revoked"),
        (get("/healthz"), "404"),
        (post(questions.of("good"), media_type="text/plain"), "415"),
    ] * 4
    with Connection(responder) as connection:
        connection.send(b"".join(octets for octets, _ in requests))
        for _, expected in requests:
            reply = connection.reply()
            if reply.status != 200:
                assert str(reply.status) == expected
            elif reply.ocsp_status != "successful":
                assert reply.ocsp_status == expected
            else:
                assert reply.answer.status == expected
