"""Load for OCSP responders, from one thread that costs less than what it asks.

Only successful answers count; anything else ends the run with an error. Some requests are always on their way, so a
responder never waits for us as long as this process is not itself at its limit, which the report shows.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.x509 import ocsp

from benchmarks.processes import BenchmarkError
from benchmarks.questions import Messages

# responseType of a successful answer, id-pkix-ocsp-basic: every one holds it once, and error answers do not.
SUCCESSFUL = bytes.fromhex("06092b0601050507300101")
CONNECTIONS = 8
DEPTH = 16
_TIMEOUT = 10.0
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Load:
    """How many requests were answered, in how many seconds."""

    answered: int
    seconds: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds


def keep_alive(address: str, messages: Messages, seconds: float) -> Load:
    """Ask over a few connections that stay open, `DEPTH` requests at a time on each."""
    with contextlib.ExitStack() as stack:
        ring = [stack.enter_context(connect(address)) for _ in range(CONNECTIONS)]
        answered, begun = 0, time.perf_counter()
        for sock in ring:
            sock.sendall(messages(DEPTH))
        while (now := time.perf_counter()) - begun < seconds:
            for sock in ring:
                receive(sock, DEPTH)
                answered += DEPTH
                sock.sendall(messages(DEPTH))
        return Load(answered, now - begun)


def connection_each(address: str, messages: Messages, seconds: float, *, at_most: int | None = None) -> Load:
    """Ask with a new connection for each request, a few of them open at a time."""
    most = at_most if at_most is not None else 1 << 62
    answered, begun = 0, time.perf_counter()
    ring = deque(ask(address, messages) for _ in range(min(CONNECTIONS, most)))
    try:
        while ring:
            with ring.popleft() as sock:
                receive_all(sock)
            answered += 1
            if answered + len(ring) < most and time.perf_counter() - begun < seconds:
                ring.append(ask(address, messages))
        return Load(answered, time.perf_counter() - begun)
    finally:
        for sock in ring:
            sock.close()


def ask(address: str, messages: Messages) -> socket.socket:
    """A new connection with one request on it."""
    sock = connect(address)
    sock.sendall(messages(1))
    return sock


def connect(address: str) -> socket.socket:
    """A connection that gives up after a while. Raises OSError."""
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), _TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def receive(sock: socket.socket, count: int) -> None:
    """Read until so many successful answers have begun. Raises BenchmarkError where they do not come."""
    seen, tail = 0, b""
    while seen < count:
        try:
            chunk = sock.recv(_CHUNK)
        except TimeoutError:
            chunk = b""
        if not chunk:
            raise BenchmarkError(f"{count - seen} of {count} requests got no successful answer; the last was {tail!r}")
        text = tail + chunk
        seen += text.count(SUCCESSFUL)
        tail = text[1 - len(SUCCESSFUL) :]


def receive_all(sock: socket.socket) -> bytes:
    """Read one response up to the end of the connection. Raises BenchmarkError unless it is a successful answer."""
    received = b"".join(chunks(sock))
    if SUCCESSFUL not in received:
        raise BenchmarkError(f"no successful answer: {received[:300]!r}")
    return received


def chunks(sock: socket.socket) -> Iterator[bytes]:
    """What arrives on a connection, up to its end."""
    while chunk := sock.recv(_CHUNK):
        yield chunk


def check(address: str, messages: Messages, expected: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD) -> None:
    """Ask once (`messages` has to close the connection), and look closely at the answer. Raises BenchmarkError."""
    with ask(address, messages) as sock:
        answer = ocsp.load_der_ocsp_response(receive_all(sock).partition(b"\r\n\r\n")[2])
    if answer.certificate_status is not expected:
        raise BenchmarkError(f"{address} answers {answer.certificate_status}, not {expected}")
