"""What operators look at, on an address of its own: never on the public port.

`/healthz` says that the process runs its event loop, `/readyz` whether it can answer now and what is missing if not,
`/metrics` everything else, in Prometheus' text format. A POST of an OCSP request to `/explain` tells how it is answered
and why, as JSON: `{"explanations": [...]}`, one of each process that answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway.limits import DoorCounters, Limits

Readiness = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Whether the process can answer now, and the details for a reader, as JSON values."""

Refresh = Callable[[], Awaitable[None]]
"""Brings what a page is made from up to date, where that is in other processes."""


async def _is_up_to_date() -> None:
    pass


Explain = Callable[[bytes], Awaitable[Sequence[Mapping[str, Any]]]]
"""How OCSP requests are answered, as JSON values; one for each process that answers."""

_NO_STORE = {"cache-control": "no-store"}
_OCSP_REQUEST = "application/ocsp-request"
_MAX_BODY = Limits().max_body


def make_ops_app(
    readiness: Readiness,
    registry: CollectorRegistry = REGISTRY,
    *,
    refresh_readiness: Refresh = _is_up_to_date,
    refresh_metrics: Refresh = _is_up_to_date,
    explain: Explain | None = None,
) -> Starlette:
    """The operator's application."""

    async def healthz(request: Request) -> Response:  # noqa: ARG001  (Starlette passes it)
        return PlainTextResponse("ok\n", headers=_NO_STORE)

    async def readyz(request: Request) -> Response:  # noqa: ARG001
        await refresh_readiness()
        ready, details = readiness()
        return JSONResponse({"ready": ready, **details}, 200 if ready else 503, headers=_NO_STORE)

    async def metrics(request: Request) -> Response:
        await refresh_metrics()
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={**_NO_STORE, "content-type": media_type})

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    if explain is not None:
        routes.append(Route("/explain", _explaining(explain), methods=["POST"]))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


def _explaining(explain: Explain) -> Callable[[Request], Awaitable[Response]]:
    async def explained(request: Request) -> Response:
        # Not a type that a page in a browser may send to another site.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _OCSP_REQUEST:
            return PlainTextResponse(f"the body must be {_OCSP_REQUEST}\n", 415, headers=_NO_STORE)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                return PlainTextResponse(
                    f"an OCSP request may have {_MAX_BODY} octets; this one is answered 413 as well\n",
                    413,
                    headers={**_NO_STORE, "connection": "close"},
                )
        return JSONResponse({"explanations": list(await explain(bytes(body)))}, headers=_NO_STORE)

    return explained


class DoorCollector(Collector):
    """Exports what the public port has seen. `open_connections` and `pending` are asked when Prometheus asks."""

    def __init__(self, counters: DoorCounters, open_connections: Callable[[], int], pending: Callable[[], int]) -> None:
        self._counters = counters
        self._open_connections = open_connections
        self._pending = pending

    def collect(self) -> Iterable[Metric]:
        """The current numbers."""
        seen = self._counters
        requests = CounterMetricFamily("goodstanding_http_requests", "Requests on the public port.", labels=["door"])
        requests.add_metric(["protocol"], seen.requests)
        requests.add_metric(["asgi"], seen.requests_passed_on)
        yield requests
        for name, text, value in (
            ("connections", "Connections accepted.", seen.connections),
            ("connections_refused", "Connections closed at once, over the limit.", seen.connections_refused),
            ("not_modified", "Requests answered 304 below ASGI.", seen.not_modified),
            ("no_longer_fresh", "Answers replaced by tryLater when written.", seen.no_longer_fresh),
            ("overloaded", "Requests answered tryLater because too many were pending.", seen.overloaded),
            ("refused_requests", "Requests that were not HTTP, too large or too slow.", seen.refused_requests),
            ("stalled_writes", "Connections cut off because the client did not read.", seen.stalled_writes),
        ):
            yield CounterMetricFamily(f"goodstanding_http_{name}", text, value=value)
        yield GaugeMetricFamily(
            "goodstanding_http_open_connections", "Open connections.", value=self._open_connections()
        )
        yield GaugeMetricFamily(
            "goodstanding_http_pending", "Requests being looked up or signed.", value=self._pending()
        )
