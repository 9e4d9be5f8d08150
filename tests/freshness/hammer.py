"""Asks gateways about the same certificates as fast as they answer, and notes when it asked and when they wrote.

Run as `python -m tests.freshness.hammer FILE`, in a process of its own, so that nothing of the test gets in the way of
the clock. It ends with its standard input.

A connection asks its next question when the last one is answered, so every answer is alone on its way. When it was
*written* is taken from the kernel, which stamps what arrives: through the loopback interface that is the moment of the
writer's system call, however late this process gets to read it.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from cryptography.x509 import ocsp

GOOD, REVOKED, UNKNOWN, TRY_LATER, ERROR, BROKEN, WRONG = range(7)
POST, NONCE, GET = KINDS = range(3)
RECORD = struct.Struct("<dddIBBBB")
"""Asked at, written at, revoked at (seconds since 1970, or 0); certificate, gateway, kind, word, whether exact."""

NONCE_SIZE = 16
_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("@qq")
_AGAIN = 0.01
"""Seconds after which a connection that broke is tried again."""


@dataclass(frozen=True)
class Orders:
    """What to do. Requests are DER in hex; those with a nonce end with it."""

    gateways: list[str]
    plain: list[str]
    with_nonce: list[str]
    connections: int
    """For each gateway and kind."""
    pause: float
    """Seconds between an answer and the next question."""
    records: str

    def write(self, file: Path) -> None:
        """Put it where the process reads it."""
        file.write_text(json.dumps(asdict(self)))


def post(der: bytes) -> bytes:
    """A request as HTTP POST."""
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/ocsp-request\r\nContent-Length: {len(der)}\r\n\r\n"
    return head.encode() + der


def get(der: bytes) -> bytes:
    """A request as HTTP GET (RFC 6960, appendix A.1)."""
    return f"GET /{quote(base64.b64encode(der).decode(), safe='')} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


class Questions:
    """The messages of one kind, by certificate."""

    def __init__(self, orders: Orders, kind: int) -> None:
        ders = [bytes.fromhex(text) for text in (orders.with_nonce if kind == NONCE else orders.plain)]
        self.serials = [ocsp.load_der_ocsp_request(der).serial_number for der in ders]
        self._messages = [get(der) if kind == GET else post(der) for der in ders]
        self._has_nonce = kind == NONCE

    def __len__(self) -> int:
        return len(self._messages)

    def make(self, number: int) -> tuple[bytes, bytes]:
        """A message, and what has to be in its answer."""
        if not self._has_nonce:
            return self._messages[number], b""
        nonce = os.urandom(NONCE_SIZE)
        return self._messages[number][:-NONCE_SIZE] + nonce, nonce


class Judge:
    """What answers say. The same bytes are taken apart once."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], tuple[int, float]] = {}

    def word(self, message: bytes, serial: int, nonce: bytes) -> tuple[int, float]:
        """The word, and when the certificate was revoked."""
        head, _, body = message.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            return WRONG, 0.0
        known = self._known.get((body, serial))
        if known is None:
            known = self._read(body, serial)
            if not nonce and len(self._known) < 10_000:
                self._known[body, serial] = known
        return (WRONG, 0.0) if known[0] <= UNKNOWN and nonce not in body else known

    @staticmethod
    def _read(body: bytes, serial: int) -> tuple[int, float]:
        response = ocsp.load_der_ocsp_response(body)
        if response.response_status is ocsp.OCSPResponseStatus.TRY_LATER:
            return TRY_LATER, 0.0
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return ERROR, 0.0
        if response.serial_number != serial:
            return WRONG, 0.0
        if response.certificate_status is ocsp.OCSPCertStatus.REVOKED:
            assert response.revocation_time_utc is not None
            return REVOKED, response.revocation_time_utc.timestamp()
        return (GOOD if response.certificate_status is ocsp.OCSPCertStatus.GOOD else UNKNOWN), 0.0


