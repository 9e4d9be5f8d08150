"""The operator's pages."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message

from gateway.limits import DoorCounters
from gateway.ops import DoorCollector, make_ops_app


def fetch(
    app: ASGIApp, path: str, method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """One request to an ASGI application."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope |= {"query_string": b"", "headers": raw, "root_path": "", "http_version": "1.1", "scheme": "http"}
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
def test_readiness(ready: bool, status: int) -> None:
    """Not ready is a 503 that says what is missing."""
    app = make_ops_app(lambda: (ready, {"watch": ready}), CollectorRegistry())
    code, body = fetch(app, "/readyz")
    assert (code, json.loads(body)) == (status, {"ready": ready, "watch": ready})


def test_health() -> None:
    """Alive is alive, ready or not."""
    assert fetch(make_ops_app(lambda: (False, {}), CollectorRegistry()), "/healthz") == (200, "ok\n")


def test_metrics() -> None:
    """What the doors count comes out in Prometheus' format."""
    registry = CollectorRegistry()
    counters = DoorCounters(connections=3, requests=5)
    registry.register(DoorCollector(counters, lambda: 2, lambda: 1))
    status, text = fetch(make_ops_app(lambda: (True, {}), registry), "/metrics")
    assert status == 200
    assert "goodstanding_http_connections_total 3.0" in text
    assert 'goodstanding_http_requests_total{door="protocol"} 5.0' in text
    assert "goodstanding_http_open_connections 2.0" in text


@pytest.mark.parametrize("path", ["/", "/healthz/", "/MAA="])
def test_nothing_else(path: str) -> None:
    """No redirect, no OCSP here."""
    assert fetch(make_ops_app(lambda: (True, {}), CollectorRegistry()), path)[0] == 404


@pytest.mark.parametrize(
    ("method", "media_type", "size", "status"),
    [
        ("POST", "application/ocsp-request", 5, 200),
        ("POST", "application/ocsp-request; charset=x", 0, 200),
        ("POST", "application/ocsp-request", 32 * 1024, 200),
        ("POST", "application/ocsp-request", 32 * 1024 + 1, 413),
        ("POST", "text/plain", 5, 415),
        ("GET", "application/ocsp-request", 0, 405),
    ],
    ids=["as it should be", "parameters", "the longest", "too long", "what any page may send", "GET"],
)
def test_explain(method: str, media_type: str, size: int, status: int) -> None:
    """A request is explained if it is a POST of that type, and no longer than OCSP requests may be (R11)."""

    async def explain(der: bytes) -> list[dict[str, int]]:
        return [{"octets": len(der)}]

    app = make_ops_app(lambda: (True, {}), CollectorRegistry(), explain=explain)
    code, body = fetch(app, "/explain", method, bytes(size), {"content-type": media_type})
    assert code == status
    if status == 200:
        assert json.loads(body) == {"explanations": [{"octets": size}]}


def test_nothing_to_explain_with() -> None:
    """Without something that explains there is no such page."""
    app = make_ops_app(lambda: (True, {}), CollectorRegistry())
    assert fetch(app, "/explain", "POST", b"", {"content-type": "application/ocsp-request"})[0] == 404
