"""caIssuers and CRLs on the public port (R97, T of R113)."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Callable

import pytest

from gateway.spool import PIECE, Spool
from tests.gateway.doors.harness import NOW, Crl, Gateway

CRL = Crl(b"a list", int(NOW) - 600, int(NOW) + 1200)


@pytest.fixture(autouse=True)
def _shelf(gateway: Gateway) -> None:
    gateway.documents.list = CRL
    gateway.documents.away = False


@pytest.mark.parametrize("prefix", ["", "/pki"])
def test_ca_certificate(gateway: Gateway, prefix: str, certificate_der: bytes) -> None:
    """One DER certificate with its media type, validators and a lifetime."""
    with gateway.client() as client:
        response = client.get(prefix + "/ca/issuing.cer")
    assert (response.status, response.body) == (200, certificate_der)
    assert response.headers["content-type"] == "application/pkix-cert"
    assert response.headers["etag"] == f'"{hashlib.sha256(certificate_der).hexdigest()}"'
    assert response.headers["last-modified"] == "Thu, 14 Jan 2027 08:00:00 GMT"
    assert response.headers["cache-control"] == "max-age=3600, public, no-transform, must-revalidate"
    assert response.headers["expires"] == "Fri, 15 Jan 2027 09:00:00 GMT"


def test_crl(gateway: Gateway) -> None:
    """One DER list, for caches until just before the next one."""
    with gateway.client() as client:
        response = client.get("/crl/issuing.crl")
    assert (response.status, response.body) == (200, b"a list")
    assert response.headers["content-type"] == "application/pkix-crl"
    assert response.headers["last-modified"] == "Fri, 15 Jan 2027 07:50:00 GMT"
    assert response.headers["expires"] == "Fri, 15 Jan 2027 08:05:00 GMT"
    assert response.headers["cache-control"] == "max-age=300, public, no-transform, must-revalidate"


def test_no_cache_has_a_list_beyond_its_end(gateway: Gateway) -> None:
    """What is left of a list cuts its time in caches."""
    gateway.documents.list = Crl(b"a list", int(NOW) - 600, int(NOW) + 20)
    with gateway.client() as client:
        response = client.get("/crl/issuing.crl")
    assert response.headers["expires"] == "Fri, 15 Jan 2027 08:00:20 GMT"
    assert response.headers["cache-control"] == "max-age=19, public, no-transform, must-revalidate"


def test_a_long_list_is_sent_in_pieces(gateway: Gateway) -> None:
    """The same headers and conditions as a short one, and every octet."""
    octets = random.Random(1).randbytes(3 * PIECE + 17)
    spool = Spool()
    asyncio.run(_fill(spool, octets))
    gateway.documents.list = Crl(spool, int(NOW) - 600, int(NOW) + 1200)
    with gateway.client() as client:
        response = client.get("/crl/issuing.crl")
        assert (response.status, response.body == octets) == (200, True)
        assert response.headers["content-type"] == "application/pkix-crl"
        assert response.headers["content-length"] == str(len(octets))
        assert response.headers["etag"] == f'"{hashlib.sha256(octets).hexdigest()}"'
        client.send(b"HEAD /crl/issuing.crl HTTP/1.1\r\n\r\n")
        assert client.response(bodiless=True).headers == response.headers
        assert client.get("/crl/issuing.crl", f"If-None-Match: {response.headers['etag']}").status == 304
    assert spool.read() == octets


async def _fill(spool: Spool, octets: bytes) -> None:
    for start in range(0, len(octets), 100_000):
        await spool.append(octets[start : start + 100_000])
    await spool.finish()


def _waiting(gateway: Gateway) -> int:
    """How many octets wait in the process for clients to read on."""
    connections = list(gateway.protocol.door.sweep._connections)
    return sum(each.transport.get_write_buffer_size() for each in connections)  # type: ignore[attr-defined]


def test_a_long_list_goes_at_the_pace_of_its_reader(start_gateway: Callable[..., Gateway]) -> None:
    """A piece of it waits in memory, not all; and who reads slowly is not taken for one who does not read."""
    gateway = start_gateway(write_timeout=0.5)
    octets, spool = random.Random(1).randbytes(64 * PIECE), Spool()
    asyncio.run(_fill(spool, octets))
    gateway.documents.list = Crl(spool, int(NOW) - 600, int(NOW) + 1200)
    received, most = bytearray(), 0
    with gateway.client(receive_buffer=PIECE) as client:
        client.send(b"GET /crl/issuing.crl HTTP/1.1\r\n\r\n")
        begin = time.monotonic()
        while not received.endswith(octets[-100:]) and (some := client.socket.recv(PIECE)):
            received += some
            most = max(most, _waiting(gateway))
            time.sleep(len(some) / PIECE / 40)
    assert time.monotonic() - begin > 0.75
    assert len(received) > len(octets), "cut off"
    assert received.endswith(octets)
    assert 0 < most <= 2 * PIECE


@pytest.mark.parametrize("path", ["/ca/issuing.cer", "/crl/issuing.crl", "/crl/issuing/7.crl"])
def test_head_and_conditions(gateway: Gateway, path: str) -> None:
    """HEAD has the headers of GET; validators give 304 without a body; other methods 405."""
    with gateway.client() as client:
        get = client.get(path)
        client.send(f"HEAD {path} HTTP/1.1\r\n\r\n".encode())
        assert client.response(bodiless=True).headers == get.headers
        for condition in (
            f"If-None-Match: {get.headers['etag']}",
            f"If-Modified-Since: {get.headers['last-modified']}",
        ):
            response = client.get(path, condition)
            assert (response.status, response.body) == (304, b"")
            assert response.headers["etag"] == get.headers["etag"]
        client.send(f"DELETE {path} HTTP/1.1\r\n\r\n".encode())
        response = client.response()
        assert response.status == 405
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path",
    [
        *("/ca/other.cer", "/crl/other.crl", "/ca/issuing.pem", "/ca/", "/crl/../ca/x.cer", "/ca/%2e%2e%2fx"),
        *("/crl/issuing/8.crl", "/crl/issuing/-7.crl", "/crl/issuing/x.crl", "/crl/issuing/99999999999999999999.crl"),
        f"/crl/issuing/{5000 * '9'}.crl",
    ],
)
def test_what_is_not_there(gateway: Gateway, path: str) -> None:
    """404, without store."""
    with gateway.client() as client:
        response = client.get(path)
    assert (response.status, response.headers["cache-control"]) == (404, "no-store")
    assert response.headers["date"]


def test_a_list_that_cannot_be_had(gateway: Gateway) -> None:
    """503 with Retry-After, when the list's source is away; OCSP goes on."""
    gateway.documents.away = True
    with gateway.client() as client:
        response = client.get("/crl/issuing.crl")
        assert (response.status, response.headers["retry-after"]) == (503, "5")
        assert response.headers["cache-control"] == "no-store"
        assert client.get("/MAA=").status == 200
