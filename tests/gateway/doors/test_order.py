"""Keep-alive, pipelining and closing: every request gets its own response, in its turn."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.doors.harness import Gateway, cacheable, ocsp_request, post

Start = Callable[..., Gateway]
TRY_LATER = bytes.fromhex("30030a0103")
INTERNAL_ERROR = bytes.fromhex("30030a0102")
READY, SLOW = ocsp_request(1), ocsp_request(2)
GET_READY = f"GET /{base64.b64encode(READY).decode()} HTTP/1.1\r\n\r\n".encode()


@pytest.fixture
def fresh_gateway(gateway: Gateway) -> Gateway:
    """A gateway with one answer that is ready and one that waits for its gate."""
    gateway.reset()
    gateway.responder.ready[READY] = cacheable(b"ready")
    gateway.responder.slow[SLOW] = cacheable(b"late")
    return gateway


def open_gate(gateway: Gateway) -> None:
    """Let the slow answer through."""
    gateway.eventually(lambda: SLOW in gateway.responder.gates)
    gateway.responder.gates[SLOW].set()


def test_answers_never_overtake(fresh_gateway: Gateway) -> None:
    """Behind a pending answer everything waits its turn: ready answers, Starlette's, errors."""
    with fresh_gateway.client() as client:
        chunked = b"POST / HTTP/1.1\r\nContent-Type: application/ocsp-request\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(READY), READY)
        client.send(post(SLOW) + GET_READY + b"PUT / HTTP/1.1\r\n\r\n" + chunked + post(READY) + b"nonsense\r\n\r\n")
        assert client.is_silent(0.1)
        open_gate(fresh_gateway)
        seen = [(response.status, response.body[:5]) for response in (client.response() for _ in range(6))]
        assert seen == [
            (200, b"late"),
            (200, b"ready"),
            (405, b"metho"),
            (200, b"ready"),
            (200, b"ready"),
            (400, b"400 B"),
        ]
        assert client.rest() == b""


def test_pending_answers_are_looked_up_together(fresh_gateway: Gateway) -> None:
    """Pipelined requests are started at once, not one after the other, so that their look-ups share a batch."""
    other = ocsp_request(3)
    with fresh_gateway.client() as client:
        client.send(post(SLOW) + post(other))
        fresh_gateway.eventually(lambda: fresh_gateway.responder.asked == [SLOW, other])
        open_gate(fresh_gateway)
        assert client.response().body == b"late"


def test_keep_alive(fresh_gateway: Gateway) -> None:
    """One connection, many requests, through both doors."""
    with fresh_gateway.client() as client:
        for _ in range(50):
            client.send(GET_READY)
            response = client.response()
            assert (response.status, response.body) == (200, b"ready")
            assert "connection" not in response.headers
            client.send(b"OPTIONS * HTTP/1.1\r\n\r\n")
            assert client.response().status == 405


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST / HTTP/1.0\r\n",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\n",
        b"POST / HTTP/1.1\r\nConnection: close\r\n",
        b"POST / HTTP/1.1\r\nConnection: Keep-Alive, Close\r\n",
        b"POST / HTTP/1.0\r\nExpect: nothing\r\n",
        b"POST / HTTP/1.1\r\nExpect: nothing\r\nConnection: close\r\n",
    ],
    ids=["1.0", "1.0 keep-alive", "1.1 close", "1.1 close in a list", "1.0 by Starlette", "1.1 close by Starlette"],
)
@pytest.mark.parametrize("der", [READY, SLOW], ids=["ready", "pending"])
def test_one_request_connections(fresh_gateway: Gateway, request_line: bytes, der: bytes) -> None:
    """HTTP/1.0 and `Connection: close` get their answer and the end; what follows is not taken (R12)."""
    with fresh_gateway.client() as client:
        headers = b"Content-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n" % len(der)
        client.send(request_line + headers + der + post(READY))
        if der is SLOW:
            open_gate(fresh_gateway)
        response = client.response()
        assert response.body == (b"ready" if der is READY else b"late")
        assert response.headers["connection"] == "close"
        assert client.rest() == b""


@pytest.mark.parametrize("head", ["GET {} HTTP/1.0\r\n\r\n", "GET {}\r\n\r\n"], ids=["1.0", "0.9"])
def test_bare_requests(fresh_gateway: Gateway, head: str) -> None:
    """No Host, no User-Agent, no Accept: still an answer (R12)."""
    with fresh_gateway.client() as client:
        client.send(head.format("/" + base64.b64encode(READY).decode()).encode())
        assert client.response().body == b"ready"
        assert client.rest() == b""


