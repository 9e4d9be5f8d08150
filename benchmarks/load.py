"""Load for OCSP responders, from one thread that costs less than what it asks: saturating, the next when one is done.

Only whole successful answers count; anything else ends the run with an error. Some requests are always on their way, so
a responder never waits for us as long as this process is not itself at its limit, which the report shows.
"""

from __future__ import annotations

import contextlib
import select
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
CONNECTIONS = 32
"""Connections that stay open, each with one request at a time: what a proxy's pool does."""
FEW = 8
"""Connections at a time where each has its own request, or many requests behind each other."""
DEPTH = 16
"""Requests behind each other on a connection, where they are pipelined."""
TIMEOUT = 10.0
_CHUNK = 1 << 18
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """How many requests were answered, in how many seconds."""

    answered: int
    seconds: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.seconds


def keep_alive(address: str, messages: Messages, seconds: float, *, at_most: int | None = None) -> Load:
    """Ask over `CONNECTIONS` connections that stay open, the next on each once its answer is there whole."""
    most = at_most if at_most is not None else 1 << 62
    with contextlib.ExitStack() as stack:
        lines = open_lines(address, min(CONNECTIONS, most), stack)
        answered, begun = 0, time.perf_counter()
        with select.epoll() as poll:
            for fd, line in lines.items():
                poll.register(fd, select.EPOLLIN)
                line.send(messages(1))
            asked, clock, end = len(lines), time.perf_counter, begun + seconds
            while (now := clock()) < end and answered < most:
                ready = poll.poll(TIMEOUT)
                if not ready:
                    raise BenchmarkError(f"{address} gave no answer within {TIMEOUT:g} s")
                for fd, _ in ready:
                    line = lines[fd]
                    if line.answered():
                        answered += 1
                        if asked < most:
                            asked += 1
                            line.send(messages(1))
        return Load(answered, now - begun)


class Line:
    """A connection with at most one request on its way."""

    __slots__ = ("_part", "_recv", "_sock", "send")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # Bound once: these are called for every request. A request is smaller than any send buffer.
        self._recv = sock.recv
        self.send = sock.send
        self._part = b""

    def answered(self) -> bool:
        """Read; whether the answer is there whole now. Raises BenchmarkError unless it is a successful one."""
        octets = self._part + self._recv(_CHUNK) if self._part else self._recv(_CHUNK)
        body = octets.find(_HEAD_END) + 4
        if body > 3 and len(octets) >= body + 4:
            # A successful answer of 256 octets and more begins with 30 82 and two octets of length.
            whole = body + 4 + (octets[body + 2] << 8 | octets[body + 3])
            if len(octets) == whole and SUCCESSFUL in octets:
                self._part = b""
                return True
            if len(octets) >= whole or octets[body : body + 2] != b"0\x82":
                raise BenchmarkError(f"no successful answer: {octets[:300]!r}")
        elif len(octets) == len(self._part) or (body > 3 and octets[body : body + 1] not in (b"", b"0")):
            raise BenchmarkError(f"no successful answer: {octets[:300]!r}")
        self._part = octets
        return False


def open_lines(address: str, count: int, stack: contextlib.ExitStack) -> dict[int, Line]:
    """Connections by their file descriptor, closed with the stack."""
    socks = [stack.enter_context(connect(address)) for _ in range(count)]
    return {sock.fileno(): Line(sock) for sock in socks}


def pipelined(address: str, messages: Messages, seconds: float) -> Load:
    """Ask over a few connections that stay open, `DEPTH` requests at a time on each."""
    with contextlib.ExitStack() as stack:
        ring = [stack.enter_context(connect(address)) for _ in range(FEW)]
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
    ring = deque(ask(address, messages) for _ in range(min(FEW, most)))
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
    sock = socket.create_connection((host, int(port)), TIMEOUT)
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


def check(address: str, messages: Messages, expected: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD) -> bytes:
    """Ask once (`messages` has to close the connection), and look closely at the answer; all of the response.

    Raises BenchmarkError.
    """
    with ask(address, messages) as sock:
        received = receive_all(sock)
    answer = ocsp.load_der_ocsp_response(received.partition(_HEAD_END)[2])
    if answer.certificate_status is not expected:
        raise BenchmarkError(f"{address} answers {answer.certificate_status}, not {expected}")
    return received
