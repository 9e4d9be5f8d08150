"""The differential test of both doors: the same conversation through either, octet for octet (R12-R15, R71-R81).

A conversation is requests behind each other on one connection. In the one run all that can be is spelled plainly, for
the door below ASGI; in the other the same is spelled so that Starlette answers. Times, conditions, versions, closing,
answers that are pending, and clients that leave in the middle are all part of it.
"""

from __future__ import annotations

import base64
import socket
import threading
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.answer import Answer
from tests.gateway.doors.harness import NOW, Gateway, cacheable, ocsp_request

READY, LATE, NONCE, FOREIGN = (ocsp_request(number) for number in range(1, 5))
ANSWER = cacheable(b"ready")
LAST = b"OPTIONS * HTTP/1.1\r\nConnection: close\r\n\r\n"
CONDITIONS = {
    "": (),
    "the ETag": (f"If-None-Match: {ANSWER.etag.decode()}",),
    "another ETag": ('If-None-Match: "x"',),
    "an old date": ("If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",),
    "a late date": ("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",),
}


@dataclass(frozen=True)
class Asking:
    """One request, in no spelling yet."""

    method: str
    der: bytes
    version: str
    connection: str
    condition: str

    def plain(self) -> bytes:
        """For the door below ASGI; a HEAD is Starlette's in any case."""
        return self._octets(())

    def odd(self) -> bytes:
        """For Starlette, which sees a header that only the other door cares for."""
        return self._octets(("Expect: nothing",) if self.method == "POST" else ("Content-Length: 0",))

    def _octets(self, more: tuple[str, ...]) -> bytes:
        path, body = "/", b""
        headers = [f"Connection: {self.connection}"] if self.connection else []
        if self.method == "POST":
            body = self.der
            headers += ["Content-Type: application/ocsp-request", f"Content-Length: {len(body)}"]
        else:
            path = "/" + quote(base64.b64encode(self.der), safe="")
            headers += CONDITIONS[self.condition]
        head = "\r\n".join((f"{self.method} {path} HTTP/{self.version}", "Host: ocsp.test", *headers, *more, "", ""))
        return head.encode() + body


ASKINGS = st.builds(
    Asking,
    st.sampled_from(["GET", "GET", "POST", "POST", "HEAD"]),
    st.sampled_from([READY, READY, LATE, NONCE, FOREIGN, b"", b"nonsense"]),
    st.sampled_from(["1.1", "1.1", "1.1", "1.0"]),
    st.sampled_from(["", "", "", "keep-alive", "close"]),
    st.sampled_from(sorted(CONDITIONS)),
)


@pytest.fixture(autouse=True)
def _answers(gateway: Gateway) -> None:
    gateway.reset()
    gateway.responder.ready = {READY: ANSWER, NONCE: Answer(b"with a nonce")}
    gateway.responder.slow = {LATE: cacheable(b"late")}


def hold(gateway: Gateway, *, is_open: bool) -> threading.Event:
    """The gate of what is looked up."""
    gate = gateway.responder.gates[LATE] = threading.Event()
    if is_open:
        gate.set()
    return gate


def talk(gateway: Gateway, requests: list[bytes], *, pending: bool) -> bytes:
    """All that comes back. `pending`: what is looked up comes only when everything has been asked."""
    gate = hold(gateway, is_open=not pending)
    with gateway.client() as client:
        client.send(b"".join(requests) + LAST)
        if pending:
            client.is_silent(0.01)
            gate.set()
        return client.rest()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ASKINGS, min_size=1, max_size=6), st.booleans(), st.integers(0, 13 * 3600))
def test_any_conversation_is_the_same_through_both_doors(
    gateway: Gateway, conversation: list[Asking], pending: bool, later: int
) -> None:
    """Date, max-age, ETag, 304, HEAD, keep-alive, closing, HTTP/1.0, waiting behind what is pending: no difference."""
    gateway.time = NOW + later
    plain = talk(gateway, [asking.plain() for asking in conversation], pending=pending)
    assert plain.startswith(b"HTTP/1.1 ")
    assert talk(gateway, [asking.odd() for asking in conversation], pending=pending) == plain


@pytest.mark.parametrize("spelling", ["plain", "odd"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("how", ["reset", "closed"])
def test_a_client_that_leaves_in_the_middle_of_an_answer(
    gateway: Gateway, method: str, spelling: str, how: str
) -> None:
    """Through either door nothing is left behind, nobody else notices, and the gateway answers on (G2)."""
    size = 3_000_000
    gateway.responder.ready[READY] = cacheable(b"x" * size)  # more than the kernel holds for a reader
    request = getattr(Asking(method, READY, "1.1", "", ""), spelling)()
    with gateway.client(receive_buffer=4096) as other, gateway.client(receive_buffer=4096) as client:
        other.send(request)
        client.send(request * 3)
        assert client.socket.recv(2000).startswith(b"HTTP/1.1 200")
        if how == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.socket.close()
        gateway.eventually(lambda: len(gateway.protocol.door.sweep) == 1)
        assert len(other.response().body) == size
    gateway.eventually(lambda: len(gateway.protocol.door.sweep) == 0 and not gateway.server.server_state.tasks)
    assert gateway.protocol.door.pending == 0
    gateway.responder.ready[READY] = ANSWER
    with gateway.client() as client:
        client.send(request)
        assert client.response().body == b"ready"