@pytest.mark.parametrize("der", [READY, SLOW], ids=["ready", "pending"])
def test_a_half_closed_connection_is_answered(fresh_gateway: Gateway, der: bytes) -> None:
    """A client that shuts its sending side gets what it asked for (`nc -N` does that)."""
    with fresh_gateway.client() as client:
        client.send(post(der) + post(der))
        client.socket.shutdown(socket.SHUT_WR)
        if der is SLOW:
            open_gate(fresh_gateway)
        assert [client.response().body for _ in range(2)] == [b"ready" if der is READY else b"late"] * 2
        assert client.rest() == b""


def test_a_client_that_leaves_harms_nobody(fresh_gateway: Gateway) -> None:
    """A disconnect while answers are pending drops them; look-ups run out, and the next client is served."""
    chunked = b"POST / HTTP/1.1\r\nContent-Type: application/ocsp-request\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0"
    for request in (post(SLOW), post(SLOW) + chunked, chunked, post(SLOW, "Expect: 100-continue")):
        with fresh_gateway.client() as client:
            client.send(request)
            time.sleep(0.05)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    fresh_gateway.eventually(lambda: len(fresh_gateway.protocol.door.sweep) == 0)
    open_gate(fresh_gateway)
    fresh_gateway.eventually(lambda: fresh_gateway.protocol.door.pending == 0)
    fresh_gateway.eventually(lambda: not fresh_gateway.server.server_state.tasks)
    with fresh_gateway.client() as client:
        assert client.get("/" + base64.b64encode(READY).decode()).body == b"ready"


@pytest.mark.parametrize("der", [READY, SLOW], ids=["ready", "pending"])
@pytest.mark.parametrize("slow_door", [False, True], ids=["protocol", "Starlette"])
def test_a_stale_answer_is_not_written(fresh_gateway: Gateway, der: bytes, slow_door: bool) -> None:
    """What is no longer fresh when it is written becomes tryLater, through both doors (G3)."""
    fresh = True
    fresh_gateway.responder.ready[READY] = cacheable(b"ready", lambda: fresh)
    fresh_gateway.responder.slow[SLOW] = cacheable(b"late", lambda: fresh)
    with fresh_gateway.client() as client:
        client.send(post(der, *(["Expect: nothing"] if slow_door else [])))
        if der is SLOW:
            fresh_gateway.eventually(lambda: SLOW in fresh_gateway.responder.gates)
            fresh = False
            open_gate(fresh_gateway)
            response = client.response()
        else:
            assert client.response().body == b"ready"
            fresh = False
            client.send(post(der, *(["Expect: nothing"] if slow_door else [])))
            response = client.response()
        assert (response.body, response.headers["cache-control"]) == (TRY_LATER, "no-store")


def test_an_answer_that_turns_stale_in_the_queue_is_not_written(fresh_gateway: Gateway) -> None:
    """Waiting behind another answer costs a ready one its freshness like anything else (G3)."""
    fresh = True
    fresh_gateway.responder.ready[READY] = cacheable(b"ready", lambda: fresh)
    with fresh_gateway.client() as client:
        client.send(post(SLOW) + post(READY))
        fresh_gateway.eventually(lambda: fresh_gateway.counters.requests == 2)
        fresh = False
        open_gate(fresh_gateway)
        assert client.response().body == b"late"
        assert client.response().body == TRY_LATER


def test_a_broken_responder_is_an_internal_error(fresh_gateway: Gateway) -> None:
    """Even what must not happen is an OCSP error with HTTP 200, and the connection lives on."""
    fresh_gateway.responder.broken = ZeroDivisionError()
    with fresh_gateway.client() as client:
        for _ in range(2):
            client.send(post(ocsp_request(9), "Expect: nothing"))
            assert client.response().body == INTERNAL_ERROR


def test_expect_100_continue(fresh_gateway: Gateway) -> None:
    """The body is asked for, then answered; curl sends larger bodies this way."""
    with fresh_gateway.client() as client:
        whole = post(READY, "Expect: 100-continue")
        client.send(whole[: -len(READY)])
        assert client.response().status == 100
        client.send(READY)
        assert client.response().body == b"ready"


