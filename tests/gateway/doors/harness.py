"""A real uvicorn server on port 0 in a thread, a responder that behaves as it is told, and a raw-socket client."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import uvicorn
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from gateway.answer import Answer
from gateway.limits import DoorCounters, Limits
from gateway.ocsp.request import MalformedRequest, parse_request
from gateway.ocsp.response import OcspStatus
from gateway.paths import OcspPaths
from gateway.protocol import ocsp_protocol, server_config
from gateway.spool import Octets
from gateway.web import make_app
from tests.waiting import wait_until

NOW = 1_800_000_000.25


def ocsp_request(serial: int, algorithm: hashes.HashAlgorithm | None = None) -> bytes:
    """The DER of a real OCSP request; the issuer is made up."""
    algorithm = algorithm or hashes.SHA1()
    hashed = hashlib.new(algorithm.name, b"issuer").digest()
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(hashed, hashed, serial, algorithm)
    return builder.build().public_bytes(Encoding.DER)


def cacheable(body: bytes, fresh: Callable[[], bool] = lambda: True) -> Answer:
    """An answer as the responder makes them, valid for twelve hours from an hour ago."""
    etag = b'"%s"' % hashlib.sha256(body).hexdigest().encode()
    return Answer(body, etag, int(NOW) - 3600, int(NOW) + 11 * 3600, 300, fresh)


@dataclass
class ScriptedResponder:
    """Ready answers from `ready`; others from `slow`, each once its gate is open; else what the parser says."""

    ready: dict[bytes, Answer] = field(default_factory=dict)
    slow: dict[bytes, Answer] = field(default_factory=dict)
    gates: dict[bytes, threading.Event] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    broken: Exception | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def at_once(self, request_der: bytes) -> Answer | None:
        return self.ready.get(request_der)

    def submit(self, request_der: bytes, deliver: Callable[[Answer], None]) -> bool:
        async def answer() -> None:
            deliver(await self.answer(request_der))

        task = asyncio.get_running_loop().create_task(answer())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return True

    async def answer(self, request_der: bytes) -> Answer:
        self.asked.append(request_der)
        if self.broken is not None:
            raise self.broken
        if request_der in self.slow:
            while not self.gates.setdefault(request_der, threading.Event()).is_set():
                await asyncio.sleep(0.002)
            return self.slow[request_der]
        await asyncio.sleep(0)
        try:
            parse_request(request_der)
        except MalformedRequest:
            return Answer.error(OcspStatus.MALFORMED_REQUEST)
        return Answer.error(OcspStatus.UNAUTHORIZED)


@dataclass
class Crl:
    der: Octets
    this_update: int
    next_update: int

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.der if isinstance(self.der, bytes) else self.der.read()).digest()


@dataclass
class ShelfOfOne:
    """One issuer named `issuing`."""

    certificate: bytes
    list: Crl | None = None
    away: bool = False

    def ca_certificate(self, name: str) -> bytes | None:
        return self.certificate if name == "issuing" else None

    async def crl(self, name: str, shard: int = 0) -> Crl | None:
        if self.away:
            raise ConnectionError("the status service is away")
        return self.list if name == "issuing" and shard in (0, 7) else None


@dataclass
class Response:
    """An HTTP response as it came, split."""

    raw: bytes
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A raw socket that speaks just enough HTTP to split responses."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(5)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, path: str, *headers: str) -> Response:
        """Send a GET and read its response."""
        self.send("\r\n".join((f"GET {path} HTTP/1.1", "Host: ocsp.test", *headers, "", "")).encode("latin-1"))
        return self.response()

    def response(self, *, bodiless: bool = False) -> Response:
        """Read one response; `bodiless` after a HEAD."""
        head = self._until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        status = int(lines[0].split(" ")[1])
        no_body = bodiless or status in {100, 304}
        body = self._exactly(0 if no_body else int(headers.get("content-length", 0)))
        return Response(head + body, status, headers, body)

    def rest(self) -> bytes:
        """Everything up to the end of the connection; a reset counts as the end."""
        while self._more():
            pass
        rest, self._buffer = self._buffer, b""
        return rest

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for a while, the connection staying open."""
        self.socket.settimeout(seconds)
        try:
            return not self._buffer and self.socket.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(5)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            assert self._more(), f"the connection ended after {self._buffer!r}"
        head, _, self._buffer = self._buffer.partition(mark)
        return head + mark

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            assert self._more(), f"the connection ended after {self._buffer!r}"
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)


def post(body: bytes, *headers: str, path: str = "/", length: int | None = None) -> bytes:
    """A plain OCSP POST as octets."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: ocsp.test",
        "Content-Type: application/ocsp-request",
        f"Content-Length: {len(body) if length is None else length}",
        *headers,
        "",
        "",
    )
    return "\r\n".join(lines).encode() + body


class Gateway:
    """Both doors on a port of their own."""

    def __init__(self, certificate: bytes, limits: Limits, prefixes: tuple[str, ...]) -> None:
        self.responder = ScriptedResponder()
        self.documents = ShelfOfOne(certificate)
        self.counters = DoorCounters()
        self.time = NOW
        paths = OcspPaths(prefixes)
        self.protocol = ocsp_protocol(self.responder, limits, paths, self.counters, lambda: self.time)
        app = make_app(self.responder, self.documents, paths=paths, limits=limits, clock=lambda: self.time)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.server = uvicorn.Server(server_config(app, self.protocol))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> Self:
        self.thread.start()
        self.eventually(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        for gate in self.responder.gates.values():
            gate.set()
        self.thread.join(10)
        self._socket.close()
        assert not self.thread.is_alive()

    def reset(self) -> None:
        """Forget answers and numbers, once nobody waits for them any more."""
        for gate in self.responder.gates.values():
            gate.set()
        self.eventually(lambda: self.protocol.door.pending == 0 and not self.server.server_state.tasks)
        self.responder.__init__()  # type: ignore[misc]
        self.counters.__init__()  # type: ignore[misc]

    def client(self, receive_buffer: int | None = None) -> Client:
        return Client(self.port, receive_buffer)

    def eventually(self, condition: Callable[[], bool], within: float = 5.0) -> None:
        """Wait for something that the server's thread does."""
        wait_until(condition, within)
