"""Both doors give the same octets, and nothing that is sent to them gets a 5xx."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.answer import Answer
from gateway.ocsp.response import OcspStatus
from tests.gateway.doors.harness import Client, Gateway, cacheable, ocsp_request, post

READY, LATE, NONCE, UNKNOWN, FOREIGN = (ocsp_request(number) for number in range(1, 6))
PREPARED = (READY, LATE, NONCE, UNKNOWN, FOREIGN)
"""What has stand-ins for answers; one octet makes the difference between them."""
BODIES = {
    "ready": READY,
    "looked up": LATE,
    "nonce": NONCE,
    "unknown": UNKNOWN,
    "foreign issuer": FOREIGN,
    "empty": b"",
    "one octet": b"0",
    "an answer": Answer.error(OcspStatus.MALFORMED_REQUEST).body,
    "HTML": b"<html>",
    "PEM": b"-----BEGIN OCSP REQUEST-----",
    "trailing octet": READY + b"\0",
    "nested": b"\x30\x80" * 2000,
}
MEDIA_TYPE = "Content-Type: application/ocsp-request"


@pytest.fixture(autouse=True)
def _answers(gateway: Gateway) -> None:
    gateway.reset()
    responder = gateway.responder
    responder.ready = {READY: cacheable(b"ready"), NONCE: Answer(b"with a nonce"), UNKNOWN: Answer(b"u", b"", 0, 1)}
    responder.slow = {LATE: cacheable(b"late")}
    responder.gates = {}


def open_gates(gateway: Gateway) -> None:
    """Let what is looked up come through at once."""
    import threading

    gateway.responder.gates[LATE] = threading.Event()
    gateway.responder.gates[LATE].set()


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("close", [(), ("Connection: close",)], ids=["keep-alive", "close"])
def test_post_is_the_same_through_both_doors(gateway: Gateway, body: bytes, close: tuple[str, ...]) -> None:
    """One request, five spellings, one response, byte for byte."""
    open_gates(gateway)
    chunks = b"".join(b"%x\r\n%c\r\n" % (1, octet) for octet in body) + b"0\r\nTrailer: x\r\n\r\n"
    head = "\r\n".join(("POST / HTTP/1.1", MEDIA_TYPE, "Transfer-Encoding: chunked", *close, "", "")).encode()
    spellings = [
        post(body, *close),
        post(body, "Expect: nothing", *close),
        post(body, *close, path="/?query"),
        post(body, *close, path="http://ocsp.test/ocsp"),
        post(body, *close).replace(b"application/ocsp-request", b"Application/OCSP-Request; charset=utf-8"),
        head + chunks,
    ]
    responses = []
    for spelling in spellings:
        with gateway.client() as client:
            client.send(spelling)
            responses.append(client.response().raw)
            if close:
                assert client.rest() == b""
    assert len(set(responses)) == 1
    assert gateway.counters.requests == 1
    assert gateway.counters.requests_passed_on == 5


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("condition", [(), ("If-None-Match: *",)], ids=["plain", "conditional"])
def test_get_is_the_same_through_both_doors(gateway: Gateway, body: bytes, condition: tuple[str, ...]) -> None:
    """The same for GET, conditional or not."""
    open_gates(gateway)
    path = "/" + quote(base64.b64encode(body), safe="")
    with gateway.client() as client:
        plain = client.get(path, *condition).raw
        assert client.get(path + "?query", *condition).raw == plain
        assert client.get(path, "Content-Length: 0", *condition).raw == plain
        assert client.get("http://ocsp.test" + path, *condition).raw == plain
    assert gateway.counters.requests == 1


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/MAA=", "/nonsense", "*"])
def test_other_methods(gateway: Gateway, method: str, path: str) -> None:
    """405 with Allow, and the connection lives on (R15)."""
    with gateway.client() as client:
        for _ in range(2):
            client.send(f"{method} {path} HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".encode())
            response = client.response()
            assert (response.status, response.headers["allow"]) == (405, "GET, HEAD, POST")
            assert response.headers["date"]


@pytest.mark.parametrize(
    "header",
    [
        "X: y",
        "Content-Type:",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: application/ocsp-response",
        MEDIA_TYPE + "\r\nContent-Type: text/plain",
    ],
)
def test_another_content_type(gateway: Gateway, header: str) -> None:
    """A POST of something else is 415."""
    with gateway.client() as client:
        client.send(f"POST / HTTP/1.1\r\n{header}\r\nContent-Length: {len(READY)}\r\n\r\n".encode() + READY)
        response = client.response()
        assert (response.status, response.headers["accept-post"]) == (415, "application/ocsp-request")
        assert client.get("/" + base64.b64encode(READY).decode()).body == b"ready"


@pytest.mark.parametrize("path", ["/nowhere", "/MAA=", "/healthz", "/ca/issuing.cer"])
def test_post_elsewhere(gateway: Gateway, path: str) -> None:
    """A POST is OCSP at a prefix only; elsewhere 404, or 405 where there is a document."""
    with gateway.client() as client:
        client.send(post(READY, path=path))
        assert client.response().status == (405 if path.startswith("/ca/") else 404)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_body_gets_an_ocsp_answer(gateway: Gateway, data: st.DataObject) -> None:
    """Any octets at all, by POST and by GET: 200 with an OCSP error, never a 5xx, never a hang (R22, R25)."""
    with gateway.client() as client:
        for _ in range(10):
            body = data.draw(st.binary(max_size=300) | mutations(FOREIGN).filter(lambda body: body not in PREPARED))
            client.send(post(body))
            check(client, (200,))
            client.send(b"GET /%b HTTP/1.1\r\n\r\n" % quote(base64.b64encode(body), safe="").encode())
            check(client, (200,))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=100).map(
        lambda text: f"GET /{text} HTTP/1.1\r\n\r\n".encode()
    )
    | st.builds(
        lambda a, b, c: a + b"%d" % b + c, st.just(b"POST / HTTP/1.1\r\nContent-Length: "), st.integers(), st.binary()
    )
)
def test_any_octets_never_get_a_5xx(gateway: Gateway, octets: bytes) -> None:
    """Whatever arrives on the port: answers below 500, and then the end."""
    with gateway.client() as client:
        client.send(octets + b"\r\n\r\n")
        client.socket.shutdown(1)
        rest = client.rest()
        for line in rest.split(b"\r\n"):
            assert not line.startswith(b"HTTP/1.1 5")


def mutations(der: bytes) -> st.SearchStrategy[bytes]:
    """One octet changed, or the end cut off."""
    return st.integers(0, len(der) - 1).flatmap(
        lambda at: st.binary(max_size=1).map(lambda octet: der[:at] + octet + der[at + 1 :])
    )


def check(client: Client, statuses: tuple[int, ...]) -> None:
    """One response, of one of these kinds, and an OCSP error as its body."""
    response = client.response()
    assert response.status in statuses
    assert response.body[:4] == bytes.fromhex("30030a01")
