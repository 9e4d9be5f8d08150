"""Heads that are known need no parser: the same octets come back, and only whole plain requests are ever known."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Sequence
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.heads import Head, Heads
from tests.gateway.doors.harness import Gateway, cacheable, ocsp_request, post

READY, OTHER, LATE = (ocsp_request(number) for number in range(1, 4))
LAST = b"OPTIONS * HTTP/1.1\r\nConnection: close\r\n\r\n"
HEAD = Head(3, b"", True, None)
PLAIN = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n"


def get(der: bytes, *headers: str, version: str = "1.1") -> bytes:
    """A plain OCSP GET as octets."""
    path = quote(base64.b64encode(der), safe="")
    return "\r\n".join((f"GET /{path} HTTP/{version}", "Host: ocsp.test", *headers, "", "")).encode()


SPELLINGS = {
    "POST": post(READY),
    "POST, close": post(READY, "Connection: close"),
    "POST of HTTP/1.0": post(READY).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "POST of HTTP/1.0, keep-alive": post(READY, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "POST, nothing in it": post(b""),
    "POST of what is no request": post(b"0" * 70),
    "POST with a condition": post(READY, "If-None-Match: *"),
    "POST, line ends without CR": post(READY).replace(b"\r\n", b"\n"),
    "POST, an empty line in front": b"\r\n" + post(READY),
    "POST whose body holds an empty line": post(b"\r\n\r\n" * 9),
    "POST, chunked": b"POST / HTTP/1.1\r\nContent-Type: application/ocsp-request\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%x\r\n%b\r\n0\r\n\r\n" % (len(READY), READY),
    "GET": get(READY),
    "GET, close": get(READY, "Connection: close"),
    "GET of HTTP/1.0": get(READY, version="1.0"),
    "GET with a condition": get(READY, "If-None-Match: *"),
    "GET with a date": get(READY, "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"),
    "GET, looked up": get(LATE),
    "GET of what is no request": get(b"0" * 70),
    "GET with a query": get(READY).replace(b" HTTP", b"?a=b HTTP"),
    "HEAD": get(READY).replace(b"GET", b"HEAD"),
}
"""Requests; the ready answer is the same, so that what comes back differs by the spelling alone."""


@pytest.fixture(autouse=True)
def _answers(gateway: Gateway) -> None:
    gateway.reset()
    forget(gateway)
    gateway.responder.ready = {READY: cacheable(b"ready"), OTHER: cacheable(b"other")}
    gateway.responder.slow = {LATE: cacheable(b"late")}


def forget(gateway: Gateway) -> None:
    """No head is known."""
    gateway.protocol.door.heads.__init__()  # type: ignore[misc]


def open_gate(gateway: Gateway) -> None:
    """Let what is looked up come through at once."""
    gateway.responder.gates[LATE] = threading.Event()
    gateway.responder.gates[LATE].set()


def exchange(gateway: Gateway, pieces: Sequence[bytes]) -> bytes:
    """All that comes back when these octets are sent, one piece after the other, and then a last request."""
    with gateway.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            with contextlib.suppress(ConnectionError):
                client.send(piece)
        with contextlib.suppress(ConnectionError):  # closed behind an earlier request
            client.send(LAST)
        return client.rest()


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_known_head_brings_the_same_octets(gateway: Gateway, spelling: bytes) -> None:
    """The first time the parser reads a request; the second and third time nobody need, and nothing differs (R14)."""
    open_gate(gateway)
    first = exchange(gateway, [spelling])
    assert first.startswith(b"HTTP/1.1 ")
    assert exchange(gateway, [spelling]) == first
    assert exchange(gateway, [spelling]) == first


KNOWN = {name for name in SPELLINGS if not name.endswith(("without CR", "in front", "chunked", "query", "HEAD"))}


@pytest.mark.parametrize("name", SPELLINGS)
def test_only_whole_plain_requests_are_known(gateway: Gateway, name: str) -> None:
    """What another door answers, or what the parser reads in its own way, is parsed each time."""
    open_gate(gateway)
    exchange(gateway, [SPELLINGS[name]])
    assert len(gateway.protocol.door.heads) == (name in KNOWN)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, max_size=8),
    st.lists(st.integers(1, 400), max_size=6),
)
def test_a_connection_is_the_same_with_known_heads(gateway: Gateway, names: list[str], cuts: list[int]) -> None:
    """Requests behind each other, in pieces of any size: known heads change neither octets nor order."""
    open_gate(gateway)
    octets = b"".join(SPELLINGS[name] for name in names)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(octets[at : at + cut])
        at += cut
    pieces = [piece for piece in (*pieces, octets[at:]) if piece]
    forget(gateway)
    unknown = exchange(gateway, pieces)
    for name in SPELLINGS:
        exchange(gateway, [SPELLINGS[name]])
    assert exchange(gateway, pieces) == unknown


def test_a_known_head_asks_for_other_certificates_too(gateway: Gateway) -> None:
    """By POST the head says nothing about the certificate: the body decides (G4)."""
    with gateway.client() as client:
        for der, body in ((READY, b"ready"), (OTHER, b"other"), (READY, b"ready")):
            client.send(post(der))
            assert client.response().body == body
    assert len(gateway.protocol.door.heads) == 1


def test_a_body_that_comes_later_is_waited_for(gateway: Gateway) -> None:
    """A known head in front of half a body is parsed as ever."""
    exchange(gateway, [post(READY)])
    with gateway.client() as client:
        client.send(post(READY)[:-1])
        assert client.is_silent(0.05)
        client.send(post(READY)[-1:])
        assert client.response().body == b"ready"


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\r\n" + PLAIN, id="an empty line in front"),
        pytest.param(b"POST / HTTP/1.1\nContent-Length: 3\r\n\r\n", id="a line that ends without CR"),
        pytest.param(b"POST / HTTP/1.1\r\nX: " + b"x" * 1024 + b"\r\n\r\n", id="too long"),
        pytest.param(b"POST / HTTP/1.1\r\n", id="no end"),
    ],
)
def test_what_is_not_remembered(octets: bytes) -> None:
    """Heads whose end the parser may have found elsewhere, and long ones."""
    heads = Heads()
    heads.learn(octets + b"abc", HEAD)
    assert len(heads) == 0


def test_memory_is_bounded_and_what_is_used_stays() -> None:
    """Ever new heads flush each other, and not the one that is used."""
    heads = Heads()
    heads.learn(PLAIN + b"abc", HEAD)
    assert heads.find(PLAIN) == (len(PLAIN), HEAD)
    for number in range(20_000):
        heads.learn(b"GET /%d HTTP/1.1\r\n\r\n" % number, Head(0, b"x", True, None))
    assert len(heads) <= 1 + 1024
    assert heads.find(PLAIN) == (len(PLAIN), HEAD)


def test_what_is_used_is_bounded_too() -> None:
    """More heads in use than there is room for: the oldest goes."""
    heads = Heads()
    for number in range(10_000):
        line = b"GET /%d HTTP/1.1\r\n\r\n" % number
        heads.learn(line, Head(0, b"x", True, None))
        assert heads.find(line)[1] is not None
    assert len(heads) <= 8192 + 1024
    assert heads.find(b"GET /0 HTTP/1.1\r\n\r\n")[1] is None
