"""Counters and latencies of RPCs by method and code, and an optional address that serves them."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from services.addresses import parse_address
from services.config import ConfigError

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RpcMetrics:
    """What the interceptor reports. `registry` is where a service registers its own metrics as well."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._calls = Counter("goodstanding_rpc_calls", "Ended calls.", ("method", "code"), registry=self.registry)
        self._seconds = Histogram(
            "goodstanding_rpc_seconds",
            "Time from the arrival of a call to its end, in seconds.",
            ("method", "code"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._series: dict[tuple[str, str], tuple[Counter, Histogram]] = {}  # looking them up by labels is slow

    def observe(self, method: str, code: str, seconds: float) -> None:
        """One call has ended. `method` must come from a bounded set: each one makes a time series."""
        series = self._series.get((method, code))
        if series is None:
            series = self._series[method, code] = (
                self._calls.labels(method, code),
                self._seconds.labels(method, code),
            )
        series[0].inc()
        series[1].observe(seconds)


def serve_metrics(listen: str, registry: CollectorRegistry) -> Callable[[], None]:
    """Serve /metrics on HOST:PORT from a thread. Returns a function that stops it.

    Raises ConfigError when the address cannot be used.
    """
    host, port = parse_address(listen)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise ConfigError(f"metrics_listen {listen}: {error.strerror}; stop what uses it, or choose another") from None

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