@pytest.mark.parametrize(
    "request_octets",
    [
        post(READY, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
        GET_READY.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ],
    ids=["POST h2c", "GET websocket"],
)
def test_upgrades_are_ignored(fresh_gateway: Gateway, request_octets: bytes) -> None:
    """An Upgrade is not taken up, and neither its body nor what is pipelined behind gets lost."""
    with fresh_gateway.client() as client:
        client.send((request_octets + GET_READY) * 40)
        for _ in range(80):
            response = client.response()
            assert (response.status, response.body) == (200, b"ready")


def chunked(der: bytes, size: int = 1) -> bytes:
    """A POST that only Starlette's door takes."""
    parts = [der[at : at + size] for at in range(0, len(der), size)]
    head = b"POST / HTTP/1.1\r\nContent-Type: application/ocsp-request\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def test_a_large_body_behind_a_pending_answer(start_gateway: Start) -> None:
    """Reading stops while too much is owed, yet never for a body that its own exchange waits for."""
    gateway = start_gateway(max_pipelined=1)
    large = b"0" * 32_000
    gateway.responder.slow[SLOW] = cacheable(b"late")
    gateway.responder.ready[large] = cacheable(b"large")
    with gateway.client() as client:
        client.send(chunked(large, 1000) + post(SLOW) + chunked(large, 1000) + post(large))
        assert client.response().body == b"large"
        open_gate(gateway)
        assert [client.response().body for _ in range(3)] == [b"late", b"large", b"large"]


LARGE = b"0" * 20_000
SLOWS = [ocsp_request(number) for number in range(1000, 1004)]
KINDS = {
    "ready": (post(READY), b"ready"),
    "get": (GET_READY, b"ready"),
    "chunked": (chunked(READY), b"ready"),
    "large": (post(LARGE), b"large"),
    "large chunked": (chunked(LARGE, 500), b"large"),
    "put": (b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", b"method not allowed\n"),
    "missing": (b"GET /metrics HTTP/1.1\r\n\r\n", b"not found\n"),
    **{f"slow {number}": (post(der), b"late %d" % number) for number, der in enumerate(SLOWS)},
    **{f"slow chunked {number}": (chunked(der), b"late %d" % number) for number, der in enumerate(SLOWS)},
}


@pytest.mark.parametrize("max_pipelined", [1, 3])
def test_any_pipeline_is_answered_in_order(start_gateway: Start, max_pipelined: int) -> None:
    """Whatever is pipelined, in whatever mix, with answers that come when they like: one response each, in order."""
    gateway = start_gateway(max_pipelined=max_pipelined)
    responder = gateway.responder
    responder.ready = {READY: cacheable(b"ready"), LARGE: cacheable(b"large")}
    responder.slow = {der: cacheable(b"late %d" % number) for number, der in enumerate(SLOWS)}

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=40), st.permutations(SLOWS))
    def check(kinds: list[str], opening: list[bytes]) -> None:
        responder.gates = {der: threading.Event() for der in SLOWS}
        with gateway.client() as client:
            client.send(b"".join(KINDS[kind][0] for kind in kinds))
            for der in opening:
                time.sleep(0.003)
                responder.gates[der].set()
            assert [client.response().body for _ in kinds] == [KINDS[kind][1] for kind in kinds]

    check()


STREAM = post(READY) + chunked(READY) + GET_READY + post(READY, "Upgrade: h2c", "Connection: upgrade") + GET_READY


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=6))
def test_where_packets_end_does_not_matter(fresh_gateway: Gateway, cuts: list[int]) -> None:
    """The same requests give the same responses, however the octets arrive."""
    with fresh_gateway.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin, end in pairwise([0, *sorted(cuts), len(STREAM)]):
            client.send(STREAM[begin:end])
            time.sleep(0.001)
        assert [client.response().body for _ in range(5)] == [b"ready"] * 5


def test_stopping_during_a_body(start_gateway: Start) -> None:
    """A request whose body is on its way when the server stops is answered, and the connection closed."""
    gateway = start_gateway()
    gateway.responder.ready[READY] = cacheable(b"ready")
    with gateway.client() as client:
        client.send(post(READY)[:-5])
        gateway.eventually(lambda: len(gateway.protocol.door.sweep) == 1)
        time.sleep(0.05)
        gateway.server.should_exit = True
        time.sleep(0.3)
        client.send(READY[-5:])
        response = client.response()
        assert (response.body, response.headers["connection"]) == (b"ready", "close")
        assert client.rest() == b""


def test_stopping_finishes_what_was_asked(start_gateway: Start) -> None:
    """A server that stops closes idle connections, and answers the others first, saying `close`."""
    gateway = start_gateway()
    gateway.responder.slow[SLOW] = cacheable(b"late")
    with gateway.client() as idle, gateway.client() as waiting:
        waiting.send(post(SLOW))
        gateway.eventually(lambda: SLOW in gateway.responder.asked)
        gateway.server.should_exit = True
        assert idle.rest() == b""
        open_gate(gateway)
        response = waiting.response()
        assert (response.body, response.headers["connection"]) == (b"late", "close")
        assert waiting.rest() == b""
