"""Requests that two readers of one stream would take for different ones are refused (RFC 9112, sections 5, 6)."""

from __future__ import annotations

import pytest

from tests.gateway.doors.harness import Gateway

_POST = b"POST / HTTP/1.1\r\nHost: ocsp.test\r\nContent-Type: application/ocsp-request\r\n"
_GET = b"GET /MAA= HTTP/1.1\r\nHost: ocsp.test\r\n"

AMBIGUOUS = {
    "two lengths": _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a length and chunked": _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunked, and then not": _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a negative length": _POST + b"Content-Length: -5\r\n\r\n",
    "a folded header": _GET + b"X-A: b\r\n  c\r\n\r\n",
    "a space before the colon": _GET + b"X-A : b\r\n\r\n",
    "lines that end in LF alone": b"GET /MAA= HTTP/1.1\nHost: ocsp.test\n\n",
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_is_ambiguous(gateway: Gateway, case: str) -> None:
    """400, and the end of the connection."""
    with gateway.client() as client:
        client.send(AMBIGUOUS[case])
        assert client.response().status == 400
        assert client.rest() == b""


def test_without_host(gateway: Gateway) -> None:
    """An HTTP/1.1 request without Host is answered: nothing here depends on it (docs/decisions/http-leniency.md)."""
    with gateway.client() as client:
        client.send(b"GET /MAA= HTTP/1.1\r\n\r\n")
        assert client.response().status == 200
