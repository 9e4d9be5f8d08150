"""Every limit of the public port, from outside (R11, G8)."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

import pytest

from gateway.limits import Limits
from tests.gateway.doors.harness import Client, Gateway, cacheable, ocsp_request, post

Start = Callable[..., Gateway]
MALFORMED_REQUEST = bytes.fromhex("30030a0101")
TRY_LATER = bytes.fromhex("30030a0103")
READY = ocsp_request(1)


def with_answer(gateway: Gateway, body: bytes = b"ready") -> Gateway:
    """A gateway that answers READY at once."""
    gateway.responder.ready[READY] = cacheable(body)
    return gateway


@pytest.mark.parametrize("name", list(Limits.__dataclass_fields__))
def test_limits_are_above_zero(name: str) -> None:
    """No limit can be switched off by setting it to nothing."""
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /" + "A" * 9_000 + " HTTP/1.1\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\n" + "A: b\r\n" * 65 + "\r\n", 431),
        ("GET / HTTP/1.1\r\nA: " + "b" * 17_000 + "\r\n\r\n", 431),
        ("GET / HTTP/1.1\r\nA: " + "b" * 200_000, 431),
        ("GET / HTTP/1.1\r\n" + "A" * 200_000, 431),
        ("GET /" + "A" * 200_000, 431),
        ("GET / HTTP/1.1\r\n" + "".join(f"H{n}: {'x' * 300}\r\n" for n in range(60)) + "\r\n", 431),
        ("POST / HTTP/1.1\r\nContent-Length: 32769\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nContent-Length: 32769\r\nExpect: 100-continue\r\n\r\n", 413),
        ("PUT / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n", 400),
        ("GET /a b HTTP/1.1\r\n\r\n", 400),
        ("GET /\xff HTTP/1.1\r\n\r\n", 400),
        ("BREW / HTTP/1.1\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        ("CONNECT ocsp.test:80 HTTP/1.1\r\n\r\n", 405),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, str) else None,
)
def test_a_head_that_cannot_be_taken(gateway: Gateway, head: str, status: int) -> None:
    """The client is told why, and the connection closed."""
    with gateway.client() as client:
        client.send(head.encode("latin-1"))
        response = client.response()
        assert response.status == status
        assert response.headers["connection"] == "close"
        assert response.headers["cache-control"] == "no-store"
        assert client.rest() == b""


def test_a_head_just_below_the_limits(gateway: Gateway) -> None:
    """64 headers and almost 16 KiB are taken."""
    with_answer(gateway)
    with gateway.client() as client:
        filler = [f"H{n}: {'x' * 240}" for n in range(63)]
        assert client.get("/", *filler).body == MALFORMED_REQUEST


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_megabyte_is_refused_unread(gateway: Gateway, chunked: bool) -> None:
    """A valid request with 1 MB of zeros behind it: 413 while the client still sends, and the client sees it (R11)."""
    body = READY + bytes(1_000_000)
    with gateway.client() as client:
        if chunked:
            head = "POST / HTTP/1.1\r\nContent-Type: application/ocsp-request\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.send(head.encode() + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        else:
            client.send(post(body))
        response = client.response()
        assert response.status == 413
        assert response.headers["connection"] == "close"
        assert client.rest() == b""


def test_a_refused_client_is_not_reset(gateway: Gateway) -> None:
    """A client that is still sending may finish before it reads: no reset takes the refusal away from it."""
    with gateway.client() as client:
        client.send(post(READY, length=1_000_000))
        for _ in range(5):
            time.sleep(0.02)
            client.send(bytes(50_000))
        assert client.response().status == 413
        assert client.rest() == b""


def test_discarding_ends(start_gateway: Start) -> None:
    """What is thrown away from a refused client is bounded in octets and in time."""
    gateway = start_gateway(close_timeout=0.2)

    def pour(chunk: bytes, pause: float) -> None:
        with gateway.client() as client:
            client.send(post(READY, length=1_000_000))
            for _ in range(300):
                client.send(chunk)
                time.sleep(pause)

    with pytest.raises(ConnectionError):
        pour(bytes(1_000_000), 0.0)
    with pytest.raises(ConnectionError):
        pour(b"x", 0.01)


def test_endless_framing_is_no_body(start_gateway: Start) -> None:
    """One-octet chunks with huge extensions, or endless trailers, end at a multiple of the body limit."""
    gateway = start_gateway(max_body=1024)
    head = b"POST / HTTP/1.1\r\nContent-Type: application/ocsp-request\r\nTransfer-Encoding: chunked\r\n\r\n"
    for tail in (b"1;" + b"x" * 100_000, b"1\r\nM\r\n0\r\nTrailer: " + b"x" * 100_000):
        with gateway.client() as client:
            client.send(head + tail)
            assert client.response().status == 413


def test_the_largest_body_is_taken(gateway: Gateway) -> None:
    """32 KiB reach the responder."""
    body = b"0" * (32 * 1024)
    answer = gateway.responder.ready[body] = cacheable(b"large")
    with gateway.client() as client:
        client.send(post(body))
        assert client.response().body == answer.body


def test_a_body_in_octets(gateway: Gateway) -> None:
    """A request that comes octet by octet is one request."""
    with_answer(gateway)
    with gateway.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in post(READY):
            client.send(bytes([octet]))
        assert client.response().body == b"ready"


def test_a_body_longer_than_said_is_the_next_request(gateway: Gateway) -> None:
    """Content-Length decides; what follows is garbage, and told so, behind the answer (R11)."""
    with_answer(gateway)
    with gateway.client() as client:
        client.send(post(READY + b"garbage\r\n\r\n", length=len(READY)))
        assert client.response().body == b"ready"
        assert client.response().status == 400


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /MAA= HTTP/1.1\r\nHost: ",
        post(READY, length=len(READY) + 1),
        b"POST / HTTP/1.1\r\nContent-Type: application/ocsp-request\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n",
    ],
    ids=["head", "body", "chunked body"],
)
def test_a_slow_request_ends_in_408(start_gateway: Start, begin: bytes) -> None:
    """Octets that drip in do not extend the time for a head or a body (slowloris)."""
    gateway = start_gateway(head_timeout=0.2, body_timeout=0.2, close_timeout=0.2)
    with gateway.client() as client:
        started = time.monotonic()
        client.send(begin)
        client.socket.settimeout(0.04)
        dripping = b"x" if b"Transfer" not in begin else b"1\r\n0\r\n"
        while time.monotonic() < started + 3:
            try:
                if client.socket.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                # The octet that would complete the body never comes.
                if b"Content-Length" not in begin:
                    client.send(dripping)
        client.socket.settimeout(5)
        assert client.response().status == 408
        assert time.monotonic() - started < 1.5
        assert client.rest() == b""
    assert gateway.counters.refused_requests == 1


@pytest.mark.parametrize("begin", [b"", b"\r\n"], ids=["silent", "empty lines"])
def test_a_connection_without_request_is_closed(start_gateway: Start, begin: bytes) -> None:
    """Connecting and asking nothing takes no longer than sending a slow head."""
    gateway = start_gateway(head_timeout=0.2)
    with gateway.client() as client:
        client.send(begin)
        assert client.rest() == b""


def test_an_idle_connection_is_closed(start_gateway: Start) -> None:
    """Keep-alive lasts for idle_timeout after an answer, and begins anew with each."""
    gateway = with_answer(start_gateway(idle_timeout=0.4, head_timeout=0.2))
    with gateway.client() as client:
        for _ in range(2):
            client.send(post(READY))
            assert client.response().status == 200
            time.sleep(0.25)
        started = time.monotonic()
        assert client.rest() == b""
        assert time.monotonic() - started < 1.5


def test_waiting_for_us_is_not_idling(start_gateway: Start) -> None:
    """A client is not cut off for the time that its answer takes."""
    gateway = start_gateway(idle_timeout=0.1, head_timeout=0.1, body_timeout=0.1)
    gateway.responder.slow[READY] = cacheable(b"late")
    with gateway.client() as client:
        client.send(post(READY))
        assert client.is_silent(0.4)
        gateway.responder.gates[READY].set()
        assert client.response().body == b"late"


def test_too_many_connections(start_gateway: Start) -> None:
    """Over the limit a new connection is closed, never answered 503; a place that gets free is given away."""
    gateway = with_answer(start_gateway(max_connections=2))
    with gateway.client() as first, gateway.client() as second:
        for client in (first, second):
            client.send(post(READY))
            assert client.response().status == 200
        with gateway.client() as third:
            assert third.rest() == b""
        assert gateway.counters.connections_refused == 1
    gateway.eventually(lambda: len(gateway.protocol.door.sweep) == 0)
    with gateway.client() as fourth:
        fourth.send(post(READY))
        assert fourth.response().status == 200


def test_too_many_pending_answers(start_gateway: Start) -> None:
    """Past max_pending the answer is tryLater, at once; what is ready is still given."""
    gateway = with_answer(start_gateway(max_pending=1))
    slow = ocsp_request(2)
    gateway.responder.slow[slow] = cacheable(b"late")
    with gateway.client() as waiting, gateway.client() as other:
        waiting.send(post(slow))
        gateway.eventually(lambda: slow in gateway.responder.asked)
        other.send(post(ocsp_request(3)))
        assert other.response().body == TRY_LATER
        other.send(post(READY))
        assert other.response().body == b"ready"
        gateway.responder.gates[slow].set()
        assert waiting.response().body == b"late"
    assert gateway.counters.overloaded == 1


def test_pipelining_is_bounded(start_gateway: Start) -> None:
    """Behind an answer that is pending, only so many requests are started; the rest waits in the socket."""
    gateway = start_gateway(max_pipelined=4)
    slow = ocsp_request(2)
    gateway.responder.slow[slow] = cacheable(b"late")
    others = [ocsp_request(number) for number in range(100, 400)]
    with gateway.client() as client:
        client.send(post(slow) + b"".join(map(post, others)))
        gateway.eventually(lambda: len(gateway.responder.asked) > 4)
        time.sleep(0.1)
        assert len(gateway.responder.asked) < 40  # what 4 KiB hold, and the four
        gateway.responder.gates[slow].set()
        assert client.response().body == b"late"
        for _ in others:
            assert client.response().status == 200


def test_a_client_that_does_not_read_is_cut_off(start_gateway: Start) -> None:
    """Answers pile up only to the high-water mark; then the client has write_timeout to read on."""
    gateway = with_answer(start_gateway(write_timeout=0.3), b"x" * 20_000)
    with gateway.client(receive_buffer=4096) as client:
        client.socket.setblocking(False)
        flood = post(READY) * 50
        started = time.monotonic()
        sent = 0
        try:
            while time.monotonic() < started + 5:
                try:
                    sent += client.socket.send(flood)
                except BlockingIOError:
                    time.sleep(0.01)
        except ConnectionError:
            pass
        assert time.monotonic() - started < 4
    gateway.eventually(lambda: gateway.counters.stalled_writes == 1)


def test_a_slow_reader_gets_everything(start_gateway: Start) -> None:
    """Back-pressure loses nothing: whoever reads on in time gets every answer."""
    gateway = with_answer(start_gateway(), b"x" * 20_000)
    with gateway.client(receive_buffer=4096) as client:
        client.send(post(READY) * 300)
        time.sleep(0.2)
        for _ in range(300):
            assert len(client.response().body) == 20_000
    assert gateway.counters.stalled_writes == 0


def test_a_closed_connection_that_is_not_read_ends(start_gateway: Start) -> None:
    """`Connection: close` with an answer that the client never reads does not hold the connection open."""
    gateway = with_answer(start_gateway(close_timeout=0.3), b"x" * 8_000_000)
    with gateway.client(receive_buffer=4096) as client:
        client.send(post(READY, "Connection: close"))
        gateway.eventually(lambda: gateway.counters.requests == 1)
        gateway.eventually(lambda: len(gateway.protocol.door.sweep) == 0)


def _is_stalled(gateway: Gateway) -> bool:
    return any(connection.flow.write_paused for connection in gateway.protocol.door.sweep._connections)  # type: ignore[attr-defined]


def _ask_without_reading(gateway: Gateway, client: Client, door: str) -> None:
    """Ask for what is ready through a door, until the kernel takes no more answers."""
    client.socket.setblocking(False)
    chunked = post(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    asked = post(READY) if door == "protocol" else chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(READY), READY)
    while not _is_stalled(gateway) and not gateway.counters.stalled_writes:
        with contextlib.suppress(BlockingIOError):
            client.socket.send(asked * 50)


@pytest.mark.parametrize("door", ["protocol", "asgi"])
def test_what_waits_for_a_reader_ends_with_its_evidence(start_gateway: Start, door: str) -> None:
    """An answer that the kernel has not taken yet is not sent once its evidence is over (G3): the client is cut off."""
    gateway = start_gateway(write_timeout=60)
    evidence = {"is there": True}
    gateway.responder.ready[READY] = cacheable(b"x" * 20_000, lambda: evidence["is there"])
    with gateway.client(receive_buffer=4096) as client:
        _ask_without_reading(gateway, client, door)
        time.sleep(0.1)
        assert gateway.counters.stalled_writes == 0
        evidence["is there"] = False
        gateway.eventually(lambda: gateway.counters.stalled_writes == 1)
        gateway.eventually(lambda: not gateway.protocol.door.sweep._connections)
    assert bool(gateway.counters.requests_passed_on) == (door == "asgi")


@pytest.mark.parametrize("door", ["protocol", "asgi"])
def test_evidence_that_ends_in_the_moment_of_writing(start_gateway: Start, door: str) -> None:
    """Fresh when it was tested, and not any more when the kernel had no room: what waits then is looked after, too."""
    gateway = start_gateway(write_timeout=60)
    gateway.responder.ready[READY] = cacheable(b"x" * 20_000, lambda: not _is_stalled(gateway))
    with gateway.client(receive_buffer=4096) as client:
        _ask_without_reading(gateway, client, door)
        gateway.eventually(lambda: gateway.counters.stalled_writes == 1)
        gateway.eventually(lambda: not gateway.protocol.door.sweep._connections)
