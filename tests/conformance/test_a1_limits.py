"""R11: what a client sends beyond the limits costs the gateway neither memory nor patience."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.connection import Connection, chunked, get, post
from tests.conformance.estate import Estate, Gateway
from tests.conformance.questions import Questions
from tests.conformance.wire import OCSP_REQUEST, Reply

MEGABYTE = 1 << 20
SENT = 64 * MEGABYTE
BUFFERED = 12 * MEGABYTE
"""More than the limits allow, and than memory moves by itself, and much less than is sent."""
PATIENCE = 30.0
"""Seconds: the gateway gives a head or a body ten."""

_POST = (f"Content-Type: {OCSP_REQUEST}",)


@pytest.fixture(scope="module")
def gateway(estate: Estate) -> Gateway:
    """A gateway whose process we can look at."""
    return estate.gateway("mounted", public_url="http://localhost/pki/ocsp")


def peak_memory(gateway: Gateway) -> int:
    """The most memory that the process ever had, in octets."""
    assert gateway.process is not None
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


class Flood:
    """A client that sends as much as it can, and reads what comes meanwhile."""

    def __init__(self, gateway: Gateway, begin: bytes, unit: bytes) -> None:
        self.begin = begin
        self.unit = unit
        self.sent = 0
        self.received = b""
        host, port = gateway.address.rsplit(":", 1)
        self.socket = socket.socket()
        # Little is under way at any time, so that the gateway's word comes before the end of the connection.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, int(port)))

    def run(self) -> bytes:
        """Send 64 MB or until the connection ends, and return all that came."""
        piece = self.unit * (64 * 1024 // len(self.unit))
        try:
            self.socket.sendall(self.begin)
            while self.sent < SENT:
                self.sent += self.socket.send(piece)
                self._read_what_is_there()
            self.socket.shutdown(socket.SHUT_WR)
            while self._read():
                pass
        except ConnectionError:
            self._read_what_is_there()
        finally:
            self.socket.close()
        return self.received

    def _read_what_is_there(self) -> None:
        while select.select([self.socket], [], [], 0)[0] and self._read():
            pass

    def _read(self) -> bool:
        try:
            data = self.socket.recv(64 * 1024)
        except ConnectionError:
            return False
        self.received += data
        return bool(data)


@pytest.mark.rule("R11")
@pytest.mark.parametrize(
    ("begin", "unit", "status"),
    [
        (get("/", *_POST, f"Content-Length: {SENT}", method="POST"), b"\0", 413),
        (get("/", *_POST, "Transfer-Encoding: chunked", method="POST") + b"4000000\r\n", b"\0", 413),
        (get("/", *_POST, "Transfer-Encoding: chunked", method="POST"), b"10\r\n0123456789abcdef\r\n", 413),
        (get("/", *_POST, "Transfer-Encoding: chunked", method="POST") + b"1;", b"x", 413),
        (get("/", *_POST, f"Content-Length: {SENT}", method="PUT"), b"\0", 413),
        (b"GET / HTTP/1.1\r\nX: ", b"x", 431),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n", 431),
        (b"GET /", b"A", 431),
        (b"", b"\0", 400),
    ],
    ids=[
        "content-length",
        "one chunk",
        "small chunks",
        "chunk extension",
        "another method",
        "one header",
        "headers",
        "target",
        "no HTTP",
    ],
)
def test_64_megabytes(gateway: Gateway, questions: Questions, begin: bytes, unit: bytes, status: int) -> None:
    """They are refused while they come, not buffered, and the connection is ended; others are served as before."""
    assert gateway.post(questions.of("good")).answer.status == "good"
    before = peak_memory(gateway)
    flood = Flood(gateway, begin, unit)
    received = flood.run()
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert received.count(b"HTTP/1.1 ") == 1
    assert flood.sent < SENT
    assert peak_memory(gateway) - before < BUFFERED
    assert gateway.post(questions.of("good")).answer.status == "good"


@pytest.mark.rule("R11")
def test_many_unfinished_bodies(gateway: Gateway, questions: Questions) -> None:
    """Two hundred clients that never finish a body hold up nobody, and take what the limits grant them."""
    before = peak_memory(gateway)
    der = questions.of("good")
    unfinished = [Connection(gateway) for _ in range(200)]
    try:
        for connection in unfinished:
            connection.send(post(bytes(30_000), length=30_001))
        assert gateway.post(der).answer.status == "good"
        assert peak_memory(gateway) - before < 200 * 64 * 1024
        for connection in unfinished:
            connection.send(b"\0")
            assert connection.reply().ocsp_status == "malformed_request"
    finally:
        for connection in unfinished:
            connection.__exit__(None, None, None)


def slow_requests(der: bytes) -> dict[str, tuple[bytes, bytes]]:
    """What has been sent of a request, and what drips in after it without ever completing it."""
    return {
        "head": (b"GET /MAA= HTTP/1.1\r\nHost: ", b"x"),
        "headers": (b"GET /MAA= HTTP/1.1\r\n", b"A: b\r\n"),
        "body": (post(der, length=len(der) + 10_000), b"\0"),
        "chunked body": (chunked(der, end=b""), b"1\r\n\0\r\n"),
        "silence in the body": (post(der, length=len(der) + 1), b""),
        "silence in the head": (b"GET /MAA= HT", b""),
    }


@pytest.fixture
def slow(gateway: Gateway, questions: Questions) -> Iterator[dict[str, tuple[Connection, bytes]]]:
    """Connections on which such requests have begun."""
    begun = slow_requests(questions.of("good"))
    connections = {name: (Connection(gateway, PATIENCE), drip) for name, (_, drip) in begun.items()}
    for name, (connection, _) in connections.items():
        connection.send(begun[name][0])
    yield connections
    for connection, _ in connections.values():
        connection.__exit__(None, None, None)


@pytest.mark.rule("R11")
def test_slow_requests(gateway: Gateway, questions: Questions, slow: dict[str, tuple[Connection, bytes]]) -> None:
    """Octets that drip in do not extend the time for a head or a body: 408, and the connection is closed.

    Meanwhile others are answered.
    """
    end = time.monotonic() + PATIENCE
    replies: dict[str, Reply] = {}
    while len(replies) < len(slow):
        assert time.monotonic() < end, f"only {sorted(replies)} have ended"
        assert gateway.post(questions.of("good")).answer.status == "good"
        waiting = {name: pair for name, pair in slow.items() if name not in replies}
        readable = select.select([connection.socket for connection, _ in waiting.values()], [], [], 0.5)[0]
        for name, (connection, drip) in waiting.items():
            if connection.socket in readable:
                replies[name] = connection.reply()
                assert connection.rest() == b""
            else:
                connection.send(drip)
    assert {name: reply.status for name, reply in replies.items()} == dict.fromkeys(slow, 408)
    assert {reply.header("connection") for reply in replies.values()} == {"close"}
    assert {reply.header("cache-control") for reply in replies.values()} == {"no-store"}
