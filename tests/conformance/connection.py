"""One TCP connection to a gateway, for what takes more than one request, or less."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from tests.conformance.wire import OCSP_REQUEST, TIMEOUT, Reply, Responder, read_reply


class Connection:
    """A connection that stays open until the gateway closes it, or the `with` ends."""

    def __init__(self, responder: Responder, timeout: float = TIMEOUT) -> None:
        host, port = responder.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self.socket.makefile("rb")
        self._responder = responder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stream.close()
        self.socket.close()

    def send(self, octets: bytes) -> None:
        """Send these octets."""
        self.socket.sendall(octets)

    def reply(self, *, head: bool = False) -> Reply:
        """Read one response (`head`: to a HEAD, without body)."""
        reply = read_reply(self._stream, head=head)
        self._responder.hear(reply)
        return reply

    def rest(self) -> bytes:
        """Everything up to the end of the connection, for which it waits; a reset counts as the end."""
        try:
            return self._stream.read()
        except ConnectionResetError:
            return b""


def get(target: str, *headers: str, version: str = "1.1", method: str = "GET") -> bytes:
    """The octets of a request without body."""
    host = () if version == "1.0" else ("Host: ocsp.test",)
    return "\r\n".join((f"{method} {target} HTTP/{version}", *host, *headers, "", "")).encode("latin-1")


def post(
    der: bytes,
    *headers: str,
    target: str = "/",
    version: str = "1.1",
    length: int | None = None,
    media_type: str | None = OCSP_REQUEST,
) -> bytes:
    """The octets of a POST; `length`: what its Content-Length says if that is not true."""
    lines = (f"Content-Length: {len(der) if length is None else length}", *headers)
    if media_type is not None:
        lines = (f"Content-Type: {media_type}", *lines)
    return get(target, *lines, version=version, method="POST") + der


def chunked(der: bytes, *headers: str, size: int = 7, end: bytes = b"0\r\n\r\n") -> bytes:
    """The octets of a POST in chunks of a size."""
    lines = (f"Content-Type: {OCSP_REQUEST}", "Transfer-Encoding: chunked", *headers)
    pieces = [der[at : at + size] for at in range(0, len(der), size)]
    return get("/", *lines, method="POST") + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end
