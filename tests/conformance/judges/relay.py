"""A relay before a responder, which keeps what clients say: the proof of which method, version and headers they use.

What the responder says is linted, as if the tests had asked themselves.
"""

from __future__ import annotations

import re
import socket
import socketserver
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from threading import Thread
from urllib.parse import unquote

from tests.conformance.wire import Responder, read_reply

TIMEOUT = 20.0


@dataclass(frozen=True)
class Heard:
    """One HTTP request that a client made."""

    method: str
    target: str
    version: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def der(self) -> bytes:
        """The OCSP request in it."""
        return self.body if self.method == "POST" else b64decode(unquote(self.target.removeprefix("/")))


class Relay:
    """Passes connections at `address` on to a responder, octet for octet."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.connections: list[bytearray] = []
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                relay.serve(self.request)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server.server_address[1]}"

    @property
    def url(self) -> str:
        """Its URL, as a responder's."""
        return f"http://{self.address}"

    def serve(self, client: socket.socket) -> None:
        """Pass on one connection until both sides have ended it."""
        said, answered = bytearray(), bytearray()
        self.connections.append(said)
        with socket.create_connection(self.target, TIMEOUT) as responder:
            client.settimeout(TIMEOUT)
            back = Thread(target=_pump, args=(responder, client, answered))
            back.start()
            _pump(client, responder, said)
            back.join()
        stream = BytesIO(answered)
        while stream.tell() < len(answered):
            Responder.hear(read_reply(stream))

    def heard(self) -> list[Heard]:
        """All requests until now, connection by connection."""
        return [request for said in list(self.connections) for request in _requests(bytes(said))]


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """A relay that runs."""
    running = Relay(target)
    running.server.daemon_threads = True
    thread = Thread(target=running.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield running
    finally:
        running.server.shutdown()
        thread.join()
        running.server.server_close()


def _pump(source: socket.socket, sink: socket.socket, kept: bytearray | None = None) -> None:
    """Pass on what comes until the end, and end the other side then. A side that breaks off ends it, too."""
    try:
        while octets := source.recv(65536):
            if kept is not None:
                kept += octets
            sink.sendall(octets)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, sink):
            _shut(sock)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        sock.shutdown(socket.SHUT_RDWR)


def _requests(said: bytes) -> Iterator[Heard]:
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"([A-Z]+) (\S+) (HTTP/1\.[01])", first)
        assert match, f"no HTTP request: {first!r}"
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        yield Heard(match[1], match[2], match[3], headers, said[:length])
        said = said[length:]