class Asker:
    """One connection, made again when it breaks."""

    def __init__(self, address: str, gateway: int, kind: int, questions: Questions, first: int, hammer: Hammer) -> None:
        host, port = address.rsplit(":", 1)
        self._address = host, int(port)
        self._gateway, self._kind, self._questions, self._number = gateway, kind, questions, first
        self._hammer = hammer
        self._sock: socket.socket | None = None
        self._received = b""
        self._nonce = b""
        self._asked_at = 0.0

    def ask(self) -> None:
        """Ask the next question, over a new connection where there is none."""
        self._number = (self._number + 1) % len(self._questions)
        message, self._nonce = self._questions.make(self._number)
        self._received = b""
        self._asked_at = time.monotonic()
        try:
            self._connect().sendall(message)
        except OSError:
            self._broken()

    def _connect(self) -> socket.socket:
        if self._sock is None:
            self._sock = sock = socket.create_connection(self._address, timeout=5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._hammer.selector.register(sock, selectors.EVENT_READ, self.hear)
            self._asked_at = time.monotonic()
        return self._sock

    def hear(self) -> None:
        """Take what has come; go on if that is the whole answer."""
        assert self._sock is not None
        try:
            octets, ancillary, _, _ = self._sock.recvmsg(65536, 64)
        except OSError:
            octets, ancillary = b"", []
        if not octets:
            self._broken()
            return
        self._received += octets
        if not _is_whole(self._received):
            return
        now = time.monotonic()
        exact = bool(ancillary)
        written_at = now
        if exact:
            seconds, nanoseconds = _STAMP.unpack(ancillary[0][2])
            # The kernel stamps with the wall clock.
            written_at = now - (time.time() - (seconds + nanoseconds / 1e9))
        serial = self._questions.serials[self._number]
        word, revoked_at = self._hammer.judge.word(self._received, serial, self._nonce)
        self._note(written_at, revoked_at, word, exact=exact)
        self._hammer.later(self.ask)

    def _broken(self) -> None:
        if self._sock is not None:
            self._hammer.selector.unregister(self._sock)
            self._sock.close()
            self._sock = None
        self._note(time.monotonic(), 0.0, BROKEN, exact=False)
        self._hammer.later(self.ask, _AGAIN)

    def _note(self, written_at: float, revoked_at: float, word: int, *, exact: bool) -> None:
        self._hammer.records.write(
            RECORD.pack(
                self._asked_at, written_at, revoked_at, self._number, self._gateway, self._kind, word, int(exact)
            )
        )


def _is_whole(message: bytes) -> bool:
    head, found, body = message.partition(b"\r\n\r\n")
    if not found:
        return False
    _, _, rest = head.lower().partition(b"content-length:")
    return len(body) >= int(rest.partition(b"\r\n")[0])


class Hammer:
    """All connections."""

    def __init__(self, orders: Orders, records: BinaryIO) -> None:
        self.selector = selectors.DefaultSelector()
        self.judge = Judge()
        self.records = records
        self._pause = orders.pause
        self._due: deque[tuple[float, Callable[[], None]]] = deque()
        self._stopping = False
        questions = [Questions(orders, kind) for kind in KINDS]
        askers = [
            Asker(address, gateway, kind, questions[kind], (7 * nth + 3 * kind + gateway) % len(orders.plain), self)
            for nth in range(orders.connections)
            for gateway, address in enumerate(orders.gateways)
            for kind in KINDS
        ]
        for asker in askers:
            self.later(asker.ask)

    def later(self, what: Callable[[], None], seconds: float | None = None) -> None:
        """Do something after the pause, or so many seconds."""
        self._due.append((time.monotonic() + (self._pause if seconds is None else seconds), what))

    def stop(self) -> None:
        """End `run`."""
        self._stopping = True

    def run(self) -> None:
        """Ask until told to stop."""
        self.selector.register(sys.stdin, selectors.EVENT_READ, self.stop)
        flushed = 0.0
        while not self._stopping:
            now = time.monotonic()
            for _ in range(len(self._due)):
                due, what = self._due.popleft()
                if due <= now:
                    what()
                else:
                    self._due.append((due, what))
            for key, _ in self.selector.select(0.001 if self._due else 0.02):
                key.data()
            if now - flushed > 0.02:
                self.records.flush()
                flushed = now


def main() -> None:
    """Read the orders, and carry them out."""
    orders = Orders(**json.loads(Path(sys.argv[1]).read_text()))
    with Path(orders.records).open("ab") as records:
        Hammer(orders, records).run()


if __name__ == "__main__":
    main()
