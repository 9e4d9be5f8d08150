"""What is told of revocation lists to whoever watches: metrics, and warnings about lists that nobody here can renew."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.clock import rfc3339
from services.db.records import CrlDescription

_logger = structlog.get_logger(__name__)

_LABELS = ("issuer", "scope")
_SECONDS = (0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)

WARN_BEFORE = timedelta(days=30)
_WARN_EVERY = timedelta(days=1)


class CrlFigures:
    """The newest list of each scope as metrics. Scope 0 is the full list."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"goodstanding_crl_{name}", text, _LABELS, registry=registry)

        self._number = gauge("number", "Number of the newest revocation list.")
        self._this_update = gauge("this_update_seconds", "Its thisUpdate, in seconds since 1970.")
        self._next_update = gauge("next_update_seconds", "Its nextUpdate, in seconds since 1970.")
        self._entries = gauge("entries", "Revoked certificates in it.")
        self._octets = gauge("bytes", "Its size.")
        self._made = Histogram(
            "goodstanding_crl_make_seconds",
            "Time to sign and store a revocation list.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._failures = Counter("goodstanding_crl_failures", "Lists that could not be made.", registry=registry)
        self._warned: dict[str, datetime] = {}

    def newest(self, issuer: str, crl: CrlDescription) -> None:
        """Tell of the newest list of a scope."""
        labels = (issuer, str(crl.scope))
        self._number.labels(*labels).set(crl.number)
        self._this_update.labels(*labels).set(crl.this_update.timestamp())
        self._next_update.labels(*labels).set(crl.next_update.timestamp())
        self._entries.labels(*labels).set(crl.entries)
        self._octets.labels(*labels).set(crl.size)

    def made(self, seconds: float) -> None:
        """Tell how long one took."""
        self._made.observe(seconds)

    def failed(self) -> None:
        """Tell that one could not be made."""
        self._failures.inc()

    def offline(self, issuer: str, crl: CrlDescription, now: datetime) -> None:
        """Tell of the list of an issuer whose key is not here; warn once a day while it ends soon, or has ended."""
        self.newest(issuer, crl)
        warned = self._warned.get(issuer)
        if crl.next_update - now > WARN_BEFORE or (warned is not None and now - warned < _WARN_EVERY):
            return
        self._warned[issuer] = now
        _logger.warning(
            "the revocation list of an offline issuer ends soon: make another one with its key",
            issuer=issuer,
            number=crl.number,
            next_update=rfc3339(crl.next_update),
        )
